"""One run at a time per data folder: `<data>/.lock` names who holds it.

Runs with different ranges of buckets share a folder: each holds the folder together with the others, and its own
buckets alone.

The operating system holds the lock and releases it when the process ends, however it ends. Where the file system has no
locks, the note itself is the lock: its holder renews it every few seconds, and a note that has grown old is taken over.
"""

import fcntl
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from wanstreamer.errors import InputError

NAME = ".lock"
BUCKETS = ".lock-buckets"  # a byte per bucket, locked by who works on it
RENEW_S = 10.0
DEAD_AFTER_S = 60.0  # without a renewal, where the file system has no locks

_shared: dict[Path, int] = {}  # folders that this process shares with other runs -> open file


@contextmanager
def folder_lock(data: Path, name: str = NAME, buckets: range | None = None) -> Iterator[None]:
    """Hold the data folder, or some of its buckets. A second call in this process, within the first, does nothing.

    Raises InputError that names the holder if another process holds it.
    """
    data.mkdir(parents=True, exist_ok=True)
    path = data.resolve() / name
    if path in _shared:
        yield
        return
    if buckets is not None:
        with _buckets_lock(path, buckets):
            yield
        return
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        taken = _take(file, path)
        if taken == "held":
            yield
            return
        _write(file, _own())
        if taken == "noted":
            threading.Thread(target=_renew, args=(path,), daemon=True).start()
        try:
            yield
        finally:
            os.ftruncate(file, 0)
    finally:
        os.close(file)


@contextmanager
def _buckets_lock(path: Path, buckets: range) -> Iterator[None]:
    file, of_buckets = (os.open(each, os.O_RDWR | os.O_CREAT, 0o644) for each in (path, path.with_name(BUCKETS)))
    try:
        _take_buckets(file, of_buckets, path, buckets)
        _write(file, {**_own(), "buckets": f"{buckets.start}-{buckets.stop - 1}"})
        _shared[path] = file
        try:
            yield
        finally:
            del _shared[path]
            if _read(path).get("pid") == os.getpid():
                os.ftruncate(file, 0)
    finally:
        os.close(of_buckets)
        os.close(file)


def _take_buckets(file: int, of_buckets: int, path: Path, buckets: range) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _in_use(path) from error
    except OSError as error:
        raise InputError(f"{path.parent}: its file system has no locks, which runs with --buckets need") from error
    try:
        fcntl.lockf(of_buckets, fcntl.LOCK_EX | fcntl.LOCK_NB, len(buckets), buckets.start)
    except OSError as error:
        raise InputError(
            f"{path.parent}: another run has some of the buckets {buckets.start} to {buckets.stop - 1}; "
            "wait for its end, or take others"
        ) from error


@contextmanager
def alone(data: Path, name: str = NAME) -> Iterator[None]:
    """For a run that holds some buckets: hold the whole folder for a while.

    Raises InputError if another run works on other buckets.
    """
    path = data.resolve() / name
    if path not in _shared:
        yield
        return
    try:
        fcntl.flock(_shared[path], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _in_use(path) from error
    try:
        yield
    finally:
        fcntl.flock(_shared[path], fcntl.LOCK_SH)


def _take(file: int, path: Path) -> str:
    """How the lock is held now: `locked` by the system, `noted` in the file only, or `held` before by this process.

    Raises InputError if another process holds it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return "locked"
    except BlockingIOError:
        holder = _read(path)
    except OSError:  # a file system without locks
        holder = _read(path)
        if not holder or time.time() - path.stat().st_mtime > DEAD_AFTER_S or _is_dead(holder):
            return "noted"
    if (holder.get("host"), holder.get("pid")) == (socket.gethostname(), os.getpid()):
        return "held"
    raise _in_use(path)


def _in_use(path: Path) -> InputError:
    holder = _read(path)
    buckets = f"buckets {holder['buckets']}, " if "buckets" in holder else ""
    return InputError(
        f"{path.parent}: in use by {holder.get('command', 'another run')} ({buckets}"
        f"host {holder.get('host', 'unknown')}, process {holder.get('pid', 'unknown')}, "
        f"since {holder.get('since', 'unknown')}); wait for its end, or stop it"
    )


def _renew(path: Path) -> None:
    while _read(path).get("pid") == os.getpid():
        time.sleep(RENEW_S)
        try:
            os.utime(path)
        except OSError:
            return


def _is_dead(holder: dict[str, Any]) -> bool:
    """Whether the holder ran on this machine and has ended."""
    if holder.get("host") != socket.gethostname():
        return False
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, KeyError, ValueError):
        return False
    return False


def _own() -> dict[str, Any]:
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).name,
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content


def _write(file: int, content: dict[str, Any]) -> None:
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(content).encode(), 0)
