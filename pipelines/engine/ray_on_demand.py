"""One local Ray for all stages that a command runs, started by the first of them that needs it.

A few sessions need no Ray (workers.py), and then none is started. Otherwise one start serves all stages. A process of
its own keeps the Ray: `python -m pipelines.engine.ray --keep WORKERS`. It ends when its input does, so that it does
not outlive the command, however that ends.
"""

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SOCKET = "WANSTREAMER_RAY_SOCKET"  # variable with the path of the socket where a stage asks for a Ray
KEEP = "--keep"  # option of `python -m pipelines.engine.ray`: keep a Ray until the end of the input


@contextmanager
def ray_on_demand(workers: int) -> Iterator[dict[str, str]]:
    """Yields environment variables for child processes, which then share a Ray. Empty if they have one to share."""
    if "RAY_ADDRESS" in os.environ or SOCKET in os.environ:
        yield {}
        return
    keeper = _Keeper(workers)
    with tempfile.TemporaryDirectory(prefix="wanstreamer-ray-") as folder:
        path = str(Path(folder) / "socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.bind(path)
            server.listen()
            thread = threading.Thread(target=_serve, args=(server, keeper), daemon=True)
            thread.start()
            try:
                yield {SOCKET: path}
            finally:
                with suppress(OSError):
                    server.shutdown(socket.SHUT_RDWR)  # ends `accept`
                thread.join()
                keeper.stop()


def _serve(server: socket.socket, keeper: "_Keeper") -> None:
    """In a thread: answer each stage that asks."""
    with suppress(OSError):  # the command is over
        while True:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.sendall(keeper.variables())


class _Keeper:
    """The process that keeps the Ray; it is started when it is asked for."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.process: subprocess.Popen[bytes] | None = None
        self.line = b""

    def variables(self) -> bytes:
        """The environment variables for a stage, as JSON; empty if Ray did not start, which it has printed itself."""
        if self.process is None or self.process.poll() is not None:
            command = [sys.executable, "-m", "pipelines.engine.ray", KEEP, str(self.workers)]
            # A session of its own: Ctrl-C reaches the stage, which needs its Ray to stop in order.
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
            assert self.process.stdout is not None
            self.line = self.process.stdout.readline()
        return self.line

    def stop(self) -> None:
        if self.process is not None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            self.process.wait()
