"""One session for the page: its people, its rows by time, the next event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from tools.show.consent import Person, banner_of, muted_spans, people_of
from tools.show.runs import runs_of
from tools.show.tables import NotThere, has_table, session_rows, tracks_of
from wanstreamer.clock import UNIT_MS, Span
from wanstreamer.errors import InputError
from wanstreamer.turns import RULE_VERSION

ROW_TABLES = ("words", "speech", "ipus", "turns", "events", "units", "windows", "bleed")
COUNTED = ("words", "speech", "ipus", "turns", "events", "units", "windows")
MAX_UNITS_MS = 10 * 60_000  # of units in one answer
LEFT_OUT = ("session_id", "schema_version", "agent_speaker_id", "user_speaker_id")


@dataclass(frozen=True)
class Session:
    """A session of a data folder, and who of it is shown. Raises NotThere, when it is used, if there is none."""

    data: Path
    session_id: str
    strict: bool

    @cached_property
    def about(self) -> dict[str, Any]:
        """The row of `sessions`."""
        rows = session_rows(self.data, "sessions", self.session_id)
        if not rows:
            raise NotThere(f"session {self.session_id!r}: not in {self.data / 'tables'}; the list has all sessions")
        return rows[0]

    @cached_property
    def tracks(self) -> list[dict[str, Any]]:
        return tracks_of(self.data, self.session_id)

    @cached_property
    def people(self) -> dict[str, Person]:
        return people_of(self.tracks, strict=self.strict)

    @property
    def duration_ms(self) -> int:
        return int(self.about["duration_ms"])

    def track(self, participant: str) -> dict[str, Any]:
        """The row of `tracks`. Raises NotThere for an unknown participant."""
        for row in self.tracks:
            if row["participant"] == participant:
                return row
        raise NotThere(
            f"participant {participant!r}: not in session {self.session_id}; it has {', '.join(self.people)}"
        )

    def muted(self, participant: str) -> list[Span]:
        """Where this person's sound is muted."""
        track = self.track(participant)
        everyone = all(person.shown for person in self.people.values())
        bleed = [] if everyone else session_rows(self.data, "bleed", self.session_id)
        return muted_spans(track, self.people, bleed, self.duration_ms)

    def described(self) -> dict[str, Any]:
        """What the page shows before any row is read."""
        about = self.about
        return {
            "session_id": self.session_id,
            **{name: about[name] for name in ("duration_ms", "num_units", "split", "layout", "language", "licence")},
            "banner": banner_of(self.people.values()),
            "rule_version": RULE_VERSION,
            "participants": [_participant(row, self.people[row["participant"]], self.muted(row["participant"]))
                             for row in self.tracks],
            "rows": {
                table: len(session_rows(self.data, table, self.session_id, columns=["session_id"])) for table in COUNTED
            },
            "runs": [run for run in runs_of(self.data, self.session_id) if self.is_shown(run["agent"])],
        }  # fmt: skip

    def is_shown(self, participant: str) -> bool:
        return participant in self.people and self.people[participant].shown

    def rows(self, tables: Sequence[str], start_ms: int, end_ms: int) -> dict[str, Any]:
        """Rows of these tables (and `floor`) that touch [start_ms, end_ms). Raises InputError for an unknown table."""
        answer: dict[str, Any] = {}
        for table in tables:
            if table == "floor":
                answer["floor"] = self._floor(start_ms, end_ms)
                continue
            if table not in ROW_TABLES:
                raise InputError(f"tables {table!r}: expected some of {', '.join((*ROW_TABLES, 'floor'))}")
            if table == "units" and end_ms - start_ms > MAX_UNITS_MS:
                raise InputError(f"tables units: {end_ms - start_ms} ms; expected at most {MAX_UNITS_MS} ms at once")
            rows = session_rows(self.data, table, self.session_id, start_ms=start_ms, end_ms=end_ms)
            answer[table] = [self._public(table, row) for row in rows if self._may_see(table, row)]
        answer["withheld"] = [who for who, person in self.people.items() if not person.shown]
        answer["missing"] = [table for table in tables if table != "floor" and not has_table(self.data, table)]
        return answer

    def next_event(self, from_ms: int, *, forward: bool, wanted: Mapping[str, str]) -> dict[str, Any] | None:
        """The nearest event after (or before) a moment whose columns have these values; empty values match all."""
        limits: dict[str, Any] = {"start_ms": from_ms + 1} if forward else {"end_ms": from_ms}
        best: dict[str, Any] | None = None
        for row in session_rows(self.data, "events", self.session_id, **limits):
            inside = row["start_ms"] > from_ms if forward else row["start_ms"] < from_ms
            if not inside or any(value and row[name] != value for name, value in wanted.items()):
                continue
            nearer = best is None or (
                row["start_ms"] < best["start_ms"] if forward else row["start_ms"] > best["start_ms"]
            )
            best = row if nearer else best
        return None if best is None else self._public("events", best)

    def _floor(self, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
        """Stretches in which a participant holds the floor, from units.holds_floor."""
        rows = session_rows(
            self.data, "units", self.session_id, start_ms=start_ms, end_ms=end_ms,
            columns=["participant", "unit", "holds_floor"],
        )  # fmt: skip
        spans = []
        holding = sorted((row["participant"], row["unit"]) for row in rows if row["holds_floor"])
        for (who, _), group in groupby(enumerate(holding), key=lambda pair: (pair[1][0], pair[1][1] - pair[0])):
            units = [unit for _, (_, unit) in group]
            spans.append({"participant": who, "start_ms": units[0] * UNIT_MS, "end_ms": (units[-1] + 1) * UNIT_MS})
        return spans

    def _may_see(self, table: str, row: Mapping[str, Any]) -> bool:
        return table != "words" or self.people[row["participant"]].shown

    def _public(self, table: str, row: Mapping[str, Any]) -> dict[str, Any]:
        public = {name: value for name, value in row.items() if name not in LEFT_OUT}
        if table == "ipus" and not self.people[row["participant"]].shown:
            public["text"] = None
        return public


def _participant(track: Mapping[str, Any], person: Person, muted: Sequence[Span]) -> dict[str, Any]:
    return {
        "participant": person.participant,
        "speaker_id": person.speaker_id,
        "shown": person.shown,
        "why": person.why,
        "video": track["video_path"] is not None,
        "audio": track["audio_path"] is not None,
        **{name: track[name] for name in ("width", "height", "rate_hz", "visible", "mixed", "partners", "language")},
        "muted": [span._asdict() for span in muted],
    }
