"""One run at a time per data folder: `<data>/.lock` names who holds it.

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
RENEW_S = 10.0
DEAD_AFTER_S = 60.0  # without a renewal, where the file system has no locks


@contextmanager
def folder_lock(data: Path, name: str = NAME) -> Iterator[None]:
    """Hold the data folder. A second call in this process, within the first, does nothing.

    Raises InputError that names the holder if another process holds it.
    """
    data.mkdir(parents=True, exist_ok=True)
    path = data / name
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
    raise InputError(
        f"{path.parent}: in use by {holder.get('command', 'another run')} (host {holder.get('host', 'unknown')}, "
        f"process {holder.get('pid', 'unknown')}, since {holder.get('since', 'unknown')}); wait for its end, or stop it"
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
