"""Which keys of each bucket must be done: the jobs of a stage compared with its state.

A bucket whose inputs have not changed since its last merge is not looked at: its cost is a few small reads, whatever
the number of its sessions. Planning holds one bucket at a time.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pipelines.engine.buckets import buckets_for, by_bucket
from pipelines.engine.files import file_sha256, hash_of
from pipelines.engine.jobs import Job
from pipelines.engine.parts import NOTE, PART, fingerprint_of, is_whole, part_path, read_part
from pipelines.engine.salvage import salvaged
from pipelines.engine.state import (
    SETTLED,
    BucketState,
    KeyState,
    damage_note,
    inputs_of,
    num_state_buckets,
    read_about,
    read_state,
)
from pipelines.engine.tables import bucket_file, table_files
from schemas import TABLES


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The jobs of a stage, bucket by bucket. Both functions get a bucket and the number of buckets."""

    num_buckets: int
    jobs: Callable[[int, int], Iterable[Job]]
    inputs: Callable[[int, int], str]  # changes whenever the jobs of the bucket may change


def plan_of(jobs: Sequence[Job]) -> Plan:
    """A plan for jobs that are known already."""
    by_key = {job.key: job for job in jobs}
    if len(by_key) != len(jobs):
        raise ValueError("two jobs have the same key")
    keys = by_bucket(by_key)

    def own(bucket: int, num_buckets: int) -> list[Job]:
        return [by_key[key] for key in keys(bucket, num_buckets)]

    def inputs(bucket: int, num_buckets: int) -> str:
        return hash_of([[job.key, job.spec, job.inputs, job.rejected] for job in own(bucket, num_buckets)])

    return Plan(num_buckets=buckets_for(len(jobs)), jobs=own, inputs=inputs)


def plan_by_tables(data: Path, jobs: Callable[[int, int], Iterable[Job]], tables: Sequence[str], token: object) -> Plan:
    """A plan whose jobs depend on the rows of `tables` in the same bucket, and on `token`."""
    tables = [table for table in tables if table == "sessions" or any((data / "tables" / table).glob("b=*.parquet"))]
    own = {stage: num_state_buckets(data, stage) for stage in {TABLES[table].stage for table in tables}}

    def inputs(bucket: int, num_buckets: int) -> str:
        versions = [table_version(data, table, bucket, num_buckets, own[TABLES[table].stage]) for table in tables]
        return hash_of([token, versions])

    return Plan(num_buckets=len(table_files(data, "sessions")), jobs=jobs, inputs=inputs)


def table_version(data: Path, table: str, bucket: int, num_buckets: int, own: int) -> str:
    """Changes when rows of a table in this bucket change. Cheap: their content was hashed when they were written.

    `own`: the number of buckets of the stage that writes the table; 0 if it has no state.
    """
    if own:
        return inputs_of(data, TABLES[table].stage, own, (table,), bucket, num_buckets)
    return hash_of([file_sha256(path) for path in table_files(data, table)])  # a table that no stage wrote


@dataclass(frozen=True, kw_only=True)
class BucketPlan:
    """What must be done in one bucket."""

    bucket: int
    inputs: str
    keys: tuple[str, ...] = ()
    pending: frozenset[str] = frozenset()  # keys that a worker must do
    parts: frozenset[str] = frozenset()  # keys that are done, and not merged yet
    settled: Mapping[str, KeyState] = field(default_factory=dict)
    given_up: frozenset[str] = frozenset()  # shards with samples of keys that change or leave
    stale: bool = False  # whether the bucket must be written
    known: bool = False  # whether the state has these inputs already: nothing is to do at all


@dataclass(frozen=True, kw_only=True)
class Leftovers:
    """What earlier runs left in the folder of parts: names of keys."""

    parts: frozenset[str]
    scratch: frozenset[str]
    damaged: frozenset[str]

    @cached_property
    def keys(self) -> frozenset[str]:
        return self.parts | self.scratch | self.damaged

    @cached_property
    def in_bucket(self) -> Callable[[int, int], list[str]]:
        """(bucket, num_buckets) -> the keys in it."""
        return by_bucket(self.keys)


def leftovers(home: Path) -> Leftovers:
    """One listing."""
    names = [path.name for path in home.iterdir()] if home.is_dir() else []
    return Leftovers(
        parts=frozenset(name.removesuffix(PART) for name in names if name.endswith(PART)),
        scratch=frozenset(name[1:] for name in names if name.startswith(".") and (home / name).is_dir()),
        damaged=frozenset(name.removesuffix(".damaged") for name in names if name.endswith(".damaged")),
    )


class Sizes:
    """Sizes of files, from one listing per folder: on a network, one request per file takes much longer."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.folders: dict[str, dict[str, int]] = {}

    def agree(self, files: Mapping[str, tuple[int, str]]) -> bool:
        return all(
            self._folder(folder).get(name) == num_bytes
            for path, (num_bytes, _) in files.items()
            for folder, _, name in (path.rpartition("/"),)
        )

    def _folder(self, name: str) -> dict[str, int]:
        if name not in self.folders:
            if len(self.folders) > 512:
                self.folders.clear()
            try:
                with os.scandir(self.data / name) as entries:
                    self.folders[name] = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
            except FileNotFoundError:
                self.folders[name] = {}
        return self.folders[name]


def plan_bucket(
    data: Path, stage: str, plan: Plan, recipe: str, bucket: int, num_buckets: int, left: Leftovers, sizes: Sizes,
    tables: Sequence[str],
) -> BucketPlan:  # fmt: skip
    """Compare the jobs of a bucket with its state."""
    home = data / "parts" / stage
    about = read_about(data, stage, bucket)
    inputs = hash_of([recipe, plan.inputs(bucket, num_buckets)])
    intact = _is_intact(data, stage, bucket, about, (*tables, f"rejections/{stage}"))
    touched = bool(left.in_bucket(bucket, num_buckets))
    if about.inputs == inputs and intact and not touched and not _lost_files(data, stage, bucket, about, sizes):
        return BucketPlan(bucket=bucket, inputs=inputs, known=True)
    state = read_state(data, stage, bucket) if intact else salvaged(data, stage, bucket, tables)
    lost_shards = {name for name, entry in state.shards.items() if not _has_size(data / name, entry["num_bytes"])}
    keys, pending, parts, settled = [], set(), set(), {}
    for job in sorted(plan.jobs(bucket, num_buckets), key=lambda job: job.key):
        keys.append(job.key)
        fingerprint = fingerprint_of(recipe, job)
        known = state.keys.get(job.key)
        if job.rejected is not None:
            own = KeyState(
                key=job.key, fingerprint=f"{SETTLED}{fingerprint}", rejections=((job.key, *job.rejected, 1),)
            )
            if known != own:
                settled[job.key] = own
            continue
        if job.key in left.parts and _is_done(data, home, job.key, fingerprint):
            parts.add(job.key)
        elif not (
            known is not None
            and known.fingerprint == fingerprint
            and job.key not in left.damaged
            and not (job.key in left.scratch and _moved_files(home, job.key))
            and not any(extent.shard in lost_shards for extent in known.segments)
            and sizes.agree(known.files)
        ):
            pending.add(job.key)
    if len(set(keys)) != len(keys):
        raise ValueError(f"{stage}: two jobs have the same key")
    gone = (set(state.keys) - set(keys)) | pending | parts | set(settled)
    return BucketPlan(
        bucket=bucket,
        inputs=inputs,
        keys=tuple(keys),
        pending=frozenset(pending),
        parts=frozenset(parts),
        settled=settled,
        given_up=frozenset(
            {extent.shard for key in gone & set(state.keys) for extent in state.keys[key].segments} | lost_shards
        ),
        stale=bool(gone) or not intact,
    )


def _is_done(data: Path, home: Path, key: str, fingerprint: str) -> bool:
    part = read_part(part_path(home, key))
    return part is not None and part.fingerprint == fingerprint and is_whole(data, home, part)


def _moved_files(home: Path, key: str) -> bool:
    """Whether a killed run may have replaced files of the key."""
    try:
        return bool(json.loads((home / f".{key}" / NOTE).read_text()).get("files"))
    except (OSError, ValueError):
        return False


def _is_intact(data: Path, stage: str, bucket: int, about: BucketState, tables: Sequence[str]) -> bool:
    """Whether the files of a bucket are there with their sizes, and no reader has found damage."""
    if damage_note(data, stage, bucket).exists():
        return False
    for table in tables:
        recorded = about.tables.get(table.partition("/")[0])
        if recorded is None or not _has_size(bucket_file(data, table, bucket), recorded["num_bytes"]):
            return False
    return all(_has_size(data / name, entry["num_bytes"]) for name, entry in about.shards.items())


def _lost_files(data: Path, stage: str, bucket: int, about: BucketState, sizes: Sizes) -> bool:
    """Whether a file that belongs to one key alone is gone or has another size."""
    if not about.counts.get("files"):
        return False
    return not all(sizes.agree(state.files) for state in read_state(data, stage, bucket).keys.values())


def _has_size(path: Path, num_bytes: int) -> bool:
    try:
        return path.stat().st_size == num_bytes
    except FileNotFoundError:
        return False
