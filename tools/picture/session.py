"""Tables -> everything that the picture of a session shows. Words only for people who agreed to `show`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from pipelines.engine.tables import TableRow, check_data_folder, read_rows, session_rows
from wanstreamer.clock import Span, unit_span
from wanstreamer.errors import InputError

NEEDED = ("sessions", "tracks", "speech", "words", "turns", "events", "units")


@dataclass(frozen=True, kw_only=True)
class Lane:
    """One participant. Rows are in order of onset."""

    participant: str
    speaker_id: str | None  # None: the person has not agreed to be shown
    speech: list[Span]
    words: list[TableRow]
    turns: list[TableRow]
    backchannels: list[TableRow]
    transitions: list[TableRow]
    sounds: list[TableRow]  # laughter, breath, noise; bleed
    mixed: list[Span]
    floor: list[Span]  # when the participant holds the floor


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Everything that is drawn for one session."""

    session_id: str
    language: str | None
    duration_ms: int
    lanes: list[Lane]
    states: list[TableRow]  # gaps, pauses and overlaps of all participants
    withheld: list[str]  # participants whose words exist but may not be shown


def read_pictures(data: Path, sessions: Sequence[str], limit: int) -> Iterator[Picture]:
    """The requested sessions, or the first `limit` of the table if none is requested.

    Raises InputError for a missing folder or table and for a session that is not in the tables.
    """
    check_data_folder(data)
    known = {row["session_id"]: row for row in read_rows(data, "sessions")}
    unknown = [session for session in sessions if session not in known]
    if unknown:
        raise InputError(f"{data}: no session {unknown[0]}; `python -m tools.query 'FROM sessions'` lists them")
    for session in sessions or sorted(known)[:limit]:
        rows = {name: session_rows(data, name, session) for name in NEEDED[1:]}
        yield make_picture(known[session], rows)


def make_picture(session: TableRow, rows: dict[str, list[TableRow]]) -> Picture:
    """Sort the rows of one session into lanes."""
    lanes, withheld = [], []
    for track in sorted(rows["tracks"], key=lambda row: row["participant"]):
        who = track["participant"]
        own = {
            name: sorted((row for row in rows[name] if row["participant"] == who), key=_order) for name in NEEDED[2:6]
        }
        shown = "show" in (track["consent"] or ())
        if own["words"] and not shown:
            withheld.append(who)
        events = {kind: [row for row in own["events"] if row["kind"] == kind] for kind in TO_LANES}
        lanes.append(
            Lane(
                participant=who,
                speaker_id=track["speaker_id"] if shown else None,
                speech=[Span(row["start_ms"], row["end_ms"]) for row in own["speech"]],
                words=own["words"] if shown else [],
                turns=own["turns"],
                backchannels=events["backchannel"],
                transitions=events["transition"],
                sounds=events["non_speech"],
                mixed=[Span(span["start_ms"], span["end_ms"]) for span in track["mixed"]],
                floor=_floor([row for row in rows["units"] if row["participant"] == who]),
            )
        )
    return Picture(
        session_id=session["session_id"],
        language=session["language"],
        duration_ms=session["duration_ms"],
        lanes=lanes,
        states=sorted((row for row in rows["events"] if row["kind"] == "state"), key=_order),
        withheld=withheld,
    )


TO_LANES = ("backchannel", "transition", "non_speech")


def _order(row: TableRow) -> tuple[int, int]:
    return row["start_ms"], row["end_ms"]


def _floor(units: list[TableRow]) -> list[Span]:
    """Runs of units in which the participant holds the floor."""
    spans = []
    ordered = sorted(units, key=lambda row: row["unit"])
    for holds, run in groupby(ordered, key=lambda row: row["holds_floor"]):
        if holds:
            own = list(run)
            spans.append(Span(unit_span(own[0]["unit"]).start_ms, unit_span(own[-1]["unit"]).end_ms))
    return spans
