"""An answer -> a table on stdout, for people. It is printed while the query runs: the first rows decide the widths."""

import shutil
import sys
from array import array
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc
from rich.cells import cell_len

from tools.answers.answer import Answer, Column
from tools.answers.programs import FLOATS, NUMBERS, joined_bytes, write_bytes

MEASURED_ROWS = 1000  # a later cell that is wider than these moves the rest of its row to the right
TERMINAL_ROWS = 1000  # no one reads more; a pipe or a file gets all rows
BETWEEN = "  "  # two columns
# Control characters in someone's data must not steer the terminal. A cell may have several lines.
ESCAPED = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) != "\n"}


def print_table(answer: Answer, limit: int | None) -> None:
    """Print the rows, or the first `limit`; on a terminal, if there is no limit, the first TERMINAL_ROWS.

    The number of rows is printed on stderr.
    """
    on_terminal = sys.stdout.isatty()
    most = TERMINAL_ROWS if limit is None and on_terminal else limit
    columns = answer.columns()
    layout, num_rows = None, 0
    sys.stdout.flush()
    # One row more than is printed shows whether there are more.
    read = answer if most is None else answer.first(most + 1)
    with closing(read.batches(*map(_text, columns))) as batches:  # type: ignore[type-var]
        for batch in batches:
            printed = batch if most is None else batch.slice(0, most - num_rows)
            texts = [_visible(own) for own in printed.columns]
            if layout is None:
                layout = _measured(columns, texts, on_terminal)
                layout.print_header()
            layout.print_rows(texts, num_rows)
            num_rows += batch.num_rows
    if layout is None:
        _measured(columns, [_strings([]) for _ in columns], on_terminal).print_header()
    sys.stdout.flush()
    if most is not None and num_rows > most and limit is None:
        total = answer.count()
        print(
            f"{most} of {total} rows; --limit {total} prints all of them, --csv and --parquet FILE are for programs",
            file=sys.stderr,
        )
    else:
        num_rows = num_rows if most is None else min(num_rows, most)
        print(f"{num_rows} row{'' if num_rows == 1 else 's'}", file=sys.stderr)


@dataclass(frozen=True, kw_only=True)
class Layout:
    columns: Sequence[Column]
    widths: Sequence[int]  # in places of the terminal
    as_blocks: bool  # the terminal is too narrow: one value per line

    def print_header(self) -> None:
        if not self.as_blocks:
            rule = BETWEEN.join("─" * width for width in self.widths)
            _print(f"{self._line([column.name for column in self.columns])}\n{rule}\n")

    def print_rows(self, texts: Sequence[pa.Array], num_before: int) -> None:
        """`texts`: the texts of each column. `num_before`: how many rows have been printed."""
        if self.as_blocks:
            rows = zip(*(own.to_pylist() for own in texts), strict=True)
            _print("".join(self._block(row, number) for number, row in enumerate(rows, num_before + 1)))
        elif all(_is_plain(own) for own in texts):
            padded = [
                (pc.ascii_lpad if _is_number(column) else pc.ascii_rpad)(own, width)
                for column, own, width in zip(self.columns, texts, self.widths, strict=True)
            ]
            nothing, end, between = _strings(["", "\n", BETWEEN])
            lines = pc.ascii_rtrim_whitespace(pc.binary_join_element_wise(*padded, between))
            write_bytes(joined_bytes(pc.binary_join_element_wise(lines, nothing, end)))
        else:
            rows = zip(*(own.to_pylist() for own in texts), strict=True)
            _print("".join(f"{self._lines(row)}\n" for row in rows))

    def _line(self, row: Iterable[str]) -> str:
        cells = zip(self.columns, self.widths, row, strict=True)
        return BETWEEN.join(_padded(text, width, _is_number(column)) for column, width, text in cells).rstrip(" ")

    def _lines(self, row: Sequence[str]) -> str:
        """A row whose cells may have several lines."""
        if not any("\n" in text for text in row):
            return self._line(row)
        cells = [text.split("\n") for text in row]
        height = max(map(len, cells))
        return "\n".join(
            self._line(line) for line in zip(*(lines + [""] * (height - len(lines)) for lines in cells), strict=True)
        )

    def _block(self, row: Sequence[str], number: int) -> str:
        """A row with a line per value."""
        name_width = max(cell_len(column.name) for column in self.columns)
        indented = "\n" + " " * name_width + BETWEEN
        lines = [f"row {number} ".ljust(40, "─")]
        for column, text in zip(self.columns, row, strict=True):
            lines.append(_padded(column.name, name_width) + BETWEEN + text.replace("\n", indented))
        return "\n".join(lines) + "\n"


def _measured(columns: Sequence[Column], texts: Sequence[pa.Array], on_terminal: bool) -> Layout:
    widths = [
        max(_width(text) for text in (column.name, *own[:MEASURED_ROWS].to_pylist()))
        for column, own in zip(columns, texts, strict=True)
    ]
    total = sum(widths) + len(BETWEEN) * (len(widths) - 1)
    too_narrow = on_terminal and total > shutil.get_terminal_size().columns
    return Layout(columns=columns, widths=widths, as_blocks=too_narrow)


def _text(column: Column) -> str:
    """SQL for what is printed: floats with four digits, nothing for NULL."""
    text = f"format('{{:.4g}}', {column.sql}::DOUBLE)" if column.kind.id in FLOATS else f"{column.sql}::VARCHAR"
    return f"coalesce({text}, '')"


def _is_number(column: Column) -> bool:
    return column.kind.id in NUMBERS


def _is_plain(texts: pa.Array) -> bool:
    """Whether every character takes one place."""
    return bool(pc.all(pc.ascii_is_printable(texts), min_count=0).as_py())


def _visible(texts: pa.Array) -> pa.Array:
    texts = texts.cast(pa.string())
    return texts if _is_plain(texts) else _strings([text.translate(ESCAPED) for text in texts.to_pylist()])


def _strings(texts: Sequence[str]) -> pa.StringArray:
    """As `pa.array`, which imports pandas and takes a second for it."""
    contents = [text.encode() for text in texts]
    offsets = array("i", accumulate(map(len, contents), initial=0))
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(contents)))


def _width(text: str) -> int:
    return len(text) if text.isascii() and "\n" not in text else max(map(cell_len, text.split("\n")))


def _padded(text: str, width: int, right: bool = False) -> str:
    space = " " * (width - (len(text) if text.isascii() else cell_len(text)))
    return space + text if right else text + space


def _print(text: str) -> None:
    write_bytes(text.encode(sys.stdout.encoding or "utf-8", errors="replace"))
