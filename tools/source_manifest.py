"""Removes rows from a manifest of recordings: CSV, JSON lines or Parquet, on disk or in an object store.

The remaining rows of CSV and JSON lines do not change in any byte: quotes, line ends, order of columns. A Parquet file
keeps its schema.
"""

import codecs
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.engine.files import replace_file
from pipelines.engine.remote import is_remote_uri, reachable
from pipelines.formats.records import record_values, table_lines, text_records
from wanstreamer.errors import InputError
from wanstreamer.text_files import decode_text

UTF_16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
CONTENT = "content"  # in the place of a file's name in messages
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
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        if isinstance(error, InputError) and not isinstance(error.__cause__, UnicodeDecodeError):
            reason = str(error).removeprefix(CONTENT).lstrip(": ")
        elif error.__cause__:
            reason = type(error.__cause__).__name__
        raise InputError(f"{manifest}: could not be rewritten ({reason}); remove the person's rows by hand") from error
    return count


def without_rows(content: bytes, suffix: str, drops: Condition) -> tuple[bytes, int]:
    """The content of a manifest without the dropped rows, and the number of dropped rows.

    `drops` gets the values of a row as ingest reads them, None for a missing one.
    """
    suffix = suffix.lower()
    if suffix in (".csv", ".jsonl"):
        return _text(content, suffix, drops)
    if suffix == ".parquet":
        return _parquet(content, drops)
    raise InputError(f"manifest {suffix}: expected .csv, .jsonl or .parquet")


def _text(content: bytes, suffix: str, drops: Condition) -> tuple[bytes, int]:
    text = decode_text(content, CONTENT)
    encoding = UTF_16.get(content[:2], "utf-8")
    mark = content[: len(content) - len(text.encode(encoding))]
    dropped = [record for record in text_records(text, suffix, CONTENT) if drops(record.values)]
    gone = {place for record in dropped for place in record.lines}
    stay = [line for place, line in enumerate(table_lines(text, suffix)) if place not in gone]
    return mark + "".join(stay).encode(encoding), len(dropped)


def _parquet(content: bytes, drops: Condition) -> tuple[bytes, int]:
    table = pq.read_table(pa.BufferReader(content))
    stays = [not drops(record_values(row)) for row in table.to_pylist()]
    rest = table.filter(pa.array(stays, pa.bool_()))
    for place, column in enumerate(table.schema):
        if pa.types.is_dictionary(column.type):  # a dictionary would keep values that no row uses any more
            values = rest.column(place).cast(column.type.value_type).combine_chunks()
            rest = rest.set_column(place, column, values.dictionary_encode().cast(column.type))
    out = pa.BufferOutputStream()
    pq.write_table(rest, out, compression="zstd")
    return out.getvalue().to_pybytes(), stays.count(False)


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
