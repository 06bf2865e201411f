"""An SQL condition that a user typed -> an error, or nothing: it may read the views of the data folder, nothing else.

DuckDB parses the condition; the tree is checked. The connection that runs it is closed to files as well (catalog.py).
"""

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

import duckdb

from wanstreamer.errors import InputError

MAX_CHARACTERS = 4000
LIST = "session_list"  # the table with one row per session
TABLE_KINDS = ("BASE_TABLE", "SUBQUERY", "JOIN", "EXPRESSION_LIST", "EMPTY", "EMPTY_FROM")
# No scalar function of DuckDB reads files today; extensions and later versions might.
FORBIDDEN = re.compile(
    r"^(read_|write_|glob$|getenv|current_setting|query|pragma|duckdb_|set_|nextval|currval|http|sniff)"
)
EXPECTED = "expected an SQL condition on a session, such as: interruptions > 3 AND language = 'en'"


def statement_of(condition: str) -> str:
    """The statement that finds the sessions of a condition; empty: all sessions."""
    return f"SELECT session_id FROM {LIST}" + (f" WHERE ({condition}\n)" if condition.strip() else "")


def check_condition(connection: duckdb.DuckDBPyConnection, condition: str, views: Collection[str]) -> None:
    """Raises InputError for a condition that is none, or that reads anything but `views` and the list of sessions."""
    if len(condition) > MAX_CHARACTERS:
        raise InputError(f"filter: {len(condition)} characters; expected at most {MAX_CHARACTERS}")
    if "\0" in condition:
        raise InputError(f"filter: a NUL character; {EXPECTED}")
    try:
        [[text]] = connection.execute("SELECT json_serialize_sql(?)", [statement_of(condition)]).fetchall()
    except duckdb.Error as error:
        raise InputError(f"filter: {first_line(error)}; {EXPECTED}") from error
    tree = json.loads(text)
    if tree["error"]:
        raise InputError(f"filter: {tree['error_message']}; {EXPECTED}")
    [statement] = tree["statements"] if len(tree["statements"]) == 1 else [None]
    node = (statement or {}).get("node", {})
    if node.get("type") != "SELECT_NODE" or node.get("modifiers"):
        raise InputError(f"filter {condition!r}: more than a condition; {EXPECTED}")
    nodes = list(_dicts(tree))
    known = {name.lower() for name in views} | {LIST} | _names_of_ctes(nodes)
    for each in nodes:
        _check_node(each, known)


def first_line(error: BaseException) -> str:
    """The first line of DuckDB's message, and its hint."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    hint = next((line for line in lines[1:] if line.startswith(("Did you mean", "Candidate"))), "")
    return f"{lines[0] if lines else type(error).__name__} {hint}".strip()


def _check_node(node: dict[str, Any], known: Collection[str]) -> None:
    kind = node.get("type")
    if isinstance(kind, str) and "class" not in node and "modifiers" not in node and "sample" in node:
        if kind not in TABLE_KINDS:
            raise InputError(
                f"filter: {_named(node)} may not be used; a filter reads the views of the data folder only"
            )
        if kind == "BASE_TABLE":
            name = str(node.get("table_name", "")).lower()
            if node.get("schema_name") or node.get("catalog_name") or name not in known:
                raise InputError(
                    f"filter: {node.get('table_name')!r} is no view of the data folder; "
                    "`python -m tools.query --tables` lists them"
                )
    if node.get("class") == "FUNCTION" and FORBIDDEN.match(str(node.get("function_name", "")).lower()):
        raise InputError(f"filter: {node['function_name']} may not be used; a filter reads the views only")


def _named(node: dict[str, Any]) -> str:
    function = node.get("function")
    name = function.get("function_name") if isinstance(function, dict) else None
    return str(name or node.get("type", "")).lower()


def _names_of_ctes(nodes: Collection[dict[str, Any]]) -> set[str]:
    entries = (entry for node in nodes if "cte_map" in node for entry in node["cte_map"].get("map", []))
    return {str(entry["key"]).lower() for entry in entries if isinstance(entry, dict) and "key" in entry}


def _dicts(tree: Any) -> Iterator[dict[str, Any]]:
    pending = [tree]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            yield item
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
