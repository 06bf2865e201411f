"""Rows <-> `tables/<table>/b=0000.parquet`, one file per bucket: declared schema, sorted, unique key.

The engine writes the buckets (merge.py, bucket_files.py). Reads are checked against the checksums that the writing
stage recorded: a damaged file is reported before any of its rows is used.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.engine.buckets import bucket_name, bucket_of, overlapping
from pipelines.engine.files import file_sha256, hash_of, replace_file
from pipelines.engine.state import (
    damage_note,
    keys_of,
    num_state_buckets,
    read_about,
    state_file,
    summary_file,
)
from schemas import SCHEMA_VERSION, TABLES
from wanstreamer.errors import InputError

TableRow = dict[str, Any]  # column -> value
ROWS_PER_GROUP = 1 << 16  # fixed, so that equal tables give equal bytes


def to_table(table: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows with the declared schema. A missing or unknown column, or a null not allowed, is a bug: ValueError."""
    schema = TABLES[table].schema
    rows = [{**row, "schema_version": SCHEMA_VERSION} for row in rows]
    names = set(schema.names)
    for row in rows:
        if set(row) != names:
            raise ValueError(f"{table}: columns differ from the schema: {sorted(set(row) ^ names)}")
    content = pa.Table.from_pylist(rows, schema=schema)
    for column in schema:
        if not column.nullable and content[column.name].null_count:
            raise ValueError(f"{table}.{column.name}: null in a column that allows none")
    return content


def check_unique(table: str, content: pa.Table) -> None:
    """Raises ValueError if two neighbours of a sorted table have the same key. Compares columns, not rows."""
    num_rows = content.num_rows
    same: Any = None
    for name in TABLES[table].key if num_rows > 1 else ():
        column = content[name].combine_chunks()
        alike = pc.fill_null(pc.equal(column.slice(1), column.slice(0, num_rows - 1)), False)
        same = alike if same is None else pc.and_(same, alike)
    if same is not None and pc.any(same).as_py():
        place = pc.index(same, True).as_py()
        values = tuple(content[name][place].as_py() for name in TABLES[table].key)
        raise ValueError(f"{table}: key {values} occurs twice")


def table_folder(data: Path, table: str) -> Path:
    return data / "tables" / table


def bucket_file(data: Path, table: str, bucket: int) -> Path:
    return table_folder(data, table) / f"{bucket_name(bucket)}.parquet"


def write_table(data: Path, table: str, content: pa.Table) -> None:
    """Write a small table as one bucket: sorted by its key, which must be unique."""
    write_rows(bucket_file(data, table, 0), in_order(table, content))


def in_order(table: str, content: pa.Table) -> pa.Table:
    """The rows sorted by the table's key. Raises ValueError if a key occurs twice."""
    order = pc.sort_indices(content, sort_keys=[(name, "ascending") for name in TABLES[table].key])
    content = content.take(order).combine_chunks()
    check_unique(table, content)
    return content


def write_rows(path: Path, content: pa.Table) -> None:
    """Write a Parquet file that is either complete or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(content, temporary, row_group_size=ROWS_PER_GROUP, compression="zstd")
    replace_file(temporary, path)


def table_files(data: Path, table: str) -> list[Path]:
    """The files of a table, one per bucket.

    Raises InputError if there are none (the stage has not run, or `data` is the wrong folder), or if one is missing.
    """
    name, _, stage = table.partition("/")  # rejections/<stage>
    folder = table_folder(data, table)
    files = sorted(folder.glob("b=*.parquet"))
    stage = stage or TABLES[name].stage
    if not files:
        if (old := folder.with_name(f"{folder.name}.parquet")).is_file():
            raise InputError(f"{old}: made by an older version; run python -m tools.upgrade --data {data}")
        if near := data_folder_near(data):
            raise InputError(f"{folder}: no such table; the data folder is {near}: pass --data {near}")
        raise InputError(
            f"{folder}: no such table yet; run the {stage} stage first (python -m pipelines.{stage} --data {data})"
        )
    expected = num_state_buckets(data, stage) or 1 << (len(files) - 1).bit_length()
    if [path.stem for path in files] != [bucket_name(bucket) for bucket in range(expected)]:
        raise damaged(data, stage, f"{folder}: {len(files)} of {expected} files are there")
    return files


def damaged(data: Path, stage: str, what: str, bucket: int | None = None) -> InputError:
    """The error for a damaged output of a stage. From now on, DVC and the stage know that it must run again."""
    summary_file(data, stage).unlink(missing_ok=True)
    if bucket is not None and state_file(data, stage, bucket).is_file():
        damage_note(data, stage, bucket).touch()
    return InputError(f"{what}; run the {stage} stage again, it repairs this (python -m pipelines.{stage})")


def checked(data: Path, table: str, path: Path) -> Path:
    """The file of a bucket. Raises InputError if its checksum is not the one that its stage recorded."""
    state = path.stat()
    if not _is_as_recorded(data, table, path, (state.st_size, state.st_mtime_ns)):
        stage = table.partition("/")[2] or TABLES[table].stage
        raise damaged(data, stage, f"{path}: damaged, its checksum differs", int(path.stem[2:]))
    return path


@lru_cache(maxsize=4096)
def _is_as_recorded(data: Path, table: str, path: Path, version: tuple[int, int]) -> bool:
    """`version` is the file's size and time: a file is read once per process, unless it changes."""
    name, _, stage = table.partition("/")
    about = read_about(data, stage or TABLES[name].stage, int(path.stem[2:]))
    recorded = about.tables.get(name)
    return recorded is None or recorded["sha256"] == file_sha256(path)


def read_rows(data: Path, table: str, filters: Any = None, columns: Sequence[str] | None = None) -> list[TableRow]:
    """All rows of a table, or those that pass pyarrow's `filters`; for tables that fit into memory.

    Raises InputError if the table is missing or damaged.
    """
    return [row for rows in bucket_tables(data, table, columns, filters) for row in rows.to_pylist()]


def bucket_tables(
    data: Path, table: str, columns: Sequence[str] | None = None, filters: Any = None
) -> Iterator[pa.Table]:
    """The rows of a table, one bucket after the other. Raises InputError if a file is missing or damaged."""
    for path in table_files(data, table):
        yield _read(checked(data, table, path), columns, filters)


def bucket_table(
    data: Path, table: str, bucket: int, num_buckets: int, columns: Sequence[str] | None = None
) -> pa.Table:
    """The rows of the sessions in bucket `bucket` of `num_buckets`, whatever number of buckets the table has."""
    files = table_files(data, table)
    parts = []
    for other in overlapping(bucket, num_buckets, len(files)):
        part = _read(checked(data, table, files[other]), columns, None)
        if len(files) < num_buckets:
            sessions = part["session_id"].combine_chunks().dictionary_encode()
            own = [bucket_of(session, num_buckets) == bucket for session in sessions.dictionary.to_pylist()]
            part = part.filter(pc.take(pa.array(own, pa.bool_()), sessions.indices))
        parts.append(part)
    return pa.concat_tables(parts)


def row_hashes(data: Path, table: str, bucket: int, num_buckets: int) -> dict[str, str]:
    """Session -> hash of its rows, for the sessions that have some. From the state, or else from the rows."""
    stage = TABLES[table].stage
    if num_state_buckets(data, stage):
        states = keys_of(data, stage, bucket, num_buckets)
        return {key: state.tables[table][1] for key, state in states.items() if table in state.tables}
    rows = rows_by_session(bucket_table(data, table, bucket, num_buckets).to_pylist())
    return {key: hash_of(own) for key, own in rows.items()}


def session_rows(data: Path, table: str, session_id: str) -> list[TableRow]:
    """The rows of one session, sorted by the table's key. Reads only the row groups that have some."""
    return session_table(data, table, session_id).to_pylist()


def session_table(data: Path, table: str, session_id: str) -> pa.Table:
    files = _files(data, table, summary_version(data, table))
    path = files[bucket_of(session_id, len(files))]
    state = checked(data, table, path).stat()
    file, ranges = _opened(path, (state.st_size, state.st_mtime_ns))
    groups = [number for number, ends in enumerate(ranges) if ends and ends[0] <= session_id <= ends[1]]
    rows = file.read_row_groups(groups)
    return rows.filter(pc.equal(rows["session_id"], session_id))


def summary_version(data: Path, table: str) -> int:
    """Changes when the table's files are replaced."""
    return table_folder(data, table).stat().st_mtime_ns if table_folder(data, table).is_dir() else 0


@lru_cache(maxsize=64)
def _files(data: Path, table: str, version: int) -> list[Path]:
    return table_files(data, table)


@lru_cache(maxsize=16)
def _opened(path: Path, version: tuple[int, int]) -> tuple[pq.ParquetFile, list[tuple[str, str] | None]]:
    """A Parquet file, and the first and last session of each row group; None for an empty one."""
    file = pq.ParquetFile(path)
    column = file.schema_arrow.get_field_index("session_id")
    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    ranges = [group.column(column).statistics for group in groups]
    return file, [(each.min, each.max) if group.num_rows else None for group, each in zip(groups, ranges, strict=True)]


def _read(path: Path, columns: Sequence[str] | None, filters: Any) -> pa.Table:
    try:
        chosen = None if columns is None else list(columns)
        return pq.read_table(path, columns=chosen, filters=filters, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: damaged ({type(error).__name__}); run the stage that wrote it again") from error


def check_data_folder(folder: Path) -> None:
    """Raises InputError if the folder does not exist. For tools: they do not create it."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such data folder; pass --data DIR, or run the pipeline first (make repro)")


def data_folder_near(folder: Path) -> Path | None:
    """The data folder one level below or above `folder`, for a user who named the wrong level."""
    if (folder / "tables").is_dir():
        return None
    return next((near for near in (folder / "data", folder.parent) if (near / "tables").is_dir()), None)


def rows_by_session(rows: Iterable[TableRow]) -> dict[str, list[TableRow]]:
    grouped: dict[str, list[TableRow]] = {}
    for row in rows:
        grouped.setdefault(row["session_id"], []).append(row)
    return grouped
