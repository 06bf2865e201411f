"""A port of the driver: it gives tasks to the process that reads for Ray Data, and hears what monitors have ended.

One line of JSON each way. The first line of a caller has the token of the run.
"""

import hmac
import json
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pipelines.engine.monitor import CHILDREN, STUCK, WORKER
from pipelines.engine.schedule import Schedule, Task

HEARD = {
    CHILDREN: "the processes it has started are ended, and it is tried again",
    WORKER: "its worker is ended, and it is tried again",
    STUCK: "its worker waits for a file system that does not answer, and cannot be ended",
}
FIRST_LINE_S = 10  # for a caller to send its first line


class Desk:
    def __init__(self, schedule: Schedule, *, most_tasks: int, most_stuck: Callable[[], int]) -> None:
        """At most `most_tasks` are under way; with `most_stuck()` stuck workers the run fails."""
        self.schedule, self.most_tasks, self.most_stuck = schedule, most_tasks, most_stuck
        self.token = secrets.token_hex(16)
        self.reading = threading.Lock()

    def accept(self, server: socket.socket) -> None:
        """Serve callers, each in a thread, until the server is closed."""
        with suppress(OSError):
            while True:
                caller = server.accept()[0]
                threading.Thread(target=self._serve, args=(caller,), name="desk-caller", daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        with caller, suppress(OSError, ValueError, KeyError, TypeError):  # someone else's line, or one that went away
            caller.settimeout(FIRST_LINE_S)
            lines = caller.makefile("rb")
            first = json.loads(lines.readline(10_000))
            if not hmac.compare_digest(str(first["token"]), self.token):
                return
            if "ended" in first:
                self._hear(first["key"], first["ended"])
                return
            caller.settimeout(None)
            for line in lines:
                caller.sendall(json.dumps(self._answer(int(line))).encode() + b"\n")

    def _hear(self, key: str, ended: str) -> None:
        print(f"{key}: made no progress; {HEARD[ended]}", file=sys.stderr)
        if ended == STUCK:
            self.schedule.stick(key, self.most_stuck())

    def _answer(self, number: int) -> dict[str, Any]:
        """Task `number`: the next one, or, for a reader that was started again, one that was given out before."""
        with self.reading:
            if number < self.schedule.num_taken:
                task: Task | None = self.schedule.again(number)
            else:
                task = self.schedule.take(self.most_tasks, wakes=True)
        return {"task": task, "failed": self.schedule.failure is not None}


@contextmanager
def opened(desk: Desk, host: str) -> Iterator[str]:
    """Yields HOST PORT TOKEN."""
    with socket.create_server((host, 0), backlog=128) as server:
        thread = threading.Thread(target=desk.accept, args=(server,), name="desk", daemon=True)
        thread.start()
        try:
            yield f"{host} {server.getsockname()[1]} {desk.token}"
        finally:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)  # ends accept()
            thread.join()


def read_tasks(address: str) -> Iterator[Task]:
    """For a process of Ray: all tasks of the desk at the address, as they are given out."""
    host, port, token = address.split()
    with socket.create_connection((host, int(port))) as connection:
        lines = connection.makefile("rb")
        connection.sendall(json.dumps({"token": token}).encode() + b"\n")
        number = 0
        while True:
            connection.sendall(f"{number}\n".encode())
            answer = json.loads(next(lines))
            if answer["failed"]:
                raise RuntimeError("the run has failed; the driver tells why")
            if answer["task"] is None:
                return
            yield Task(*answer["task"])
            number += 1
