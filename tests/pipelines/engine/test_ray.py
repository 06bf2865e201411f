"""One Ray for several stages, on one thread per worker, whose workers do not talk to the user."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from pipelines.engine import ray as engine_ray
from pipelines.engine.ray import ONE_THREAD, SHARED, ray_session, shared_ray, spread, time_limit
from tests.helpers.ctrl_c import hear_ctrl_c
from tests.helpers.paths import ROOT
from wanstreamer.errors import InputError

ASK = """
import json, os, sys
from pipelines.engine import ray as engine_ray
from pipelines.engine.ray import ONE_THREAD, ray_session
with ray_session(5) as size:
    import ray
    def one_thread_variables():
        print("said by a worker", flush=True)
        print("warned by a worker", file=sys.stderr, flush=True)
        return {name: os.environ.get(name) for name in ONE_THREAD}
    variables = ray.get(ray.remote(one_thread_variables).remote())
    print(json.dumps([size, ray.get_runtime_context().gcs_address, variables]))
"""


def test_a_child_finds_the_shared_ray_and_its_workers_have_one_thread(ray_once: None) -> None:
    address = os.environ["RAY_ADDRESS"]
    assert os.environ[SHARED] == address
    with shared_ray(2) as more:
        assert more == {}  # there is one already
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, cwd=ROOT, check=True)
    expected = '[2, "' + address + '", ' + str(ONE_THREAD).replace("'", '"') + "]"
    assert done.stdout.splitlines()[-1] == expected
    assert "by a worker" not in done.stdout + done.stderr


def test_the_command_and_its_exit_code_go_through(ray_once: None) -> None:
    command = [sys.executable, "-m", "pipelines.engine.ray", sys.executable, "-c", "raise SystemExit(3)"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 3
    bare = subprocess.run(
        [sys.executable, "-m", "pipelines.engine.ray"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert bare.returncode == 2 and bare.stderr.startswith("usage:")


def test_a_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def busy(**options: object) -> None:
        raise Exception("The current node timed out during startup.\nmore")  # noqa: TRY002  # as Ray raises it

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", busy)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)  # other tests use the Ray of this process
    monkeypatch.setattr(engine_ray, "START_AGAIN_S", (0.01, 0.02))
    with (
        pytest.raises(InputError, match="Ray did not start: The current node .* run the same command again"),
        ray_session(1),
    ):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "host:"])
def test_an_address_without_ray_is_one_line(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    import ray

    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(InputError, match="no Ray answers there"), ray_session(1):
        pass


def mark(folder: Path, number: int, *, seconds: float = 0.0, fails: bool = False) -> int:
    """Leaves a file when it begins and one when it ends, however it does."""
    (folder / f"{number}.begun").touch()
    try:
        time.sleep(seconds)
        if fails:
            raise ValueError(f"number {number}")
        return number
    finally:
        (folder / f"{number}.ended").touch()


def marks(folder: Path, suffix: str) -> set[int]:
    return {int(path.stem) for path in folder.glob(f"*.{suffix}")}


def test_calls_are_spread_and_their_results_keep_their_order(tmp_path: Path, ray_once: None) -> None:
    with ray_session(2):
        calls = [partial(mark, tmp_path, number, seconds=0.2 * (number == 0)) for number in range(5)]
        assert spread(calls) == [0, 1, 2, 3, 4]
    assert marks(tmp_path, "ended") == {0, 1, 2, 3, 4}


def test_a_call_that_fails_drops_the_rest_and_leaves_nothing_running(tmp_path: Path, ray_once: None) -> None:
    with ray_session(2):
        calls = [partial(mark, tmp_path, number, seconds=0.5, fails=number == 1) for number in range(20)]
        with pytest.raises(ValueError, match="number 1"):
            spread(calls)
        assert marks(tmp_path, "begun") == marks(tmp_path, "ended")
        assert len(marks(tmp_path, "begun")) < 6


def test_a_time_limit_holds_for_what_is_spread(tmp_path: Path, ray_once: None) -> None:
    with ray_session(2):
        spread([partial(mark, tmp_path, 9)])  # workers are up
        began_s = time.monotonic()
        with pytest.raises(LookupError), time_limit(0.5, LookupError()):
            spread([partial(mark, tmp_path, number, seconds=60) for number in range(4)])
        assert time.monotonic() - began_s < 10
        assert marks(tmp_path, "ended") == marks(tmp_path, "begun") and len(marks(tmp_path, "begun")) == 3


def test_ctrl_c_waits_for_what_the_command_says() -> None:
    """A terminal sends it to both; the command ends by itself, in its own time and with its own exit code."""
    command = """
import sys, time
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)
    print("stopped", flush=True)
    sys.exit(7)
"""
    run = subprocess.Popen(
        [sys.executable, "-m", "pipelines.engine.ray", sys.executable, "-c", command],
        cwd=ROOT, env=os.environ | {"RAY_ADDRESS": "127.0.0.1:1"}, stdout=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=hear_ctrl_c,
    )  # fmt: skip
    assert run.stdout is not None and run.stdout.readline() == "ready\n"
    os.killpg(run.pid, signal.SIGINT)
    assert run.communicate(timeout=60)[0] == "stopped\n" and run.returncode == 7
