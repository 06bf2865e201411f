"""Segments of many sessions -> tars of a bounded size.

A segment is whole tar members without the end of an archive, so segments laid end to end are a tar. A shard is named
after its content: a name never gets other bytes, and a run from scratch gives the same names.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.engine.files import replace_file
from pipelines.engine.state import num_state_buckets, read_about

SHARD_BYTES = 512 << 20  # one more segment would make a shard larger than this: it goes into the next one
END_OF_ARCHIVE = bytes(1024)
COPY_BYTES = 4 << 20


class DamagedSegment(Exception):
    """The bytes of a segment are not those that were written."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the bytes of a segment are now."""

    name: tuple[str, int]  # key, number of its segment
    folder: str
    path: Path
    offset: int
    num_bytes: int
    sha256: str
    num_rows: int


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a segment has been put."""

    shard: str
    offset: int
    first_row: int


def seal(data: Path, bucket: int, sources: Iterable[Source]) -> tuple[dict[tuple[str, int], Place], dict[str, Any]]:
    """Lay the segments end to end, in their order, into shards of each folder.

    Returns:
        The place of each segment, and path -> sha256, num_bytes of each new shard.

    Raises:
        DamagedSegment: With the name of the segment as its argument.
    """
    open_shards: dict[str, _Shard] = {}
    places: dict[tuple[str, int], Place] = {}
    shards: dict[str, Any] = {}

    def close(shard: "_Shard") -> None:
        path, entry = shard.finish(data, bucket)
        shards[path] = entry
        for name, (offset, first_row) in shard.placed.items():
            places[name] = Place(shard=path, offset=offset, first_row=first_row)

    try:
        for source in sources:
            shard = open_shards.get(source.folder)
            if shard is not None and shard.num_bytes + source.num_bytes > SHARD_BYTES:
                close(open_shards.pop(source.folder))
                shard = None
            if shard is None:
                shard = open_shards[source.folder] = _Shard(data / source.folder, bucket)
            shard.add(source)
        for folder in sorted(open_shards):
            close(open_shards.pop(folder))
    finally:
        for shard in open_shards.values():
            shard.discard()
    return places, shards


class _Shard:
    def __init__(self, folder: Path, bucket: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.num_bytes, self.num_rows = folder, 0, 0
        self.placed: dict[tuple[str, int], tuple[int, int]] = {}
        self.temporary = folder / f".{bucket:04d}.tar.tmp"
        self.file = self.temporary.open("wb")
        self.hash = hashlib.sha256()

    def add(self, source: Source) -> None:
        for block in _checked(source):
            self.hash.update(block)
            self.file.write(block)
        self.placed[source.name] = (self.num_bytes, self.num_rows)
        self.num_bytes += source.num_bytes
        self.num_rows += source.num_rows

    def finish(self, data: Path, bucket: int) -> tuple[str, dict[str, Any]]:
        self.file.write(END_OF_ARCHIVE)
        self.hash.update(END_OF_ARCHIVE)
        self.file.close()
        sha256 = self.hash.hexdigest()
        final = self.folder / f"{bucket:04d}-{sha256[:16]}.tar"
        num_bytes = self.num_bytes + len(END_OF_ARCHIVE)
        replace_file(self.temporary, final)
        return final.relative_to(data).as_posix(), {"sha256": sha256, "num_bytes": num_bytes, "num_rows": self.num_rows}

    def discard(self) -> None:
        self.file.close()
        self.temporary.unlink(missing_ok=True)


def blocks(path: Path, offset: int, num_bytes: int) -> Iterator[bytes]:
    """The bytes of a range of a file, block by block. Raises OSError without errno if the file ends early."""
    with path.open("rb") as file:
        file.seek(offset)
        left = num_bytes
        while left:
            block = file.read(min(COPY_BYTES, left))
            if not block:
                raise OSError(f"{path}: ends early")
            left -= len(block)
            yield block


def _checked(source: Source) -> Iterator[bytes]:
    """The bytes of a segment, block by block. Raises DamagedSegment, at the latest after the last one, if they are not
    those that were written, or its file is gone."""
    own = hashlib.sha256()
    try:
        for block in blocks(source.path, source.offset, source.num_bytes):
            own.update(block)
            yield block
    except OSError as error:
        if error.errno is not None and not isinstance(error, FileNotFoundError):
            raise
        raise DamagedSegment(source.name) from error
    if own.hexdigest() != source.sha256:
        raise DamagedSegment(source.name)


def write_segment(path: Path, source: Source) -> None:
    """Copy a segment out of a shard. Raises DamagedSegment, also if the shard is gone."""
    with path.open("wb") as file:
        for block in _checked(source):
            file.write(block)


def remove_unused_shards(data: Path, stage: str, former: Iterable[str] = (), buckets: range | None = None) -> None:
    """Remove the shards that no bucket of the stage names, with the indexes beside them.

    `former`: shards that it had before; their folders are looked at, even if no shard is left there. `buckets`: only
    shards that these have made; other runs may be about to name theirs.
    """
    used = {name for bucket in range(num_state_buckets(data, stage)) for name in read_about(data, stage, bucket).shards}
    stems = {Path(name).stem for name in used}
    for folder in sorted({(data / name).parent for name in used | set(former)}):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.suffix not in (".tar", ".arrow") or path.stem in stems:
                continue
            if buckets is None or int(path.stem.partition("-")[0]) in buckets:
                path.unlink()
