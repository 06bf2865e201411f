"""Rows that one set of tasks writes and the next reads in another order: files of rows, cut into slices.

Every task writes its rows to a file, sorted by slice. A task of the next step reads the same few slices of all files,
so it has all rows of some hash or track, and no others. Tasks may run again, or on other machines with the same folder.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import numpy as np

SLICE_BITS = 12
SLICES = 1 << SLICE_BITS
START = np.dtype("<i8")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Another name to write to; the file gets its own name when it is complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    yield temporary
    temporary.replace(path)


def write_slices(path: Path, rows: np.ndarray, slices: np.ndarray) -> np.ndarray:
    """Write rows (N,); `slices` is the slice of each, 0 to SLICES - 1. Returns rows per slice, int64 (SLICES,)."""
    counts = np.bincount(slices, minlength=SLICES)
    order = np.argsort(slices.astype(np.uint16), kind="stable")  # a radix sort
    with whole_file(path) as unfinished, unfinished.open("wb") as file:
        np.concatenate([[0], counts.cumsum()]).astype(START).tofile(file)
        rows.take(order).tofile(file)
    return counts


def read_slices(paths: Iterable[Path], slices: range, dtype: np.dtype) -> np.ndarray:
    """The rows of these slices in all files, (N,) of `dtype`."""
    parts = [np.empty(0, dtype)]
    for path in sorted(paths):
        with path.open("rb", buffering=0) as file:
            first, end = (int(_read(file, START, 1, START.itemsize * at)[0]) for at in (slices.start, slices.stop))
            parts.append(_read(file, dtype, end - first, START.itemsize * (SLICES + 1) + dtype.itemsize * first))
    return np.concatenate(parts)


def _read(file: FileIO, dtype: np.dtype, count: int, place: int) -> np.ndarray:
    file.seek(place)
    return np.fromfile(file, dtype, count)


def spans(counts: np.ndarray, max_rows: int) -> list[range]:
    """Ranges of slices that have all rows: at most `max_rows` in each, unless a single slice has more."""
    ranges, start, rows = [], 0, 0
    for number, count in enumerate(counts.tolist()):
        if rows and rows + count > max_rows:
            ranges.append(range(start, number))
            start, rows = number, 0
        rows += count
    return [*ranges, range(start, len(counts))] if rows else ranges
