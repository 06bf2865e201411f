"""The queries of the report -> their answers for one data folder.

A query may have several parts, joined by a line `UNION ALL`, with a column `step` that orders them. Parts that read a
table or a file that is not there yet are left out, and the answer says so.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from schemas import TABLES
from tools.answers.answer import computed
from tools.answers.views import VIEWS, connect, tables_of, view_sources
from wanstreamer.errors import InputError

SQL = Path(__file__).parent / "sql"
STEP = "step"


class Query(NamedTuple):
    """A query of the report. `meaning`: the comment at its beginning."""

    name: str
    meaning: str
    parts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer to one query. `sql` is what was run; empty: nothing could be."""

    name: str
    sql: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    missing: tuple[str, ...]  # tables, views and files that parts of the query need

    def row(self) -> dict[str, Any]:
        """The only row of a query that has one; empty if it could not be run."""
        return dict(zip(self.columns, self.rows[0], strict=True)) if self.rows else {}


@cache
def queries() -> Mapping[str, Query]:
    """All queries of the report, by name."""
    return {path.stem: _query(path) for path in sorted(SQL.glob("*.sql"))}


def _query(path: Path) -> Query:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    comment = [line for line in lines if line.startswith("--")]
    body = "\n".join(lines[len(comment) :])
    meaning = " ".join(line.removeprefix("--").strip() for line in comment)
    return Query(path.stem, meaning, tuple(re.split(r"\nUNION ALL\n", body.strip())))


def answers(data: Path, *, cpu_hour: float = 0.0, advance: Callable[[], object] = lambda: None) -> dict[str, Answer]:
    """The answers to all queries. `cpu_hour`: price of a core for an hour; `advance` is called after each query.

    Raises InputError for a folder without any table.
    """
    found = {}
    with connect(data) as connection:
        known = set(view_sources(data))
        for name, query in queries().items():
            found[name] = _answer(connection, data, query, known, cpu_hour)
            advance()
    return found


def _answer(
    connection: duckdb.DuckDBPyConnection, data: Path, query: Query, known: set[str], cpu_hour: float
) -> Answer:
    folder = re.sub(r"[*?[]", r"[\g<0>]", str(data)).replace("'", "''")  # in patterns of files, within quotes
    parts, missing = [], []
    for part in query.parts:
        text = part.replace("{data}", folder).replace("{cpu_hour}", f"{cpu_hour:g}")
        lacking = [*(_tables(part) - known), *_files_missing(data, part)]
        if lacking:
            missing += lacking
        else:
            parts.append(text)
    if not parts:
        return Answer(name=query.name, sql="", columns=(), rows=(), missing=tuple(dict.fromkeys(missing)))
    sql = "\nUNION ALL\n".join(parts)
    if len(query.parts) > 1:
        indented = sql.replace("\n", "\n    ")
        sql = f"SELECT * EXCLUDE ({STEP})\nFROM (\n    {indented}\n)\nORDER BY {STEP}"
    try:
        relation = connection.sql(sql)
        rows = computed(connection, relation.fetchall)
    except duckdb.Error as error:
        first = str(error).splitlines()[0]
        raise InputError(
            f"{data}: the figure {query.name} cannot be computed ({first}); its tables may be of an older version: "
            "run the stages again"
        ) from error
    return Answer(
        name=query.name,
        sql=sql,
        columns=tuple(relation.columns),
        rows=tuple(rows),
        missing=tuple(dict.fromkeys(missing)),
    )


def _tables(sql: str) -> set[str]:
    """The tables that a query reads, itself or through views."""
    names = set(re.findall(r"\b(?:FROM|JOIN)\s+(\w+)", re.sub(r"--.*", "", sql)))
    through = {table for name in names if (view := VIEWS / f"{name}.sql").is_file() for table in tables_of(view)}
    return (names & set(TABLES)) | through


def _files_missing(data: Path, sql: str) -> Sequence[str]:
    patterns = re.findall(r"'\{data\}/([^']+)'", sql)
    return [pattern for pattern in patterns if next(data.glob(pattern), None) is None]


def stages_of(missing: Sequence[str]) -> list[str]:
    """The stages that make what is missing, in their order."""
    stages = {TABLES[name].stage if name in TABLES else _stage_of_file(name) for name in missing}
    order = [*dict.fromkeys(table.stage for table in TABLES.values()), "vae"]
    return [stage for stage in order if stage in stages and stage != "all"]


def _stage_of_file(pattern: str) -> str:
    """state/pack/b=*.parquet -> pack"""
    folder, _, rest = pattern.partition("/")
    return rest.partition("/")[0] if folder == "state" else {"models": "vae", "tables": "ingest"}.get(folder, "")
