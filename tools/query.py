"""SQL over the tables of a data folder: `python -m tools.query "FROM session_summary"`.

The views of the tables, and what becomes of an answer, are in tools/answers.
"""

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from pipelines.engine.errors import exit_on_input_error
from schemas import TABLES
from tools.answers.answer import Answer, computed
from tools.answers.programs import print_csv, print_json, print_jsonl
from tools.answers.table import print_table
from tools.answers.views import (
    DATABASE,
    VIEWS,
    build,
    connect,
    damaged,
    describe,
    tables_of,
    view_sources,
    view_statements,
)
from wanstreamer.errors import InputError


@contextmanager
def answer_to(data: Path, sql: str) -> Iterator[Answer]:
    """The answer to one SQL statement, to be read in the block. Raises InputError for SQL that cannot run."""
    with connect(data) as connection:
        try:
            statements = connection.extract_statements(sql)
            if len(statements) != 1:
                raise InputError(f"SQL: {len(statements)} statements; expected one")
            try:
                relation = computed(connection, lambda: connection.sql(_without_end(sql)))
            except (RuntimeError, UnicodeDecodeError) as error:  # DuckDB met a name that is no text
                raise damaged(data, error) from error
            if relation is None:  # a statement that returns nothing, such as SET
                relation = connection.sql("SELECT true AS success WHERE false")
            yield Answer(connection=connection, relation=relation)
        except duckdb.Error as error:
            raise InputError(_explained(data, str(error))) from error


def query(data: Path, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of one SQL statement: for small answers. Raises InputError for SQL that cannot run."""
    with answer_to(data, sql) as answer:
        return [column.name for column in answer.columns()], answer.rows()


def _without_end(sql: str) -> str:
    """The statement without the semicolon and the comments after it: DuckDB puts it into parentheses."""
    content = sql.encode()  # the tokens' places are those of bytes
    end = len(content)
    for place, kind in reversed(duckdb.tokenize(sql)):
        if kind != duckdb.token_type.comment and content[place : place + 1] != b";":
            break
        end = place
    return content[:end].decode()


def _explained(data: Path, message: str) -> str:
    missing = re.search(r"Table with name (\w+) does not exist", message)
    if missing:
        name = missing[1].lower()
        view = VIEWS / f"{name}.sql"
        lacking = (
            sorted(tables_of(view) - set(view_sources(data))) if view.is_file() else [name] if name in TABLES else []
        )
        if lacking:
            stages = ", ".join(dict.fromkeys(TABLES[table].stage for table in lacking))
            return f"{name}: needs {', '.join(lacking)}, not yet in {data / 'tables'}; run {stages} first"
        if view.is_file():
            stages = ", ".join(dict.fromkeys(TABLES[table].stage for table in sorted(tables_of(view))))
            return f"{name}: the tables in {data / 'tables'} lack a column that it needs; run {stages} again"
    first, *rest = [line.strip() for line in message.splitlines() if line.strip()]
    hint = next((line for line in rest if line.startswith(("Did you mean", "Candidate"))), "")
    return f"SQL: {first} {hint}".strip() + " (--tables lists tables and columns)"


def print_answer(data: Path, sql: str, form: str = "table", limit: int | None = None) -> None:
    """Print the answer, or its first `limit` rows, while the query runs: as `table`, `csv`, `json` or `jsonl`."""
    with answer_to(data, sql) as answer:
        if form == "table":
            print_table(answer, limit)
        else:
            {"csv": print_csv, "json": print_json, "jsonl": print_jsonl}[form](answer.first(limit))
    sys.stdout.flush()


def write_parquet(data: Path, sql: str, path: Path, limit: int | None = None) -> int:
    """Write the answer, or its first `limit` rows, to a Parquet file; returns the number of rows."""
    with answer_to(data, sql) as answer:
        return answer.first(limit).write_parquet(path)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.query", description="Run an SQL statement on the tables of a data folder."
    )
    parser.add_argument("sql", nargs="?", help='one SQL statement, for example "FROM session_summary"')
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    parser.add_argument("--build", action="store_true", help=f"only make the views, <data>/{DATABASE}")
    parser.add_argument("--tables", action="store_true", help="print the meaning of all tables, columns and views")
    parser.add_argument(
        "--limit", type=int, metavar="N", help="at most N rows (default: all; a table on a terminal: 1000)"
    )
    form = parser.add_mutually_exclusive_group()
    for name, about in (
        ("csv", "print CSV with a header"),
        ("json", "print a list of objects"),
        ("jsonl", "print an object per line"),
    ):
        form.add_argument(f"--{name}", action="store_const", const=name, dest="form", default="table", help=about)
    form.add_argument("--parquet", type=Path, metavar="FILE", help="write a Parquet file")
    args = parser.parse_args(arguments)
    with exit_on_input_error():
        try:
            run(args)
        except KeyboardInterrupt:
            _forget_stdout()
            print("query: stopped", file=sys.stderr)
            sys.exit(130)
        except BrokenPipeError:
            raise
        except OSError as error:  # a full disk, a folder without permission to write
            if not error.filename:
                _forget_stdout()
            raise InputError(f"{error.filename or 'stdout'}: {error.strerror}") from error


def run(args: argparse.Namespace) -> None:
    if args.tables:
        print(describe())
    elif args.build:
        path = build(args.data)
        absent = sorted(set(TABLES) - set(view_sources(args.data)))
        print(f"{path}: {len(view_statements(args.data))} views" + _note(absent))
    elif not args.sql:
        raise InputError('expected an SQL statement; for example: python -m tools.query "FROM session_summary"')
    elif args.limit is not None and args.limit < 0:
        raise InputError(f"--limit {args.limit}: expected 0 or more")
    elif args.parquet:
        num_rows = write_parquet(args.data, args.sql, args.parquet, args.limit)
        print(f"{args.parquet}: {num_rows} row{'' if num_rows == 1 else 's'}", file=sys.stderr)
    else:
        print_answer(args.data, args.sql, args.form, args.limit)


def _forget_stdout() -> None:
    """What cannot be written is dropped. Python would print an error again when it flushes at exit."""
    with suppress(OSError):  # a notebook's stdout is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _note(absent: Sequence[str]) -> str:
    return f"; left out, as their tables do not exist yet: {', '.join(absent)}" if absent else ""


if __name__ == "__main__":
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (`| head`) has stopped
        _forget_stdout()
        sys.exit(1)
