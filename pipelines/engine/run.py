"""Runs jobs, one per session: job -> part on disk -> tables. In parallel, with resume, and without half-written files.

A job's part (`parts/<stage>/<key>/`) has its rows, its rejections and the names of the bulk files it wrote. `part.json`
is written last and has the fingerprint of code, params and input content. A part with the same fingerprint is not made
again; a part whose key no longer exists is removed with its files. With `run.store`, a part that the store has is
copied from there instead of being made, and a part that is made or removed here is made or removed there too.
"""

import errno
import json
import math
import os
import queue
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.engine.code import PACKAGES
from pipelines.engine.jobs import Job, Rejected, Result, RunParams
from pipelines.engine.parts import (
    Finish,
    fingerprint_of,
    finish_part,
    is_current,
    merge_parts,
    recipe_of,
    remove_part,
    write_part,
)
from pipelines.engine.progress import progress
from pipelines.engine.ray import ONE_THREAD, environment, ray_session, time_limit
from pipelines.engine.store import (
    Store,
    drop_part,
    is_stored,
    keep_files,
    keep_part,
    open_store,
    stored_parts,
    take_part,
)
from pipelines.engine.timings import write_timings
from schemas import Table
from wanstreamer.errors import InputError

Work = Callable[[Job, Path, Path], Result]

ATTEMPTS = "attempts.json"  # next to the scratch folders of a key in work
TRANSIENT = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.ECONNRESET})
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
MOST_KEYS = 32  # per task
RETRY_AFTER_S = (0.5, 2.0)  # waits after transient errors, such as those of a network mount


def run_keys(
    data: Path,
    stage: str,
    jobs: Sequence[Job],
    work: Work | type,
    *,
    params: object,
    tables: Sequence[Table],
    how: RunParams,
    code: Sequence[str] | None = None,
    setup: Mapping[str, Any] | None = None,
    spreads: bool = False,
    uses_gpu: bool = False,
    rejections: Sequence[tuple[str, str, str]] = (),
    finish: Finish | None = None,
) -> dict[str, Any]:
    """Run `work(job, data, scratch)` for every job whose part is missing or out of date, then write the tables.

    Args:
        data: The data folder.
        stage: Name of the stage; its folder of parts and its rejections have the same name.
        jobs: One per key; their order does not matter.
        work: A function, or a class that is built once per worker process with `setup` and then called.
        params: The stage's dataclass; enters the fingerprint.
        tables: Tables this stage writes.
        how: Workers, limits, store.
        code: Modules whose code decides the result, with all they import (`code_of`); default: the module of `work`. A
            change there, except in comments, redoes the work.
        spreads: The work distributes a long key over idle workers (`spread`); its class is then built for every key.
        uses_gpu: The workers share the machine's GPUs evenly, if it has any; each worker sees one.
        rejections: (key, reason, detail) of keys that were rejected before they became jobs.
        finish: A last step over all keys, before the tables are written: gets the tables of all parts, returns the
            tables to write and further rejections. Its results are in no part, so it runs every time.

    Returns:
        Counts: keys, done, rejected by reason, rows per table. They are equal for any number of workers and any resume.

    Raises:
        InputError: A worker met a user's mistake (for example missing weights).
    """
    began_s = time.monotonic()
    data = data.resolve()
    home = data / "parts" / stage
    home.mkdir(parents=True, exist_ok=True)
    jobs = sorted(jobs, key=lambda job: job.key)
    if len({job.key for job in jobs}) != len(jobs):
        raise ValueError(f"{stage}: two jobs have the same key")
    names = [table.name for table in tables]
    recipe = recipe_of(stage, params, tables, (_module_of(work),) if code is None else code)
    fingerprints = {job.key: fingerprint_of(recipe, job) for job in jobs}
    store = open_store(how.store, data) if how.store else None
    in_store = stored_parts(store, stage) if store else {}
    for folder in sorted(home.iterdir()):
        if folder.name.startswith("."):
            shutil.rmtree(folder)  # scratch files of a run that was killed
        elif folder.name not in fingerprints:
            remove_part(data, folder)
    pending = [job for job in jobs if not is_current(data, home / job.key, fingerprints[job.key])]
    if len(pending) < len(jobs):
        print(f"{stage}: {len(jobs) - len(pending)} of {len(jobs)} keys are up to date", file=sys.stderr)
    if store:
        for key in sorted(set(in_store) - set(fingerprints)):
            drop_part(store, stage, key)
        undone = {job.key for job in pending}
        pending += [
            job
            for job in jobs
            if job.key not in undone and not is_stored(store, in_store.get(job.key, {}), home / job.key)
        ]
    worked = bool(pending)
    if pending:
        worker = _Worker(
            data=data, home=home, work=work, setup=dict(setup or {}), tables=tuple(names), how=how,
            store=store, run_id=f"{os.getpid()}-{time.time_ns()}",
        )  # fmt: skip
        with progress(len(pending), stage) as advance:
            pairs = [(job, fingerprints[job.key]) for job in pending]
            for outcome in (
                _map_ray(pairs, worker, how.num_workers, spreads=spreads, uses_gpu=uses_gpu)
                if how.ray
                else _map_processes(pairs, worker, how.num_workers)
            ):
                if outcome["error"]:
                    raise InputError(outcome["error"])
                advance()
    counts = merge_parts(data, home, stage, [job.key for job in jobs], names, rejections, finish)
    if store:
        keep_files(store, data, [f"tables/{name}.parquet" for name in (*names, f"rejections/{stage}")])
    wall_s = round(time.monotonic() - began_s, 1)
    write_timings(data, stage, {"wall_s": wall_s, "workers": how.num_workers}, worked=worked)
    return counts


def _module_of(work: Work | type) -> str:
    """The module whose code decides what `work` returns. Raises ValueError if it is not one of the project."""
    module: str = work.__module__
    if module.partition(".")[0] not in PACKAGES:
        raise ValueError(f"{work}: of module {module}; name the modules that decide its result in `code`")
    return module


class _Worker:
    """Runs in the worker processes: gets one job, writes its part, returns a short outcome."""

    def __init__(
        self,
        *,
        data: Path,
        home: Path,
        work: Any,
        setup: dict[str, Any],
        tables: tuple[str, ...],
        how: RunParams,
        store: Store | None,
        run_id: str,
    ) -> None:
        self.data, self.home, self.work, self.setup = data, home, work, setup
        self.tables, self.how, self.store, self.run_id = tables, how, store, run_id
        self.cwd = Path.cwd()  # relative paths in `setup` are relative to it, also on another machine
        self.built: Work | None = None

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        loaded = json.loads(row["job"])
        job = Job(key=loaded["key"], spec=loaded["spec"], inputs=tuple(loaded["inputs"]))
        if self.store is None and is_current(self.data, self.home / job.key, row["fingerprint"]):
            return {"key": job.key, "error": ""}  # done by a machine that was lost before it reported it
        os.chdir(self.cwd)
        attempts, scratch = self._begin(self.home / f".{job.key}")
        try:
            self._do(job, scratch, attempts, row["fingerprint"])
        except InputError as error:
            shutil.rmtree(scratch.parent, ignore_errors=True)
            return {"key": job.key, "error": str(error)}
        except OSError as error:
            if error.errno not in FULL:
                raise
            shutil.rmtree(scratch.parent, ignore_errors=True)
            return {
                "key": job.key,
                "error": f"{self.data}: no space left; free some space and run the same command again",
            }
        return {"key": job.key, "error": ""}

    def _do(self, job: Job, scratch: Path, attempts: int, fingerprint: str) -> None:
        """Copy the key's part from the store, or make it and put it into the store."""
        folder = self.home / job.key
        if self.store is not None and is_current(self.data, folder, fingerprint):
            shutil.rmtree(scratch.parent)  # the part is here, only the store does not have it
        elif self.store is not None and self._take(folder, scratch, fingerprint):
            return
        else:
            result = self._result(job, scratch, attempts)
            write_part(self.data, folder, scratch, result, fingerprint, self.tables)
        if self.store is not None:
            keep_part(self.store, self.data, folder)

    def _take(self, folder: Path, scratch: Path, fingerprint: str) -> bool:
        """Copy the part from the store; False if the store does not have it."""
        assert self.store is not None
        taken = scratch / "made" / "taken"
        part = take_part(self.store, self.home.name, folder.name, fingerprint, taken)
        if part is None:
            shutil.rmtree(taken, ignore_errors=True)
            return False
        for table in part["tables"]:
            (taken / f"{table}.parquet").replace(scratch / f"{table}.parquet")
        finish_part(self.data, folder, scratch, {name: taken / "bulk" / name for name in part["files"]}, part)
        return True

    def _begin(self, home: Path) -> tuple[int, Path]:
        """How many times this run has started the key (workers may have died on it), and an empty scratch folder.

        The folder is new each time: a worker on a machine that Ray has lost may still write into the old one.
        """
        note = home / ATTEMPTS
        try:
            before = json.loads(note.read_text())
        except (FileNotFoundError, ValueError):
            before = {}
        attempts = before.get("attempts", 0) + 1 if before.get("run") == self.run_id else 1
        scratch = home / f"{attempts}-{os.getpid()}-{time.time_ns()}"
        (scratch / "made").mkdir(parents=True)
        # No fsync: after a loss of power no other run reads it.
        temporary = note.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps({"run": self.run_id, "attempts": attempts}))
        temporary.replace(note)
        return attempts, scratch

    def _result(self, job: Job, scratch: Path, attempts: int) -> Result:
        """The result of the key. After a transient error of the file system the work is tried again, twice."""
        if attempts > self.how.max_attempts:
            return Result(rejections=[(job.key, "worker_died", f"{attempts - 1} attempts")])
        late = Rejected("timed_out", f"more than {self.how.key_timeout_s:g} s (run.key_timeout_s)")
        for wait_s in (*RETRY_AFTER_S, None):
            try:
                if self.built is None:
                    self.built = self.work(**self.setup) if isinstance(self.work, type) else self.work
                with time_limit(self.how.key_timeout_s, late):
                    return self.built(job, self.data, scratch / "made")
            except Rejected as rejected:
                return Result(rejections=[(job.key, rejected.reason, rejected.detail)])
            except OSError as error:
                if error.errno not in TRANSIENT:
                    raise
                if wait_s is None:
                    detail = f"{error.strerror}, {len(RETRY_AFTER_S) + 1} attempts"
                    return Result(rejections=[(job.key, "input_output_error", detail)])
                time.sleep(wait_s)
                shutil.rmtree(scratch / "made")
                (scratch / "made").mkdir()
        raise AssertionError("unreachable")


def _job_rows(jobs: Sequence[tuple[Job, str]]) -> list[dict[str, str]]:
    """The arguments of the workers, one row per job."""
    return [{"job": json.dumps(asdict(job)), "fingerprint": fingerprint} for job, fingerprint in jobs]


def _map_processes(jobs: Sequence[tuple[Job, str]], worker: _Worker, workers: int) -> Iterator[dict[str, str]]:
    """As `_map_ray`, without Ray: for a few keys, when starting Ray takes longer than the work."""
    size = min(workers, len(jobs))
    with (
        environment(ONE_THREAD),
        get_context("spawn").Manager() as manager,
        ProcessPoolExecutor(size, get_context("spawn"), _ignore_ctrl_c) as pool,
    ):
        rows, outcomes = manager.Queue(), manager.Queue()
        for row in [*_job_rows(jobs), *[None] * size]:
            rows.put(row)
        running = [pool.submit(_work_on, rows, outcomes, worker) for _ in range(size)]
        missing = len(jobs)
        try:
            while missing:
                try:
                    yield outcomes.get(timeout=0.2)
                    missing -= 1
                except queue.Empty:
                    for future in running:
                        if future.done():
                            future.result()  # raises what ended the process
        finally:
            while missing and not rows.empty():  # stopped: each process finishes its key and no other
                rows.get()
            for _ in running:
                rows.put(None)


def _work_on(rows: Any, outcomes: Any, worker: _Worker) -> None:
    """In a child: one worker for all rows, so that weights load once; None ends it."""
    for row in iter(rows.get, None):
        outcomes.put(worker(row))


def _ignore_ctrl_c() -> None:
    """In a child: only the process that started it stops at Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _map_ray(
    jobs: Sequence[tuple[Job, str]], worker: _Worker, workers: int, *, spreads: bool, uses_gpu: bool
) -> Iterator[dict[str, str]]:
    """Outcomes in the order in which jobs finish. An exception in a worker is a bug and stops the run."""
    with ray_session(workers) as size:
        import ray
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.target_max_block_size = 1  # one byte, so that finished keys come back one by one
        # With the default a worker waits after every second key until Ray asks for them, ten times a second.
        context._max_num_blocks_in_streaming_gen_buffer = MOST_KEYS
        rows = _job_rows(jobs)
        size = min(size, len(rows))
        dataset = ray.data.from_arrow([pa.Table.from_pylist(rows[part]) for part in _tasks(len(rows), size)])
        if isinstance(worker.work, type) and not spreads:
            actor: Any = _Actor  # a class; the type stubs of map expect a function
            pool = ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1)
            num_gpus = gpu_share(ray.cluster_resources().get("GPU", 0), size) if uses_gpu else 0
            mapped = dataset.map(actor, fn_constructor_args=(worker,), compute=pool, num_cpus=1, num_gpus=num_gpus)
        else:
            mapped = dataset.map(worker.__call__, compute=ray.data.TaskPoolStrategy(size=size), num_cpus=1)
        yield from mapped.iter_rows()


def gpu_share(num_gpus: float, workers: int) -> float:
    """The share of a GPU for each worker, rounded to ten-thousandths as Ray counts them.

    >>> gpu_share(1, 16), gpu_share(8, 2), gpu_share(2, 3), gpu_share(0, 2)
    (0.0625, 1, 0.5, 0)
    """
    if num_gpus >= workers or num_gpus < 1:
        return min(1, int(num_gpus))
    workers_each = math.ceil(workers / int(num_gpus))
    return math.floor(10_000 / workers_each) / 10_000


def _tasks(num_keys: int, workers: int) -> Iterator[slice]:
    """The keys of each task: several at first, because a worker waits between two tasks; one at the end, because all
    others would wait for a longer one (guided self-scheduling; Polychronopoulos and Kuck 1987)."""
    start = 0
    while start < num_keys:
        stop = start + max(1, min(MOST_KEYS, (num_keys - start) // (2 * workers)))
        yield slice(start, stop)
        start = stop


class _Actor:
    """One per worker process, so that weights are loaded once."""

    def __init__(self, worker: _Worker) -> None:
        self.worker = worker

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        return self.worker(row)
