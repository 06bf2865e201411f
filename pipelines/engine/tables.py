"""Rows <-> `tables/*.parquet`: declared schema, sorted, unique key, written completely or not at all."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.engine.files import replace_file
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


def write_table(data: Path, table: str, content: pa.Table, path: str | None = None) -> None:
    """Sort by the table's key, check that it is unique, write `tables/<table>.parquet` atomically."""
    key = TABLES[table].key
    content = content.sort_by([(name, "ascending") for name in key]).combine_chunks()
    keys = list(zip(*(content[name].to_pylist() for name in key), strict=True))
    twice = next(
        (key_values for key_values, next_values in zip(keys, keys[1:], strict=False) if key_values == next_values), None
    )
    if twice is not None:
        raise ValueError(f"{table}: key {twice} occurs twice")
    final = data / (path or f"tables/{table}.parquet")
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.tmp")
    pq.write_table(content, temporary, row_group_size=ROWS_PER_GROUP, compression="zstd")
    replace_file(temporary, final)


def write_rejections(data: Path, stage: str, rejections: Iterable[tuple[str, str, str]]) -> dict[str, int]:
    """`tables/rejections/<stage>.parquet`; returns how often each reason occurred."""
    counted = Counter(rejections)
    rows = [
        {"stage": stage, "key": key, "reason": reason, "detail": detail, "count": count}
        for (key, reason, detail), count in counted.items()
    ]
    write_table(data, "rejections", to_table("rejections", rows), f"tables/rejections/{stage}.parquet")
    reasons: Counter[str] = Counter()
    for (_, reason, _), count in counted.items():
        reasons[reason] += count
    return dict(sorted(reasons.items()))


def read_rows(data: Path, table: str, filters: Any = None) -> list[TableRow]:
    """All rows of a table, or those that pass pyarrow's `filters`.

    Raises InputError if the table is missing: the stage has not run, or `data` is the wrong folder.
    """
    path = data / "tables" / f"{table}.parquet"
    if not path.is_file():
        if near := data_folder_near(data):
            raise InputError(f"{path}: no such table; the data folder is {near}: pass --data {near}")
        stage = TABLES[table].stage
        raise InputError(
            f"{path}: no such table yet; run the {stage} stage first (python -m pipelines.{stage} --data {data})"
        )
    return pq.read_table(path, filters=filters).to_pylist()


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
