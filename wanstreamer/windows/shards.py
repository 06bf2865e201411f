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
from wanstreamer.windows.index import DAMAGE, Damaged, Place, Windows
from wanstreamer.windows.manifest import FIELDS, Manifest, explained, uses_fsspec

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
    """Reads samples of a folder of windows; keeps the last used shards open. For one thread or process.

    Args:
        manifest: Of the folder.
        skip_damaged: Whether a damaged or missing sample is masked instead of raising `Damaged`.

    Attributes:
        record_dtype: Fields as in `FIELDS`, at the offsets that their data have among a sample's tar members.
    """

    def __init__(self, manifest: Manifest, *, skip_damaged: bool = False) -> None:
        self.manifest, self.skip_damaged = manifest, skip_damaged
        self.record_dtype, self._headers = _layout(manifest.field_shapes)
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

    def announce(self, places: Sequence[Place]) -> None:
        """Let the kernel fetch the samples from a local disk ahead of `read`: otherwise every random read waits."""
        if uses_fsspec(self.manifest.folder) or not hasattr(os, "posix_fadvise"):
            return
        for place in places:
            with suppress(OSError):  # `read` will report it
                descriptor = self._open(place.shard).fileno()
                os.posix_fadvise(descriptor, place.offset, place.num_bytes, os.POSIX_FADV_WILLNEED)

    def read(self, places: Sequence[Place], records: np.ndarray) -> list[str]:
        """Fill `records` (contiguous, `record_dtype`, one per place) with the samples at `places`.

        Returns the shard of every sample that was masked because it is damaged; [] unless `skip_damaged`.

        Raises InputError naming shard and sample if bytes are missing, damaged, pickled or not of the format.
        """
        rooms = [room.data for room in records.view(np.uint8).reshape(len(places), self.record_dtype.itemsize)]
        contents: Sequence[bytes | Damaged | None] = [None] * len(places)
        if uses_fsspec(self.manifest.folder):
            contents = self._fetch_remote(places)
        masked = []
        for number, (place, room, content) in enumerate(zip(places, rooms, contents, strict=True)):
            try:
                self._read_one(place, room, content, records, number)
            except Damaged:
                if not self.skip_damaged:
                    raise
                self._mask(records, number)
                masked.append(place.shard)
        return masked

    def _read_one(
        self, place: Place, room: memoryview, content: bytes | Damaged | None, records: np.ndarray, number: int
    ) -> None:
        if isinstance(content, Damaged):
            raise content
        if place.offset < 0:
            raise Damaged(f"{self._where(place)}: the shard's index is damaged")
        sample = self._read_local(place, room) if content is None else memoryview(content)
        if len(sample) < place.num_bytes:
            raise self._damage(place, f"{len(sample)} of {place.num_bytes} bytes are left")
        if crc32(sample) != place.crc32:
            raise self._damage(place, "checksum differs")
        if not self._as_expected(sample, place.window_id):
            for name, array in self._parse(sample, place).items():
                records[name][number] = array
        elif content is not None:
            room[:] = sample

    def _mask(self, records: np.ndarray, number: int) -> None:
        """Make the record one without any known unit: masked in the input, no loss."""
        for name in FIELDS:
            nothing = self.manifest.missing_id if name.endswith("_text") else -1 if name == "labels" else 0
            records[name][number] = nothing

    def _where(self, place: Place) -> str:
        return f"{self.manifest.folder / place.shard}: sample {place.window_id}"

    def _damage(self, place: Place, why: str) -> Damaged:
        return Damaged(f"{self._where(place)}: damaged ({why}); delete the shard and run the pack stage again")

    def _open(self, name: str) -> io.FileIO:
        file = self._files.pop(name, None)
        if file is None:
            if len(self._files) == MAX_OPEN_SHARDS:
                self._files.pop(next(iter(self._files))).close()
            file = io.FileIO(self.manifest.folder / name)
        self._files[name] = file  # moved to the end: the first one of the dictionary was used least recently
        return file

    def _read_local(self, place: Place, room: memoryview) -> memoryview:
        """The sample's bytes, in `room` if they fit; fewer bytes if the shard ends early."""
        if place.num_bytes != len(room):
            room = memoryview(bytearray(place.num_bytes))
        try:
            file = self._open(place.shard)
            file.seek(place.offset)
            return room[: file.readinto(room)]
        except OSError as error:
            kind = Damaged if error.errno in DAMAGE else InputError
            raise kind(f"{self._where(place)}: cannot be read ({error.strerror}); run the pack stage again") from error

    def _fetch_remote(self, places: Sequence[Place]) -> list[bytes | Damaged]:
        """The samples' bytes, requested together."""
        folder: Any = self.manifest.folder
        there = [place for place in places if place.offset >= 0]
        paths = [(folder / place.shard).path for place in there]
        ends = [place.offset + place.num_bytes for place in there]
        with explained(folder):
            fetched = iter(folder.fs.cat_ranges(paths, [place.offset for place in there], ends, on_error="return"))
        contents: list[bytes | Damaged] = []
        for place in places:
            content = next(fetched) if place.offset >= 0 else b""
            if isinstance(content, FileNotFoundError):
                content = Damaged(f"{self._where(place)}: no such file; run the pack stage again")
            elif isinstance(content, Exception):
                with explained(self._where(place)):
                    size = folder.fs.size((folder / place.shard).path)
                    if size >= place.offset + place.num_bytes:
                        raise content
                content = self._damage(place, f"{max(0, size - place.offset)} of {place.num_bytes} bytes are left")
            contents.append(content)
        return contents

    def _as_expected(self, content: memoryview, window_id: str) -> bool:
        """Whether tar and npy headers are as expected, so that the fields lie at the offsets of `record_dtype`."""
        if len(content) != self.record_dtype.itemsize:
            return False
        key = window_id.encode()
        if len(key) not in self._around_key:
            self._around_key[len(key)] = _around_key(self._headers, len(key))
        headers = b"".join([content[part] for part in self._header_slices])
        return headers == key.join(self._around_key[len(key)])

    def _parse(self, content: memoryview, place: Place) -> dict[str, np.ndarray]:
        where, sample = self._where(place), {}
        try:
            with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as members:
                for member in members:
                    name = member.name.removeprefix(place.window_id + ".").removesuffix(".npy")
                    file = members.extractfile(member)
                    if file is None or name not in FIELDS:
                        raise Damaged(f"{where}: unexpected member {member.name}; run the pack stage again")
                    sample[name] = np.load(io.BytesIO(file.read()), allow_pickle=False)
        except InputError:
            raise
        except (tarfile.TarError, ValueError, EOFError) as error:
            raise Damaged(
                f"{where}: not readable as npy members of a tar ({error}); run the pack stage again"
            ) from error
        for name, (dtype, _) in FIELDS.items():
            if name not in sample:
                raise Damaged(f"{where}: field {name} is missing; run the pack stage again")
            array, shape = sample[name], self.manifest.field_shapes[name]
            if array.dtype != dtype or array.shape != shape:
                actual, wanted = f"{array.dtype} {list(array.shape)}", f"{dtype} {list(shape)}"
                raise Damaged(f"{where}: field {name} is {actual}, expected {wanted}; run the pack stage again")
        return sample


def load_sample(windows: Windows, index: int) -> dict[str, np.ndarray]:
    """One window: field -> array as on disk (`FIELDS`). Raises InputError like `ShardReader.read`."""
    with closing(ShardReader(windows.manifest)) as reader:
        records = np.empty(1, reader.record_dtype)
        reader.read(windows.rows.places([index]), records)
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
