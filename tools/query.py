"""SQL over the tables of a data folder, through DuckDB views: `python -m tools.query "FROM session_summary"`.

`<data>/wanstreamer.duckdb` holds views only: one per existing table, `rejections` over all stages, and those of
schemas/views. The views read the Parquet files by absolute path: answers come from the current files, and do not depend
on the current folder. The database is made again when a table appears or disappears, a view changes or the folder has
moved.
"""

import argparse
import csv
import hashlib
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.tables import check_data_folder, data_folder_near
from schemas import TABLES
from wanstreamer.errors import InputError

VIEWS = Path(__file__).resolve().parent.parent / "schemas" / "views"
DATABASE = "wanstreamer.duckdb"


def table_files(data: Path) -> dict[str, str]:
    """Table name -> what its view reads: one Parquet file or all of a folder. Tables without files are left out."""
    home = data.resolve() / "tables"
    files = {name: str(home / f"{name}.parquet") for name in TABLES if (home / f"{name}.parquet").is_file()}
    if any((home / "rejections").glob("*.parquet")):
        files["rejections"] = str(home / "rejections" / "*.parquet")
    return files


def view_statements(data: Path) -> dict[str, str]:
    """View name -> its SELECT, for every view whose tables exist."""
    statements = {name: f"SELECT * FROM read_parquet({_quoted(path)})" for name, path in table_files(data).items()}
    for path in sorted(VIEWS.glob("*.sql")):
        if _needs(path) <= set(statements):
            statements[path.stem] = path.read_text(encoding="utf-8").strip()
    return statements


def _needs(path: Path) -> set[str]:
    """The tables a view reads."""
    text = re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
    return {name for name in re.findall(r"\b(?:FROM|JOIN)\s+(\w+)", text) if name in TABLES}


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def build(data: Path) -> Path:
    """Write the database of views; the old one stays until the new one is complete. Returns its path."""
    statements = _checked(data)
    final = data.resolve() / DATABASE
    temporary = final.with_name(f".{DATABASE}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        with duckdb.connect(str(temporary)) as connection:
            for name, select in statements.items():
                connection.execute(f"CREATE VIEW {name} AS {select}").fetchall()
            fingerprint = _fingerprint(statements)
            connection.execute(f"CREATE VIEW built_from AS SELECT '{fingerprint}' AS fingerprint").fetchall()
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)
    return final


def _checked(data: Path) -> dict[str, str]:
    check_data_folder(data)
    statements = view_statements(data)
    if not statements:
        if near := data_folder_near(data):
            raise InputError(f"{data}: no tables in it; the data folder is {near}: pass --data {near}")
        raise InputError(f"{data}: no tables in it; run the pipeline first (make repro) or pass --data DIR")
    return statements


def _fingerprint(statements: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(statements, sort_keys=True).encode()).hexdigest()


def connect(data: Path) -> duckdb.DuckDBPyConnection:
    """The database of views, read only. If it is missing or out of date, it is made first."""
    final = data.resolve() / DATABASE
    if not _is_current(final, _fingerprint(_checked(data))):
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


def query(data: Path, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of one SQL statement. Raises InputError, one line, for SQL that cannot run."""
    with connect(data) as connection:
        try:
            count = len(connection.extract_statements(sql))
            if count != 1:
                raise InputError(f"SQL: {count} statements; expected one")
            answer = connection.execute(sql)
            rows = answer.fetchall()
            return [column[0] for column in answer.description or ()], rows
        except duckdb.Error as error:
            raise InputError(_explained(data, str(error))) from error


def _explained(data: Path, message: str) -> str:
    missing = re.search(r"Table with name (\w+) does not exist", message)
    if missing:
        name = missing[1].lower()
        view = VIEWS / f"{name}.sql"
        lacking = sorted(_needs(view) - set(table_files(data))) if view.is_file() else [name] if name in TABLES else []
        if lacking:
            stages = ", ".join(dict.fromkeys(TABLES[table].stage for table in lacking))
            return f"{name}: needs {', '.join(lacking)}, not yet in {data / 'tables'}; run {stages} first"
    first, *rest = [line.strip() for line in message.splitlines() if line.strip()]
    hint = next((line for line in rest if line.startswith(("Did you mean", "Candidate"))), "")
    return f"SQL: {first} {hint}".strip() + " (--tables lists tables and columns)"


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


def print_rows(names: Sequence[str], rows: Sequence[tuple[Any, ...]], form: str) -> None:
    """`table` for people, `json` (a list of objects) and `csv` for programs."""
    if form == "json":
        print(json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=1, default=str))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
    else:
        from rich import box
        from rich.console import Console
        from rich.table import Table

        table = Table(box=box.SIMPLE)
        for i, name in enumerate(names):
            numeric = any(isinstance(row[i], int | float) for row in rows)
            table.add_column(name, justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*("" if value is None else _shown(value) for value in row))
        console = Console(markup=False)
        # A file or pipe has no width: nothing is folded there.
        wide = Console(width=10_000, markup=False)
        if not console.is_terminal:
            wide.print(table)
        elif wide.measure(table).maximum <= console.width:
            console.print(table)
        else:  # too wide for the terminal: one value per line
            for number, row in enumerate(rows, 1):
                block = Table.grid("name", "value", padding=(0, 2))
                for name, value in zip(names, row, strict=True):
                    block.add_row(name, "" if value is None else _shown(value))
                console.rule(f"row {number}", align="left")
                console.print(block)
        print(f"{len(rows)} row{'' if len(rows) == 1 else 's'}", file=sys.stderr)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.query", description="Run an SQL statement on the tables of a data folder."
    )
    parser.add_argument("sql", nargs="?", help='one SQL statement, for example "FROM session_summary"')
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    parser.add_argument("--build", action="store_true", help=f"only make the views, <data>/{DATABASE}")
    parser.add_argument("--tables", action="store_true", help="print the meaning of all tables, columns and views")
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--json", action="store_const", const="json", dest="form", default="table", help="print a list of objects"
    )
    form.add_argument("--csv", action="store_const", const="csv", dest="form", help="print CSV with a header")
    args = parser.parse_args(arguments)
    with exit_on_input_error():
        if args.tables:
            print(describe())
        elif args.build:
            path = build(args.data)
            absent = sorted(set(TABLES) - set(table_files(args.data)))
            print(f"{path}: {len(view_statements(args.data))} views" + _note(absent))
        elif not args.sql:
            raise InputError('expected an SQL statement; for example: python -m tools.query "FROM session_summary"')
        else:
            print_rows(*query(args.data, args.sql), args.form)


def _note(absent: Sequence[str]) -> str:
    return f"; left out, as their tables do not exist yet: {', '.join(absent)}" if absent else ""


if __name__ == "__main__":
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (`| head`) has stopped. Python would print an error again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
