"""A damaged bucket -> what of it can still be used: row groups that can be read, and keys whose rows are all there."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.engine.files import file_sha256, hash_of_bytes
from pipelines.engine.parts import arrow_bytes
from pipelines.engine.state import BucketState, KeyState, read_state
from pipelines.engine.tables import bucket_file, to_table
from schemas import TABLES


def salvaged(data: Path, stage: str, bucket: int, tables: Sequence[str]) -> BucketState:
    """The state of a bucket, after a look at its table files: keys whose rows are damaged are undone."""
    state = read_state(data, stage, bucket)
    for table in tables:
        recorded = state.tables.get(table)
        path = bucket_file(data, table, bucket)
        if recorded is None or (path.is_file() and file_sha256(path) == recorded["sha256"]):
            continue
        intact = _intact_keys(path, table, state)
        lost = {key for key, own in state.keys.items() if table in own.tables and key not in intact}
        keys = {key: replace(own, fingerprint="") if key in lost else own for key, own in state.keys.items()}
        state = replace(state, keys=keys, inputs="")
    return state


def _intact_keys(path: Path, table: str, state: BucketState) -> set[str]:
    """Keys whose rows in a damaged file are those that were written."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for group in groups(path):
        for row in _unless_damaged(group.to_pylist) or ():
            rows.setdefault(str(row.get("session_id")), []).append(row)
    return {
        key
        for key, own in rows.items()
        if key in state.keys and _content(table, own, state.keys[key]) == state.keys[key].tables.get(table)
    }


def _content(table: str, rows: list[dict[str, Any]], state: KeyState) -> tuple[int, str] | None:
    """Number of rows and hash of rows as they were in their part; None if they cannot have been."""
    try:
        arrow = rows_as_in_part(table, rows, state)
    except (ValueError, KeyError, pa.ArrowException):
        return None
    return len(rows), hash_of_bytes(arrow)


def rows_as_in_part(table: str, rows: list[dict[str, Any]], state: KeyState) -> bytes:
    """Rows of a key, read from a bucket, in the form of a part: with segments by number and offsets within them, and
    without what the stage decided later."""
    again = []
    judged = dict(TABLES[table].judged)
    segments = {extent.shard: (number, extent) for number, extent in enumerate(state.segments)}
    for row in rows:
        own = {name: value for name, value in row.items() if name != "schema_version"} | judged
        if "shard" in own:
            number, extent = segments[own["shard"]]
            for name in TABLES[table].offsets:
                own[name] = None if own[name] is None else own[name] - extent.offset
            own["shard"] = str(number)
        again.append(own)
    return arrow_bytes(to_table(table, again))


def groups(path: Path) -> Iterator[pa.Table]:
    """The row groups of a table file that can be read: keys with rows in others are undone (`salvaged`)."""
    file = _unless_damaged(lambda: pq.ParquetFile(path))
    if file is not None:
        with file:
            for number in range(file.num_row_groups):
                rows = _unless_damaged(partial(file.read_row_group, number))
                if rows is not None:
                    yield rows


def _unless_damaged(read: Callable[[], Any]) -> Any:
    """What `read` returns; None if the file is missing, or not readable as Parquet. Raises other faults of a disk."""
    try:
        return read()
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, FileNotFoundError):
            raise
        return None
