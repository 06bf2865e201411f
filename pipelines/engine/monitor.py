"""Ends a worker process that makes no progress. watchdog.py starts this as a script, one for each worker process.

In: a page of memory that the worker shares (`Board`): which key it works on, and since which change. Out: signals to
processes, and a line to the driver for each of them. It is a process of its own because a stopped worker, or one that
waits for a dead file system, cannot watch itself. It imports the standard library only, to start in milliseconds.

Progress is CPU time or input and output of the worker or of any process it started. Without progress for `stall_s` the
started processes are killed first, because they can be replaced: the worker sees that one of them failed, and tries
again. If that does not help, the worker is killed. A stopped process makes no progress even if others do.

Time is counted in looks, not by the clock: a laptop that slept, and a job that its scheduler stopped with all its
processes, lose nothing.
"""

import mmap
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Collection, Iterable
from contextlib import suppress

IDLE, WORKING, WAITING = range(3)  # WAITING: for calls in other workers, which have monitors of their own
CHILDREN, WORKER, STUCK = "children", "worker", "stuck"  # what was ended, or that the worker cannot be ended
LOOKS = 12  # in the time without progress after which a worker has stalled
SLOWEST_LOOK_S = 5.0
FASTEST_LOOK_S = 0.05
GRACE_S = 5.0  # for a worker to go on after its children were killed
DYING_S = 10.0  # for a killed worker to be gone
LATE_S = 5.0  # after a time limit, besides a tenth of it, in which the worker may still stop by itself


class Board:
    """What a worker does, in memory that it shares with its monitor. Each changes its own fields only."""

    SIZE = 512
    _TURN, _STATE, _LIMIT_S, _LIMITS, _ENDED, _KEY = 0, 8, 16, 24, 32, 40

    def __init__(self, file: int) -> None:
        self.memory = mmap.mmap(file, self.SIZE)

    def write(self, *, state: int | None = None, limit_s: float | None = None, key: str | None = None) -> None:
        """By the worker. `turn` is odd while the rest changes."""
        turn = self.turn
        struct.pack_into("<Q", self.memory, self._TURN, turn + 1)
        if state is not None:
            struct.pack_into("<Q", self.memory, self._STATE, state)
        if limit_s is not None:
            struct.pack_into("<d", self.memory, self._LIMIT_S, limit_s)
            struct.pack_into("<Q", self.memory, self._LIMITS, self.limits + 1)
        if key is not None:
            name = key.encode()[: self.SIZE - self._KEY - 8]
            struct.pack_into(f"<Q{len(name)}s", self.memory, self._KEY, len(name), name)
        struct.pack_into("<Q", self.memory, self._TURN, turn + 2)

    def end(self) -> None:
        """By the monitor: it is about to kill processes that the worker started."""
        struct.pack_into("<Q", self.memory, self._ENDED, self.ended + 1)

    def _number(self, place: int) -> int:
        number: int = struct.unpack_from("<Q", self.memory, place)[0]
        return number

    @property
    def turn(self) -> int:
        """Changes with every change of the worker's fields."""
        return self._number(self._TURN)

    @property
    def state(self) -> int:
        return self._number(self._STATE)

    @property
    def limit_s(self) -> float:
        """The time limit; 0: none."""
        limit_s: float = struct.unpack_from("<d", self.memory, self._LIMIT_S)[0]
        return limit_s

    @property
    def limits(self) -> int:
        """How many time limits were set: another number, another limit."""
        return self._number(self._LIMITS)

    @property
    def ended(self) -> int:
        """How often processes of the worker were killed."""
        return self._number(self._ENDED)

    @property
    def key(self) -> str:
        start = self._KEY + 8
        return self.memory[start : start + self._number(self._KEY)].decode(errors="replace")


def _read(path: str) -> str:
    """The file's text; empty if its process is gone or not ours."""
    try:
        with open(path, errors="replace") as file:  # noqa: PTH123  # a pathlib import would double the start
            return file.read()
    except OSError:
        return ""


class Linux:
    """Processes as /proc shows them."""

    def __init__(self, worker: int, noise: Collection[str]) -> None:
        """`noise`: threads of the worker that are none of its work's."""
        self.worker, self.noise = worker, set(noise)
        own = _read(f"/proc/{worker}/task/{worker}/comm")
        names = {_read(f"/proc/{worker}/task/{thread}/comm") for thread in noise}
        # Threads that Python starts have the name of the thread that started them. Others of the same library as one
        # that is noise have its name, and are noise.
        self.noise_names = {name for name in names if name != own and not name.startswith(("ray::", "python"))}

    def _threads(self, process: int) -> list[str]:
        with suppress(OSError):
            return os.listdir(f"/proc/{process}/task")  # noqa: PTH208
        return []

    def descendants(self) -> set[int]:
        """Processes that the worker started, and those that they started; not this one."""
        found: set[int] = set()
        waiting = [self.worker]
        while waiting:
            process = waiting.pop()
            for thread in self._threads(process):
                children = {int(child) for child in _read(f"/proc/{process}/task/{thread}/children").split()}
                waiting += children - found - {os.getpid()}
                found |= children
        return found - {os.getpid()}

    def activity(self, processes: Iterable[int]) -> object:
        """Something that differs if one of the processes did anything."""
        return [
            (thread, self._cpu(home), _read(f"{home}/io"))
            for process in sorted(processes)
            for thread in self._threads(process)
            if (home := f"/proc/{process}/task/{thread}") and not (process == self.worker and self._is_noise(thread))
        ]

    def _is_noise(self, thread: str) -> bool:
        return thread in self.noise or _read(f"/proc/{self.worker}/task/{thread}/comm") in self.noise_names

    def _cpu(self, home: str) -> str:
        """CPU time of a thread: in ns, or in ticks where the kernel does not count ns."""
        times = _read(f"{home}/schedstat").partition(" ")[0]
        return times or " ".join(_read(f"{home}/stat").rpartition(")")[2].split()[11:13])

    def stopped(self, processes: Iterable[int]) -> set[int]:
        """Those that a signal has stopped."""
        states = {process: _read(f"/proc/{process}/stat").rpartition(")")[2].split() for process in processes}
        return {process for process, fields in states.items() if fields[:1] == ["T"]}


class Elsewhere:
    """Processes as psutil shows them, where there is no /proc. It cannot leave out the threads of Ray, so that a
    worker of Ray counts as stalled only when it is stopped."""

    def __init__(self, worker: int, noise: Collection[str] = ()) -> None:
        import psutil

        self.psutil, self.worker = psutil, worker

    def descendants(self) -> set[int]:
        try:
            return {child.pid for child in self.psutil.Process(self.worker).children(recursive=True)} - {os.getpid()}
        except self.psutil.Error:
            return set()

    def activity(self, processes: Iterable[int]) -> object:
        return [(process, self._of(process, "cpu_times")) for process in sorted(processes)]

    def stopped(self, processes: Iterable[int]) -> set[int]:
        return {process for process in processes if self._of(process, "status") == self.psutil.STATUS_STOPPED}

    def _of(self, process: int, name: str) -> object:
        try:
            return getattr(self.psutil.Process(process), name)()
        except self.psutil.Error:
            return None


def kill(processes: Collection[int]) -> None:
    for process in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)


def report(report_to: str, key: str, what: str, again_s: Iterable[float] = ()) -> None:
    """Send the driver a line; `report_to` is HOST PORT TOKEN. A driver that is gone, or out of reach, gets none."""
    if not report_to:
        return
    import json  # only now: most monitors never report anything
    import socket

    host, port, token = report_to.split()
    line = json.dumps({"token": token, "key": key, "ended": what}) + "\n"
    for wait_s in (0, *again_s):
        time.sleep(wait_s)
        with suppress(OSError), socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(line.encode())
            return


class Monitor:
    """One look after the other at one worker."""

    def __init__(self, worker: int, board: Board, stall_s: float, report_to: str, processes: Linux | Elsewhere) -> None:
        self.worker, self.board, self.stall_s, self.report_to = worker, board, stall_s, report_to
        self.processes = processes
        self.hangup = select.poll()
        self.hangup.register(0, 0)  # of no event but the end: the other side of this pipe is the worker's
        self.seen: object = None
        self.still_s = self.stopped_s = self.late_s = 0.0
        self.limits = 0

    def gone(self, wait_s: float) -> bool:
        """Wait, and tell whether the worker is gone."""
        return bool(self.hangup.poll(wait_s * 1000)) or os.getppid() != self.worker

    def run(self) -> None:
        while not self.gone(look_s := self._look_s()):
            if self.board.state == IDLE:
                self.seen, self.still_s, self.stopped_s, self.late_s = None, 0.0, 0.0, 0.0
            elif self._look(look_s) == STUCK:
                return

    def _look_s(self) -> float:
        times = [self.stall_s] if self.stall_s else []
        times += [self.board.limit_s + LATE_S] if self.board.limit_s else []
        return max(FASTEST_LOOK_S, min(SLOWEST_LOOK_S, min(times) / LOOKS if times else SLOWEST_LOOK_S))

    def _look(self, look_s: float) -> str:
        """One look at a worker that works; returns what was ended, if anything."""
        children = self.processes.descendants()
        everyone = children | {self.worker}
        seen = (self.board.turn, self.processes.activity(everyone))
        stopped = self.processes.stopped(everyone)
        waits = self.board.state == WAITING
        self.still_s = 0.0 if waits or seen != self.seen else self.still_s + look_s
        self.stopped_s = self.stopped_s + look_s if stopped else 0.0
        self.late_s = self.late_s + look_s if self.board.limits == self.limits else 0.0
        self.seen, self.limits = seen, self.board.limits
        limit_s = self.board.limit_s
        if limit_s and self.late_s > 1.1 * limit_s + LATE_S:
            return self._end(everyone, children)
        if not self.stall_s or max(self.still_s, self.stopped_s) < self.stall_s:
            return ""
        ended = self._end(everyone, stopped if self.still_s < self.stall_s else children)
        self.still_s = self.stopped_s = 0.0
        return ended

    def _end(self, everyone: set[int], first: set[int]) -> str:
        """Kill the processes in `first`, then the worker if it is among them or does not go on."""
        key = self.board.key
        if self.worker not in first and first:
            self.board.end()
            kill(first)
            report(self.report_to, key, CHILDREN)
            before = (self.board.turn, self.processes.activity({self.worker}))
            for _ in range(int(GRACE_S / 0.25)):
                if self.gone(0.25) or before != (self.board.turn, self.processes.activity({self.worker})):
                    return CHILDREN
        report(self.report_to, key, WORKER)  # before, because Ray kills this process with the worker
        kill(everyone - {self.worker})
        kill({self.worker})
        if self.gone(DYING_S):
            return WORKER
        report(self.report_to, key, STUCK, again_s=(2, 10))
        return STUCK


def main() -> None:
    worker, board, stall_s, report_to = int(sys.argv[1]), Board(int(sys.argv[2])), float(sys.argv[3]), sys.argv[4]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the worker finishes its key
    processes = (Linux if sys.platform == "linux" else Elsewhere)(worker, sys.argv[5:])
    Monitor(worker, board, stall_s, report_to, processes).run()


if __name__ == "__main__":
    main()
