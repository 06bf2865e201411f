"""What a stage and the engine exchange: how to run, a job, its result, or the reason why it has none."""

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wanstreamer.bounds import BadValue, bounded, check_bounds, from_one, from_zero
from wanstreamer.errors import InputError


class Rejected(Exception):
    """This key cannot be used.

    `reason` is a countable word; `detail` has figures and paths, never transcript text.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Damaged(Rejected):
    """An output of an earlier stage is not what that stage wrote. The key is undone in both stages."""

    def __init__(self, stage: str, detail: str) -> None:
        super().__init__("damaged_file", detail)
        self.stage = stage


class PartlyDone(Exception):
    """A driver has done its buckets; the last step of the stage is left to a run over all buckets."""

    def __init__(self, counts: dict[str, Any], hint: str) -> None:
        super().__init__(hint)
        self.counts = counts
        self.hint = hint


@dataclass(frozen=True, kw_only=True)
class Job:
    """The work on one key: everything a worker needs, as values that JSON can hold."""

    key: str
    spec: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()  # hashes of the input content
    rejected: tuple[str, str] | None = None  # reason and detail, if no worker is needed to know that it cannot be used


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Whole tar members in a file; the engine lays the segments of many keys end to end into shards.

    Rows of a table with a column `shard` have the number of the segment in it (`"0"`), and offsets relative to it.
    """

    path: Path
    folder: str  # of the shards, below the data folder


@dataclass(kw_only=True)
class Result:
    """What a worker made from one key."""

    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)  # final path below the data folder -> finished file in scratch
    segments: list[Segment] = field(default_factory=list)
    rejections: list[tuple[str, str, str]] = field(default_factory=list)  # key, reason, detail


@dataclass(frozen=True, kw_only=True)
class RunParams:
    """How a stage runs. Nothing here may change an output."""

    workers: int = bounded(0, at_least=0, at_most=10_000)  # parallel worker processes; 0: one per core
    ray: bool = True  # Ray, except for a handful of sessions; false: never, only processes of this machine
    key_timeout_s: float = from_zero(0.0)  # a key that takes longer is rejected as `timed_out`; 0: no limit
    # A key whose processes neither compute nor read nor write for this long is stopped and tried again; 0: never.
    stall_s: float = from_zero(60.0)
    max_attempts: int = from_one(3)  # a key that kills its worker this many times is rejected as `worker_died`
    store: str = ""  # s3://bucket/prefix or a folder: finished parts are copied to it, and from it; empty: none
    buckets: str = ""  # 0-63: only these buckets, beside other drivers that have other ones; empty: all

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.buckets and (not re.fullmatch(r"\d+-\d+", self.buckets) or not self.bucket_range):
            raise InputError(f"buckets: {self.buckets!r}, expected the first and the last one, for example 0-63")

    @property
    def bucket_range(self) -> range | None:
        """The buckets of this driver; None: all."""
        if not self.buckets:
            return None
        first, last = map(int, self.buckets.split("-"))
        return range(first, last + 1)

    @property
    def num_workers(self) -> int:
        return self.workers or os.cpu_count() or 1


def with_workers(how: RunParams, workers: int | None) -> RunParams:
    """`how` with the value of the option `--workers`, if it was passed. Raises InputError for a value out of bounds."""
    if workers is None:
        return how
    if workers < 1:
        raise InputError(f"--workers {workers}: expected 1 or more")
    try:
        return replace(how, workers=workers)
    except BadValue as error:
        raise InputError(f"--workers {workers}: expected {error.expected}") from error
