"""Tables that people hand in, CSV, JSON lines or Parquet -> records of columns and values.

Text is stripped. A value that is missing is None: empty, null, NaN, or what programs write for one (`nan`, `<NA>`).
Every problem is an InputError with file, row and column; rows count from 1, without the header.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from wanstreamer.errors import InputError
from wanstreamer.text_files import MARK, decode_text, is_missing, number_of, parse_json, shown

_PANDAS_INDEX = re.compile(r"__index_level_\d+__")
_NULLS = frozenset({"None", "null", "NULL", "NaT"})  # in CSV, which has no nulls, programs write such words for them
_WHOLE_AS_FLOAT = re.compile(r"\d+\.0", re.ASCII)  # how pandas writes whole numbers of a column with missing ones


class Record(NamedTuple):
    """One row. `lines`: the lines of the text that it takes, from 0; none in Parquet."""

    row: int
    values: dict[str, Any]
    lines: range


def read_records(path: Path) -> list[Record]:
    """All rows of a table that hold any value. Raises InputError."""
    suffix = path.suffix.lower()
    content = path.read_bytes()
    if suffix == ".parquet":
        return list(_parquet_records(content, str(path)))
    if suffix not in _TEXT_FORMATS:
        raise InputError(
            f"{path}: expected a manifest that is .csv, .jsonl or .parquet; if this is a recording, name its folder"
        )
    return list(text_records(decode_text(content, str(path)), suffix, str(path)))


def text_records(text: str, suffix: str, where: str) -> Iterator[Record]:
    """The rows of a CSV or JSON lines text; `record.lines` are places in `table_lines(text, suffix)`."""
    return _TEXT_FORMATS[suffix](text, where)


def table_lines(text: str, suffix: str) -> list[str]:
    """The lines of a table with their ends, as its format defines them: joined, they are the text."""
    return list(io.StringIO(text, newline="" if suffix == ".csv" else "\n"))


def plain_text(value: object) -> str:
    """A name or another text, given as text or number. Raises ValueError for other types and for control characters.

    >>> plain_text(7.0), plain_text("anna")
    ('7', 'anna')
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"`{shown(value)}`: expected text")
    text = f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"`{shown(text)}`: has half a letter (a lone surrogate); write it again") from error
    if not isinstance(value, str):
        number_of(value)  # infinity is no name
    if any(ord(letter) < 32 for letter in text):
        raise ValueError(f"`{shown(text)}`: has a control character, such as a line end; remove it")
    return text


def name_text(value: object) -> str:
    """A name or number of a person or session, as `plain_text`; `7.0` is 7, as pandas writes it.

    Raises ValueError also for a text that may stand for a missing value.
    """
    text = plain_text(value).strip()
    if text.lower() in ("na", "n/a", "#n/a"):
        raise ValueError(f"`{text}`: if it is missing, leave the field empty; if it is a name, use another one")
    return text[:-2] if _WHOLE_AS_FLOAT.fullmatch(text) else text


def whole_number(value: object) -> int:
    """A whole number, given as number or text, also as `1200.0`. Raises ValueError."""
    try:
        number = number_of(value)
    except OverflowError:
        number = 0.5
    if not number.is_integer() or abs(number) > 1e15:
        raise ValueError(f"`{shown(value)}`: expected a whole number")
    return int(number)


def _csv_records(text: str, where: str) -> Iterator[Record]:
    """A quoted field may contain commas and line ends."""
    reader = csv.reader(table_lines(text, ".csv"), strict=True)  # strict: an open quote would swallow all that follows
    columns: list[str] | None = None
    row, end = 0, 0
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            place = f"row {row + 1}" if columns else "header"
            raise InputError(
                f"{where} {place} (line {reader.line_num}): not CSV ({error}); correct the quotes"
            ) from error
        if fields is None:
            return
        start, end = end, reader.line_num
        if not fields:
            continue
        if columns is None:
            columns = _columns(fields, where)
            continue
        row += 1
        values = [None if field.strip() in _NULLS else _value(field) for field in fields]
        if not any(value is not None for value in values):
            continue  # spreadsheets write such rows below the table
        if len(values) < len(columns):
            raise InputError(
                f"{where} row {row}: {len(values)} fields, but the header has {len(columns)} columns; add what "
                "is missing, empty fields as commas"
            )
        if any(value is not None for value in values[len(columns) :]):
            raise InputError(
                f"{where} row {row}: more fields than the header has columns; quote fields that hold a comma"
            )
        for column, value in zip(columns, values, strict=False):
            if not column and value is not None:
                raise InputError(
                    f"{where} row {row}: `{shown(value)}` in a column without a name; name the column, or leave it out "
                    "(pandas: to_csv(index=False))"
                )
        named = {column: value for column, value in zip(columns, values, strict=False) if column}
        yield Record(row, named, range(start, end))


def _columns(fields: list[str], where: str) -> list[str]:
    columns = [str(_value(field) or "") for field in fields]
    if len(columns) == 1 and (separator := re.search(r"[;\t|]", columns[0])):
        raise InputError(f"{where}: fields are separated by {separator[0]!r}; expected commas")
    _check_twice(columns, where)
    return columns


def _check_twice(columns: list[str], where: str) -> None:
    for column in columns:
        if column and columns.count(column) > 1:
            raise InputError(f"{where}: has the column `{shown(column)}` twice; remove one of them")


def _json_records(text: str, where: str) -> Iterator[Record]:
    row = 0
    for place, line in enumerate(table_lines(text, ".jsonl")):
        line = line.strip(f" \t\r\n{MARK}")
        if not line:
            continue
        row += 1
        content = parse_json(line, f"{where} row {row}")
        if not isinstance(content, dict):
            raise InputError(
                f'{where} row {row}: `{shown(line)}`: expected an object per line, such as {{"session_id": "s"}}'
            )
        columns = [column.strip() for column in content]
        _check_twice(columns, f"{where} row {row}")
        values = dict(zip(columns, map(_value, content.values()), strict=True))
        yield Record(row, values, range(place, place + 1))


def _parquet_records(content: bytes, where: str) -> Iterator[Record]:
    import pyarrow as pa  # half a second, which checks of parameters do without
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(content))
        names = table.column_names
        rows: list[dict[str, Any]] = table.to_pylist() if len(set(names)) == len(names) else []
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{where}: not a readable parquet file ({type(error).__name__}); write it again") from error
    _check_twice([name.strip() for name in names], where)
    for row, values in enumerate(rows, start=1):
        clean = record_values(values)
        if any(value is not None for value in clean.values()):
            yield Record(row, clean, range(0))


def record_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a row of Parquet, without pandas' index: None for a missing value."""
    return {name.strip(): _value(value) for name, value in row.items() if not _PANDAS_INDEX.fullmatch(name)}


def _value(value: Any) -> Any:
    """The value, or None for a missing one; text without blanks and marks around it."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        value = value.strip().strip(MARK).strip()
    return None if is_missing(value) else value


_TEXT_FORMATS: dict[str, Callable[[str, str], Iterator[Record]]] = {".csv": _csv_records, ".jsonl": _json_records}
