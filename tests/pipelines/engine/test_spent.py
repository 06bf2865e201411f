"""What the work on a key spends: the CPU time of the worker, of the programs it runs, and of calls on other workers."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.jobs import Job, Result
from pipelines.engine.ray import spread
from pipelines.engine.run import RunParams, run_keys

BUSY_S = 0.4
BUSY = f"import time; [None for _ in iter(lambda: time.process_time() < {BUSY_S}, False)]"


def busy() -> None:
    until_s = time.process_time() + BUSY_S
    while time.process_time() < until_s:
        pass


class InTheWorker:
    """Building the work costs CPU time too, but belongs to the start of a worker."""

    def __init__(self) -> None:
        busy()

    def __call__(self, job: Job, data: Path, scratch: Path) -> Result:
        busy()
        return Result()


def in_a_program(job: Job, data: Path, scratch: Path) -> Result:
    subprocess.run([sys.executable, "-S", "-c", BUSY], check=True)
    return Result()


def on_other_workers(job: Job, data: Path, scratch: Path) -> Result:
    spread([busy, busy])
    return Result()


def asleep(job: Job, data: Path, scratch: Path) -> Result:
    time.sleep(2 * BUSY_S)
    return Result()


def spent(data: Path, work: Any, keys: int, **how: Any) -> dict[str, Any]:
    jobs = [Job(key=f"s{number}", spec={}, inputs=()) for number in range(keys)]
    run_keys(
        data, "annotate", jobs, work, params=None, tables=(), how=RunParams(workers=2, **how), code=(),
        spreads=work is on_other_workers,
    )  # fmt: skip
    figures: dict[str, Any] = json.loads((data / "timings" / "annotate.json").read_text())
    return figures


@pytest.mark.parametrize(
    ("work", "ray", "each_s"),
    [
        (InTheWorker, False, BUSY_S),
        pytest.param(InTheWorker, True, BUSY_S, marks=pytest.mark.long),
        (in_a_program, False, BUSY_S),
        (on_other_workers, False, 2 * BUSY_S),
        pytest.param(on_other_workers, True, 2 * BUSY_S, marks=pytest.mark.long),
        (asleep, False, 0.0),
    ],
)
def test_the_cpu_time_of_keys_is_counted_wherever_it_is_spent(
    tmp_path: Path, request: pytest.FixtureRequest, work: Any, ray: bool, each_s: float
) -> None:
    if ray:
        request.getfixturevalue("ray_once")
    figures = spent(tmp_path, work, 3, ray=ray)
    assert figures["keys"] == 3
    assert 3 * each_s - 0.05 <= figures["cpu_s"] <= 3 * each_s + 0.6
    assert 0 < figures["start_s"] < figures["wall_s"] + 0.1
