"""An SQL condition over the columns of a window's row -> which windows to train on. No torch here.

The condition is one expression, read by DuckDB: `licence = 'CC-BY-4.0' AND agent_speech_ms >= 1000`. It is computed row
by row, so that the result does not depend on the shards that the windows lie in. Therefore it may not use other rows,
files, the clock or random numbers, nor the columns that say where a window lies.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from schemas.windows import WINDOWS
from wanstreamer.errors import InputError
from wanstreamer.windows.index import Windows

PLACES = ("shard", "offset")  # they depend on the shards that the windows lie in
COLUMNS = tuple(field.name for field in WINDOWS.schema if field.name not in (*PLACES, "schema_version"))
AGREED = "consent IS NULL OR list_contains(consent, 'train')"


def check_condition(where: str, name: str) -> None:
    """Raises InputError, which begins with `name`, if `where` is no condition over one window's row."""
    with closing(_connect()) as connection:
        _check(connection, where, name)


def matching(windows: Windows, where: str, name: str) -> tuple[Windows, int]:
    """The windows that match `where` (empty: all) and whose people did not refuse `train`; and how many refused it.

    Raises InputError, which begins with `name`, if `where` is no condition over one window's row, or matches no window.
    """
    with closing(_connect()) as connection:
        if where:
            _check(connection, where, name)
        condition = f"SELECT ({AGREED}) AS agreed, coalesce((\n{where or 'true'}\n), false) AS matches FROM windows"
        chosen, refused = [], 0
        for places, rows in windows.rows.by_shard(*COLUMNS):
            connection.register("windows", rows.cast(_schema()))
            try:
                agreed, matches = _booleans(connection.execute(condition))
            except duckdb.Error as error:
                raise InputError(f"{name}: {where!r} cannot be computed ({_first_line(error)}); correct it") from error
            refused += int((~agreed & matches).sum())
            chosen.append(places[agreed & matches])
    numbers = np.sort(np.concatenate(chosen))
    if len(numbers) == 0:
        why = f"; {refused} match, but their people did not agree to `train`" if refused else ""
        raise InputError(
            f"{name}: {where!r} matches none of the {len(windows)} {windows.split} windows in "
            f"{windows.manifest.folder}{why}; change the condition, or leave the folder out"
        )
    return (windows if len(numbers) == len(windows) else windows.take(numbers.tolist())), refused


def people(windows: Windows) -> set[str]:
    """The `speaker_id` of everyone in these windows."""
    found: set[str] = set()
    for _, rows in windows.rows.by_shard("agent_speaker_id", "user_speaker_id"):
        for column in rows.columns:
            found.update(column.unique().to_pylist())
    return found - {None}


def _connect() -> duckdb.DuckDBPyConnection:
    """A database in memory that reaches no file and loads no extension."""
    connection = duckdb.connect(":memory:", config={"threads": 1, "preserve_insertion_order": True})
    for setting in ("enable_external_access = false", "autoinstall_known_extensions = false", "TimeZone = 'UTC'"):
        connection.execute(f"SET {setting}")
    connection.execute("SET lock_configuration = true")
    return connection


def _schema() -> pa.Schema:
    return pa.schema([pa.field(name, WINDOWS.schema.field(name).type) for name in COLUMNS])


def _booleans(result: duckdb.DuckDBPyConnection) -> list[np.ndarray]:
    columns: Any = result.fetchnumpy()
    return [np.asarray(column) for column in columns.values()]


def _check(connection: duckdb.DuckDBPyConnection, where: str, name: str) -> None:
    query = f"SELECT (\n{where}\n)"
    [text] = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchone() or [""]
    parsed = json.loads(text)
    if parsed["error"]:
        raise InputError(f"{name}: {where!r} is no SQL condition ({parsed['error_message']}); correct it")
    unstable = {
        row[0]
        for row in connection.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"
        ).fetchall()
    }
    for node in _nodes(parsed["statements"]):
        if node.get("class") in ("SUBQUERY", "WINDOW", "PARAMETER", "STAR"):
            raise InputError(
                f"{name}: {where!r} looks at more than one window's row; use columns, constants and functions alone "
                "(list_contains(consent, 'share') looks into a list)"
            )
        if node.get("class") == "FUNCTION" and node["function_name"] in unstable:
            raise InputError(
                f"{name}: {where!r} changes from run to run because of {node['function_name']}(); use columns, "
                "constants and functions that depend on them alone"
            )
        columns = node.get("column_names", [])
        if (
            node.get("class") == "COLUMN_REF"
            and columns[-1].lower() not in COLUMNS
            and columns[0].lower() not in COLUMNS
        ):
            raise InputError(
                f"{name}: {where!r} names {'.'.join(columns)}, which is no column of a window that it may use; "
                f"expected some of {', '.join(COLUMNS)}"
            )
    connection.register("windows", _schema().empty_table())
    try:
        result = connection.execute(f"SELECT (\n{where}\n) FROM windows").description or []
        connection.execute(f"SELECT 1 FROM windows WHERE (\n{where}\n)")
        if str(result[0][1]) != "BOOLEAN":
            raise InputError(f"{name}: {where!r} is no condition but {result[0][1]}; compare it with a value")
    except duckdb.Error as error:
        raise InputError(f"{name}: {where!r} is no condition ({_first_line(error)}); correct it") from error
    finally:
        connection.unregister("windows")


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _nodes(item)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split("LINE")[0].split())
