"""Two processes say what one says; one that dies is one clear error; closing leaves none behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.duplex_fixtures import random_model
from tests.helpers.live_fixtures import media, small_agent
from tests.helpers.paths import ROOT
from wanstreamer.errors import InputError
from wanstreamer.model.duplex import save_model
from wanstreamer.streaming.agent import Agent, AgentUnit
from wanstreamer.streaming.pipeline import Pipeline, open_pipeline
from wanstreamer.streaming.workers import WorkerDied, open_workers

UNITS = 7


def saved(agent: Agent, folder: Path) -> Path:
    path = folder / "model.safetensors"
    save_model(agent.model, path)
    return path


def converse(pipeline: Pipeline, units: int = UNITS) -> list[AgentUnit]:
    answers = []
    for unit, (frames, samples) in enumerate(media(units)):
        pipeline.hear(frames if unit != 3 else None, samples)
        if unit >= pipeline.lag:
            answers.append(pipeline.answer())
    answers += [pipeline.answer() for _ in range(pipeline.lag)]
    assert all(unit is not None for unit in answers)
    return answers  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def one_thread():  # type: ignore[no-untyped-def]
    """As the performer's process has; the number of threads decides the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("lag", "history_units"), [(0, None), (1, None), (0, 2), (1, 3)])
def test_two_processes_equal_one(lag: int, history_units: int | None, tmp_path: Path) -> None:
    agent = small_agent({"self_lag": lag}, history_units=history_units)
    alone = converse(open_pipeline(agent, seed=3))
    with open_workers(agent, saved(agent, tmp_path), seed=3) as pipeline:
        process = pipeline.link.process  # type: ignore[attr-defined]
        apart = converse(pipeline)
        last = pipeline.last
    for first, second in zip(alone, apart, strict=True):
        assert first.text_tokens == second.text_tokens
        assert np.array_equal(first.samples, second.samples) and np.array_equal(first.frames, second.frames)
    assert not np.array_equal(alone[0].samples, alone[-1].samples)
    assert process.pid != os.getpid() and not process.is_alive() and process.exitcode == 0
    assert last is not None and last.ended_s > last.began_s and 0 < last.handover_us < 1e6


def test_thinking_and_performing_overlap_at_lag_1(tmp_path: Path) -> None:
    """While the performer is stopped the thinker goes on with the next unit; in sequence it may not."""
    agent = small_agent({"self_lag": 1})
    with open_workers(agent, saved(agent, tmp_path), seed=3) as pipeline:
        child = pipeline.link.process.pid  # type: ignore[attr-defined]
        os.kill(child, signal.SIGSTOP)
        try:
            pipeline.hear(None, None)
            assert pipeline.answer(timeout_s=0.2) is None
            pipeline.hear(None, None)
            assert pipeline.answer(timeout_s=0) is None and len(pipeline.open) == 2
        finally:
            os.kill(child, signal.SIGCONT)
        assert pipeline.answer() is not None and pipeline.answer() is not None


def test_a_performer_that_dies_is_one_clear_error(tmp_path: Path) -> None:
    agent = small_agent()
    with open_workers(agent, saved(agent, tmp_path), seed=3) as pipeline:
        pipeline.hear(None, None)
        pipeline.answer()
        process = pipeline.link.process  # type: ignore[attr-defined]
        process.kill()
        process.join()
        with pytest.raises(WorkerDied, match=r"exit code -9\) after 1 units"):
            pipeline.hear(None, None)
        with pytest.raises(WorkerDied, match="has ended; open a new pipeline"):
            pipeline.hear(None, None)


def test_a_performer_that_dies_at_work_is_noticed_at_once(tmp_path: Path) -> None:
    agent = small_agent()
    with open_workers(agent, saved(agent, tmp_path), seed=3) as pipeline:
        process = pipeline.link.process  # type: ignore[attr-defined]
        os.kill(process.pid, signal.SIGSTOP)
        pipeline.hear(None, None)
        process.kill()
        with pytest.raises(WorkerDied, match="after 0 units"):
            pipeline.answer()


def test_a_performer_does_not_outlive_its_caller(tmp_path: Path) -> None:
    """The caller is killed, so it cannot say goodbye."""
    agent = small_agent()
    script = f"""
import os, signal
from pathlib import Path
from tests.helpers.live_fixtures import small_agent
from wanstreamer.streaming.workers import open_workers
if __name__ == "__main__":
    pipeline = open_workers(small_agent(), Path({str(saved(agent, tmp_path))!r}), seed=0)
    print(pipeline.link.process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    (tmp_path / "caller.py").write_text(script)
    root = ROOT
    done = subprocess.run(
        [sys.executable, str(tmp_path / "caller.py")],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert within(10, lambda: not alive(int(done.stdout)))


def alive(pid: int) -> bool:
    """Running: a process that ended and that no one has reaped does not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def within(seconds: float, true: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.05)
    return true()


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    agent = small_agent()
    path = tmp_path / "other.safetensors"
    with pytest.raises(InputError, match="no such file"):
        open_workers(agent, path, seed=0)
    save_model(random_model(agent.model.config, seed=1), path)
    with pytest.raises(InputError, match="not the model of this agent"):
        open_workers(agent, path, seed=0)
