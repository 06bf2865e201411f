"""What a stage and the engine exchange: how to run, a job, its result, or the reason why it has none."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wanstreamer.bounds import check_bounds, from_one, from_zero


class Rejected(Exception):
    """This key cannot be used.

    `reason` is a countable word; `detail` has figures and paths, never transcript text.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, kw_only=True)
class Job:
    """The work on one key: everything a worker needs, as values that JSON can hold."""

    key: str
    spec: dict[str, Any]
    inputs: tuple[str, ...]  # hashes of the input content


@dataclass(kw_only=True)
class Result:
    """What a worker made from one key."""

    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)  # final path below the data folder -> finished file in scratch
    rejections: list[tuple[str, str, str]] = field(default_factory=list)  # key, reason, detail


@dataclass(frozen=True, kw_only=True)
class RunParams:
    """How a stage runs. Nothing here may change an output."""

    workers: int = from_zero(0)  # parallel worker processes; 0: one per core
    ray: bool = True  # false: plain processes without Ray; they start at once, but a worker that dies ends the run
    key_timeout_s: float = from_zero(0.0)  # a key that takes longer is rejected as `timed_out`; 0: no limit
    max_attempts: int = from_one(3)  # a key that kills its worker this many times is rejected as `worker_died`
    store: str = ""  # s3://bucket/prefix or a folder: finished parts are copied to it, and from it; empty: none

    def __post_init__(self) -> None:
        check_bounds(self)

    @property
    def num_workers(self) -> int:
        return self.workers or os.cpu_count() or 1
