"""The database of a data folder, `<data>/wanstreamer.duckdb`, through which tables are read.

It holds views only: one per existing table, `rejections` over all stages, and those of schemas/views. The views read
the Parquet files by absolute path: answers come from the current files, and do not depend on the current folder. The
database is made again when a table appears or disappears, a view changes or the folder has moved; new files of a table
need nothing.
"""

import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path

import duckdb

from pipelines.engine.tables import check_data_folder, data_folder_near
from schemas import TABLES
from wanstreamer.errors import InputError

VIEWS = Path(__file__).resolve().parents[2] / "schemas" / "views"
DATABASE = "wanstreamer.duckdb"


def view_sources(data: Path) -> dict[str, str]:
    """Table name -> the pattern of the Parquet files that its view reads. Tables without files are left out.

    Raises InputError if the data folder was made by an older version: then a table is one file.
    """
    home = data.resolve() / "tables"
    if old := next((path for name in TABLES if (path := home / f"{name}.parquet").is_file()), None):
        raise InputError(f"{old}: made by an older version; run python -m tools.upgrade --data {data}")
    patterns = {name: f"{name}/*/*.parquet" if name == "rejections" else f"{name}/*.parquet" for name in TABLES}
    return {
        name: f"{_literal(str(home))}/{pattern}" for name, pattern in patterns.items() if next(home.glob(pattern), None)
    }


def _literal(path: str) -> str:
    """A path in a pattern: `[`, `*` and `?` in the name of a folder mean themselves."""
    return re.sub(r"[*?[]", r"[\g<0>]", path)


def view_statements(data: Path) -> dict[str, str]:
    """View name -> its SELECT, for every view whose tables exist."""
    statements = {}
    for name, pattern in view_sources(data).items():
        # No column comes from a path: `b=0000.parquet`, or a folder of the user such as `run=3`.
        statements[name] = f"SELECT * FROM read_parquet({_quoted(pattern)}, hive_partitioning = false)"
    for path in sorted(VIEWS.glob("*.sql")):
        if tables_of(path) <= set(statements):
            statements[path.stem] = path.read_text(encoding="utf-8").strip()
    return statements


def tables_of(path: Path) -> set[str]:
    """The tables that a view reads."""
    text = re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
    return {name for name in re.findall(r"\b(?:FROM|JOIN)\s+(\w+)", text) if name in TABLES}


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def build(data: Path) -> Path:
    """Write the database of views; the old one stays until the new one is complete. Returns its path.

    Raises InputError if it cannot be written.
    """
    statements = _checked(data)
    final = data.resolve() / DATABASE
    if "?" in str(final):
        raise InputError(f"{final}: DuckDB opens no database in a folder with `?` in its name; queries do without it")
    temporary = final.with_name(f".{DATABASE}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        with duckdb.connect(str(temporary)) as connection:
            _create_views(connection, statements)
            fingerprint = _fingerprint(statements)
            connection.execute(f"CREATE VIEW built_from AS SELECT '{fingerprint}' AS fingerprint").fetchall()
        temporary.replace(final)
    except (duckdb.IOException, OSError) as error:
        first_line = str(error).partition("\n")[0]
        raise InputError(f"{final}: cannot be written: {first_line}; check the permissions of {data}") from error
    except UNREADABLE as error:
        raise damaged(data, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    return final


# What DuckDB raises for a damaged file; the last two, where a name or message is no text.
UNREADABLE = (duckdb.Error, RuntimeError, UnicodeDecodeError)


def damaged(data: Path, error: Exception) -> InputError:
    """What to say if DuckDB cannot read a table."""
    first_line = str(error).partition("\n")[0]
    return InputError(
        f"{data}: a table cannot be read: {first_line}; find the damaged file with python -m tools.verify --data {data}"
    )


def _create_views(connection: duckdb.DuckDBPyConnection, statements: dict[str, str]) -> None:
    """A view is left out if its tables were made by an older version and lack a column."""
    for name, select in statements.items():
        with suppress(duckdb.BinderException):
            connection.execute(f"CREATE VIEW {name} AS {select}").fetchall()


def _checked(data: Path) -> dict[str, str]:
    check_data_folder(data)
    if "\\" in str(data.resolve()):
        raise InputError(f"{data.resolve()}: DuckDB takes a backslash for a separator of folders; rename the folder")
    statements = view_statements(data)
    if not statements:
        if near := data_folder_near(data):
            raise InputError(f"{data}: no tables in it; the data folder is {near}: pass --data {near}")
        raise InputError(f"{data}: no tables in it; run the pipeline first (make repro) or pass --data DIR")
    return statements


def _fingerprint(statements: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(statements, sort_keys=True).encode()).hexdigest()


def connect(data: Path) -> duckdb.DuckDBPyConnection:
    """The database of views, read only. If it is missing or out of date, it is made first.

    In a folder where it cannot be, the views are made in memory instead.
    """
    final = data.resolve() / DATABASE
    statements = _checked(data)
    if not _is_current(final, _fingerprint(statements)):
        if not os.access(final.parent, os.W_OK) or "?" in str(final):
            connection = duckdb.connect()
            _create_views(connection, statements)
            return connection
        build(data)
    try:
        return duckdb.connect(str(final), read_only=True)
    except duckdb.IOException as error:
        raise InputError(
            f"{final}: another program has it open for writing; close that program and try again"
        ) from error


def _is_current(path: Path, fingerprint: str) -> bool:
    if not path.is_file():
        return False
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            return connection.execute("SELECT fingerprint FROM built_from").fetchall() == [(fingerprint,)]
    except duckdb.Error:
        return False


def describe() -> str:
    """All tables with their columns, from the Arrow metadata, and all views with their first comment line."""
    lines: list[str] = []
    for table in TABLES.values():
        lines += ["", f"{table.name} ({table.stage}): {table.meaning}", f"  key: {', '.join(table.key)}"]
        for column in table.schema:
            about = {key.decode(): value.decode() for key, value in (column.metadata or {}).items()}
            unit = f" [{about['unit']}]" if about.get("unit") else ""
            null = ", may be null" if column.nullable else ""
            lines.append(f"  {column.name}: {column.type}{null}{unit} - {about['meaning']}")
    lines += ["", "views"]
    lines += [f"  {path.stem}: {path.read_text().splitlines()[0].lstrip('- ')}" for path in sorted(VIEWS.glob("*.sql"))]
    return "\n".join(lines).strip()
