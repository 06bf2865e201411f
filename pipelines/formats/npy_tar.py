"""Tars of npy arrays with shapes that are known before the content: written and read in pieces, in any order.

An hour of latents does not have to fit into memory, and tracks that are encoded in parallel fill their members in turn.
Equal arrays give equal bytes: members are sorted by name, without time and user.
"""

import hashlib
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
NAME_BYTES = 100  # of the name field in a header
HASHED_BYTES = 1 << 20  # per read


@dataclass(frozen=True, kw_only=True)
class Place:
    """The place of an array in a tar."""

    path: Path
    offset: int  # bytes from the start of the file to the array's first number
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def npy_offset(self) -> int:
        """The first byte of the npy file that holds the array."""
        return self.offset - len(npy_head(self.shape, self.dtype.str))

    @property
    def npy_bytes(self) -> int:
        return self.offset - self.npy_offset + self.shape[0] * self.row_bytes

    def sha256(self) -> str:
        """Of the npy file. Raises ValueError if the file ends before the array."""
        hashed = hashlib.sha256()
        left = self.npy_bytes
        with self.path.open("rb") as file:
            file.seek(self.npy_offset)
            while left:
                block = file.read(min(left, HASHED_BYTES))
                if not block:
                    raise ValueError(f"{self.path}: ends before row {self.shape[0]}")
                hashed.update(block)
                left -= len(block)
        return hashed.hexdigest()

    @property
    def row_bytes(self) -> int:
        """Bytes per index of the first dimension."""
        return self.dtype.itemsize * math.prod(self.shape[1:])

    def mapped(self) -> np.ndarray:
        """The array; its rows are read when they are used. Raises ValueError if the file ends before the array."""
        if self.path.stat().st_size < self.offset + self.shape[0] * self.row_bytes:
            raise ValueError(f"{self.path}: ends before row {self.shape[0]}")
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)


class Writer:
    """Fills the arrays of one tar."""

    def __init__(self, fd: int, places: Mapping[str, Place]) -> None:
        self.fd, self.places = fd, places

    def write(self, name: str, start: int, rows: np.ndarray) -> None:
        """Write rows of the member's dtype and shape to [start, start + len(rows))."""
        place = self.places[name]
        if rows.shape[1:] != place.shape[1:] or start + len(rows) > place.shape[0]:
            raise ValueError(f"{name} {place.shape}: rows of shape {rows.shape} do not fit at {start}")
        content = memoryview(np.ascontiguousarray(rows, place.dtype).data).cast("B")
        offset = place.offset + start * place.row_bytes
        while content:  # the system may write only a part
            written = os.pwrite(self.fd, content, offset)
            content, offset = content[written:], offset + written


@contextmanager
def npy_tar(
    path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str, *, segment: bool = False
) -> Iterator[Writer]:
    """A new tar of arrays with these shapes; they are zero where nothing is written. A `segment` has no end of archive:
    several, one after the other, are a tar."""
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
        end = file.tell() if segment else file.tell() + 2 * BLOCK_BYTES
        file.truncate(end if segment else end + -end % tarfile.RECORDSIZE)
        file.flush()
        yield Writer(file.fileno(), places)


def find_member(path: Path, name: str) -> Place:
    """The place of a member. Raises KeyError, tarfile.TarError or ValueError if the tar or the member is not ours."""
    with tarfile.open(path, mode="r:") as tar:
        info = tar.getmember(name)
        file = tar.extractfile(info)
        if file is None:
            raise KeyError(f"{path}: {name} is not a file")
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{path}: {name} is npy version {version}; expected 1.0")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if fortran or dtype.hasobject:
            raise ValueError(f"{path}: {name} is not an array of numbers in C order")
        return Place(path=path, offset=info.offset_data + file.tell(), dtype=dtype, shape=shape)


def array_at(path: Path, npy_offset: int) -> Place:
    """The place of the array whose npy file begins at this byte. Raises OSError or ValueError if it is not there."""
    with path.open("rb") as file:
        file.seek(npy_offset)
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{path}: npy version {version} at byte {npy_offset}; expected 1.0")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if fortran or dtype.hasobject:
            raise ValueError(f"{path}: not an array of numbers in C order at byte {npy_offset}")
        return Place(path=path, offset=file.tell(), dtype=dtype, shape=shape)


def member_bytes(name: str, array: np.ndarray) -> bytes:
    """The bytes of a whole npy member, as tarfile and numpy would write it, but several times faster."""
    head = npy_head(array.shape, array.dtype.str)
    size = len(head) + array.nbytes
    return b"".join((tar_head(name, size), head, array.tobytes(), bytes(padding(size))))


@cache
def npy_head(shape: tuple[int, ...], dtype: str) -> bytes:
    """The bytes before the numbers in an npy file."""
    head = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, described)
    return head.getvalue()


def tar_head(name: str, size: int) -> bytes:
    """The tar header of a plain file, without owner and time."""
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
    """A header without its name field, and the sum of its bytes with blanks in place of the checksum (POSIX ustar)."""
    rest = _member("", size).tobuf(tarfile.USTAR_FORMAT)[NAME_BYTES:]
    return rest, sum(rest) - sum(rest[48:56]) + 8 * ord(" ")


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member
