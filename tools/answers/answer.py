"""A DuckDB statement -> its rows, in batches: neither a long query nor a large answer takes memory or blocks Ctrl-C."""

import queue
import signal
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.engine.files import replace_file
from wanstreamer.errors import InputError

BATCH_ROWS = 8192
GROUP_ROWS = 15 * BATCH_ROWS  # of a row group: DuckDB's own number
GROUP_BYTES = 1 << 26

Item = TypeVar("Item")


class Column(NamedTuple):
    name: str  # the name in the answer; it may occur twice
    key: str  # unique: DuckDB adds a number to a name that occurs twice
    kind: Any  # its DuckDB type

    @property
    def sql(self) -> str:
        """The column's value, in an expression."""
        return quoted(self.key)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a statement returns. A SELECT is not computed before its rows are read."""

    connection: duckdb.DuckDBPyConnection
    relation: duckdb.DuckDBPyRelation

    def columns(self) -> list[Column]:
        keys = self.relation.project("*").columns
        return [Column(*column) for column in zip(self.relation.columns, keys, self.relation.types, strict=True)]

    def first(self, num_rows: int | None) -> "Answer":
        """The same answer with at most this many rows; None: all."""
        limited = self.relation if num_rows is None else self.relation.limit(num_rows)
        return Answer(connection=self.connection, relation=limited)

    def batches(self, *expressions: str) -> Generator[pa.RecordBatch, None, None]:
        """One column per SQL expression, at most BATCH_ROWS rows at a time. Close it, if you stop before the end.

        Raises duckdb.Error.
        """
        named = ", ".join(f"{expression} AS column_{number}" for number, expression in enumerate(expressions))

        def read() -> Iterator[pa.RecordBatch]:
            try:
                with self.relation.project(named).arrow(BATCH_ROWS) as reader:
                    yield from reader
            except (OSError, pa.ArrowException) as error:  # how pyarrow reports an error of DuckDB
                raise duckdb.Error(str(error)) from error

        return interruptible(self.connection, read)

    def rows(self) -> list[tuple[Any, ...]]:
        """All rows as Python values: for small answers."""
        return computed(self.connection, self.relation.fetchall)

    def count(self) -> int:
        """The number of rows, without reading them."""
        return int(computed(self.connection, self.relation.aggregate("count(*)").fetchall)[0][0])

    def write_parquet(self, path: Path) -> int:
        """Write the file completely or not at all; returns the number of rows.

        Arrow writes it: a statement of DuckDB 2.0 that writes a Parquet file hangs at times when it is interrupted.

        Raises duckdb.Error, or InputError, also for a column of a type that Arrow cannot write.
        """
        if path.is_dir() or not path.parent.is_dir():
            raise InputError(f"--parquet {path}: expected a file in a folder that exists")
        columns = self.columns()
        with self.relation.limit(0).arrow() as none:
            schema = pa.schema(
                [field.with_name(column.key) for field, column in zip(none.schema, columns, strict=True)]
            )
        for field, column in zip(schema, columns, strict=True):
            if not is_writable(field):
                raise InputError(
                    f"--parquet {path}: {column.name}: {column.kind} has no place in a Parquet file; "
                    f"cast it: {quoted(column.name)}::VARCHAR"
                )
        num_rows = 0
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            finished = Path(folder) / path.name
            with (
                closing(self.batches(*(column.sql for column in columns))) as batches,
                pq.ParquetWriter(finished, schema, compression="zstd") as writer,
            ):
                for group in row_groups(batches):
                    writer.write_table(group.rename_columns(schema.names))
                    num_rows += group.num_rows
            replace_file(finished, path)
        return num_rows


def is_writable(field: pa.Field) -> bool:
    """Whether Arrow can write the column to a Parquet file."""
    try:
        pq.write_table(pa.schema([field]).empty_table(), pa.BufferOutputStream())
    except pa.ArrowNotImplementedError:
        return False
    return True


def row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The batches, as many together as make a row group of a usual size."""
    group: list[pa.RecordBatch] = []
    num_rows = num_bytes = 0
    for batch in batches:
        group.append(batch)
        num_rows, num_bytes = num_rows + batch.num_rows, num_bytes + batch.nbytes
        if num_rows >= GROUP_ROWS or num_bytes >= GROUP_BYTES:
            yield pa.Table.from_batches(group)
            group, num_rows, num_bytes = [], 0, 0
    if group:
        yield pa.Table.from_batches(group)


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def computed(connection: duckdb.DuckDBPyConnection, compute: Callable[[], Item]) -> Item:
    """The result of a call of DuckDB; see `interruptible`."""
    [result] = interruptible(connection, lambda: [compute()])
    return result


def interruptible(
    connection: duckdb.DuckDBPyConnection, produce: Callable[[], Iterable[Item]]
) -> Generator[Item, None, None]:
    """The items of `produce`, which runs in a thread: a thread that waits for DuckDB does not see Ctrl-C.

    If the caller stops before the end, the query is cancelled.
    """
    items: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=2)
    stopped = threading.Event()

    def work() -> None:
        try:
            for item in produce():
                items.put(("item", item))
                if stopped.is_set():
                    break
            items.put(("end", None))
        except BaseException as error:  # raised again by the caller's thread
            items.put(("error", error))

    thread = threading.Thread(target=work, daemon=True)
    try:
        with ctrl_c_at_the_end():
            thread.start()
        while True:
            with ctrl_c_at_the_end() as pressed:
                what, item = _next(items, pressed)
            if what == "end":
                break
            if what == "error":
                raise item
            yield item
    finally:
        with ctrl_c_at_the_end():
            stopped.set()
            while thread.is_alive():
                while not items.empty():  # a full queue would keep the thread from seeing that it must stop
                    items.get_nowait()
                thread.join(0.01)
                if thread.is_alive():
                    connection.interrupt()


def _next(items: "queue.Queue[tuple[str, Any]]", pressed: Sequence[int]) -> tuple[str, Any]:
    while not pressed:
        try:
            return items.get(timeout=0.1)
        except queue.Empty:
            continue
    return "end", None  # the block of `pressed` raises KeyboardInterrupt now


@contextmanager
def ctrl_c_at_the_end() -> Iterator[Sequence[int]]:
    """Ctrl-C in the block takes effect at its end; yields a list that is empty until it is pressed.

    Python's threads and queues are written in Python: an exception inside them leaves their locks broken.
    """
    pressed: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            before(signal.SIGINT, None)
