"""Rows of one session from the tables of a data folder, by time. Nothing is written, also where a file is damaged.

A session lies in one bucket; of its file, only the row groups with this session are read. So a moment of a long session
in a large corpus costs what it costs in a small one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.engine.buckets import bucket_of
from pipelines.engine.tables import table_folder
from schemas import TABLES
from wanstreamer.clock import UNIT_MS
from wanstreamer.errors import InputError


class NotThere(InputError):
    """What was asked for does not exist."""


def has_table(data: Path, table: str) -> bool:
    return next(table_folder(data, table).glob("b=*.parquet"), None) is not None


def session_rows(
    data: Path,
    table: str,
    session_id: str,
    *,
    start_ms: int | None = None,
    end_ms: int | None = None,
    columns: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Rows of a session that touch [start_ms, end_ms), sorted as in the table; empty without the table.

    Raises InputError for a file that cannot be read: damaged, or of another version.
    """
    files = sorted(table_folder(data, table).glob("b=*.parquet"))
    if not files:
        return []
    path = files[bucket_of(session_id, len(files))]
    chosen = pc.field("session_id") == session_id
    if end_ms is not None:
        chosen &= _begins_before(table, end_ms)
    if start_ms is not None:
        chosen &= _ends_after(table, start_ms)
    try:
        return pq.read_table(path, columns=None if columns is None else list(columns), filters=chosen, partitioning=None
                             ).to_pylist()  # fmt: skip
    except (OSError, pa.ArrowException) as error:
        stage = TABLES[table].stage
        raise InputError(
            f"{path}: cannot be read ({type(error).__name__}); it is damaged, of an older version, or being written: "
            f"try again, or run the {stage} stage again (python -m pipelines.{stage})"
        ) from error


def _begins_before(table: str, end_ms: int) -> pc.Expression:
    if table == "units":
        return pc.field("unit") < -(-end_ms // UNIT_MS)
    if table == "windows":
        return pc.field("start_unit") < -(-end_ms // UNIT_MS)
    return pc.field("start_ms") < end_ms


def _ends_after(table: str, start_ms: int) -> pc.Expression:
    if table == "units":
        return pc.field("unit") >= start_ms // UNIT_MS
    if table == "windows":
        return pc.field("start_unit") + pc.field("num_units") > start_ms // UNIT_MS
    # An instant, such as the onset of a turn, is in the stretch that it begins.
    return (pc.field("end_ms") > start_ms) | (pc.field("start_ms") >= start_ms)


def tracks_of(data: Path, session_id: str) -> list[dict[str, Any]]:
    """The rows of `tracks`. Raises NotThere for a session that the folder does not have."""
    rows = session_rows(data, "tracks", session_id)
    if not rows:
        raise NotThere(f"session {session_id!r}: not in {data / 'tables' / 'tracks'}; the list has all sessions")
    return rows


def inside(data: Path, name: str | None, what: str) -> Path:
    """A file below the data folder. Raises NotThere if there is none, InputError if its path leads elsewhere."""
    if name is None:
        raise NotThere(f"{what}: the track has none")
    home = data.resolve()
    path = (home / name).resolve()
    if not path.is_relative_to(home):
        raise InputError(f"{what}: {name} lies outside the data folder; nothing outside it is served")
    if not path.is_file():
        raise NotThere(f"{path}: no such file; run the ingest stage again (python -m pipelines.ingest --data {data})")
    return path
