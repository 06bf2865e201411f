"""Rows with a task in them, and a worker that does it."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from pipelines.engine.ray import spread
from pipelines.engine.schedule import Row
from pipelines.engine.watchdog import Stalled, time_limit


class Feed:
    """Counts how many rows were asked for."""

    def __init__(self, rows: list[Row] | int) -> None:
        self.rows = rows
        self.pulled = 0
        self.calls = 0

    def __call__(self) -> Iterator[Row]:
        self.calls += 1
        for row in range(self.rows) if isinstance(self.rows, int) else self.rows:
            self.pulled += 1
            yield {"key": f"k{row:07d}"} if isinstance(row, int) else row


def row(key: str, does: str = "", **spec: object) -> Row:
    return {"key": key, "does": does, "spec": json.dumps(spec)}


class Doer:
    """Does what a row says, and leaves a mark for each time it has begun one."""

    def __init__(self, marks: Path | None = None) -> None:
        self.marks = marks
        self.built = 0

    def __call__(self, row: Row) -> Row:
        self.built += 1
        key, spec = row["key"], json.loads(row.get("spec", "{}"))
        if self.marks is not None:
            with (self.marks / key).open("a") as file:
                file.write(f"{os.getpid()}\n")
        outcome = {"key": key, "error": "", "nth": str(self.built), "process": str(os.getpid())}
        return outcome | (getattr(self, row["does"])(key, **spec) or {} if row.get("does") else {})

    def tries(self, key: str) -> int:
        assert self.marks is not None
        with suppress(FileNotFoundError):
            return len((self.marks / key).read_text().splitlines())
        return 0

    def sleep(self, key: str, seconds: float) -> None:
        time.sleep(seconds)

    def meet(self, key: str, other: str) -> None:
        while not self.tries(other):
            time.sleep(0.01)

    def die(self, key: str, times: int) -> None:
        if self.tries(key) <= times:
            os.kill(os.getpid(), signal.SIGKILL)

    def stop(self, key: str, times: int = 1) -> None:
        if self.tries(key) <= times:
            os.kill(os.getpid(), signal.SIGSTOP)

    def hang(self, key: str, times: int = 1) -> None:
        if self.tries(key) <= times:
            time.sleep(300)

    def stop_child(self, key: str, times: int = 1) -> Row:
        """As a stage does it: a child that fails makes the key fail, unless it was the watchdog that killed it."""
        child = subprocess.Popen(["sleep", "0.2"])
        if self.tries(key) <= times:
            child.send_signal(signal.SIGSTOP)
        try:
            with time_limit(0, LookupError()):
                child.wait()
        except Stalled:
            return self(row(key, "stop_child", times=times))
        return {"error": "" if child.returncode == 0 else "the child failed"}

    def bug(self, key: str) -> None:
        raise ZeroDivisionError("a bug")

    def read(self, key: str, path: str) -> Row:
        return {"error": Path(path).read_text()}

    def spread(self, key: str, seconds: float, calls: int) -> None:
        spread([partial(time.sleep, seconds)] * calls)

    def see_gpu(self, key: str) -> Row:
        time.sleep(0.5)
        return {"gpu": os.environ.get("CUDA_VISIBLE_DEVICES", "")}

    def see_node(self, key: str) -> Row:
        import ray

        time.sleep(0.5)
        here = ray.get_runtime_context().get_node_id()
        (node,) = (node for node in ray.nodes() if node["NodeID"] == here)
        return {
            "gpus": str(int(node["Resources"].get("GPU", 0))),
            "gpu": ",".join(map(str, ray.get_runtime_context().get_accelerator_ids()["GPU"])),
        }
