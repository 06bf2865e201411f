"""One bucket of sessions -> its Parquet files and shards, from a data folder, or from an export without some sessions.

Both ways write the same bytes for the same sessions. Tables are read in pieces: the memory that is used does not grow
with the length of the recordings.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.engine.buckets import overlapping
from pipelines.engine.files import file_sha256, replace_file, write_json_atomic
from pipelines.engine.tables import checked, table_files
from pipelines.pack.index import Run, ShardLine
from tools.export.folder import HIDDEN, unfinished_folder
from tools.export.hf.shards import by_session, write_windows
from tools.export.hf.what import TABLES_OUT, WINDOW_INDEX, schema_out

ROWS_PER_GROUP = 1 << 15  # a row group of the widest table is then far below the 286 MiB that the Hub's viewer reads
BATCH_ROWS = 1 << 14

Pieces = Callable[[], Iterator[pa.Table]]  # a table, piece by piece


@dataclass(kw_only=True)
class BucketNote:
    """What was written of a bucket; in `.export/hf/`."""

    sessions: dict[str, str]  # id -> fingerprint of its rows
    files: dict[str, dict[str, Any]] = field(default_factory=dict)  # path -> sha256, num_bytes, num_rows, raw_bytes
    shards: list[list[Any]] = field(default_factory=list)  # of ShardLine
    runs: list[list[Any]] = field(default_factory=list)  # of Run
    digests: dict[str, list[str]] = field(default_factory=dict)
    damaged: dict[str, int] = field(default_factory=dict)


def note_path(out: Path, bucket: int) -> Path:
    return out / HIDDEN / "hf" / f"{bucket:05d}.json"


def read_note(out: Path, bucket: int) -> BucketNote | None:
    """None if there is none, or if it is damaged: the bucket is written again then."""
    try:
        return BucketNote(**json.loads(note_path(out, bucket).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def bucket_notes(out: Path) -> Iterator[BucketNote]:
    for path in sorted((out / HIDDEN / "hf").glob("[0-9]*.json")):
        if (note := read_note(out, int(path.stem))) is not None:
            yield note


def is_complete(out: Path, note: BucketNote) -> bool:
    try:
        return all((out / name).stat().st_size == about["num_bytes"] for name, about in note.files.items())
    except OSError:
        return False


def table_pieces(data: Path, bucket: int, num_buckets: int) -> dict[str, Pieces]:
    """Config -> its rows in a data folder, for the tables that it has. Also of sessions of other buckets."""

    def pieces(table: str) -> Iterator[pa.Table]:
        files = table_files(data, table)
        for other in overlapping(bucket, num_buckets, len(files)):
            yield from _read(checked(data, table, files[other]))

    return {
        config: lambda table=table: pieces(table)  # type: ignore[misc]
        for config, table in TABLES_OUT.items()
        if any((data / "tables" / table).glob("b=*.parquet"))
    }


def exported_pieces(out: Path, bucket: int) -> dict[str, Pieces]:
    """Config -> its rows in an export."""

    def pieces(config: str) -> Iterator[pa.Table]:
        for path in files_of(out, config, bucket):
            yield from _read(path)

    return {config: lambda config=config: pieces(config) for config in TABLES_OUT}  # type: ignore[misc]


def files_of(out: Path, config: str, bucket: int) -> list[Path]:
    return sorted((out / "tables" / config).glob(f"*-{bucket:05d}.parquet"))


def sessions_of(out: Path, bucket: int) -> dict[str, str]:
    """The sessions of a bucket of an export, with their splits; also of one that was not finished."""
    sessions: dict[str, str] = {}
    for config in TABLES_OUT:
        for path in files_of(out, config, bucket):
            split = path.name.rpartition("-")[0]
            for piece in _read(path, ["session_id"]):
                sessions.update(dict.fromkeys(pc.unique(piece["session_id"]).to_pylist(), split))
    return sessions


def _read(path: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns):
            yield pa.Table.from_batches([batch])


def write_bucket(
    out: Path,
    bucket: int,
    sessions: Mapping[str, tuple[str, str]],  # id -> split, fingerprint
    tables: Mapping[str, Pieces],
    windows: Path,  # the folder below which the shards of the rows of `window_index` lie
) -> BucketNote:
    """Write the files of these sessions, remove those that the bucket had before, and write its note."""
    folder = unfinished_folder(out) / "hf" / f"{bucket:05d}"
    folder.mkdir(parents=True, exist_ok=True)
    note = BucketNote(sessions={session: fingerprint for session, (_, fingerprint) in sorted(sessions.items())})
    splits = {session: split for session, (split, _) in sessions.items()}
    for config, pieces in tables.items():
        if config == WINDOW_INDEX:
            _write_windows(folder, bucket, _chosen(pieces, splits), windows, note)
        else:
            _write_table(folder, config, bucket, _by_split(_chosen(pieces, splits), splits), note)
    old = set(_files_before(out, bucket)) - set(note.files)
    note_path(out, bucket).unlink(missing_ok=True)
    for name in note.files:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        replace_file(folder / name, out / name)
    for name in old:
        (out / name).unlink()
        with suppress(OSError):  # not empty
            (out / name).parent.rmdir()
    write_json_atomic(note_path(out, bucket), asdict(note))
    return note


def _files_before(out: Path, bucket: int) -> Iterator[str]:
    for pattern in (
        f"tables/*/*-{bucket:05d}.parquet",
        f"windows/*/{bucket:05d}-*.tar",
        f"windows/*/{bucket:05d}-*.arrow",
    ):
        yield from (path.relative_to(out).as_posix() for path in out.glob(pattern))


def _chosen(pieces: Pieces, splits: Mapping[str, str]) -> Iterator[pa.Table]:
    wanted = pa.array(sorted(splits), pa.string())
    for piece in pieces():
        rows = piece.filter(pc.is_in(piece["session_id"], value_set=wanted))
        if len(rows):
            yield rows


def _by_split(pieces: Iterator[pa.Table], splits: Mapping[str, str]) -> Iterator[tuple[str, pa.Table]]:
    for piece in pieces:
        sessions = piece["session_id"].combine_chunks().dictionary_encode()
        own = pa.array([splits[session] for session in sessions.dictionary.to_pylist()], pa.string())
        of_rows = pc.take(own, sessions.indices)
        for split in pc.unique(of_rows).to_pylist():
            yield split, piece.filter(pc.equal(of_rows, split))


def _write_table(
    folder: Path, config: str, bucket: int, pieces: Iterator[tuple[str, pa.Table]], note: BucketNote
) -> None:
    """One file per split. Row groups have the same number of rows, whatever pieces the rows come in."""
    schema = schema_out(config)
    writers: dict[str, pq.ParquetWriter] = {}
    waiting: dict[str, pa.Table] = {}
    try:
        for split, rows in pieces:
            rows = rows.select(schema.names).cast(schema)
            waiting[split] = pa.concat_tables([waiting[split], rows]) if split in waiting else rows
            if split not in writers:
                path = folder / f"tables/{config}/{split}-{bucket:05d}.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                writers[split] = pq.ParquetWriter(path, schema, compression="zstd")
            while len(waiting[split]) > ROWS_PER_GROUP:
                writers[split].write_table(waiting[split].slice(0, ROWS_PER_GROUP).combine_chunks())
                waiting[split] = waiting[split].slice(ROWS_PER_GROUP)
        for split, rows in waiting.items():
            writers[split].write_table(rows.combine_chunks())
    finally:
        for writer in writers.values():
            writer.close()
    for split in sorted(writers):
        name = f"tables/{config}/{split}-{bucket:05d}.parquet"
        about = pq.read_metadata(folder / name)
        raw_bytes = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
        note.files[name] = _about(folder / name, about.num_rows, raw_bytes)


def _write_windows(folder: Path, bucket: int, pieces: Iterator[pa.Table], root: Path, note: BucketNote) -> None:
    written = write_windows(root, by_session(pieces), folder, bucket)
    _write_table(
        folder, WINDOW_INDEX, bucket,
        ((split, rows) for split, tables in sorted(written.rows.items()) for rows in tables), note,
    )  # fmt: skip
    for name, line in sorted(written.shards.items()):
        size = line.num_bytes
        note.files[name] = {
            "sha256": line.sha256, "num_bytes": size, "num_rows": line.num_windows, "raw_bytes": size
        }  # fmt: skip
        index = name.removesuffix(".tar") + ".arrow"
        note.files[index] = _about(folder / index, line.num_windows, 0)
    note.shards = [list(line) for line in written.shards.values()]
    note.runs = [list(run) for run in written.runs]
    note.digests = {session: list(digest) for session, digest in sorted(written.digests.items())}
    note.damaged = dict(sorted(written.damaged.items()))


def _about(path: Path, num_rows: int, raw_bytes: int) -> dict[str, Any]:
    return {
        "sha256": file_sha256(path), "num_bytes": path.stat().st_size, "num_rows": num_rows, "raw_bytes": raw_bytes
    }  # fmt: skip


def shard_lines(note: BucketNote) -> list[ShardLine]:
    return [ShardLine(*line) for line in note.shards]


def run_lines(note: BucketNote) -> list[Run]:
    return [Run(*run) for run in note.runs]
