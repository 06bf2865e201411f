"""Remove a person from everything the project made: `python -m tools.forget --speaker ID`.

A conversation has the voices and words of all its participants. Therefore every session of the person is removed: its
tracks, latents, windows, parts, corrections and recordings below the data folder; its rows in every table and state;
DVC's cached copies of those; all reports; the same in every store (run.store) with parts of this folder; and what was
exported of them (tools.export), where it was written to. Only buckets and shards that have some of these sessions are
written; they are then as in a run without the sessions. The rows of these sessions are removed from the manifest of the
recordings too, inside or outside the data folder, because it names the person. `forgotten.json` stores a hash of the
id, so that ingest rejects the person from now on.

This cannot be undone. If a run is stopped, run the same command again to finish it. Recordings outside the data folder
stay and are listed. Stores and exports that could not be reached, copies of exports that were handed out, and weights
trained on the sessions, are listed too.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.engine.bucket_files import rewrite_table
from pipelines.engine.buckets import bucket_name, bucket_of
from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.files import replace_file
from pipelines.engine.forgotten import is_forgotten, remember
from pipelines.engine.leave import remove_keys
from pipelines.engine.lock import folder_lock
from pipelines.engine.remote import folder_at, is_remote_uri, reachable
from pipelines.engine.state import num_state_buckets
from pipelines.engine.store import Store, cut_tables, drop_part, open_store, sessions_of, stages_of, stores_of
from pipelines.engine.tables import ROWS_PER_GROUP, bucket_table, check_data_folder, read_rows, table_folder, to_table
from pipelines.ingest.stage import SOURCE_NOTE
from pipelines.pack.index import write_shard_index
from pipelines.pack.stage import rewrite_folder
from pipelines.quality.stage import quality_without
from pipelines.sources.corrections import corrections_file
from pipelines.sources.find import find_sources, manifests_of
from pipelines.sources.hashes import drop_hashes
from pipelines.sources.manifest import PATHS, is_of
from pipelines.sources.row import SourceRow
from schemas import TABLES_OF
from tools.export.record import LOCK as EXPORTS_LOCK
from tools.export.removal import remove_from_exports
from tools.forget_report import Report, print_report
from tools.source_manifest import drop_rows
from wanstreamer.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Recordings:
    """The recordings that were ingested."""

    root: Path
    rows: list[SourceRow]
    manifests: list[Path]


@dataclass(frozen=True, kw_only=True)
class _Traces:
    """Where the person occurs."""

    sessions: frozenset[str]
    trained: bool  # whether some of the sessions are in the train split
    stores: list[Store]
    recordings: Recordings


def forget(data: Path, speaker_id: str, *, cache: Path | None = None, stores: Sequence[str] = ()) -> Report:
    """Remove the person as described at the top of this module. `stores`: stores that the data folder does not know.

    Raises InputError if no table has this id and it was not forgotten before, or if a run holds the folder.
    """
    if not stores:
        check_data_folder(data)
    report = Report(sessions=[])
    with folder_lock(data.resolve()):
        return _cut(data, speaker_id, _look(data, speaker_id, stores, report), cache, report)


def _look(data: Path, speaker_id: str, stores: Sequence[str], report: Report) -> _Traces:
    opened = _open_stores([*stores_of(data), *stores], data, report)
    known = not stores or (data / "tables" / "tracks").is_dir()
    own = [("speaker_id", "=", speaker_id)]
    tracks = read_rows(data, "tracks", own, ["session_id", "split"]) if known else []
    recordings = _recordings(data, report)
    sessions = {row["session_id"] for row in tracks}
    sessions |= {row.session_id for row in recordings.rows if row.speaker_id == speaker_id}
    for store in opened:
        sessions |= sessions_of(store, speaker_id)
    if not sessions and not is_forgotten(data, speaker_id):
        if report.unreached:
            raise InputError(
                f"no speaker {speaker_id} in {data}, and not everything was reached: {report.unreached[0]}"
            )
        raise InputError(
            f"{data}/tables/tracks: no speaker {speaker_id}; `python -m tools.query 'FROM tracks'` lists them"
        )
    trained = any(row["split"] == "train" for row in tracks)
    return _Traces(sessions=frozenset(sessions), trained=trained, stores=opened, recordings=recordings)


def _cut(data: Path, speaker_id: str, traces: _Traces, cache: Path | None, report: Report) -> Report:
    """The order makes an interrupted run harmless: first the windows become unreadable, then the stages lose the
    sessions, the last one first; the tracks table and the manifests, which tell the sessions, are last."""
    sessions = set(traces.sessions)
    data = data.resolve()
    remember(data, speaker_id)
    report.sessions = sorted(sessions)
    for store in traces.stores:
        _cut_store(store, data, sessions, speaker_id, report)
    report.weights = _weights(data) if traces.trained else []
    report.files += _remove(data / "reports")
    report.files += _remove(data / "show")  # pictures and waveforms of the viewer; it makes them again
    for path in sorted((data / "runs").glob("*/run.json")):  # conversations of a model with one of these people
        if _run_session(path) in sessions:
            report.files += _remove(path.parent)
    for path in sorted((data / "parts" / "vae").glob("*.safetensors")):  # states of unfinished trainings
        report.files += _remove(path)
    report.files += _remove(data / "wanstreamer.duckdb")
    if cache is not None:
        report.files += _clear_cache(cache, sessions, speaker_id)
    for path in sorted((data / "truth").rglob("*.parquet")):
        report.rows += _cut_table(path, sessions, speaker_id)
    _cut_exports(data, sessions, speaker_id, report)
    _cut_recordings(data, traces.recordings, sessions, report)
    with rewrite_folder(data):
        _cut_stage(data, "pack", report, index=write_shard_index)
    _cut_stage(data, "encode", report)
    _cut_stage(data, "annotate", report)
    _cut_quality(data, report)
    _cut_stage(data, "people", report)
    for session in report.sessions:
        report.files += _remove(corrections_file(data, session))
    _cut_stage(data, "ingest", report)
    _cut_manifests(data, traces.recordings.manifests, sessions, speaker_id, report)
    return report


def _cut_exports(data: Path, sessions: set[str], speaker_id: str, report: Report) -> None:
    with folder_lock(data, EXPORTS_LOCK):
        removal = remove_from_exports(data, sessions, speaker_id)
    report.files += removal.files
    report.rows += removal.lines
    report.exported += removal.copies
    report.unreached += removal.unreached


def _run_session(path: Path) -> str | None:
    """The session of a run; None if the file cannot be read."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["session_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _cut_stage(data: Path, stage: str, report: Report, **how: Any) -> None:
    if num_state_buckets(data, stage):
        left = remove_keys(data, stage, report.sessions, **how)
        report.rows += left.rows
        report.files += left.files
        return
    for table in sorted((*TABLES_OF[stage], f"rejections/{stage}"), key=lambda table: table == "tracks"):
        files = sorted(table_folder(data, table).glob("b=*.parquet"))  # of an import: no stage wrote them
        for bucket in sorted({bucket_of(session, len(files)) for session in report.sessions} if files else ()):
            report.rows += _cut_table(files[bucket], set(report.sessions), None)


def _cut_quality(data: Path, report: Report) -> None:
    """Quality has judged the tracks: what it found is written again, as far as it is not about the person."""
    copies, judged = quality_without(data, set(report.sessions))
    report.copies += sorted(copies)

    def judge() -> None:
        for bucket, rejections in judged.items():
            rows = bucket_table(data, "quality", bucket, num_state_buckets(data, "quality")).to_pylist()
            rewrite_table(data, "quality", bucket, "quality", to_table("quality", rows), rejections)

    report.files += _remove(data / "state" / "quality" / "duplicates.parquet")  # the next run searches again
    report.files += _remove(data / "parts" / "quality" / "duplicates")
    _cut_stage(data, "quality", report, judge=judge)


def _open_stores(uris: Sequence[str], data: Path, report: Report) -> list[Store]:
    opened = {}
    for uri in uris:
        try:
            store = open_store(uri, data)
            opened[store.uri] = store
        except InputError as error:
            report.unreached.append(str(error))
    return list(opened.values())


def _cut_store(store: Store, data: Path, sessions: set[str], speaker_id: str, report: Report) -> None:
    """Remove the sessions' parts and files, then their rows; the tracks table, which names the sessions, is last."""
    try:
        open_store(store.uri, data)  # tells the store that the person is forgotten
        for stage in stages_of(store):
            for session in sorted(sessions):
                report.files += drop_part(store, stage, session)
        with tempfile.TemporaryDirectory() as name:
            report.rows += cut_tables(store, sessions, lambda path: _cut_table(path, sessions, speaker_id), Path(name))
    except InputError as error:
        report.unreached.append(str(error))


def _recordings(data: Path, report: Report) -> Recordings:
    """The recordings that were ingested; none if they do not exist any more."""
    note = data / "parts" / SOURCE_NOTE
    known = json.loads(note.read_text()) if note.is_file() else {"source": str(data / "sources"), "layout": ""}
    source = folder_at(known["source"])
    manifests: list[Path] = []
    try:
        with reachable(source):
            if not is_remote_uri(known["source"]) and not source.exists():
                return Recordings(root=source, rows=[], manifests=[])
            manifests = manifests_of(source)
        root, rows = find_sources(source, known["layout"], warn=False, may_be_empty=True)
    except InputError as error:
        report.unreached.append(str(error))
        root, rows = source, []
    return Recordings(root=root, rows=rows, manifests=manifests)


def _remove(path: Path) -> int:
    """Remove a file or folder; returns the number of files."""
    if path.is_dir():
        count = sum(file.is_file() for file in path.rglob("*"))
        shutil.rmtree(path)
        return count
    existed = path.is_file()
    path.unlink(missing_ok=True)
    return int(existed)


def _cut_table(path: Path, sessions: set[str], speaker_id: str | None) -> int:
    """Rewrite a table without the sessions' rows; returns the number of removed rows."""
    table = pq.read_table(path, partitioning=None)
    remaining = _without(table, sessions, speaker_id)
    if len(remaining) < len(table):
        temporary = path.with_name(f".{path.name}.tmp")
        pq.write_table(remaining, temporary, row_group_size=ROWS_PER_GROUP, compression="zstd")
        replace_file(temporary, path)
    return len(table) - len(remaining)


def _without(table: pa.Table, sessions: set[str], speaker_id: str | None) -> pa.Table:
    return table.filter(pc.invert(_concerns(table, sessions, speaker_id)))


def _concerns(table: pa.Table, sessions: set[str], speaker_id: str | None) -> pa.Array:
    """Which rows belong to one of the sessions or to the person; a rejection's `key` begins with its session."""
    about = [False] * len(table)
    for name in {"session_id", "speaker_id", "agent_speaker_id", "user_speaker_id", "key"} & set(table.column_names):
        for place, value in enumerate(table[name].to_pylist()):
            if name == "session_id":
                about[place] |= value in sessions
            elif name == "key":
                about[place] |= any(_is_key_of(session, value) for session in sessions)
            else:
                about[place] |= speaker_id is not None and value == speaker_id
    return pa.array(about, pa.bool_())


def _is_key_of(session: str, key: str) -> bool:
    """Whether a rejection's key is the session, a participant of it (session/a) or a window (session-a-000016)."""
    window = rf"{re.escape(session)}-[^-/]+(-[^-/]+)?-\d{{6}}"
    return key == session or key.startswith(f"{session}/") or re.fullmatch(window, key) is not None


def _cut_recordings(data: Path, recordings: Recordings, sessions: set[str], report: Report) -> None:
    """Remove recordings below the data folder, with their hashes; list the others."""
    root = recordings.root
    uses: dict[Path, set[str]] = {}  # by file, its sessions: two may be channels of one file
    for row in recordings.rows:
        for uri in filter(None, (getattr(row, column) for column in PATHS)):
            uses.setdefault((root / uri).resolve(), set()).add(row.session_id)
    files = sorted(path for path, users in uses.items() if users & sessions)
    inside = [path for path in files if path.is_relative_to(data.resolve()) and uses[path] <= sessions]
    report.outside = [str(path) for path in files if path not in inside and path.exists()]
    for path in inside:
        report.files += _remove(path)
        if path.parent != root.resolve() and path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()
    names = {str(path) for path in files}
    for folder in sorted((data / "parts" / "ingest-hashes").glob("[0-9]*")):
        for bucket in sorted({bucket_of(session, int(folder.name)) for session in sessions}):
            path = folder / f"{bucket_name(bucket)}.parquet"
            if path.is_file():
                drop_hashes(path, names)


def _cut_manifests(data: Path, manifests: Sequence[Path], sessions: set[str], speaker_id: str, report: Report) -> None:
    """Remove the sessions' rows from all manifests, also outside the data folder, because a row names the person."""

    def goes(row: Mapping[str, Any]) -> bool:
        return is_of(row, sessions, speaker_id)

    for manifest in manifests:
        try:
            count = drop_rows(manifest, goes)
        except InputError as error:
            report.unreached.append(str(error))
            continue
        report.rows += count
        if count and not manifest.resolve().is_relative_to(data.resolve()):
            report.manifests.append(str(manifest))


def _weights(data: Path) -> list[Path]:
    """All files that were fitted on train sessions."""
    return sorted(path for path in (data / "models").rglob("*") if path.is_file())


def _clear_cache(cache: Path, sessions: set[str], speaker_id: str) -> int:
    """Remove DVC's copies of tables with the person; a copy that is not a readable table is searched as text."""
    removed = 0
    needles = [speaker_id.encode(), *(f'"{session}"'.encode() for session in sessions)]
    for path in sorted(file for file in cache.rglob("*") if file.is_file()):
        try:
            table = pq.read_table(path)
            about = True in _concerns(table, sessions, speaker_id).to_pylist()
        except (pa.ArrowException, OSError):
            content = path.read_bytes()
            about = any(needle in content for needle in needles)
        if about:
            path.chmod(0o644)
            removed += _remove(path)
    return removed


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.forget",
        description="Remove a person from every table, shard, cache, report, export, store and manifest.",
    )
    parser.add_argument("--speaker", required=True, metavar="ID", help="speaker_id, as in the tracks table")
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    parser.add_argument(
        "--store",
        action="append",
        default=[],
        metavar="URI",
        help="a run.store that the data folder does not know; may be repeated",
    )
    parser.add_argument("--dry-run", action="store_true", help="only print which sessions would be removed")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    args = parser.parse_args(arguments)
    with exit_on_input_error(), ExitStack() as lock:
        report = Report(sessions=[])
        if not args.store:
            check_data_folder(args.data)
        if not args.dry_run:
            lock.enter_context(folder_lock(args.data.resolve()))
        traces = _look(args.data, args.speaker, args.store, report)
        print(
            f"{args.speaker} speaks in {len(traces.sessions)} sessions: {', '.join(sorted(traces.sessions)) or 'none'}"
        )
        for manifest in traces.recordings.manifests:
            if not manifest.resolve().is_relative_to(args.data.resolve()):
                print(
                    f"their rows in your manifest {manifest} will be removed too; recordings outside {args.data} stay"
                )
        if args.dry_run:
            return
        if not args.yes:
            if not sys.stdin.isatty():
                raise InputError("this cannot be undone; pass --yes to confirm")
            if input(f"Remove these sessions, and everything made from them, from {args.data}? [y/N] ").lower() != "y":
                sys.exit(1)
        cache = args.data.resolve().parent / ".dvc" / "cache"
        _cut(args.data, args.speaker, traces, cache if cache.is_dir() else None, report)
        print_report(report)
        if report.unreached:
            sys.exit(1)


if __name__ == "__main__":
    main()
