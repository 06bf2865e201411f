"""The windows of some sessions -> WebDataset shards with nothing else in them.

Bytes of a window are copied as they are, and compared with their checksum. A session's windows lie together, in one
shard if they fit into one.
"""

import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from pipelines.engine.files import hash_of
from pipelines.engine.shards import END_OF_ARCHIVE, SHARD_BYTES
from pipelines.pack.index import Run, ShardLine, shard_runs, write_shard_index
from schemas.windows import WINDOWS

Rows = list[dict[str, Any]]


class Written(NamedTuple):
    """The windows of a bucket. Paths begin with `windows/`."""

    shards: dict[str, ShardLine]
    runs: list[Run]
    digests: dict[str, tuple[str, str]]  # session -> split, SHA-256 of its windows
    damaged: dict[str, int]  # session -> windows that are missing, as their bytes are not those that pack wrote
    rows: dict[str, list[pa.Table]]  # split -> the rows of the table `windows`, shard by shard


class _Open:
    """A shard that is being written."""

    def __init__(self, folder: Path, split: str) -> None:
        self.split, self.num_bytes = split, 0
        self.path = folder / "windows" / split / "unfinished.tar"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = self.path.open("wb")
        self.hash = hashlib.sha256()
        self.rows: Rows = []

    def add(self, row: dict[str, Any], content: bytes) -> None:
        self.rows.append({**row, "offset": self.num_bytes})
        self.write(content)

    def write(self, content: bytes) -> None:
        self.file.write(content)
        self.hash.update(content)
        self.num_bytes += len(content)


class _Source:
    """Reads windows by their place; the last shard stays open."""

    def __init__(self, root: Path) -> None:
        self.root, self.name = root, ""
        self.file: BinaryIO | None = None

    def read(self, row: dict[str, Any]) -> bytes | None:
        """None if the bytes are not those that were written."""
        try:
            if self.file is None or self.name != row["shard"]:
                self.close()
                self.file, self.name = (self.root / row["shard"]).open("rb"), row["shard"]
            self.file.seek(row["offset"])
            content = self.file.read(row["num_bytes"])
        except FileNotFoundError:
            return None
        return content if zlib.crc32(content) == row["crc32"] else None

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
        self.file = None


def write_windows(root: Path, sessions: Iterator[Rows], folder: Path, bucket: int) -> Written:
    """Copy the windows of sessions, whose rows of the table `windows` come session by session, from below `root`."""
    written = Written({}, [], {}, {}, {})
    source, shards = _Source(root), dict[str, _Open]()
    try:
        for rows in sessions:
            _copy_session(rows, source, shards, folder, bucket, written)
    finally:
        source.close()
    for split in sorted(shards):
        _close(shards[split], folder, bucket, written)
    return written


def _copy_session(
    rows: Rows, source: _Source, shards: dict[str, _Open], folder: Path, bucket: int, written: Written
) -> None:
    session, split = rows[0]["session_id"], rows[0]["split"]
    hashes: list[Any] = []

    def next_shard(num_bytes: int) -> _Open:
        if split in shards and shards[split].num_bytes and shards[split].num_bytes + num_bytes > SHARD_BYTES:
            _close(shards.pop(split), folder, bucket, written)
        if split not in shards:
            shards[split] = _Open(folder, split)
        return shards[split]

    before = next_shard(sum(row["num_bytes"] for row in rows))
    for row in rows:
        content = source.read(row)
        if content is None:
            written.damaged[session] = written.damaged.get(session, 0) + 1
            continue
        shard = next_shard(len(content))
        if not hashes or shard is not before:
            hashes.append(hashlib.sha256())
        before = shard
        shard.add(row, content)
        hashes[-1].update(content)
    if hashes:
        parts = [each.hexdigest() for each in hashes]
        written.digests[session] = (split, parts[0] if len(parts) == 1 else hash_of(parts))


def _close(shard: _Open, folder: Path, bucket: int, written: Written) -> None:
    if not shard.rows:
        shard.file.close()
        shard.path.unlink()
        return
    shard.write(END_OF_ARCHIVE)
    shard.file.close()
    sha256 = shard.hash.hexdigest()
    name = f"windows/{shard.split}/{bucket:05d}-{sha256[:16]}.tar"
    shard.path.replace(folder / name)
    rows = pa.Table.from_pylist([{**row, "shard": name} for row in shard.rows], schema=WINDOWS.schema)
    below = name.removeprefix("windows/")
    written.shards[name] = ShardLine(
        path=below, split=shard.split, num_windows=len(rows), num_bytes=shard.num_bytes, sha256=sha256,
        index_sha256=write_shard_index(folder / name, rows),
    )  # fmt: skip
    written.runs.extend(shard_runs(below, rows))
    written.rows.setdefault(shard.split, []).append(rows)


def by_session(tables: Iterator[pa.Table]) -> Iterator[Rows]:
    """Rows that are sorted by session -> the rows of one session after the other."""
    rows: Rows = []
    for table in tables:
        for row in table.to_pylist():
            if rows and row["session_id"] != rows[0]["session_id"]:
                yield rows
                rows = []
            rows.append(row)
    if rows:
        yield rows
