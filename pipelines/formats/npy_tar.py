"""Tars of npy arrays whose shapes are known before their content: written and read in pieces, in any order.

An hour of latents need not fit into memory, and tracks encoded side by side fill their members in turns. Equal arrays
are equal bytes: members sorted by name, nothing of clock or user.
"""

import io
import math
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

BLOCK_BYTES = 512
NAME_BYTES = 100  # of a name in a header


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an array lies in a tar."""

    path: Path
    offset: int  # bytes from the start of the file to the array's first number
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """Of one index of the first dimension."""
        return self.dtype.itemsize * math.prod(self.shape[1:])

    def mapped(self) -> np.ndarray:
        """The array; its rows are read when they are used. Raises ValueError where the file ends before it does."""
        if self.path.stat().st_size < self.offset + self.shape[0] * self.row_bytes:
            raise ValueError(f"{self.path}: ends before row {self.shape[0]}")
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)


class Writer:
    """Fills the arrays of one tar."""

    def __init__(self, fd: int, places: Mapping[str, Place]) -> None:
        self.fd, self.places = fd, places

    def write(self, name: str, start: int, rows: np.ndarray) -> None:
        """Put rows of the member's dtype and shape at [start, start + len(rows))."""
        place = self.places[name]
        if rows.shape[1:] != place.shape[1:] or start + len(rows) > place.shape[0]:
            raise ValueError(f"{name} {place.shape}: given {rows.shape} at {start}")
        content = memoryview(np.ascontiguousarray(rows, place.dtype).data).cast("B")
        offset = place.offset + start * place.row_bytes
        while content:  # the system may write less than it is given
            written = os.pwrite(self.fd, content, offset)
            content, offset = content[written:], offset + written


@contextmanager
def npy_tar(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str) -> Iterator[Writer]:
    """A new tar of arrays of these shapes; zeros where nothing is written."""
    places: dict[str, Place] = {}
    with path.open("wb") as file:
        for name in sorted(shapes):
            shape = tuple(shapes[name])
            head = npy_head(shape, dtype)
            array_bytes = np.dtype(dtype).itemsize * math.prod(shape)
            file.write(tar_head(name, len(head) + array_bytes) + head)
            at = file.tell()
            places[name] = Place(path=path, offset=at, dtype=np.dtype(dtype), shape=shape)
            file.seek(at + array_bytes + padding(len(head) + array_bytes))
        end = file.tell() + 2 * BLOCK_BYTES
        file.truncate(end + -end % tarfile.RECORDSIZE)
        file.flush()
        yield Writer(file.fileno(), places)


def find_member(path: Path, name: str) -> Place:
    """Where the member lies. Raises KeyError or tarfile.TarError for what is no such tar."""
    with tarfile.open(path, mode="r:") as tar:
        info = tar.getmember(name)
        file = tar.extractfile(info)
        if file is None:
            raise KeyError(f"{path}: {name} is no file")
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{path}: {name} is npy of version {version}")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if fortran or dtype.hasobject:
            raise ValueError(f"{path}: {name} is not an array of numbers in C order")
        return Place(path=path, offset=info.offset_data + file.tell(), dtype=dtype, shape=shape)


def member_bytes(name: str, array: np.ndarray) -> bytes:
    """The npy member whole, as tarfile and numpy would write it at several times the cost."""
    head = npy_head(array.shape, array.dtype.str)
    size = len(head) + array.nbytes
    return b"".join((tar_head(name, size), head, array.tobytes(), bytes(padding(size))))


@cache
def npy_head(shape: tuple[int, ...], dtype: str) -> bytes:
    """What stands before the numbers in an npy file."""
    head = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, described)
    return head.getvalue()


def tar_head(name: str, size: int) -> bytes:
    """The header of a plain file: no owner, no time."""
    written = name.encode()
    if len(written) > NAME_BYTES or not name.isascii():
        return _member(name, size).tobuf(tarfile.PAX_FORMAT)
    nameless, byte_sum = _nameless_head(size)
    return b"".join(
        (written.ljust(NAME_BYTES, b"\0"), nameless[:48], b"%06o\0 " % (byte_sum + sum(written)), nameless[56:])
    )


def padding(size: int) -> int:
    """Bytes from the end of a member to the next block."""
    return -size % BLOCK_BYTES


@cache
def _nameless_head(size: int) -> tuple[bytes, int]:
    """A header from behind the name on, and the sum of its bytes with blanks for the sum itself (POSIX ustar)."""
    rest = _member("", size).tobuf(tarfile.USTAR_FORMAT)[NAME_BYTES:]
    return rest, sum(rest) - sum(rest[48:56]) + 8 * ord(" ")


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member
