"""Which windows a split has, in which order, and where their bytes lie; looked up when needed, never all in memory.

Sessions are spread over shards. `runs.arrow` has one row per run: consecutive windows of one session in one shard. It
is small, and read when the windows are opened. Beside each shard `0000-<hash>.tar` lies its index `0000-<hash>.arrow`:
one row per window, in the order of the tar. An index is checked against the manifest's hash when it is first used. The
last ones used are held in memory; of the others, single values are read from their place in the file. So a process
holds a few numbers per shard and run, and nothing per window.

The order of the windows is (session_id, agent, user, start_unit). It does not depend on the shards they lie in.
"""

import errno
import hashlib
import os
import re
import struct
import tempfile
import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import pyarrow as pa

from wanstreamer.errors import InputError
from wanstreamer.windows.manifest import Manifest, explained, read_manifest, uses_fsspec

MAX_OPEN_INDEXES = 256  # files; on most systems, a process may have 1024 open
MAX_HELD_BYTES = 16 << 20  # of indexes held in memory: about 100,000 windows
ROWS_PER_LOOK_UP = 1024


DAMAGE = (errno.ENOENT, errno.EIO)  # a file is missing, or the disk cannot read it any more


class Damaged(InputError):
    """Bytes of a window, or of the index that says where they lie, are missing or differ from those written."""


class Place(NamedTuple):
    """Where a window lies. `offset` is -1 if the shard's index is damaged; the loader may skip such a window."""

    shard: str  # below the folder
    offset: int
    num_bytes: int
    crc32: int
    window_id: str
    set: int = 0  # number of the set in a blend (wanstreamer/windows/blend.py)


class Segments(NamedTuple):
    """Stretches of windows that lie in one shard, in the order of the windows: int64 (number of stretches,) each."""

    first: np.ndarray  # index of the first window
    num_windows: np.ndarray
    shard: np.ndarray  # number of the shard in the manifest


class Rows(Sequence[dict[str, Any]]):
    """Rows of windows, made when asked for: every column of the table `windows`.

    `rows[3]` is a dictionary; `rows[3:7]` and `rows.take([3, 5])` are rows again, and copy nothing. `shard` is the
    shard's path below the folder of windows. Any number of threads may read. May be pickled.

    Raises InputError, from every method that reads an index, if that index is missing or damaged.
    """

    def __init__(self, index: "_Index", chosen: "range | np.ndarray") -> None:
        self._index, self._chosen = index, chosen  # the split's windows that these rows are, by number

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, place: slice) -> "Rows": ...
    def __getitem__(self, place: int | slice) -> "dict[str, Any] | Rows":
        if isinstance(place, slice):
            return Rows(self._index, self._chosen[place])
        [shard], [row] = self._index.locate(np.array([self._chosen[place]]))
        return self._index.rows(int(shard), np.array([row]), None)[0]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self.select()

    def take(self, places: Sequence[int]) -> "Rows":
        """The rows at `places`, in this order."""
        return Rows(self._index, self._numbers(places))

    def select(self, *columns: str) -> Iterator[dict[str, Any]]:
        """The rows one after the other, of these columns only (all if none is named)."""
        for start in range(0, len(self), ROWS_PER_LOOK_UP):
            shards, rows = self._index.locate(self._numbers(range(start, min(start + ROWS_PER_LOOK_UP, len(self)))))
            edges = [0, *(np.flatnonzero(np.diff(shards)) + 1).tolist(), len(shards)]
            for first, stop in zip(edges, edges[1:], strict=False):
                yield from self._index.rows(int(shards[first]), rows[first:stop], columns or None)

    def places(self, numbers: Sequence[int], *, skip_damaged: bool = False) -> list[Place]:
        """Where the windows at `numbers` lie. With `skip_damaged`, a damaged index gives places of offset -1."""
        chosen = self._numbers(numbers)
        shards, rows = self._index.locate(chosen)
        return self._index.places(shards.tolist(), rows.tolist(), chosen.tolist(), skip_damaged)

    def of_session(self, session_id: str) -> list[int]:
        """The places of a session's windows among these rows, without a look into any index."""
        first, stop = self._index.of_session(session_id)
        if isinstance(self._chosen, range) and self._chosen.step == 1:
            start = self._chosen.start
            return list(range(max(0, first - start), min(len(self), stop - start)))
        chosen = np.asarray(self._chosen)
        return np.flatnonzero((chosen >= first) & (chosen < stop)).tolist()

    def segments(self) -> Segments:
        """The stretches of these rows that lie in one shard."""
        index, num_windows = self._index, len(self)
        if isinstance(self._chosen, range) and self._chosen == range(len(index)):
            first = index.run_ends - index.run_lengths
            return Segments(first, index.run_lengths, index.run_shards)
        shards = np.concatenate(
            [
                index.locate(self._numbers(range(start, min(start + 65536, num_windows))))[0]
                for start in range(0, num_windows, 65536)
            ]
        )
        first = np.concatenate([[0], np.flatnonzero(np.diff(shards)) + 1])
        return Segments(first, np.diff(first, append=num_windows), shards[first])

    def by_shard(self, *columns: str) -> Iterator[tuple[np.ndarray, pa.Table]]:
        """For each shard: the places among these rows, int64, of those that lie in it, and their `columns`.

        Much faster than `select`, but not in the order of the rows.
        """
        segments = self.segments()
        by_shard = np.argsort(segments.shard, kind="stable")
        cuts = np.flatnonzero(np.diff(segments.shard[by_shard])) + 1
        for of_shard in np.split(by_shard, cuts):
            first, lengths = segments.first[of_shard], segments.num_windows[of_shard]
            ends = np.cumsum(lengths)
            places = np.arange(ends[-1]) + np.repeat(first - (ends - lengths), lengths)
            rows = self._index.locate(self._numbers(places))[1]
            yield places, self._index.table(int(segments.shard[of_shard[0]]), rows, columns)

    def chosen_sha256(self) -> str | None:
        """Hash of which windows of the split these are; None if they are all of them, in order."""
        if isinstance(self._chosen, range) and self._chosen == range(len(self._index)):
            return None
        return hashlib.sha256(np.asarray(self._chosen).astype("<i8").tobytes()).hexdigest()

    def _numbers(self, places: "Sequence[int] | np.ndarray") -> np.ndarray:
        """The numbers in the split, int64, of the windows at `places` among these rows."""
        wanted = np.asarray(places, dtype=np.int64)
        if wanted.size and not -len(self) <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"rows {wanted.min()} to {wanted.max()} of {len(self)}")
        wanted = np.where(wanted < 0, wanted + len(self), wanted)
        if isinstance(self._chosen, range):
            return self._chosen.start + self._chosen.step * wanted
        return self._chosen[wanted]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The windows of one split, or some of them, sorted by (session_id, agent, user, start_unit)."""

    manifest: Manifest
    split: str
    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: slice | Sequence[int]) -> "Windows":
        """The windows at `places`."""
        rows = self.rows[places] if isinstance(places, slice) else self.rows.take(places)
        return replace(self, rows=rows)

    @property
    def content_sha256(self) -> str:
        """Hash of the windows, whatever shards they lie in: of the whole split, and of which ones of it these are."""
        whole, chosen = self.manifest.content_sha256[self.split], self.rows.chosen_sha256()
        return whole if chosen is None else hashlib.sha256(f"{whole} {chosen}".encode()).hexdigest()


def open_windows(folder: str | Path, split: str) -> Windows:
    """The windows of one split (train, valid or test); no window is read yet.

    Raises InputError for a folder without a valid manifest or runs, or a split without windows.
    """
    manifest = read_manifest(folder)
    if split not in manifest.content_sha256:
        splits = ", ".join(sorted(manifest.content_sha256)) or "none"
        raise InputError(
            f"{manifest.folder / 'manifest.json'}: no windows of split {split!r} (splits found: {splits}); add "
            "sessions and run the pack stage again"
        )
    index = _Index(manifest, _read_runs(manifest), split)
    return Windows(manifest=manifest, split=split, rows=Rows(index, range(len(index))))


def _read_runs(manifest: Manifest) -> pa.Table:
    path = manifest.folder / "runs.arrow"
    try:
        with explained(path):
            content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({type(error).__name__}); run the pack stage again") from error
    if hashlib.sha256(content).hexdigest() != manifest.runs_sha256:
        raise InputError(
            f"{path}: not the runs that the manifest names; packing was interrupted, or the file is damaged: run the "
            "pack stage again"
        )
    return pa.ipc.open_file(pa.BufferReader(content)).read_all()


class _Held(NamedTuple):
    """An index in memory: the file, and its rows, which lie in it."""

    content: bytes
    table: pa.RecordBatch


class _Columns(NamedTuple):
    """Where the columns that `Place` needs begin in an index file."""

    offset: int
    num_bytes: int
    crc32: int
    id_ends: int  # int32: where each window_id begins and ends in the text below
    id_text: int


class _Index:
    """The runs of one split, and the indexes of their shards, opened when needed. All rows of the split share it."""

    def __init__(self, manifest: Manifest, runs: pa.Table, split: str) -> None:
        self.folder = manifest.folder
        self.shards = [(shard["path"], shard["index_sha256"]) for shard in manifest.shards]
        splits = runs["split"].combine_chunks()
        of_split = np.flatnonzero(_numbers(splits.indices) == splits.dictionary.to_pylist().index(split))
        runs = runs.slice(of_split[0], len(of_split))  # the runs are sorted by split
        self.session_ids = runs["session_id"].combine_chunks()
        self.run_lengths = _numbers(runs["num_windows"].combine_chunks())
        self.run_shards = _numbers(runs["shard"].combine_chunks())
        self.run_first_rows = _numbers(runs["first_row"].combine_chunks())
        self.run_ends = np.cumsum(self.run_lengths)
        self._open()

    def _open(self) -> None:
        self._lock = threading.RLock()
        self._columns: dict[int, _Columns] = {}  # of the indexes that were checked
        self._damaged: dict[int, str] = {}  # shard -> message; not read again
        self._files: OrderedDict[int, int] = OrderedDict()  # shard -> descriptor; the last one was used last
        self._held: OrderedDict[int, _Held] = OrderedDict()
        self._copies: tempfile.TemporaryDirectory[str] | None = None  # indexes of a folder that fsspec opens

    def __len__(self) -> int:
        return int(self.run_ends[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # bound here: at the end, `os` may be gone
        for descriptor in getattr(self, "_files", {}).values():
            close(descriptor)

    def locate(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(shard, row in its index) of windows of the split."""
        runs = np.searchsorted(self.run_ends, numbers, side="right")
        into_run = numbers - (self.run_ends[runs] - self.run_lengths[runs])
        return self.run_shards[runs], self.run_first_rows[runs] + into_run

    def of_session(self, session_id: str) -> tuple[int, int]:
        """The first window of a session, and the one after its last; equal if the split has none of it."""
        first_run = bisect_left(self.session_ids, session_id, key=_value)
        stop_run = bisect_right(self.session_ids, session_id, key=_value)
        if first_run == stop_run:
            return 0, 0
        return int(self.run_ends[first_run] - self.run_lengths[first_run]), int(self.run_ends[stop_run - 1])

    def rows(self, shard: int, rows: np.ndarray, columns: Sequence[str] | None) -> list[dict[str, Any]]:
        with self._lock:
            table = (self._held.get(shard) or self._load(shard)).table
            if shard in self._held:
                self._held.move_to_end(shard)
        path = self.shards[shard][0]
        stored = table if columns is None else table.select([name for name in columns if name != "shard"])
        taken = stored.take(pa.array(rows.tolist(), pa.int64())).to_pylist()
        if columns is None or "shard" in columns:
            for row in taken:
                row["shard"] = path
        return taken

    def table(self, shard: int, rows: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """These rows of a shard's index, of these columns; text that repeats is a dictionary."""
        with self._lock:
            table = (self._held.get(shard) or self._load(shard)).table
        return pa.Table.from_batches([table.select(list(columns)).take(pa.array(rows, pa.int64()))])

    def places(
        self, shards: Sequence[int], rows: Sequence[int], numbers: Sequence[int], skip_damaged: bool
    ) -> list[Place]:
        places = []
        with self._lock:
            if uses_fsspec(self.folder):
                self._copy_to_disk(sorted({shard for shard in shards if shard not in self._columns}))
            for shard, row, number in zip(shards, rows, numbers, strict=True):
                try:
                    places.append(self._place(shard, row))
                except Damaged:
                    if not skip_damaged:
                        raise
                    session_id = self.session_ids[int(np.searchsorted(self.run_ends, number, side="right"))].as_py()
                    places.append(Place(self.shards[shard][0], -1, 0, 0, f"{session_id}-unknown-{row:06d}"))
        return places

    def _place(self, shard: int, row: int) -> Place:
        if shard in self._damaged:
            raise Damaged(self._damaged[shard])
        if shard not in self._columns:
            self._load(shard)
        columns = self._columns[shard]
        try:
            read = self._reader(shard)
            numbers = b"".join([read(8, start + 8 * row) for start in columns[:3]]) + read(8, columns.id_ends + 4 * row)
            if len(numbers) < 32:
                raise self._damage(shard, "it ends too early")
            offset, num_bytes, crc32, start, stop = struct.unpack("<qqqii", numbers)
            window_id = read(stop - start, columns.id_text + start)
        except OSError as error:
            raise self._failure(shard, error) from error
        if len(window_id) < stop - start:
            raise self._damage(shard, "it ends too early")
        return Place(self.shards[shard][0], offset, num_bytes, crc32, window_id.decode(errors="replace"))

    def _reader(self, shard: int) -> Callable[[int, int], bytes]:
        """A function (number of bytes, first byte) -> bytes of the index: from memory, or else from the file."""
        held = self._held.get(shard)
        if held is None:
            return partial(os.pread, self._descriptor(shard))
        self._held.move_to_end(shard)
        content = held.content
        return lambda num_bytes, start: content[start : start + num_bytes]

    def _descriptor(self, shard: int) -> int:
        descriptor = self._files.pop(shard, None)
        if descriptor is None:
            if len(self._files) == MAX_OPEN_INDEXES:
                os.close(self._files.popitem(last=False)[1])
            descriptor = os.open(self._path_on_disk(shard), os.O_RDONLY)
        self._files[shard] = descriptor
        return descriptor

    def _load(self, shard: int) -> _Held:
        """Read an index and compare it with the manifest's hash; it is held in memory for a while."""
        content = self._content(shard)
        held = _Held(content, self._checked(shard, content))
        self._held[shard] = held
        held_bytes = sum(len(other.content) for other in self._held.values())
        while held_bytes > MAX_HELD_BYTES:
            held_bytes -= len(self._held.popitem(last=False)[1].content)
        return held

    def _content(self, shard: int) -> bytes:
        """The index file; one that fsspec opens is copied to a local disk first, and stays there."""
        if uses_fsspec(self.folder):
            self._copy_to_disk([shard])
        try:
            return self._path_on_disk(shard).read_bytes()
        except OSError as error:
            raise self._failure(shard, error) from error

    def _checked(self, shard: int, content: bytes) -> pa.RecordBatch:
        """The rows of an index, compared with the manifest's hash; where its columns begin is remembered."""
        if hashlib.sha256(content).hexdigest() != self.shards[shard][1]:
            raise self._damage(shard, "not the index that the manifest names")
        stored = pa.py_buffer(content)
        table = pa.ipc.open_file(stored).get_batch(0)

        def begin(column: str, buffer: int) -> int:  # the file is not compressed: its bytes are those in memory
            return int(table.column(column).buffers()[buffer].address - stored.address)

        self._columns[shard] = _Columns(
            begin("offset", 1), begin("num_bytes", 1), begin("crc32", 1), begin("window_id", 1), begin("window_id", 2)
        )
        return table

    def _path_on_disk(self, shard: int) -> Path:
        if self._copies is not None:
            return Path(self._copies.name) / str(shard)
        return Path(self._name(shard))

    def _copy_to_disk(self, shards: Sequence[int]) -> None:
        """Copy the indexes of these shards from a store, all at once. One that is not there is left out."""
        if self._copies is None:
            self._copies = tempfile.TemporaryDirectory(prefix="wanstreamer-indexes-")
        folder: Any = self.folder
        wanted = [shard for shard in shards if not self._path_on_disk(shard).exists()]
        paths = {shard: (folder / index_path(self.shards[shard][0])).path for shard in wanted}
        with explained(self.folder):
            literal = [re.sub(r"[*?[]", r"[\g<0>]", path) for path in paths.values()]  # `cat` takes paths for patterns
            contents = folder.fs.cat(literal, on_error="return") if paths else {}
        for shard, path in paths.items():
            content = contents.get(path, FileNotFoundError())
            if isinstance(content, FileNotFoundError):
                continue
            if isinstance(content, Exception):
                with explained(self._name(shard)):
                    raise content
            self._path_on_disk(shard).write_bytes(content)

    def _name(self, shard: int) -> Any:
        return self.folder / index_path(self.shards[shard][0])

    def _failure(self, shard: int, error: OSError) -> InputError:
        if error.errno in DAMAGE:
            return self._damage(shard, str(error.strerror))
        return InputError(f"{self._name(shard)}: cannot be read ({error.strerror})")

    def _damage(self, shard: int, why: str) -> Damaged:
        self._damaged[shard] = (
            f"{self._name(shard)}: damaged ({why}); delete it and {self.shards[shard][0]}, and run the pack stage again"
        )
        return Damaged(self._damaged[shard])


def _numbers(column: pa.Int32Array) -> np.ndarray:
    """The column as int64. `to_numpy` would import pandas where it is installed: seconds and 50 MB."""
    values = np.frombuffer(column.buffers()[1], np.int32)
    return values[column.offset : column.offset + len(column)].astype(np.int64)


def _value(scalar: pa.Scalar) -> Any:
    return scalar.as_py()


def index_path(shard: str) -> str:
    """Where the index of a shard lies, from the shard's path."""
    return shard.removesuffix(".tar") + ".arrow"
