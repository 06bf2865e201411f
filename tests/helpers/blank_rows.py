"""Rows of any table for tests that need only some of its columns."""

from typing import Any

import pyarrow as pa

from schemas import TABLES


def blank_row(table: str, **known: Any) -> dict[str, Any]:
    """A row with only `known` filled in: nulls where they may be, else an empty value."""
    row: dict[str, Any] = {}
    for column in TABLES[table].fields:
        lists, text, truth = (test(column.type) for test in (pa.types.is_list, pa.types.is_string, pa.types.is_boolean))
        empty: Any = [] if lists else "" if text else False if truth else 0
        row[column.name] = known.get(column.name, None if column.nullable else empty)
    return row
