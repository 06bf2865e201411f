"""What a stage and the engine exchange: a job, its result, or the reason why it has none."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


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
