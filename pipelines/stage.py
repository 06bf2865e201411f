"""Jobs, one per session -> per-session parts on disk -> tables: run in parallel, resumed, counted, never half-written.

A job's part (`parts/<stage>/<key>/`) holds its rows, rejections and the names of the
bulk files it wrote; `part.json` comes last and carries the fingerprint of code, params and input content. A part with
the same fingerprint is not made again; a part of a vanished key goes, with its files.
"""

import argparse
import ast
import errno
import hashlib
import importlib
import inspect
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import exit_on_input_error
from pipelines.files import replace_file, write_json_atomic
from pipelines.local_ray import ray_session
from pipelines.params import build_params, read_sections
from schemas import SCHEMA_VERSION, TABLES
from wanstreamer.errors import InputError

ROWS_PER_GROUP = 1 << 16  # fixed, so that equal tables are equal bytes
Params = TypeVar("Params")


@dataclass(frozen=True, kw_only=True)
class RunParams:
    """How a stage is run; nothing here may change an output."""

    workers: int = 0  # parallel worker processes; 0: one per core
    key_timeout_s: float = 0  # a key that takes longer is rejected as `timed_out`; 0: no limit
    max_attempts: int = 3  # a key that kills its worker this often is rejected as `worker_died`

    def __post_init__(self) -> None:
        if min(self.workers, self.key_timeout_s) < 0 or self.max_attempts < 1:
            raise InputError("run: workers and key_timeout_s must be 0 or more, max_attempts 1 or more")


class Rejected(Exception):
    """This key cannot be used.

    `reason` is a countable word; `detail` holds figures and paths, never transcript text.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, kw_only=True)
class Job:
    """The work on one key: all a worker needs to know, as JSON-able values."""

    key: str
    spec: dict[str, Any]
    inputs: tuple[str, ...]  # digests of the input content


@dataclass(kw_only=True)
class Result:
    """What a worker made of one key."""

    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)  # final path below the data folder -> finished file in scratch
    rejections: list[tuple[str, str, str]] = field(default_factory=list)  # key, reason, detail


Work = Callable[[Job, Path, Path], Result]
Finish = Callable[[dict[str, pa.Table]], tuple[dict[str, pa.Table], list[tuple[str, str, str]]]]

# How this process runs its stage; the command line sets it.
_how = RunParams()
ATTEMPTS = "attempts.json"  # in the scratch folder of a key that is being worked on
TRANSIENT = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.ECONNRESET})
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
RETRY_AFTER_S = (0.5, 2.0)  # of transient errors: a mount that stutters


def run_keys(
    data: Path,
    stage: str,
    jobs: Sequence[Job],
    work: Work | type,
    *,
    params: object,
    tables: Sequence[str],
    modules: Sequence[ModuleType],
    workers: int,
    setup: Mapping[str, Any] | None = None,
    rejections: Sequence[tuple[str, str, str]] = (),
    finish: Finish | None = None,
) -> dict[str, Any]:
    """Run `work(job, data, scratch)` for every job whose part is missing or out of date, then write the tables.

    Args:
        data: The data folder.
        stage: Name of the stage; also of its folder of parts and of its rejections.
        jobs: One per key; their order does not matter.
        work: A function, or a class that is built once per worker process with `setup` and then called.
        params: The stage's dataclass; enters the fingerprint.
        tables: Tables this stage writes.
        modules: Modules whose code decides the result; a change of their code (not of comments) redoes the work.
        workers: Parallel worker processes.
        rejections: (key, reason, detail) of keys that were turned away before they became jobs.
        finish: Decides over all keys at once, before the tables are written: tables made of the parts in, the tables
            to write and further rejections out. Its results are in no part, so it works on every run.

    Returns:
        Counts: keys, done, rejected by reason, rows per table. The same for any number of workers and any resume.

    Raises:
        InputError: A worker met a user's mistake (for example missing weights).
    """
    data = data.resolve()
    home = data / "parts" / stage
    home.mkdir(parents=True, exist_ok=True)
    jobs = sorted(jobs, key=lambda job: job.key)
    if len({job.key for job in jobs}) != len(jobs):
        raise ValueError(f"{stage}: two jobs have the same key")
    recipe = _recipe(stage, params, tables, modules)
    prints = {job.key: _fingerprint(recipe, job) for job in jobs}
    for folder in sorted(home.iterdir()):
        if folder.name.startswith("."):
            shutil.rmtree(folder)  # scratch of a run that was killed
        elif folder.name not in prints:
            _remove_part(data, folder)
    pending = [job for job in jobs if not _is_current(data, home / job.key, prints[job.key])]
    if len(pending) < len(jobs):
        print(f"{stage}: {len(jobs) - len(pending)} of {len(jobs)} keys are up to date", file=sys.stderr)
    if pending:
        worker = _Worker(
            data=data, home=home, work=_by_name(work), setup=dict(setup or {}), tables=tuple(tables), how=_how,
            run_id=f"{os.getpid()}-{time.time_ns()}",
        )  # fmt: skip
        with progress(len(pending), stage) as advance:
            for outcome in _map_ray([(job, prints[job.key]) for job in pending], worker, workers):
                if outcome["error"]:
                    raise InputError(outcome["error"])
                advance()
    return _merge(data, home, stage, [job.key for job in jobs], tables, rejections, finish)


class _Worker:
    """Runs in the worker processes: one job in, its part on disk, a short outcome out."""

    def __init__(
        self,
        *,
        data: Path,
        home: Path,
        work: Any,
        setup: dict[str, Any],
        tables: tuple[str, ...],
        how: RunParams,
        run_id: str,
    ) -> None:
        self.data, self.home, self.work, self.setup = data, home, work, setup
        self.tables, self.how, self.run_id = tables, how, run_id
        self.built: Work | None = None

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        loaded = json.loads(row["job"])
        job = Job(key=loaded["key"], spec=loaded["spec"], inputs=tuple(loaded["inputs"]))
        scratch = self.home / f".{job.key}"
        attempts = self._begin(scratch)
        try:
            result = self._result(job, scratch, attempts)
            _write_part(self.data, self.home / job.key, scratch, result, row["fingerprint"], self.tables)
        except InputError as error:
            shutil.rmtree(scratch)
            return {"key": job.key, "error": str(error)}
        except OSError as error:
            if error.errno not in FULL:
                raise
            shutil.rmtree(scratch, ignore_errors=True)
            return {"key": job.key, "error": f"{self.data}: no space left; free some and run the same command again"}
        return {"key": job.key, "error": ""}

    def _begin(self, scratch: Path) -> int:
        """An empty scratch folder; how often this run has begun the key, counting workers that died over it."""
        note = scratch / ATTEMPTS
        try:
            before = json.loads(note.read_text())
        except (FileNotFoundError, ValueError):
            before = {}
        attempts = before.get("attempts", 0) + 1 if before.get("run") == self.run_id else 1
        shutil.rmtree(scratch, ignore_errors=True)
        (scratch / "made").mkdir(parents=True)
        note.write_text(json.dumps({"run": self.run_id, "attempts": attempts}))
        return attempts

    def _result(self, job: Job, scratch: Path, attempts: int) -> Result:
        """What comes of the key; a second and third try where the file system stuttered."""
        if attempts > self.how.max_attempts:
            return Result(rejections=[(job.key, "worker_died", f"{attempts - 1} attempts")])
        for wait_s in (*RETRY_AFTER_S, None):
            try:
                if self.built is None:
                    self.built = self.work(**self.setup) if isinstance(self.work, type) else self.work
                with _time_limit(self.how.key_timeout_s):
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


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raises Rejected `timed_out` inside the block once the time is over; children die as the block is left."""
    if not seconds or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise Rejected("timed_out", f"more than {seconds:g} s (run.key_timeout_s)")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _map_ray(jobs: Sequence[tuple[Job, str]], worker: _Worker, workers: int) -> Iterator[dict[str, str]]:
    """Outcomes in the order the jobs finish. An exception in a worker is a bug and stops the run."""
    with ray_session(workers) as size:
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        rows = [{"job": json.dumps(asdict(job)), "fingerprint": fingerprint} for job, fingerprint in jobs]
        # One row a block: a task is a session, and finished sessions come back one by one.
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
        size = min(size, len(rows))
        if isinstance(worker.work, type):
            actor: Any = _Actor  # a class, where the stubs of map expect a function
            pool = ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1)
            mapped = dataset.map(actor, fn_constructor_args=(worker,), compute=pool, num_cpus=1)
        else:
            mapped = dataset.map(worker.__call__, compute=ray.data.TaskPoolStrategy(size=size), num_cpus=1)
        yield from mapped.iter_rows()


class _Actor:
    """One per worker process, so that weights load once."""

    def __init__(self, worker: _Worker) -> None:
        self.worker = worker

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        return self.worker(row)


def _by_name(work: Any) -> Any:
    """The same function or class, from its module instead of `__main__`: workers then import it, where they would else
    receive a copy of the whole module."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if work.__module__ != "__main__" or spec is None:
        return work
    return getattr(importlib.import_module(spec.name), work.__qualname__)


def _recipe(stage: str, params: object, tables: Sequence[str], modules: Sequence[ModuleType]) -> str:
    """Digest of what decides a part besides its input: code without comments, params, table layouts."""
    code = [ast.dump(ast.parse(inspect.getsource(module))) for module in modules]
    values = asdict(params) if is_dataclass(params) and not isinstance(params, type) else params
    layouts = [TABLES[table].schema.to_string() for table in tables]
    return _digest([stage, SCHEMA_VERSION, values, layouts, code])


def _fingerprint(recipe: str, job: Job) -> str:
    return _digest([recipe, job.key, job.spec, list(job.inputs)])


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _is_current(data: Path, folder: Path, fingerprint: str) -> bool:
    try:
        part = json.loads((folder / "part.json").read_text())
    except FileNotFoundError:
        return False
    if part["fingerprint"] != fingerprint:
        return False
    return all((data / name).is_file() and (data / name).stat().st_size == size for name, size in part["files"].items())


def _write_part(
    data: Path, folder: Path, scratch: Path, result: Result, fingerprint: str, tables: Sequence[str]
) -> None:
    unknown = set(result.tables) - set(tables)
    if unknown:
        raise ValueError(f"{folder.name}: rows for undeclared tables {sorted(unknown)}")
    for name, rows in result.tables.items():
        pq.write_table(conform(name, rows), scratch / f"{name}.parquet")
    # The old part goes first: a kill between here and the end leaves no part, and the key is done again.
    _remove_part(data, folder, keep=frozenset(result.files))
    sizes = {}
    for name, finished in sorted(result.files.items()):
        sizes[name] = finished.stat().st_size
        replace_file(finished, data / name)
    shutil.rmtree(scratch / "made")
    (scratch / ATTEMPTS).unlink()
    part = {
        "fingerprint": fingerprint,
        "files": sizes,
        "rejections": result.rejections,
        "tables": sorted(result.tables),
    }
    write_json_atomic(scratch / "part.json", part)
    scratch.replace(folder)


def _remove_part(data: Path, folder: Path, keep: frozenset[str] = frozenset()) -> None:
    try:
        part = json.loads((folder / "part.json").read_text())
    except FileNotFoundError:
        part = {"files": {}}
    (folder / "part.json").unlink(missing_ok=True)
    for name in set(part["files"]) - keep:
        (data / name).unlink(missing_ok=True)
        if not keep and (data / name).parent.is_dir() and not any((data / name).parent.iterdir()):
            (data / name).parent.rmdir()
    shutil.rmtree(folder, ignore_errors=True)


def conform(table: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows to the declared schema; a missing column, an unknown one or a null where none may be is a bug."""
    schema = TABLES[table].schema
    rows = [{**row, "schema_version": SCHEMA_VERSION} for row in rows]
    names = set(schema.names)
    for row in rows:
        if set(row) != names:
            raise ValueError(f"{table}: columns differ from the schema: {sorted(set(row) ^ names)}")
    made = pa.Table.from_pylist(rows, schema=schema)
    for column in schema:
        if not column.nullable and made[column.name].null_count:
            raise ValueError(f"{table}.{column.name}: null in a column that allows none")
    return made


def write_table(data: Path, table: str, made: pa.Table, path: str | None = None) -> None:
    """Sort by the table's key, check that it is unique, write `tables/<table>.parquet` atomically."""
    key = TABLES[table].key
    made = made.sort_by([(name, "ascending") for name in key]).combine_chunks()
    keys = list(zip(*(made[name].to_pylist() for name in key), strict=True))
    twice = next((one for one, two in zip(keys, keys[1:], strict=False) if one == two), None)
    if twice is not None:
        raise ValueError(f"{table}: key {twice} is there twice")
    final = data / (path or f"tables/{table}.parquet")
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.tmp")
    pq.write_table(made, temporary, row_group_size=ROWS_PER_GROUP, compression="zstd")
    replace_file(temporary, final)


def write_rejections(data: Path, stage: str, rejections: Iterable[tuple[str, str, str]]) -> dict[str, int]:
    """`tables/rejections/<stage>.parquet`; returns how often each reason occurred."""
    counted = Counter(rejections)
    rows = [
        {"stage": stage, "key": key, "reason": reason, "detail": detail, "count": count}
        for (key, reason, detail), count in counted.items()
    ]
    write_table(data, "rejections", conform("rejections", rows), f"tables/rejections/{stage}.parquet")
    reasons: Counter[str] = Counter()
    for (_, reason, _), count in counted.items():
        reasons[reason] += count
    return dict(sorted(reasons.items()))


def _merge(
    data: Path,
    home: Path,
    stage: str,
    keys: Sequence[str],
    tables: Sequence[str],
    early: Sequence[tuple[str, str, str]],
    finish: Finish | None,
) -> dict[str, Any]:
    parts = {key: json.loads((home / key / "part.json").read_text()) for key in keys}
    made: Iterable[tuple[str, pa.Table]] = ((table, _merged(home, parts, table)) for table in tables)
    last: list[tuple[str, str, str]] = []
    if finish is not None:
        finished, last = finish(dict(made))
        made = finished.items()
    counts: dict[str, int] = {}
    for table, rows in made:
        write_table(data, table, rows)
        counts[table] = rows.num_rows
    late = [
        (str(key), str(reason), str(detail)) for part in parts.values() for key, reason, detail in part["rejections"]
    ]
    rejected = write_rejections(data, stage, [*early, *late, *last])
    done = sum(bool(part["tables"]) for part in parts.values())
    return {"keys": len(keys), "done": done, "rejected": rejected, "rows": counts}


def _merged(home: Path, parts: Mapping[str, dict[str, Any]], table: str) -> pa.Table:
    pieces = [pq.read_table(home / key / f"{table}.parquet") for key in parts if table in parts[key]["tables"]]
    return pa.concat_tables(pieces) if pieces else conform(table, [])


def forget_rejected(data: Path, stage: str, reason: str) -> int:
    """Take away the parts of keys that were rejected for this reason (`all`: any), so that they are done again."""
    count = 0
    for path in sorted((data / "parts" / stage).glob("*/part.json")):
        reasons = {rejection[1] for rejection in json.loads(path.read_text())["rejections"]}
        if reasons and (reason == "all" or reason in reasons):
            _remove_part(data, path.parent)
            count += 1
    return count


def read_rows(data: Path, table: str) -> list[dict[str, Any]]:
    """All rows of a table. Raises InputError when the stage that writes it has not run."""
    path = data / "tables" / f"{table}.parquet"
    if not path.is_file():
        stage = TABLES[table].stage
        raise InputError(
            f"{path}: not there yet; run the {stage} stage first (python -m pipelines.{stage} --data {data})"
        )
    return pq.read_table(path).to_pylist()


def rows_by_session(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["session_id"], []).append(row)
    return grouped


@contextmanager
def progress(total: int, label: str) -> Iterator[Callable[..., None]]:
    """Yield `advance(n=1)`: a bar on a terminal, a line about every ten seconds elsewhere."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(label, total=total)
        done, said_s = 0, time.monotonic()

        def advance(n: int = 1) -> None:
            nonlocal done, said_s
            done += n
            bars.advance(task, n)
            if not console.is_terminal and (time.monotonic() - said_s > 10 or done >= total):
                said_s = time.monotonic()
                print(f"{label}: {done}/{total}", file=sys.stderr, flush=True)

        yield advance


def stage_main(
    section: str, cls: type[Params], run: Callable[..., dict[str, Any]], arguments: Sequence[str] | None = None
) -> None:
    """The command line every stage shares: read params, run, write metrics and timings, print one summary."""
    doc = (inspect.getmodule(run).__doc__ or "").strip().splitlines()[0]  # type: ignore[union-attr]
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    name = spec.name.removesuffix(".__main__") if spec else f"pipelines.{section}"
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=doc)
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    parser.add_argument(
        "--params", type=Path, default=Path("params.yaml"), help="parameter file (default: params.yaml)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override one parameter; may be repeated",
    )
    parser.add_argument("--workers", type=int, help="worker processes (default: run.workers, else one per core)")
    parser.add_argument(
        "--retry-rejected",
        metavar="REASON",
        help="work again on the keys that were rejected for this reason; `all` for any",
    )
    args = parser.parse_args(arguments)
    with exit_on_input_error():
        sections = read_sections(args.params, args.set)
        params = build_params(cls, sections.get(section, {}), f"{args.params}: {section}")
        how = build_params(RunParams, sections.get("run", {}), f"{args.params}: run")
        workers = args.workers or how.workers or os.cpu_count() or 1
        if workers < 1:
            raise InputError(f"--workers {workers}: expected 1 or more")
        global _how  # noqa: PLW0603
        _how = how
        if args.retry_rejected:
            count = forget_rejected(args.data, section, args.retry_rejected)
            print(f"{section}: {count} rejected keys are tried again", file=sys.stderr)
        began_s = time.monotonic()
        try:
            metrics = run(args.data, params, workers=workers)
        except KeyboardInterrupt:
            print(f"{section}: stopped; what is finished is kept, the same command goes on from there", file=sys.stderr)
            sys.exit(130)
        wall_s = round(time.monotonic() - began_s, 1)
        write_json_atomic(args.data.resolve().parent / "metrics" / f"{section}.json", metrics)
        timings = args.data / "timings" / f"{section}.json"
        known = json.loads(timings.read_text()) if timings.is_file() else {}
        write_json_atomic(timings, {**known, "wall_s": wall_s, "workers": workers})
        print(f"{section}: {_summary(metrics)} in {wall_s:.1f} s")


def _summary(metrics: Mapping[str, Any]) -> str:
    said = []
    if "keys" in metrics:
        said.append(f"{metrics['done']} of {metrics['keys']} sessions")
    said += [f"{count} {table}" for table, count in metrics.get("rows", {}).items()]
    said += [f"{count} rejected as {reason}" for reason, count in metrics.get("rejected", {}).items()]
    return ", ".join(said) or "done"
