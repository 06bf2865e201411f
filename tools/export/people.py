"""Which sessions may be exported: those in which every participant agreed to `share`, and that the user chose.

The table `tracks` is read bucket by bucket. A session that is left out has a reason.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.engine.files import hash_of
from pipelines.engine.forgotten import forgotten, speaker_hash
from pipelines.engine.tables import bucket_table, row_hashes, rows_by_session, table_files
from tools.exchange.data_folder import agreed_to_share
from tools.export.form import Choices, Format, Shared
from tools.query import query
from wanstreamer.errors import InputError

REASONS = {
    "not_shared": "a participant did not agree to `share`",
    "consent_unknown": "the consent of a participant is not known",
    "forgotten": "a participant asked to be forgotten",
}


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A session that is not in the export."""

    session_id: str
    reason: str  # a countable word
    detail: str = ""


def chosen_sessions(data: Path, form: Format, choices: Choices) -> Iterator[Shared | LeftOut]:
    """All sessions that the user chose, bucket by bucket, each with the reason if it may not be exported.

    Raises InputError for a session that does not exist, and for SQL that cannot run.
    """
    wanted = _wanted(data, choices)
    gone = forgotten(data)
    num_buckets = len(table_files(data, "tracks"))
    seen: set[str] = set()
    for bucket in range(num_buckets):
        grouped = rows_by_session(bucket_table(data, "tracks", bucket, num_buckets).to_pylist())
        has = [table for table in form.optional_tables if any((data / "tables" / table).glob("b=*"))]
        hashes = [row_hashes(data, table, bucket, num_buckets) for table in (*form.tables, *has)]
        for session_id, tracks in sorted(grouped.items()):
            split = tracks[0]["split"]
            if (wanted is not None and session_id not in wanted) or (choices.split and split != choices.split):
                continue
            seen.add(session_id)
            if any(speaker_hash(track["speaker_id"]) in gone for track in tracks):
                yield LeftOut(session_id=session_id, reason="forgotten")
            elif all(agreed_to_share(track) for track in tracks):
                fingerprint = hash_of([form.name, form.version, *(own.get(session_id, "") for own in hashes)])
                yield Shared(session_id=session_id, split=split, tracks=tracks, fingerprint=fingerprint)
            elif any(track["consent"] is not None and not agreed_to_share(track) for track in tracks):
                yield LeftOut(session_id=session_id, reason="not_shared")
            else:
                yield LeftOut(session_id=session_id, reason="consent_unknown")
    if absent := sorted(set(choices.sessions) - seen):
        raise InputError(
            f"--sessions {absent[0]}: no such session in {data}"
            + (" with these --split and --where" if choices.split or choices.where else "")
            + "; `python -m tools.query 'FROM sessions'` lists them"
        )


def _wanted(data: Path, choices: Choices) -> set[str] | None:
    """The ids that --where and --sessions leave; None: all."""
    wanted = set(choices.sessions) if choices.sessions else None
    if choices.where:
        _, rows = query(data, f"SELECT session_id FROM session_summary WHERE ({choices.where}\n)")
        ids = {row[0] for row in rows}
        wanted = ids if wanted is None else wanted & ids
    return wanted


def by_reason(left_out: Iterable[LeftOut]) -> dict[str, list[LeftOut]]:
    grouped: dict[str, list[LeftOut]] = {}
    for each in left_out:
        grouped.setdefault(each.reason, []).append(each)
    return dict(sorted(grouped.items()))
