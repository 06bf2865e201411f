"""What the files of a source contain: SHA-256 of local files, checksums of the store for remote ones.

A local file is read once: its hash is remembered with size, times and inode, in one file per bucket of sessions. New
files are read in parallel.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.engine.buckets import bucket_name
from pipelines.engine.files import file_sha256, replace_file
from pipelines.engine.jobs import Rejected
from pipelines.engine.progress import progress
from pipelines.engine.remote import is_remote_uri, stamps
from pipelines.media.probing import check_file

KNOWN = pa.schema([("path", pa.string()), ("stamp", pa.string()), ("sha256", pa.string())])
SHOWN_BYTES = 1 << 30  # progress is shown for more than this


class SourceHashes:
    """Hashes of the files below `root`; those of local files are remembered in `folder`."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.root = folder, root
        self.remote: tuple[list[str], dict[str, str | None]] = ([], {})  # the last names asked for, and their stamps

    def stamps(self, names: Sequence[str]) -> list[str | None]:
        """What changes when a file does, without reading it; None for a missing file."""
        if is_remote_uri(self.root):
            self.remote = list(names), stamps(self.root, names)
            return [self.remote[1][name] for name in names]
        return [_stamp(self.root / name) for name in names]

    def of(self, names: Sequence[str], bucket: int, num_buckets: int) -> dict[str, str | Rejected]:
        """Name -> hash of the content, or why the file cannot be used."""
        if is_remote_uri(self.root):
            if self.remote[0] != list(names):
                self.stamps(names)
            return {name: self.remote[1][name] or Rejected("missing_file", name) for name in names}
        path = self.folder / f"{num_buckets:04d}" / f"{bucket_name(bucket)}.parquet"
        known = _read(path)
        now = {name: _stamp(self.root / name) for name in sorted(set(names))}
        usable: dict[str, str | Rejected] = {}
        for name in now:
            try:
                check_file(self.root / name)
            except Rejected as rejected:
                usable[name] = rejected
        new = [
            name
            for name, stamp in now.items()
            if name not in usable and known.get(str(self.root / name), ("", ""))[0] != stamp
        ]
        hashed = dict(zip(new, self._hash(new), strict=True))
        for name in now:
            if name not in usable:
                usable[name] = hashed[name] if name in hashed else known[str(self.root / name)][1]
        remembered = {
            str(self.root / name): (str(now[name]), content)
            for name, content in usable.items()
            if isinstance(content, str)
        }
        if remembered != known:
            _write(path, remembered)
        return usable

    def _hash(self, names: Sequence[str]) -> list[str | Rejected]:
        """Read the files, several at a time: hashing leaves the interpreter free."""
        num_bytes = sum((self.root / name).stat().st_size for name in names)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            results = pool.map(lambda name: _hash_file(self.root / name), names)
            if num_bytes < SHOWN_BYTES:
                return list(results)
            with progress(len(names), "reading new files") as advance:
                hashes = []
                for result in results:
                    hashes.append(result)
                    advance()
                return hashes


def drop_hashes(path: Path, names: set[str]) -> None:
    """Remove the hashes of these files, named by their full paths, from one file of hashes."""
    known = _read(path)
    if names & known.keys():
        _write(path, {name: entry for name, entry in known.items() if name not in names})


def _hash_file(path: Path) -> str | Rejected:
    try:
        return file_sha256(path)
    except OSError as error:
        return Rejected("unreadable", f"{path.name}: {error.strerror}")


def _stamp(path: Path) -> str | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"


def _read(path: Path) -> dict[str, tuple[str, str]]:
    try:
        rows: list[dict[str, Any]] = pq.read_table(path, partitioning=None).to_pylist()
    except (OSError, pa.ArrowException):
        return {}
    return {row["path"]: (row["stamp"], row["sha256"]) for row in rows}


def _write(path: Path, known: Mapping[str, tuple[str, str]]) -> None:
    rows = [{"path": name, "stamp": stamp, "sha256": sha256} for name, (stamp, sha256) in sorted(known.items())]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(pa.Table.from_pylist(rows, schema=KNOWN), temporary, compression="zstd")
    replace_file(temporary, path)
