"""No key may hang a run: each worker process has a monitor (monitor.py), to which it reports what it works on.

A key that makes no progress for `Watch.stall_s` loses the processes that the worker started for it, and then the worker
itself; the row is then given to another worker. A worker that cannot be ended, because it waits for a file system that
is gone, is reported to the driver, which goes on without it.
"""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from pipelines.engine import monitor
from pipelines.engine.monitor import IDLE, WAITING, WORKING, Board


@dataclass(frozen=True, kw_only=True)
class Watch:
    """How workers are watched."""

    stall_s: float = 60.0  # without CPU time, input or output for this long, a key has stalled; 0: it may wait for ever
    report_to: str = ""  # HOST PORT TOKEN of the driver, which prints what was ended; empty: it is not reported


class Stalled(OSError):
    """Processes of this key were killed because nothing advanced. A transient error: the key is worth another try."""

    def __init__(self, stall_s: float) -> None:
        super().__init__(errno.ETIMEDOUT, f"nothing advanced for {stall_s:g} s")


class _Watched:
    """This process and its monitor, which ends with it, and with this object."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.key = ""
        with _shared_memory() as file:
            self.board = Board(file)
            # Without site and the environment: a start takes 20 ms and 10 MB. psutil, where it is needed, needs site.
            options = ["-I", "-S"] if sys.platform == "linux" else ["-I"]
            process = subprocess.Popen(
                [
                    sys.executable, *options, str(Path(monitor.__file__)),
                    str(os.getpid()), str(file), str(watch.stall_s), watch.report_to, *_threads_before_work(),
                ],
                stdin=subprocess.PIPE, pass_fds=[file],
            )  # fmt: skip
        weakref.finalize(self, _leave, process)

    @property
    def ended(self) -> int:
        """How often processes of this one were killed."""
        return self.board.ended


def _leave(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.close()  # the monitor ends
    process.wait()


@contextmanager
def _shared_memory() -> Iterator[int]:
    """A file in memory, or on disk where the system has none there."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("board")
        try:
            os.truncate(file, Board.SIZE)
            yield file
        finally:
            os.close(file)
    else:
        with tempfile.TemporaryFile() as disk:
            disk.write(bytes(Board.SIZE))
            disk.flush()
            yield disk.fileno()


@cache
def _threads_before_work() -> tuple[str, ...]:
    """Threads of this process besides the one that works: in a worker of Ray they are never idle for long."""
    if sys.platform != "linux":
        return ()
    return tuple({path.name for path in Path("/proc/self/task").iterdir()} - {str(threading.get_native_id())})


@lru_cache(maxsize=1)
def _watched(watch: Watch, process: int) -> _Watched:
    """One for a process; a later run of the same process, or a fork of it, gets its own."""
    return _Watched(watch)


_CURRENT: ContextVar[_Watched | None] = ContextVar("watched", default=None)


@contextmanager
def watching(watch: Watch, key: str) -> Iterator[None]:
    """A worker works on the key in this block. Watched if `watch` says so, or if the block sets a time limit."""
    watched = _watched(watch, os.getpid())
    watched.key = key
    token = _CURRENT.set(watched)
    watched.board.write(state=WORKING, limit_s=0.0, key=key)
    try:
        yield
    finally:
        watched.board.write(state=IDLE)
        _CURRENT.reset(token)


@contextmanager
def waiting_for_others() -> Iterator[tuple[Watch, str]]:
    """This process waits for calls in other workers, which are watched themselves; yields their watch and key."""
    watched = _CURRENT.get()
    if watched is None:
        yield Watch(stall_s=0), ""
        return
    watched.board.write(state=WAITING)
    try:
        yield watched.watch, watched.key
    finally:
        watched.board.write(state=WORKING)


@contextmanager
def time_limit(seconds: float, error: Exception) -> Iterator[None]:
    """Raises `error` inside the block when the time is over; 0: no limit. A block that does not let itself be stopped
    loses its process some time later. Works in main threads only; in others there is no limit.

    Raises:
        Stalled: Processes that the block had started were killed because nothing advanced.
    """
    watched = _CURRENT.get()
    ended = watched.ended if watched else 0
    if watched:
        watched.board.write(limit_s=seconds)
    try:
        with _alarm(seconds, error):
            yield
    except Exception as caught:
        if watched and watched.ended > ended and caught is not error:
            raise Stalled(watched.watch.stall_s) from caught
        raise
    finally:
        if watched:
            watched.board.write(limit_s=0.0)
    if watched and watched.ended > ended:
        raise Stalled(watched.watch.stall_s)


@contextmanager
def _alarm(seconds: float, error: Exception) -> Iterator[None]:
    if not seconds or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
