"""The three things a stage and the engine say to each other: a job, what came of it, and why nothing came of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


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
    inputs: tuple[str, ...]  # hashes of the input content


@dataclass(kw_only=True)
class Result:
    """What a worker made of one key."""

    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)  # final path below the data folder -> finished file in scratch
    rejections: list[tuple[str, str, str]] = field(default_factory=list)  # key, reason, detail
