"""One Ray for several stages, on one thread per worker, and quiet."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.local_ray import ONE_THREAD, SHARED, ray_session, shared_ray
from wanstreamer.errors import InputError

ROOT = Path(__file__).parents[1]
ASK = """
import json, os, sys
from pipelines.local_ray import ONE_THREAD, ray_session
with ray_session(5) as size:
    import ray
    told = ray.get(ray.remote(lambda: {name: os.environ.get(name) for name in ONE_THREAD}).remote())
    print(json.dumps([size, ray.get_runtime_context().gcs_address, told]))
"""


def test_a_child_finds_the_shared_ray_and_its_workers_have_one_thread(ray_once: None) -> None:
    address = os.environ["RAY_ADDRESS"]
    assert os.environ[SHARED] == address
    with shared_ray(2) as more:
        assert more == {}  # there is one already
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, cwd=ROOT, check=True)
    expected = '[2, "' + address + '", ' + str(ONE_THREAD).replace("'", '"') + "]"
    assert done.stdout.strip() == expected
    assert done.stderr == ""


def test_the_command_and_its_exit_code_go_through(ray_once: None) -> None:
    command = [sys.executable, "-m", "pipelines.local_ray", sys.executable, "-c", "raise SystemExit(3)"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 3
    bare = subprocess.run(
        [sys.executable, "-m", "pipelines.local_ray"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert bare.returncode == 2 and bare.stderr.startswith("usage:")


def test_a_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def busy(**options: object) -> None:
        raise Exception("The current node timed out during startup.\nmore")  # noqa: TRY002  # as Ray raises it

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", busy)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
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
