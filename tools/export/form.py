"""What an export format is: a function that writes one session, and what stands around it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.pack.params import ViewParams
from tools.export.session import Session
from wanstreamer.errors import InputError

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the user chose. An export folder holds one set of choices."""

    split: str = ""  # empty: all
    where: str = ""  # a condition on the columns of the view session_summary; empty: all
    sessions: tuple[str, ...] = ()  # empty: all
    masks: ViewParams = field(default_factory=ViewParams)  # when the user's sound is muted
    tokenizer: str = ""  # nemo: counts the tokens of a turn; empty: words are counted
    cut_seconds: int = 40  # nemo: the longest cut; 0: whole sessions

    def __post_init__(self) -> None:
        if self.cut_seconds < 0:
            raise InputError(f"--cut-seconds {self.cut_seconds}: expected 0 (whole sessions) or more")
        if self.tokenizer and not Path(self.tokenizer).exists():
            raise InputError(f"--tokenizer {self.tokenizer}: no such file; name a tokenizer.json, or leave it out")

    def as_json(self) -> dict[str, Any]:
        return {
            "split": self.split,
            "where": self.where,
            "sessions": sorted(self.sessions),
            "max_bleed_db": self.masks.max_bleed_db,
            "bleed_guard_units": self.masks.bleed_guard_units,
            "tokenizer": self.tokenizer,
            "cut_seconds": self.cut_seconds,
        }


def first_split(out: Path, suffix: str) -> str:
    """The first split that an export has, as its folder or file is called: for the next step."""
    return next((f"{split}{suffix}" for split in SPLITS if (out / f"{split}{suffix}").exists()), f"train{suffix}")


@dataclass(kw_only=True)
class Piece:
    """What a format made of one session, besides the files that it wrote."""

    lines: dict[str, list[str]] = field(default_factory=dict)  # file over all sessions -> this session's lines
    not_held: Counter[str] = field(default_factory=Counter)  # what the format could not hold


@dataclass(frozen=True, kw_only=True)
class Shared:
    """A session in which everyone agreed to share."""

    session_id: str
    split: str
    tracks: Sequence[Mapping[str, Any]]  # rows of the table `tracks`
    fingerprint: str  # hash of the rows of all tables that the format reads

    @property
    def speaker_ids(self) -> list[str]:
        return sorted({track["speaker_id"] for track in self.tracks})


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format of `python -m tools.export`.

    `write_session` writes a session's files into the given empty folder, with the paths that they will have below the
    export, and raises Rejected for a session that cannot be used. Files over all sessions (`Piece.lines`) are put
    together by the frame, sorted by session; `finish` writes others. A format without `write_session` writes everything
    in `finish`, from all sessions that may be shared; it must be able to go on where a stopped run ended, and needs
    `remove`, which takes sessions out of what `finish` wrote, for people who leave: what is left is then what `finish`
    would have written without them. `remove` must do nothing for sessions that the export does not have.
    """

    name: str
    meaning: str
    tables: tuple[str, ...]  # whose rows decide whether a session is current
    optional_tables: tuple[str, ...] = ()  # the same; they may be missing, as their stage has not run yet
    version: int = 1  # of what is written; a new one writes all sessions again
    num_bytes: Callable[[Path, Sequence[Mapping[str, Any]]], int]  # data, tracks: about how large a session will be
    write_session: Callable[[Session, Path, Choices], Piece] | None = None
    finish: "Callable[[Path, Path, Iterable[Shared], Choices], Finished] | None" = None  # data, out
    remove: "Callable[[Path, frozenset[str]], Finished] | None" = None  # out, ids of the sessions to take out
    next_step: Callable[[Path], str]


@dataclass(kw_only=True)
class Finished:
    """What `Format.finish` wrote."""

    files: list[str] = field(default_factory=list)  # paths below the export
    not_held: Counter[str] = field(default_factory=Counter)
