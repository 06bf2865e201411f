"""Removes rows from a manifest of recordings: CSV, JSON lines or Parquet, on disk or in an object store.

The remaining rows of CSV and JSON lines do not change in any byte: quotes, line ends, order of columns. A Parquet file
keeps its schema.
"""

import csv
import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.engine.files import replace_file
from pipelines.engine.remote import is_remote_uri, reachable
from wanstreamer.errors import InputError

BOM = b"\xef\xbb\xbf"
Condition = Callable[[Mapping[str, Any]], bool]


def drop_rows(manifest: Path, drops: Condition) -> int:
    """Rewrite a manifest, completely or not at all, without the rows for which `drops` is true; returns their number.

    Raises InputError if the file does not have its format, or cannot be read or written.
    """
    try:
        with reachable(manifest):
            content = manifest.read_bytes()
        rest, count = without_rows(content, manifest.suffix, drops)
        if count:
            _write(manifest, rest)
    except (OSError, ValueError, pa.ArrowException) as error:
        if isinstance(error, InputError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise InputError(f"{manifest}: could not be rewritten ({reason}); remove the person's rows by hand") from error
    return count


def without_rows(content: bytes, suffix: str, drops: Condition) -> tuple[bytes, int]:
    """The content of a manifest without the dropped rows, and the number of dropped rows."""
    if suffix == ".csv":
        return _csv(content, drops)
    if suffix == ".jsonl":
        lines = content.splitlines(keepends=True)
        stay = [line for line in lines if not line.strip() or not drops(json.loads(line))]
        return b"".join(stay), len(lines) - len(stay)
    if suffix == ".parquet":
        return _parquet(content, drops)
    raise InputError(f"manifest {suffix}: expected .csv, .jsonl or .parquet")


def _csv(content: bytes, drops: Condition) -> tuple[bytes, int]:
    """A quoted field may contain commas and line ends, so the CSV reader decides at which line each row ends."""
    mark = BOM if content.startswith(BOM) else b""
    lines = list(io.StringIO(content.removeprefix(mark).decode(), newline=""))
    reader = csv.reader(lines)
    columns = next(reader, [])
    end = reader.line_num
    stay, count = lines[:end], 0
    for fields in reader:
        start, end = end, reader.line_num
        if fields and drops(dict(zip(columns, fields, strict=False))):
            count += 1
        else:
            stay += lines[start:end]
    return mark + "".join(stay).encode(), count


def _parquet(content: bytes, drops: Condition) -> tuple[bytes, int]:
    table = pq.read_table(pa.BufferReader(content))
    stays = [not drops(row) for row in table.to_pylist()]
    rest = table.filter(pa.array(stays, pa.bool_()))
    for place, column in enumerate(table.schema):
        if pa.types.is_dictionary(column.type):  # a dictionary would keep values that no row uses any more
            values = rest.column(place).cast(column.type.value_type).combine_chunks()
            rest = rest.set_column(place, column, values.dictionary_encode().cast(column.type))
    out = io.BytesIO()
    pq.write_table(rest, out, compression="zstd")
    return out.getvalue(), stays.count(False)


def _write(manifest: Path, content: bytes) -> None:
    if is_remote_uri(manifest):
        with reachable(manifest):
            manifest.write_bytes(content)  # a store replaces the whole object
        return
    final = manifest.resolve()  # the file itself, not a link to it
    temporary = final.with_name(f".{final.name}.tmp")
    temporary.write_bytes(content)
    shutil.copymode(final, temporary)
    replace_file(temporary, final)
