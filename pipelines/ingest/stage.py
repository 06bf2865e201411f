"""Sources -> tracks: constant 25 fps video and mono audio per participant, on one clock, in whole units.

This module finds sessions, assigns them to splits, and rejects those with people who did not agree; conform.py makes
the tracks of each session. Recordings without named participants have those that the stage `people` has found.
"""

import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pipelines.engine.buckets import buckets_for, by_bucket
from pipelines.engine.command import stage_main
from pipelines.engine.files import hash_of, write_json_atomic
from pipelines.engine.forgotten import forgotten, speaker_hash
from pipelines.engine.jobs import Job, Rejected
from pipelines.engine.plan import Plan
from pipelines.engine.remote import is_remote_uri, settings
from pipelines.engine.run import RunParams, run_keys
from pipelines.engine.tables import bucket_tables, read_rows
from pipelines.formats.splits import split_of
from pipelines.ingest.conform import Conform
from pipelines.ingest.filling import Filled
from pipelines.ingest.found import People
from pipelines.ingest.params import IngestParams
from pipelines.ingest.picture_warnings import warn_of_cut_pictures, warn_of_same_pictures
from pipelines.ingest.recorders import clock_warning
from pipelines.sources.find import find_sources, source_of
from pipelines.sources.hashes import SourceHashes
from pipelines.sources.row import (
    FOUND_PARTICIPANTS,
    NO_PARTICIPANTS,
    SourceRow,
    default_speaker,
    is_nameless,
    nameless_recording,
)
from pipelines.sources.session_files import check_crops, files_of
from schemas.ingest import SESSIONS, SIDECAR_WORDS, TRACKS
from schemas.sources import SOURCES
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


def check_usable(rows: Sequence[SourceRow]) -> None:
    """Raises Rejected for a session with files that its folder does not explain, and for one without participants."""
    for row in rows:
        if row.unusable:
            raise Rejected(*row.unusable)


def check_people(rows: Sequence[SourceRow], gone: Collection[str]) -> None:
    """Raises Rejected if someone asked to be forgotten (`gone`: hashes of such people) or did not agree to training."""
    for row in rows:
        if gone and speaker_hash(row.speaker_id or default_speaker(row.session_id, row.participant)) in gone:
            raise Rejected("forgotten", f"{row.participant} asked to be forgotten")
        if row.consent is not None and "train" not in row.consent:
            raise Rejected("no_consent", f"{row.participant} did not agree to training")


def run(data: Path, params: IngestParams, how: RunParams) -> dict[str, Any]:
    """Ingest every session of the source."""
    source = source_of(params.source, data)
    root, rows = find_sources(source, params.layout)
    root = root.resolve()
    if not is_remote_uri(root):
        check_crops(root, rows)
    usable = [row for row in rows if not row.unusable]
    people = People(data)
    nameless = sum(row.speaker_id is None for row in usable)
    if nameless:
        print(
            f"ingest: warning: {nameless} of {len(usable)} streams have no speaker_id; each counts as a separate "
            "person, so a person with two recordings may be in two splits",
            file=sys.stderr,
        )
    write_json_atomic(data / "parts" / SOURCE_NOTE, {"source": str(source.resolve()), "layout": params.layout})
    sessions: dict[str, list[SourceRow]] = {}
    for row in rows:
        sessions.setdefault(row.session_id, []).append(row)
    warn_of_same_pictures(sessions)
    # A session's tracks do not depend on the place of the source or on the assignment of people: the job has the rest.
    looks = {name: getattr(params, name) for name in ("width", "height", "rate_hz", "qp", "fit", "align_recorders")}
    counts = run_keys(
        data,
        "ingest",
        _plan(data, root, sessions, params, people),
        Conform,
        params=looks,
        tables=(SESSIONS, TRACKS, SOURCES, SIDECAR_WORDS),
        how=how,
        spreads=True,
        reads=("people",) if people.has_run else (),
        setup={"root": str(root), "reach": settings() if is_remote_uri(root) else None, **looks},
    )
    warn_of_cut_pictures(data, params.width, params.height)
    _print_filled(data)
    if warning := clock_warning(bucket_tables(data, "tracks", ["camera_clock", "partner_clock"])):
        print(f"ingest: warning: {warning}", file=sys.stderr)
    splits: Counter[str] = Counter()
    for rows in bucket_tables(data, "sessions", ["split"]):
        for split in rows["split"].value_counts().to_pylist():
            splits[split["values"]] += split["counts"]
    if not splits:
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts["rejected"].items())
        example = read_rows(data, "rejections/ingest")[0]
        raise InputError(
            f"{source}: none of {counts['keys']} sessions can be used ({reasons}); "
            f"for example {example['key']}: {example['detail']}"
        )
    return {**counts, "sessions_by_split": dict(sorted(splits.items())), "streams_without_speaker_id": nameless}


def _print_filled(data: Path) -> None:
    """Warn of tracks whose picture stands still or whose sound is silent because the source has none."""
    columns = ["session_id", "participant", "audio_filled_ms", "video_held_ms"]
    filled = Filled()
    for tracks in bucket_tables(data, "tracks", columns):
        filled.add(tracks)
    if warning := filled.warning():
        print(warning, file=sys.stderr)


def _plan(
    data: Path, root: Path, sessions: Mapping[str, Sequence[SourceRow]], params: IngestParams, people: People
) -> Plan:
    """The jobs of all sessions of the source, by bucket. Sessions without named participants take those of `people`."""
    gone = forgotten(data)
    hashes = SourceHashes(data / "parts" / "ingest-hashes", root)

    own = by_bucket(sessions)

    def inputs(bucket: int, num_buckets: int) -> str:
        keys = own(bucket, num_buckets)
        stamps = hashes.stamps([name for key in keys for name in _files(sessions[key])])
        rows = [[vars(row) for row in sessions[key]] for key in keys]  # as `asdict`, which takes 20 times as long
        shares = [params.split_salt, params.valid_fraction, params.test_fraction]
        found = people.version(bucket, num_buckets) if any(map(is_nameless, (sessions[key] for key in keys))) else ""
        return hash_of([rows, stamps, sorted(gone), shares, found])

    def jobs(bucket: int, num_buckets: int) -> Iterator[Job]:
        keys = own(bucket, num_buckets)
        known = hashes.of([name for key in keys for name in _files(sessions[key])], bucket, num_buckets)
        found, reasons = {}, {}
        if any(is_nameless(sessions[key]) for key in keys):
            found, reasons = people.row_hashes(bucket, num_buckets), people.reasons(bucket, num_buckets)
        for key in keys:
            try:
                if is_nameless(sessions[key]):
                    check_found(sessions[key][0], key in found, reasons.get(key), people.has_run)
                yield _job(key, sessions[key], known, gone, params, found.get(key))
            except Rejected as rejected:
                yield Job(key=key, rejected=(rejected.reason, rejected.detail))

    return Plan(num_buckets=buckets_for(len(sessions)), jobs=jobs, inputs=inputs)


def _files(session: Sequence[SourceRow]) -> list[str]:
    """The files that are read for a session, also for one whose participants are found by the stage `people`."""
    recording = nameless_recording(session)
    return files_of([recording] if recording else session)


def check_found(row: SourceRow, is_found: bool, reason: tuple[str, str] | None, has_run: bool) -> None:
    """Raises Rejected for a recording without named participants in which no two people were found.

    `reason`: of the stage `people`, with its detail. `has_run`: whether that stage has run in this data folder.
    """
    if is_found:
        return
    if reason is not None:
        raise Rejected(*reason)
    detail = row.unusable[1] if row.unusable else ""
    remedy = "the stage people has not seen it: run" if has_run else "or let its people be found: run"
    raise Rejected(NO_PARTICIPANTS, f"{detail}; {remedy} python -m pipelines.people first")


def _job(
    key: str,
    session: Sequence[SourceRow],
    known: Mapping[str, str | Rejected],
    gone: frozenset[str],
    params: IngestParams,
    found: str | None,
) -> Job:
    """`found`: hash of the session's rows in the table `people`, which the worker reads; None: they are not needed."""
    recording = nameless_recording(session) if found else None
    rows = [recording] if recording else session
    check_usable(rows)
    split = session_split(rows, params)
    check_people([replace(recording, participant=who) for who in FOUND_PARTICIPANTS] if recording else rows, gone)
    inputs = []
    for name in files_of(rows):
        content = known[name]
        if isinstance(content, Rejected):
            raise content
        inputs.append(content)
    spec: dict[str, Any] = {"rows": [asdict(row) for row in rows], "split": split}
    if recording:
        return Job(key=key, spec={**spec, "found": True}, inputs=(*inputs, str(found)))
    return Job(key=key, spec=spec, inputs=tuple(inputs))


def main() -> None:
    stage_main("ingest", IngestParams, run)
