"""Runs jobs, one per session: plan -> work -> part -> bucket. In parallel, with resume, and without half-written files.

A stage's jobs are planned bucket by bucket (plan.py). Workers do the pending ones, and each leaves a part (parts.py).
When all keys of a bucket are done, its parts are merged into the bucket's tables and shards (merge.py). A key whose
fingerprint of code, params and input content is unchanged is not done again. With `run.store`, a part that the store
has is copied from there instead of being made, and a part that is made or removed here is made or removed there too.
"""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pipelines.engine.arrivals import Arrivals
from pipelines.engine.away import forget_attempts, keys_with_attempts, put_inputs, token_path
from pipelines.engine.buckets import bucket_name, bucket_of, by_bucket
from pipelines.engine.code import PACKAGES
from pipelines.engine.commit import JOURNAL, finish_commits
from pipelines.engine.files import remove_unfinished
from pipelines.engine.jobs import Job, PartlyDone, RunParams
from pipelines.engine.lock import alone, folder_lock
from pipelines.engine.merge import Index, Merge, merge_bucket
from pipelines.engine.parts import (
    fingerprint_of,
    noted_files,
    recipe_of,
    remove_part,
    scratch_home,
)
from pipelines.engine.plan import BucketPlan, Leftovers, Plan, Sizes, leftovers, plan_bucket, plan_of
from pipelines.engine.progress import progress
from pipelines.engine.rebucket import has_rebucketing, rebucket
from pipelines.engine.shards import remove_unused_shards
from pipelines.engine.state import (
    counts_of,
    key_note,
    keys_of,
    note_inputs,
    num_state_buckets,
    read_about,
    read_state,
    sum_up,
    summary_file,
)
from pipelines.engine.store import (
    Copies,
    Store,
    mirror,
    open_store,
    remove_below,
    stored_parts,
)
from pipelines.engine.store_sync import sync_bucket
from pipelines.engine.timings import steady_rate, timings_file, write_timings
from pipelines.engine.watchdog import Watch
from pipelines.engine.worker import KeyWorker, Work
from pipelines.engine.workers import map_rows
from schemas import TABLES, Table
from wanstreamer.errors import InputError

MERGE_PROCESSES = 4  # at most; each needs a core and some 100 MB


def run_keys(
    data: Path,
    stage: str,
    jobs: Sequence[Job] | Plan,
    work: Work | type,
    *,
    params: object,
    tables: Sequence[Table],
    how: RunParams,
    code: Sequence[str] | None = None,
    setup: Mapping[str, Any] | None = None,
    spreads: bool = False,
    uses_gpu: bool = False,
    reads: Sequence[str] = (),
    index: Index | None = None,
    before: Callable[[], object] | None = None,
    finish: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Run `work(job, data, scratch)` for every job that is not done with its present inputs, then write the tables.

    Args:
        data: The data folder.
        stage: Name of the stage; its state, its parts and its rejections have the same name.
        jobs: One per key, in any order; or a plan that makes them bucket by bucket.
        work: A function, or a class that is built once per worker process with `setup` and then called.
        params: The stage's dataclass; enters the fingerprint.
        tables: Tables this stage writes.
        how: Workers, limits, store.
        code: Modules whose code decides the result, with all they import (`code_of`); default: the module of `work`. A
            change there, except in comments, redoes the work.
        spreads: The work distributes a long key over idle workers (`spread`); its class is then built for every key.
        uses_gpu: The workers share the machine's GPUs evenly, if it has any; each worker sees one.
        reads: Tables of earlier stages whose rows of its session the work reads, or whose files it opens: the job names
            the files. A worker that has not the data folder gets these from the store.
        index: Is called for each new shard, to write a file beside it.
        before: Is called before the first change, if there is any.
        finish: A last step over all buckets, before the stage counts as done; it must be cheap if nothing has changed.

    Returns:
        Counts: keys, done, rejected by reason, rows per table. They are equal for any number of workers and any resume.

    Raises:
        InputError: A worker met a user's mistake (for example missing weights), another run holds the folder, or some
            keys are undone because the data they need is damaged.
        PartlyDone: Instead of a return, if `how.buckets` names some buckets and they are done. `finish` was not called.
    """
    began_s = time.monotonic()
    data = data.resolve()
    with folder_lock(data, buckets=how.bucket_range):
        run = _Run(
            data=data,
            stage=stage,
            plan=jobs if isinstance(jobs, Plan) else plan_of(list(jobs)),
            recipe=recipe_of(stage, params, tables, (_module_of(work),) if code is None else code),
            tables=tuple(table.name for table in tables),
            reads=tuple(reads),
            how=how,
            index=index,
        )
        return run.run(
            work, dict(setup or {}), spreads=spreads, uses_gpu=uses_gpu, before=before, finish=finish, began_s=began_s
        )


def _module_of(work: Work | type) -> str:
    """The module whose code decides what `work` returns. Raises ValueError if it is not one of the project."""
    module: str = work.__module__
    if module.partition(".")[0] not in PACKAGES:
        raise ValueError(f"{work}: of module {module}; name the modules that decide its result in `code`")
    return module


@dataclass(kw_only=True)
class _Run:
    """One run of a stage: what it was asked for, and the buckets it has to write."""

    data: Path
    stage: str
    plan: Plan
    recipe: str
    tables: tuple[str, ...]
    reads: tuple[str, ...]
    how: RunParams
    index: Index | None
    num_buckets: int = 1
    plans: dict[int, BucketPlan] = field(default_factory=dict)  # of buckets in which something must be done
    given_up: frozenset[str] = frozenset()  # shards with samples of keys that change or leave
    undone: list[str] = field(default_factory=list)
    store: Store | None = None
    stored: Mapping[str, Copies] = field(default_factory=dict)  # what the store has

    @property
    def home(self) -> Path:
        return self.data / "parts" / self.stage

    def run(
        self,
        work: Any,
        setup: dict[str, Any],
        *,
        spreads: bool,
        uses_gpu: bool,
        before: Callable[[], object] | None,
        finish: Callable[[], None] | None,
        began_s: float,
    ) -> dict[str, Any]:
        driver_cpu_s = time.process_time()
        self.home.mkdir(parents=True, exist_ok=True)
        self._prepare()
        self._plan()
        if self.how.store:
            self.store = open_store(self.how.store, self.data)
            if self._sync():
                self._plan()
        num_pending = sum(len(plan.pending) for plan in self.plans.values())
        if self.plans:
            summary_file(self.data, self.stage).unlink(missing_ok=True)
            if before is not None:
                before()
        spent = {"keys": 0.0, "cpu_s": 0.0, "start_s": 0.0}
        ends_s: list[float] = []
        with _merging(len(self.plans), self.how.num_workers) as merge:
            waiting = {bucket: len(plan.pending) for bucket, plan in self.plans.items() if plan.pending}
            for plan in self.plans.values():
                if not plan.pending:
                    merge(self._merge(plan))
            if num_pending:

                def finish_key(key: str) -> None:
                    bucket = bucket_of(key, self.num_buckets)
                    waiting[bucket] -= 1
                    if not waiting[bucket]:
                        merge(self._merge(self.plans[bucket]))

                with (
                    progress(num_pending, self.stage) as advance,
                    self._workers(work, setup) as worker,
                    Arrivals(worker) as arrivals,
                ):
                    for outcome in map_rows(
                        self._pending_rows,
                        worker,
                        workers=self.how.num_workers,
                        builds=isinstance(work, type) and not spreads,
                        uses_gpu=uses_gpu,
                        ray=None if self.how.ray else False,
                        watch=Watch(stall_s=self.how.stall_s),
                    ):
                        if "stalled" not in outcome:
                            if outcome["error"]:
                                raise InputError(outcome["error"])
                            ends_s.append(time.monotonic() - began_s)
                            before_s = ends_s[-1] - float(outcome["wall_s"])
                            spent["start_s"] = min(before_s, spent["start_s"]) if spent["keys"] else before_s
                            spent["cpu_s"] += float(outcome["cpu_s"])
                            spent["keys"] += 1
                        advance()
                        for key in arrivals.add(outcome):
                            finish_key(key)
                    for key in arrivals.rest():
                        finish_key(key)
            self.undone = merge.undone()
        remove_unused_shards(self.data, self.stage, self.given_up, self.how.bucket_range)
        if self.how.buckets:
            if self.undone:
                raise self._undone_error()
            raise PartlyDone(
                counts_of(self.data, self.stage, self.tables, self.own)[0],
                f"buckets {self.how.buckets} of {self.num_buckets} are done; when the others are, run the stage once "
                "without --buckets",
            )
        if finish is not None:
            finish()
        counts = sum_up(self.data, self.stage, self.tables, whole=not self.undone)
        if self.store is not None:
            mirror(self.store, self.data, self.stage, self.tables)
            if not num_pending:  # otherwise `_workers` has done it
                remove_below(self.store, f"inputs/{self.stage}")
        figures: dict[str, object] = {
            "wall_s": round(time.monotonic() - began_s, 3), "workers": self.how.num_workers
        }  # fmt: skip
        if num_pending:
            spent["driver_cpu_s"] = time.process_time() - driver_cpu_s
            figures |= {name: round(value, 3) for name, value in spent.items()}
            figures["keys_per_s"] = steady_rate(ends_s)
        write_timings(self.data, self.stage, figures, worked=bool(num_pending))
        if self.undone:
            raise self._undone_error()
        return counts

    def _undone_error(self) -> InputError:
        return InputError(
            f"{self.stage}: {len(self.undone)} sessions are undone, for example {self.undone[0]}: files they need "
            "are damaged, or their work stalled (rejections with reason damaged_file or stalled); run the stages "
            "again from ingest, they repair this (make repro, or dvc repro)"
        )

    @property
    def own(self) -> range:
        """The buckets of this driver."""
        return self.how.bucket_range or range(self.num_buckets)

    def _is_own(self, path: Path) -> bool:
        """Whether a file belongs to a bucket of this driver, and not to one beside it."""
        return not self.how.buckets or path.name in self._own_names

    @cached_property
    def _own_names(self) -> set[str]:
        """Of journals and temporary files."""
        names = [bucket_name(bucket) for bucket in self.own]
        return {f"{JOURNAL}{name}.json" for name in names} | {f".{name}.parquet.tmp" for name in names}

    def _prepare(self) -> None:
        """Carry out what a killed run had decided, and set the number of buckets."""
        folder = self.data / "state" / self.stage
        finish_commits(self.data, folder, self._is_own)
        if has_rebucketing(folder):
            with alone(self.data):
                finish_commits(self.data, folder)
        present = num_state_buckets(self.data, self.stage)
        self.num_buckets = max(present, self.plan.num_buckets)
        if self.own.stop > self.num_buckets:
            raise InputError(
                f"--buckets {self.how.buckets}: {self.stage} has buckets 0 to {self.num_buckets - 1} for this corpus"
            )
        if 0 < present < self.num_buckets:
            with alone(self.data):
                rebucket(self.data, self.stage, self.tables, self.num_buckets)

    def _plan(self) -> None:
        """Plan the own buckets, and clear away what earlier runs left and no run will use."""
        self.plans = {}
        left, sizes = leftovers(self.home), Sizes(self.data)
        self._clear_temporary_files()
        num_keys = num_pending = 0
        given_up: set[str] = set()
        unchanged = []
        wanted: set[str] = set()
        for bucket in self.own:
            plan = plan_bucket(
                self.data, self.stage, self.plan, self.recipe, bucket, self.num_buckets, left, sizes, self.tables
            )
            if plan.known:
                unchanged.append(plan)
                num_keys += read_about(self.data, self.stage, bucket).counts["keys"]
                continue
            self.plans[bucket] = plan
            num_keys += len(plan.keys)
            num_pending += len(plan.pending)
            given_up |= plan.given_up
            wanted |= (plan.pending | plan.parts) & left.keys
        for bucket, plan in [*self.plans.items(), *((plan.bucket, plan) for plan in unchanged)]:
            if plan.stale or plan.pending:
                continue
            if given_up & set(read_about(self.data, self.stage, bucket).shards):
                # A shard may have samples of two buckets: both move theirs.
                keys = tuple(sorted(read_state(self.data, self.stage, bucket).keys))
                self.plans[bucket] = replace(plan, keys=keys, stale=True)
            else:
                note_inputs(self.data, self.stage, bucket, plan.inputs)
                self.plans.pop(bucket, None)
        self.given_up = frozenset(given_up)
        self._check_given_up()
        self._clear(left, wanted)
        if num_pending < num_keys:
            print(f"{self.stage}: {num_keys - num_pending} of {num_keys} keys are up to date", file=sys.stderr)

    def _check_given_up(self) -> None:
        """Raises InputError if a bucket of another driver has samples in a shard that this one gives up."""
        others = sorted(set(range(self.num_buckets)) - set(self.own)) if self.given_up else []
        for bucket in others:
            if self.given_up & set(read_about(self.data, self.stage, bucket).shards):
                raise InputError(
                    f"--buckets {self.how.buckets}: sessions have changed that share a shard with bucket {bucket}, "
                    f"which is not one of these; first run python -m tools.compact --data {self.data}"
                )

    def _sync(self) -> bool:
        """Bring the store up to date with what is done here; whether the plan must be made again."""
        assert self.store is not None
        stored = stored_parts(self.store, self.stage)
        again = False
        keys = by_bucket(stored)
        for bucket in self.own:
            plan = self.plans.get(bucket)
            own = {key: stored[key] for key in keys(bucket, self.num_buckets)}
            again |= sync_bucket(self.store, self.data, self.stage, self.tables, bucket, plan, own)
        self.stored = stored
        return again

    def _clear(self, left: Leftovers, wanted: set[str]) -> None:
        """Remove the parts and scratch folders of keys that have left, or that are not done again."""
        for key in left.keys - wanted:
            if bucket_of(key, self.num_buckets) not in self.own:
                continue
            remove_part(self.home, key)
            key_note(self.data, self.stage, key).unlink(missing_ok=True)
            scratch = scratch_home(self.home, key)
            if scratch.is_dir():
                files = noted_files(scratch)
                if files and key not in read_state(self.data, self.stage, bucket_of(key, self.num_buckets)).keys:
                    for name in files:
                        (self.data / name).unlink(missing_ok=True)
                shutil.rmtree(scratch)

    def _clear_temporary_files(self) -> None:
        """Files that a killed run was writing."""
        folders = [self.data / "state" / self.stage]
        folders += [self.data / "tables" / table for table in (*self.tables, f"rejections/{self.stage}")]
        for folder in folders:
            for path in folder.glob(".*.tmp"):
                if self._is_own(path):
                    path.unlink()
        if self.how.buckets:
            return
        for token in self.home.glob(token_path(self.data, self.stage, "*").name):
            token.unlink()
        remove_unfinished(summary_file(self.data, self.stage))
        remove_unfinished(timings_file(self.data, self.stage))

    @contextmanager
    def _workers(self, work: Any, setup: dict[str, Any]) -> Iterator[KeyWorker]:
        """What does the rows, in this process and others; for its time, there is a token in the data folder."""
        run_id = f"{os.getpid()}-{time.time_ns()}"
        inputs: dict[str, str] = {}
        if self.store is not None:
            inputs = put_inputs(self.store, self.data, self.stage, setup)
            for key in keys_with_attempts(self.store, self.stage):  # of runs that were stopped
                if bucket_of(key, self.num_buckets) in self.own:
                    forget_attempts(self.store, self.stage, key)
        token = token_path(self.data, self.stage, run_id)
        token.touch()
        try:
            yield KeyWorker(
                data=self.data, stage=self.stage, work=work, setup=setup, tables=self.tables, reads=self.reads,
                how=self.how, store=self.store, inputs=inputs, run_id=run_id,
            )  # fmt: skip
        finally:
            token.unlink(missing_ok=True)
            if self.store is not None and inputs and not self.how.buckets:
                remove_below(self.store, f"inputs/{self.stage}")

    def _pending_rows(self) -> Iterator[dict[str, str]]:
        """The arguments of the workers, one row per job; planned bucket by bucket, when they are asked for."""
        stages = {TABLES[table].stage for table in self.reads} if self.store is not None else set()
        for bucket, plan in sorted(self.plans.items()):
            if not plan.pending:
                continue
            known = {stage: keys_of(self.data, stage, bucket, self.num_buckets) for stage in stages}
            for job in sorted(self.plan.jobs(bucket, self.num_buckets), key=lambda job: job.key):
                if job.key not in plan.pending:
                    continue
                copies = {digits: list(copy) for digits, copy in self.stored.get(job.key, {}).items()}
                states = {stage: keys.get(job.key) for stage, keys in known.items()}
                needs = {
                    stage: state.fingerprint if state is not None and state.is_worked else ""
                    for stage, state in states.items()
                }
                yield {
                    "key": job.key,
                    "job": json.dumps(asdict(job)),
                    "fingerprint": fingerprint_of(self.recipe, job),
                    "stored": json.dumps(copies),
                    "needs": json.dumps(needs),
                }

    def _merge(self, plan: BucketPlan) -> Merge:
        return Merge(
            data=self.data,
            stage=self.stage,
            bucket=plan.bucket,
            tables=self.tables,
            keys=plan.keys,
            parts=plan.pending | plan.parts,
            settled=plan.settled,
            given_up=self.given_up,
            inputs=plan.inputs,
            index=self.index,
            num_buckets=self.num_buckets,
        )


class _Merger:
    """Merges buckets, in other processes if there are several; `undone` waits for them."""

    def __init__(self, pool: ProcessPoolExecutor | None) -> None:
        self.pool = pool
        self.results: list[list[str] | Future[list[str]]] = []

    def __call__(self, task: Merge) -> None:
        self.results.append(merge_bucket(task) if self.pool is None else self.pool.submit(merge_bucket, task))

    def undone(self) -> list[str]:
        """Keys that are undone after all merges."""
        merged = [result.result() if isinstance(result, Future) else result for result in self.results]
        return sorted(key for keys in merged for key in keys)


@contextmanager
def _merging(num_buckets: int, workers: int) -> Iterator[_Merger]:
    size = min(num_buckets, workers, MERGE_PROCESSES)
    if size < 2:
        yield _Merger(None)
        return
    with ProcessPoolExecutor(size, get_context("spawn"), _ignore_ctrl_c) as pool:
        yield _Merger(pool)


def _ignore_ctrl_c() -> None:
    """In a child: only the process that started it stops at Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
