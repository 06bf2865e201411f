"""Writes files that are either complete or absent (temporary name, fsync, atomic rename), and hashes them."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def replace_file(finished: Path, final: Path) -> None:
    """Move a finished file to its final name on the same file system, and sync both to disk."""
    final.parent.mkdir(parents=True, exist_ok=True)
    sync_file(finished)
    finished.replace(final)
    sync_folder(final.parent)


def sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Names in the folder survive a loss of power."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_bytes_atomic(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    replace_file(temporary, path)


def remove_unfinished(path: Path) -> None:
    """Remove what killed processes were writing when they called `write_bytes_atomic` for this file."""
    for temporary in path.parent.glob(f".{path.name}.*.tmp"):
        temporary.unlink()


def write_json_atomic(path: Path, content: Any) -> None:
    """Keys are sorted, so that equal content gives equal bytes."""
    write_bytes_atomic(path, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damage_of(path: Path, sha256: str) -> str:
    """What is wrong with a file that should have this checksum, in words; empty: nothing."""
    try:
        return "" if file_sha256(path) == sha256 else "its checksum differs"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def hash_of_blocks(blocks: Iterable[bytes]) -> str:
    hashed = hashlib.sha256()
    for block in blocks:
        hashed.update(block)
    return hashed.hexdigest()


def hash_of_bytes(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def hash_of(content: object) -> str:
    """SHA-256 of the content as JSON, with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
