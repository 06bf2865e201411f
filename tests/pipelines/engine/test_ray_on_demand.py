"""A Ray for all stages of a command: none is started before a stage asks, all get the same, and none is left over."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.engine import ray as engine_ray
from pipelines.engine.ray import SHARED, NoRay
from pipelines.engine.ray_on_demand import SOCKET, ray_on_demand
from tests.helpers.paths import ROOT

PYTHON = sys.executable
KEEPER = """#!/bin/sh
echo started >> {log}
echo '{{"RAY_ADDRESS": "127.0.0.1:6399", "WANSTREAMER_RAY": "127.0.0.1:6399"}}'
cat > /dev/null
echo ended >> {log}
"""
ASK = "import os; from pipelines.engine import ray; ray._ask_for_shared(); print(os.environ['RAY_ADDRESS'])"
IN_RAY = (
    "import json, os, ray; from pipelines.engine.ray import ray_session\n"
    "with ray_session(2) as size: print(json.dumps([os.environ['RAY_ADDRESS'], ray.is_initialized()]))"
)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the process that would keep a Ray has done; it is a script that starts none."""
    for name in ("RAY_ADDRESS", SOCKET, SHARED):
        monkeypatch.setenv(name, "")  # so that they are what they were, after the test
        monkeypatch.delenv(name)
    script = tmp_path / "keeper"
    script.write_text(KEEPER.format(log=tmp_path / "log"))
    script.chmod(0o755)
    monkeypatch.setattr("pipelines.engine.ray_on_demand.sys.executable", str(script))
    (tmp_path / "log").write_text("")
    return tmp_path / "log"


def ask(variables: dict[str, str]) -> str:
    """What a stage gets, in a process of its own."""
    return subprocess.run(
        [PYTHON, "-c", ASK],
        env=os.environ | variables, cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip


def test_without_a_stage_that_asks_none_is_started(log: Path) -> None:
    with ray_on_demand(2) as variables:
        assert list(variables) == [SOCKET]
    assert log.read_text() == "" and not Path(variables[SOCKET]).exists()


def test_all_stages_get_the_same_and_it_ends_with_the_command(log: Path) -> None:
    with ray_on_demand(2) as variables:
        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(ask, [variables] * 3)) == ["127.0.0.1:6399"] * 3
        assert log.read_text() == "started\n"
    assert log.read_text() == "started\nended\n"


def test_a_ray_that_does_not_start_is_said_to_the_stage(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.engine.ray_on_demand.sys.executable", "/bin/false")
    with ray_on_demand(2) as variables:
        monkeypatch.setenv(SOCKET, variables[SOCKET])
        with pytest.raises(NoRay, match="see above; without Ray: --set run.ray=false"):
            engine_ray._ask_for_shared()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    engine_ray._ask_for_shared()  # the command is gone: the stage starts its own
    assert "RAY_ADDRESS" not in os.environ


def test_a_ray_that_runs_already_is_used(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with ray_on_demand(2) as variables:
        assert variables == {}
    assert log.read_text() == ""


@pytest.mark.long
def test_two_stages_share_a_real_one(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", SHARED)}
    script = f'for number in 1 2; do "{sys.executable}" -c "$0"; done'
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.engine.ray", "sh", "-ec", script, IN_RAY],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (first, is_on), (second, _) = map(json.loads, done.stdout.splitlines())
    assert first == second and is_on and time.monotonic() - began_s < 120
