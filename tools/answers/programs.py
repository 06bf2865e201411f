"""An answer -> CSV, a JSON list of objects, or JSON lines, on stdout. DuckDB makes the text, Python prints it."""

import csv
import io
import sys
from collections.abc import Iterable
from contextlib import closing
from typing import Any

import pyarrow as pa

from tools.answers.answer import Answer, Column, quoted

FLOATS = ("float", "double")
NUMBERS = (
    *FLOATS, "decimal", "tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger",
    "ubigint", "uhugeint",
)  # fmt: skip
NESTED = ("list", "array", "struct", "tuple", "map", "union")


def print_csv(answer: Answer) -> None:
    """With a header. NULL is nothing, an empty text is "", a list or struct is JSON."""
    columns = answer.columns()
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow([column.name for column in columns])
    sys.stdout.write(header.getvalue())
    fields = [_csv_field(column) for column in columns]
    if len(fields) == 1:  # most readers skip an empty line, and would lose the row
        fields = [f"coalesce({fields[0]}, '\"\"')"]
    _print_texts(answer, f"concat({_joined(fields)}, chr(10))")


def print_json(answer: Answer) -> None:
    """A list of objects, one per line. NaN and infinity are null."""
    sys.stdout.write("[")
    num_rows = _print_texts(answer, f"concat(',', chr(10), {_json_object(answer.columns())})", skip=len(","))
    sys.stdout.write("\n]\n" if num_rows else "]\n")


def print_jsonl(answer: Answer) -> None:
    """An object per line."""
    _print_texts(answer, f"concat({_json_object(answer.columns())}, chr(10))")


def _print_texts(answer: Answer, expression: str, skip: int = 0) -> int:
    """Print the text of each row, the first one without `skip` bytes; returns the number of rows."""
    sys.stdout.flush()
    num_rows = 0
    with closing(answer.batches(expression)) as batches:  # type: ignore[type-var]
        for batch in batches:
            if batch.num_rows:
                write_bytes(joined_bytes(batch.column(0))[0 if num_rows else skip :])
                num_rows += batch.num_rows
    return num_rows


def joined_bytes(texts: pa.Array) -> memoryview:
    """All texts of an array, one after the other, as Arrow has them in memory."""
    _, offsets, content = texts.cast(pa.string()).buffers()
    bounds = memoryview(offsets).cast("B").cast("i")
    return memoryview(content)[bounds[texts.offset] : bounds[texts.offset + len(texts)]]


def write_bytes(content: bytes | memoryview) -> None:
    """Print all of it: an unbuffered stdout (python -u) may take a part at a time, a notebook's takes text only."""
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:
        sys.stdout.write(str(content, "utf-8"))
        return
    left = memoryview(content)
    while left:
        left = left[binary.write(left) :]


def _joined(fields: Iterable[str]) -> str:
    return ", ',', ".join(fields)


def _csv_field(column: Column) -> str:
    """SQL for a field of CSV, quoted if needed."""
    if column.kind.id in NUMBERS:
        return f"{column.sql}::VARCHAR"
    value = f"to_json({_finite(column.sql, column.kind)})" if column.kind.id in NESTED else column.sql
    text = f"{value}::VARCHAR"
    needs_quotes = f"{text} = '' OR regexp_matches({text}, '[\",\\r\\n]')"
    return f"CASE WHEN {needs_quotes} THEN concat('\"', replace({text}, '\"', '\"\"'), '\"') ELSE {text} END"


def _json_object(columns: Iterable[Column]) -> str:
    """SQL for a JSON object with a key per column."""
    fields = [f"{quoted(column.key)} := {_finite(column.sql, column.kind)}" for column in columns]
    return f"to_json(struct_pack({', '.join(fields)}))"


def _finite(value: str, kind: Any, depth: int = 0) -> str:
    """SQL for the value with NULL for NaN and infinity: JSON has neither, but `to_json` writes them."""
    item = f"item_{depth}"  # of a list or map

    def inner(part: str, part_kind: Any) -> str:
        return _finite(part, part_kind, depth + 1)

    if not _has_floats(kind):
        return value
    if kind.id in FLOATS:
        return f"CASE WHEN isfinite({value}) THEN {value} END"
    if kind.id in ("list", "array"):
        return f"list_transform({value}, lambda {item}: {inner(item, kind.children[0][1])})"
    if kind.id == "map":
        part = inner(f"{item}.value", kind.children[1][1])
        entries = f"list_transform(map_entries({value}), lambda {item}: struct_pack(k := {item}.key, v := {part}))"
        return f"map_from_entries({entries})"
    if kind.id == "struct" and all(name for name, _ in kind.children):
        fields = [f"{quoted(name)} := {inner(f'({value}).{quoted(name)}', part)}" for name, part in kind.children]
        return f"CASE WHEN {value} IS NOT NULL THEN struct_pack({', '.join(fields)}) END"
    return f"{value}::VARCHAR"  # a rare type, such as a union: its text


def _has_floats(kind: Any) -> bool:
    if kind.id in NESTED:
        return any(hasattr(part, "id") and _has_floats(part) for _, part in kind.children)
    return kind.id in FLOATS
