"""Sources -> tracks: constant 25 fps video and mono audio per participant, on one clock, in whole units.

This module finds sessions, assigns them to splits, and rejects those with people who did not agree; conform.py makes
the tracks of each session.
"""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.engine.command import stage_main
from pipelines.engine.files import file_sha256, write_json_atomic
from pipelines.engine.forgotten import forgotten, speaker_hash
from pipelines.engine.jobs import Job, Rejected
from pipelines.engine.remote import folder_at, is_remote_uri, settings, stamps
from pipelines.engine.run import RunParams, run_keys
from pipelines.engine.tables import read_rows, rows_by_session
from pipelines.formats.splits import split_of
from pipelines.ingest.conform import Conform, check_crops, files_of
from pipelines.ingest.params import IngestParams
from pipelines.ingest.source_row import SourceRow
from pipelines.ingest.sources import find_sources
from pipelines.media.probing import check_file
from schemas.ingest import SESSIONS, TRACKS
from wanstreamer.errors import InputError

SOURCE_NOTE = "ingest-source.json"  # where the recordings are; tools.forget reads it


def session_split(rows: Sequence[SourceRow], params: IngestParams) -> str:
    """The split of all known people of a session; if all are unknown, the split is assigned by the session's id.

    Raises Rejected `split_straddles` if its people are in different splits.
    """
    names = {row.speaker_id for row in rows if row.speaker_id} or {f"session {rows[0].session_id}"}
    shares = (params.split_salt, params.valid_fraction, params.test_fraction)
    splits = {split_of(name, *shares) for name in names}
    if len(splits) > 1:
        where = " and ".join(sorted(splits))
        raise Rejected("split_straddles", f"its people are in {where}; see ingest.split_salt and the fractions")
    return splits.pop()


def run(data: Path, params: IngestParams, how: RunParams) -> dict[str, Any]:
    """Ingest every session of the source."""
    source = folder_at(params.source) if params.source else data / "sources"
    if not params.source and not source.exists():
        raise InputError(
            f"{source}: no sample in it; run `python -m pipelines.sample --data {data}` or set ingest.source"
        )
    root, rows = find_sources(source, params.layout)
    root = root.resolve()
    if not is_remote_uri(root):
        check_crops(root, rows)
    nameless = sum(row.speaker_id is None for row in rows)
    if nameless:
        print(
            f"ingest: warning: {nameless} of {len(rows)} streams have no speaker_id; each counts as a separate "
            "person, so a person with two recordings may be in two splits",
            file=sys.stderr,
        )
    write_json_atomic(data / "parts" / SOURCE_NOTE, {"source": str(source.resolve()), "layout": params.layout})
    source_hashes = _SourceHashes(data / "parts" / "ingest-hashes.json")
    remote = stamps(root, [name for row in rows for name in files_of([row])]) if is_remote_uri(root) else None
    jobs, rejections = [], []
    gone = forgotten(data)
    grouped = rows_by_session([asdict(row) for row in rows])
    for session_id, records in grouped.items():
        session = [SourceRow(**record) for record in records]
        try:
            split = session_split(session, params)
            for row in session:
                if row.speaker_id and speaker_hash(row.speaker_id) in gone:
                    raise Rejected("forgotten", f"{row.participant} asked to be forgotten")
                if row.consent is not None and "train" not in row.consent:
                    raise Rejected("no_consent", f"{row.participant} did not agree to training")
            if remote is None:
                inputs = tuple(source_hashes.of(root / name) for name in files_of(session))
            else:
                inputs = tuple(_there(name, remote[name]) for name in files_of(session))
        except Rejected as rejected:
            rejections.append((session_id, rejected.reason, rejected.detail))
            continue
        jobs.append(Job(key=session_id, spec={"rows": records, "split": split}, inputs=inputs))
    source_hashes.save()
    # A session's tracks do not depend on the place of the source or on the assignment of people: the job has the rest.
    looks = {name: getattr(params, name) for name in ("width", "height", "rate_hz", "qp")}
    counts = run_keys(
        data,
        "ingest",
        jobs,
        Conform,
        params=looks,
        tables=(SESSIONS, TRACKS),
        how=how,
        spreads=True,
        setup={"root": str(root), "reach": settings() if is_remote_uri(root) else None, **looks},
        rejections=rejections,
    )
    done = read_rows(data, "sessions")
    if not done:
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts["rejected"].items())
        example = read_rows(data, "rejections/ingest")[0]
        raise InputError(
            f"{source}: none of {counts['keys'] + len(rejections)} sessions can be used ({reasons}); "
            f"for example {example['key']}: {example['detail']}"
        )
    splits = Counter(row["split"] for row in done)
    return {**counts, "sessions_by_split": dict(sorted(splits.items())), "streams_without_speaker_id": nameless}


def _there(name: str, stamp: str | None) -> str:
    if stamp is None:
        raise Rejected("missing_file", name)
    return stamp


class _SourceHashes:
    """SHA-256 of source files, cached by size and modification time, so that hours of video are read only once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, list[Any]] = json.loads(path.read_text()) if path.is_file() else {}
        self.used: dict[str, list[Any]] = {}

    def of(self, file: Path) -> str:
        check_file(file)
        state = file.stat()
        entry = self.known.get(str(file))
        if entry is None or entry[:2] != [state.st_size, state.st_mtime_ns]:
            entry = [state.st_size, state.st_mtime_ns, file_sha256(file)]
        self.used[str(file)] = entry
        return entry[2]

    def save(self) -> None:
        write_json_atomic(self.path, self.used)


def main() -> None:
    stage_main("ingest", IngestParams, run)
