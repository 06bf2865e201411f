"""Rows of the table `people` -> the source rows of the two participants that were found in one recording.

The stage `people` has looked at a recording that names no participants. Here its rows take the place of what a manifest
and an RTTM would have said: who speaks when in the one sound, and which part of the one picture shows whom.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.engine.files import file_sha256, hash_of
from pipelines.engine.jobs import Rejected
from pipelines.engine.state import inputs_of, keys_of, num_state_buckets
from pipelines.engine.tables import bucket_table, row_hashes, table_files
from pipelines.media.crop_path import CropPath, crop_path
from pipelines.sources.row import SourceRow
from wanstreamer.clock import Span, merge_spans

STAGE = "people"
NOT_ALONE = ("overlap", "others", "uncertain")  # where a participant's sound may be that of someone else too


@dataclass(frozen=True, kw_only=True)
class FoundPerson:
    """A participant of a recording, as found. Spans are sorted and disjoint."""

    speech: tuple[Span, ...]  # on the clock of the file with the sound
    mixed: tuple[Span, ...]  # where another voice may be heard too, on the same clock
    path: CropPath | None  # on the clock of the file with the picture; None: off screen


def found_people(row: SourceRow, people: Sequence[Mapping[str, Any]]) -> tuple[list[SourceRow], dict[str, FoundPerson]]:
    """A source row per participant, and what was found about each.

    Args:
        row: The recording (`nameless_recording`).
        people: The rows of the table `people` of its session.

    Raises:
        Rejected: `no_participants` if the table has no rows of it any more.
    """
    if not people:
        raise Rejected("no_participants", f"{row.uri}: its rows of the table people are gone; run the stage again")
    rows, persons = [], {}
    for each in sorted(people, key=lambda person: str(person["participant"])):
        rows.append(replace(row, participant=each["participant"]))
        visible = _spans(each["visible"])
        persons[each["participant"]] = FoundPerson(
            speech=_spans(each["speech"]),
            mixed=tuple(merge_spans(span for name in NOT_ALONE for span in _spans(each[name]))),
            path=crop_path(each["crops"], visible) if visible and each["crops"] else None,
        )
    return rows, persons


def _spans(rows: Iterable[Mapping[str, int]]) -> tuple[Span, ...]:
    return tuple(merge_spans(Span(row["start_ms"], row["end_ms"]) for row in rows))


class People:
    """What the stage `people` has left in a data folder, bucket by bucket. If it has not run, nothing was found."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.has_run = any((data / "tables" / STAGE).glob("b=*.parquet"))
        self.own = num_state_buckets(data, STAGE)

    def version(self, bucket: int, num_buckets: int) -> str:
        """Changes when rows or rejections of sessions of this bucket change; cheap."""
        if not self.has_run:
            return ""
        if self.own:
            return inputs_of(self.data, STAGE, self.own, (STAGE, "rejections"), bucket, num_buckets)
        return hash_of([file_sha256(path) for path in table_files(self.data, STAGE)])  # of an import

    def row_hashes(self, bucket: int, num_buckets: int) -> dict[str, str]:
        """Session -> hash of its rows, for the sessions whose people were found."""
        if not self.has_run:
            return {}
        found = set(bucket_table(self.data, STAGE, bucket, num_buckets, ["session_id"])["session_id"].to_pylist())
        hashes = row_hashes(self.data, STAGE, bucket, num_buckets)
        return {session: content for session, content in hashes.items() if session in found}

    def reasons(self, bucket: int, num_buckets: int) -> dict[str, tuple[str, str]]:
        """Session -> why the stage has not found a dyad in it: reason and detail."""
        if not self.own:
            return {}
        states = keys_of(self.data, STAGE, bucket, num_buckets)
        rejections = {key: state.rejections for key, state in states.items()}
        return {key: (reason, detail) for key, own in rejections.items() for of, reason, detail, _ in own if of == key}
