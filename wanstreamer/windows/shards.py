"""Window shards -> arrays: samples read by byte range, checked, and put side by side as they lie in the tar.

All windows of a folder have equal shapes, so the members of every sample's tar lie at the same offsets. A batch of
samples is therefore one array of records whose fields are the members' data, and no window has to be parsed. For each
sample, its tar and npy headers are compared with the expected ones. A sample with another layout (a name too long for a
plain tar header, members in another order) is parsed by the standard library.
"""

import io
import math
import os
import tarfile
from collections.abc import Sequence
from contextlib import closing, suppress
from types import TracebackType
from typing import Any

import numpy as np

from wanstreamer.errors import InputError
from wanstreamer.windows.manifest import FIELDS, Windows, explained, uses_fsspec

try:  # the same checksum, many times as fast (extra `fast`)
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

TAR_BLOCK_BYTES = 512
# A tar header: its name; the rest is equal in all samples, except the checksum, which covers the name.
NAME_BYTES = 100
CHECKSUM = slice(148, 156)
MAX_OPEN_SHARDS = 256  # on most systems, a process may have 1024 files open


class ShardReader:
    """Reads samples of `windows`; keeps the last used shards open. For one thread or process.

    Attributes:
        record_dtype: Fields as in `FIELDS`, at the offsets that their data have among a sample's tar members.
    """

    def __init__(self, windows: Windows) -> None:
        self.windows = windows
        self.record_dtype, self._headers = _layout(windows.manifest.field_shapes)
        self._header_slices = [
            part
            for start, header in self._headers
            for part in (slice(start, start + CHECKSUM.start), slice(start + CHECKSUM.stop, start + len(header)))
        ]
        self._around_key: dict[int, list[bytes]] = {}  # by length of the key
        self._files: dict[str, io.FileIO] = {}

    def __enter__(self) -> "ShardReader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        while self._files:
            self._files.popitem()[1].close()

    def announce(self, indices: Sequence[int]) -> None:
        """Let the kernel fetch the samples from a local disk ahead of `read`: otherwise every random read waits."""
        if uses_fsspec(self.windows.manifest.folder) or not hasattr(os, "posix_fadvise"):
            return
        for row in (self.windows.rows[index] for index in indices):
            with suppress(OSError):  # `read` will report it
                descriptor = self._open(row["shard"]).fileno()
                os.posix_fadvise(descriptor, row["offset"], row["num_bytes"], os.POSIX_FADV_WILLNEED)

    def read(self, indices: Sequence[int], records: np.ndarray) -> None:
        """Fill `records` (contiguous, `record_dtype`, one per index) with the samples at `indices` of the split.

        Raises InputError naming shard and sample if bytes are missing, damaged, pickled or not of the format.
        """
        rows = [self.windows.rows[index] for index in indices]
        rooms = [room.data for room in records.view(np.uint8).reshape(len(rows), self.record_dtype.itemsize)]
        fetched = self._fetch_remote(rows) if uses_fsspec(self.windows.manifest.folder) else [None] * len(rows)
        for place, (row, room, content) in enumerate(zip(rows, rooms, fetched, strict=True)):
            sample = self._read_local(row, room) if content is None else memoryview(content)
            if len(sample) < row["num_bytes"]:
                raise InputError(
                    f"{self._where(row)}: damaged ({len(sample)} of {row['num_bytes']} bytes are left); delete the "
                    "shard and run the pack stage again"
                )
            if crc32(sample) != row["crc32"]:
                raise InputError(
                    f"{self._where(row)}: damaged (checksum differs); delete the shard and run the pack stage again"
                )
            if self._as_expected(sample, row["window_id"]):
                if content is not None:
                    room[:] = sample
            else:
                for name, array in self._parse(sample, row).items():
                    records[name][place] = array

    def _where(self, row: dict[str, Any]) -> str:
        return f"{self.windows.manifest.folder / row['shard']}: sample {row['window_id']}"

    def _open(self, name: str) -> io.FileIO:
        file = self._files.pop(name, None)
        if file is None:
            if len(self._files) == MAX_OPEN_SHARDS:
                self._files.pop(next(iter(self._files))).close()
            file = io.FileIO(self.windows.manifest.folder / name)
        self._files[name] = file  # moved to the end: the first one of the dictionary was used least recently
        return file

    def _read_local(self, row: dict[str, Any], room: memoryview) -> memoryview:
        """The sample's bytes, in `room` if they fit; fewer bytes if the shard ends early."""
        if row["num_bytes"] != len(room):
            room = memoryview(bytearray(row["num_bytes"]))
        try:
            file = self._open(row["shard"])
            file.seek(row["offset"])
            return room[: file.readinto(room)]
        except OSError as error:
            raise InputError(
                f"{self._where(row)}: cannot be read ({error.strerror}); run the pack stage again"
            ) from error

    def _fetch_remote(self, rows: Sequence[dict[str, Any]]) -> list[bytes]:
        """The samples' bytes, requested together."""
        folder: Any = self.windows.manifest.folder
        paths = [(folder / row["shard"]).path for row in rows]
        ends = [row["offset"] + row["num_bytes"] for row in rows]
        with explained(folder):
            fetched = folder.fs.cat_ranges(paths, [row["offset"] for row in rows], ends, on_error="return")
        for row, content in zip(rows, fetched, strict=True):
            if isinstance(content, FileNotFoundError):
                raise InputError(f"{self._where(row)}: no such file; run the pack stage again") from content
            if isinstance(content, Exception):
                with explained(self._where(row)):
                    raise content
        return list(fetched)

    def _as_expected(self, content: memoryview, window_id: str) -> bool:
        """Whether tar and npy headers are as expected, so that the fields lie at the offsets of `record_dtype`."""
        if len(content) != self.record_dtype.itemsize:
            return False
        key = window_id.encode()
        if len(key) not in self._around_key:
            self._around_key[len(key)] = _around_key(self._headers, len(key))
        headers = b"".join([content[part] for part in self._header_slices])
        return headers == key.join(self._around_key[len(key)])

    def _parse(self, content: memoryview, row: dict[str, Any]) -> dict[str, np.ndarray]:
        where, sample = self._where(row), {}
        try:
            with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as members:
                for member in members:
                    name = member.name.removeprefix(row["window_id"] + ".").removesuffix(".npy")
                    file = members.extractfile(member)
                    if file is None or name not in FIELDS:
                        raise InputError(f"{where}: unexpected member {member.name}; run the pack stage again")
                    sample[name] = np.load(io.BytesIO(file.read()), allow_pickle=False)
        except InputError:
            raise
        except (tarfile.TarError, ValueError, EOFError) as error:
            raise InputError(
                f"{where}: not readable as npy members of a tar ({error}); run the pack stage again"
            ) from error
        for name, (dtype, _) in FIELDS.items():
            if name not in sample:
                raise InputError(f"{where}: field {name} is missing; run the pack stage again")
            array, shape = sample[name], self.windows.manifest.field_shapes[name]
            if array.dtype != dtype or array.shape != shape:
                actual, wanted = f"{array.dtype} {list(array.shape)}", f"{dtype} {list(shape)}"
                raise InputError(f"{where}: field {name} is {actual}, expected {wanted}; run the pack stage again")
        return sample


def load_sample(windows: Windows, index: int) -> dict[str, np.ndarray]:
    """One window: field -> array as on disk (`FIELDS`). Raises InputError like `ShardReader.read`."""
    with closing(ShardReader(windows)) as reader:
        records = np.empty(1, reader.record_dtype)
        reader.read([index], records)
    return {name: records[name][0].copy() for name in FIELDS}


def _layout(field_shapes: dict[str, tuple[int, ...]]) -> tuple[np.dtype, list[tuple[int, bytes]]]:
    """The offsets of a packed sample's data; and each member's first byte and its headers, for a name without key."""
    offsets, headers, end = {}, [], 0
    for name in sorted(FIELDS):
        dtype, shape = np.dtype(FIELDS[name][0]), field_shapes[name]
        npy = io.BytesIO()
        described: Any = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(npy, described)
        member = tarfile.TarInfo(f".{name}.npy")
        member.size, member.mode = len(npy.getvalue()) + dtype.itemsize * math.prod(shape), 0o644
        header = member.tobuf(tarfile.PAX_FORMAT) + npy.getvalue()
        headers.append((end, header))
        offsets[name] = end + len(header)
        end += TAR_BLOCK_BYTES + member.size + -member.size % TAR_BLOCK_BYTES
    names = sorted(FIELDS)
    formats = [(FIELDS[name][0], field_shapes[name]) for name in names]
    record: Any = {"names": names, "formats": formats, "offsets": [offsets[name] for name in names], "itemsize": end}
    return np.dtype(record), headers


def _around_key(headers: Sequence[tuple[int, bytes]], key_bytes: int) -> list[bytes]:
    """The parts before, between and after the samples' key in the joined headers without checksums."""
    parts = [b""]
    for _, header in headers:
        parts.append(header[: NAME_BYTES - key_bytes] + header[NAME_BYTES : CHECKSUM.start] + header[CHECKSUM.stop :])
    return parts
