"""The list of sessions, and queries over all of them.

DuckDB holds one row per session in memory, and views of the tables. Before any query runs, the connection is closed to
everything but the folder of tables, and its settings are locked. What people hid is out of its reach: the views have no
words and no speaker ids of them. The list is made again when a table has changed.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from pipelines.engine.tables import table_folder
from schemas import TABLES
from tools.answers.answer import quoted
from tools.answers.views import view_statements
from tools.show.condition import LIST, check_condition, first_line, statement_of
from tools.show.finds import FIGURES, FINDS, JOINED, Figure, Find
from wanstreamer.errors import InputError

QUERY_S = 20.0  # a query that takes longer is stopped
MAX_ROWS = 500  # of one answer
CHECK_S = 1.0  # between two looks whether a table has changed
SUMMARY = "session_summary"
ABOUT = {
    "session_id": "one recorded conversation", "split": "train, valid or test", "num_participants": "people",
    "language": "of the manifest", "licence": "of the recordings", "layout": "how the recording holds its people",
    "speakers": "pseudonymous people who are shown", "num_hidden": "people who are not shown",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A closed connection, and what it has."""

    connection: duckdb.DuckDBPyConnection
    version: tuple[int, ...]
    views: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]  # of the list: name, type
    num_sessions: int
    num_unknown: int  # people who are shown though no consent is on record
    num_hidden: int


class Catalog:
    """Queries over all sessions of a folder. Threads may share it. `strict`: see consent.py."""

    def __init__(self, data: Path, *, strict: bool) -> None:
        self.data, self.strict = data, strict
        self._lock = threading.Lock()
        self._checked_s = 0.0
        self._snapshot: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        """The current list. Raises InputError if there is none and none can be made.

        While a stage writes its tables, the last list that could be made is used.
        """
        with self._lock:
            last = self._snapshot
            if last is not None and time.monotonic() - self._checked_s < CHECK_S:
                return last
            version = tables_version(self.data)
            if last is None or last.version != version:
                try:
                    self._snapshot = take_snapshot(self.data, strict=self.strict, version=version)
                except InputError:
                    if last is None:
                        raise
            self._checked_s = time.monotonic()
            assert self._snapshot is not None
            return self._snapshot

    def sessions(
        self, *, where: str, sort: str, desc: bool, offset: int, limit: int
    ) -> tuple[int, list[dict[str, Any]]]:
        """How many sessions meet the condition, and a page of them, sorted. Raises InputError for a bad condition."""
        now = self.snapshot()
        names = [name for name, _ in now.columns]
        if sort not in names:
            raise InputError(f"sort {sort!r}: no such column; expected one of {', '.join(names)}")
        check_condition(now.connection.cursor(), where, now.views)
        chosen = f"SELECT * FROM {LIST} WHERE session_id IN ({statement_of(where)})"
        order = f"ORDER BY {quoted(sort)} {'DESC' if desc else 'ASC'} NULLS LAST, session_id"
        return self._page(now, chosen, order, offset, limit)

    def people(self, session_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Session -> its participants, and whether each is shown."""
        grouped: dict[str, list[dict[str, Any]]] = {}
        with running(self.snapshot().connection) as cursor:
            rows = cursor.execute(
                "SELECT session_id, participant, speaker_id, shown FROM people WHERE list_contains(?, session_id) "
                "ORDER BY session_id, participant",
                [list(session_ids)],
            ).fetchall()
        for session_id, participant, speaker_id, shown in rows:
            grouped.setdefault(session_id, []).append(
                {"participant": participant, "speaker_id": speaker_id, "shown": shown}
            )
        return grouped

    def find(self, name: str, *, where: str, offset: int, limit: int) -> tuple[int, list[dict[str, Any]]]:
        """How many places a "find me" query has, and a page of them. Raises InputError for an unknown query."""
        now = self.snapshot()
        finds = {find.id: find for find in finds_of(now.views)}
        if name not in finds:
            missing = [find for find in FINDS if find.id == name]
            if missing:
                raise InputError(
                    f"find {name}: needs {', '.join(missing[0].tables)}; run the stages that write them first"
                )
            raise InputError(f"find {name!r}: no such query; expected one of {', '.join(finds)}")
        check_condition(now.connection.cursor(), where, now.views)
        chosen = f"SELECT * FROM ({finds[name].sql}\n)"
        if where.strip():
            chosen += f" WHERE session_id IN ({statement_of(where)})"
        return self._page(now, chosen, "ORDER BY session_id, start_ms, end_ms, participant", offset, limit)

    def _page(
        self, now: Snapshot, chosen: str, order: str, offset: int, limit: int
    ) -> tuple[int, list[dict[str, Any]]]:
        limit, offset = max(0, min(limit, MAX_ROWS)), max(0, offset)
        with running(now.connection) as cursor:
            [[total]] = cursor.execute(f"SELECT count(*) FROM ({chosen}\n)").fetchall()
            cursor.execute(f"{chosen} {order} LIMIT {limit} OFFSET {offset}")
            names = [column[0] for column in cursor.description or ()]
            return total, [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def tables_version(data: Path) -> tuple[int, ...]:
    """Changes when a table appears, or when its files are replaced."""
    folders = (table_folder(data, table) for table in TABLES)
    return tuple(folder.stat().st_mtime_ns if folder.is_dir() else 0 for folder in folders)


def finds_of(views: Sequence[str]) -> list[Find]:
    """The "find me" queries whose tables are there."""
    return [find for find in FINDS if set(find.tables) <= set(views)]


def figures_of(now: Snapshot) -> list[Figure]:
    names = {name for name, _ in now.columns}
    return [figure for figure in FIGURES if figure.name in names]


def take_snapshot(data: Path, *, strict: bool, version: tuple[int, ...]) -> Snapshot:
    """Read the list of sessions. Raises InputError if the folder has none, or if a table cannot be read."""
    statements = view_statements(data)
    if missing := [table for table in ("sessions", "tracks") if table not in statements]:
        raise InputError(
            f"{data / 'tables'}: no {' and no '.join(missing)}; run the ingest stage first "
            f"(python -m pipelines.ingest --data {data}), or pass --data with another folder"
        )
    connection = duckdb.connect()
    try:
        return _filled(connection, data, statements, strict, version)
    except duckdb.Error as error:
        connection.close()
        raise InputError(
            f"{data / 'tables'}: {first_line(error)}; a table is damaged or being written: try again, or run the stage "
            "that writes it again"
        ) from error


def _filled(
    connection: duckdb.DuckDBPyConnection,
    data: Path,
    statements: dict[str, str],
    strict: bool,
    version: tuple[int, ...],
) -> Snapshot:
    shown = "consent IS NOT NULL AND list_contains(consent, 'show')" + ("" if strict else " OR consent IS NULL")
    connection.execute(
        "CREATE TABLE people AS SELECT session_id, participant, shown, "
        "CASE WHEN shown THEN speaker_id END AS speaker_id, "
        f"consent IS NOT NULL AS known FROM (SELECT *, ({shown}) AS shown FROM ({statements['tracks']}))"
    )
    connection.execute("CREATE TABLE hidden AS SELECT session_id, participant FROM people WHERE NOT shown")
    views = []
    for name, select in statements.items():
        if name == "people":  # of edited recordings; the table of this name here says who is shown
            continue
        try:
            connection.execute(f"CREATE VIEW {name} AS {_without_hidden(connection, name, select)}")
            views.append(name)
        except duckdb.BinderException:  # of an older version, which lacks a column
            continue
    base = SUMMARY if SUMMARY in views else "(SELECT *, duration_ms / 1000.0 AS duration_s FROM sessions)"
    joins = [f"LEFT JOIN ({sql}) AS j_{table} USING (session_id)" for table, sql in JOINED.items() if table in views]
    connection.execute(
        f"CREATE TABLE {LIST} AS SELECT * FROM {base} {' '.join(joins)} LEFT JOIN (SELECT session_id, "
        "list_sort(list(DISTINCT speaker_id) FILTER (shown)) AS speakers, count(*) FILTER (NOT shown) AS num_hidden "
        "FROM people GROUP BY session_id) USING (session_id)"
    )
    for setting in (
        "temp_directory = ''", f"allowed_directories = ['{_escaped(str(data.resolve() / 'tables'))}/']",
        "autoinstall_known_extensions = false", "autoload_known_extensions = false", "memory_limit = '2GB'",
        "threads = 2", "enable_external_access = false", "lock_configuration = true",
    ):  # fmt: skip
        connection.execute(f"SET {setting}")
    described = connection.execute(f"DESCRIBE {LIST}").fetchall()
    [[num_unknown, num_hidden]] = connection.execute(
        "SELECT count(*) FILTER (shown AND NOT known), count(*) FILTER (NOT shown) FROM people"
    ).fetchall()
    [[num_sessions]] = connection.execute(f"SELECT count(*) FROM {LIST}").fetchall()
    return Snapshot(
        connection=connection, version=version, views=tuple(views), num_sessions=num_sessions,
        columns=tuple((row[0], row[1]) for row in described), num_unknown=num_unknown, num_hidden=num_hidden,
    )  # fmt: skip


def _without_hidden(connection: duckdb.DuckDBPyConnection, name: str, select: str) -> str:
    """The SELECT of a view, without words and ids of people who are not shown."""
    if name not in TABLES:
        return select
    hidden = "(session_id, {who}) IN (SELECT (session_id, participant) FROM hidden)"
    if name in ("words", "sidecar_words"):
        return f"SELECT * FROM ({select}) ANTI JOIN hidden USING (session_id, participant)"
    replaced = {
        "ipus": [("text", "participant")], "tracks": [("speaker_id", "participant")],
        "windows": [("agent_speaker_id", "agent"), ("user_speaker_id", "user")],
    }.get(name, [])  # fmt: skip
    if not replaced:
        return select
    cases = ", ".join(
        f"CASE WHEN {hidden.format(who=who)} THEN NULL ELSE {column} END AS {column}" for column, who in replaced
    )
    return f"SELECT * REPLACE ({cases}) FROM ({select})"


def _escaped(text: str) -> str:
    return text.replace("'", "''")


@contextmanager
def running(connection: duckdb.DuckDBPyConnection, limit_s: float = QUERY_S) -> Iterator[duckdb.DuckDBPyConnection]:
    """A cursor whose queries are stopped after `limit_s`. Raises InputError for a query that fails or is stopped."""
    cursor = connection.cursor()
    timer = threading.Timer(limit_s, cursor.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield cursor
    except duckdb.InterruptException as error:
        raise InputError(
            f"filter: stopped after {limit_s:.0f} s; narrow it down, for example by split or language"
        ) from error
    except duckdb.Error as error:
        raise InputError(f"filter: {first_line(error)}") from error
    finally:
        timer.cancel()
        cursor.close()
