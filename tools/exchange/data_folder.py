"""The tables of a data folder -> intervals of speech, words and turns, and a tier for each kind of event."""

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pipelines.engine.tables import check_data_folder, read_rows, session_rows
from tools.exchange.intervals import SPEECH, WORDS, Interval, Read, in_order
from tools.exchange.turnbench import Conversation
from wanstreamer.clock import UNIT_MS
from wanstreamer.errors import InputError

TURNS = "turns"


def read_data(data: Path, sessions: Collection[str]) -> Read:
    """All intervals of the named sessions, or of all. Raises InputError for a missing folder or session."""
    check_data_folder(data)
    present = {row["session_id"] for row in read_rows(data, "sessions")}
    unknown = sorted(set(sessions) - present)
    if unknown:
        raise InputError(
            f"--session {unknown[0]}: no such session in {data}; `python -m tools.query 'FROM sessions'` lists them"
        )
    wanted = sorted(set(sessions) or present)
    losses: Counter[str] = Counter()
    intervals = [_interval(row, SPEECH, "", row["confidence"]) for row in _rows(data, "speech", wanted)]
    intervals += [_interval(row, WORDS, row["word"], row["confidence"]) for row in _rows(data, "words", wanted)]
    for row in _rows(data, "turns", wanted):
        place = "primary" if row["is_primary"] else "inside another's"
        complete = {True: ", complete", False: ", incomplete", None: ""}[row["complete"]]
        intervals.append(_interval(row, TURNS, place + complete, None))
    for row in _rows(data, "events", wanted):
        label = " ".join(filter(None, (row["label"], row["outcome"])))
        intervals.append(_interval(row, row["kind"], label, row["confidence"]))
        losses["columns `other`, `yield_ms`, `fto_ms` of events: see them with tools.query"] += any(
            row[k] is not None for k in ("other", "yield_ms", "fto_ms")
        )
    return in_order(intervals), +losses


def conversations(data: Path, sessions: Collection[str]) -> dict[str, Conversation]:
    """Length and participants of these sessions."""
    participants: dict[str, set[str]] = {session: set() for session in sessions}
    lengths_ms = dict.fromkeys(sessions, 0)
    for row in _rows(data, "tracks", sorted(sessions)):
        participants[row["session_id"]].add(row["participant"])
        lengths_ms[row["session_id"]] = row["num_units"] * UNIT_MS
    return {session: Conversation(lengths_ms[session], sorted(people)) for session, people in participants.items()}


def media_of(data: Path, session_id: str) -> list[Path]:
    """The existing video and audio files of the session's tracks."""
    tracks = sorted(_rows(data, "tracks", [session_id]), key=lambda row: row["participant"])
    paths = [row[name] for name in ("video_path", "audio_path") for row in tracks]
    return [data / path for path in paths if path is not None and (data / path).is_file()]


def not_shared(data: Path, sessions: Collection[str]) -> list[str]:
    """Sessions with a participant who has not agreed to `share`."""
    rows = _rows(data, "tracks", sorted(sessions))
    return sorted({row["session_id"] for row in rows if not agreed_to_share(row)})


def agreed_to_share(track: Mapping[str, Any]) -> bool:
    """Whether the person of a row of `tracks` agreed to `share`; what is not known is no."""
    return "share" in (track["consent"] or ())


def _rows(data: Path, table: str, sessions: list[str]) -> list[dict[str, Any]]:
    return [row for session in sessions for row in session_rows(data, table, session)]


def _interval(row: Mapping[str, Any], kind: str, text: str, confidence: float | None) -> Interval:
    return Interval(
        session_id=row["session_id"],
        participant=row["participant"],
        kind=kind,
        start_ms=row["start_ms"],
        end_ms=row["end_ms"],
        text=text,
        confidence=None if confidence is None else round(confidence, 4),  # tables hold float32
    )
