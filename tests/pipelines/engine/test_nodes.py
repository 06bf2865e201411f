"""A cluster that loses a machine in the middle of a run ends with the bytes of one that did not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.clips import make_clip
from tests.helpers.killed_ingest import contents, decoders
from tests.helpers.paths import ROOT

RAY = Path(sys.executable).with_name("ray")
SESSIONS = 8

pytestmark = [
    pytest.mark.slow,
    pytest.mark.stress,
    pytest.mark.skipif(sys.platform != "linux", reason="finds a node's processes in /proc"),
]


def processes(marker: str) -> set[int]:
    """Ids of processes with the marker in their environment: a node's, with all its workers."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if marker.encode() in entry.read_bytes():
                found.add(int(entry.parent.name))
        except OSError:
            continue
    return found


def start_node(marker: str, temp: Path, *options: str) -> None:
    environment = {**os.environ, "NODE_MARKER": marker, "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    command = [str(RAY), "start", "--num-cpus=1", "--disable-usage-stats", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=temp)
    assert done.returncode == 0, done.stdout + done.stderr


def kill_node(marker: str) -> None:
    for pid in processes(marker):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


@pytest.fixture
def two_nodes(tmp_path: Path) -> Iterator[str]:
    """Address of a cluster of two nodes of one worker each, `node-one` (the head) and `node-two`."""
    port = 20000 + os.getpid() % 20000
    address = f"127.0.0.1:{port}"
    one, two = (f"{name}-{os.getpid()}" for name in ("node-one", "node-two"))
    try:
        start_node(
            one, tmp_path, "--head", f"--port={port}", "--include-dashboard=false", "--node-ip-address=127.0.0.1"
        )
        start_node(two, tmp_path, f"--address={address}", "--node-ip-address=127.0.0.1")
        yield address
    finally:
        kill_node(two)
        kill_node(one)


def start(source: Path, data: Path, *options: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "pipelines.ingest", "--data", str(data), "--set", f"ingest.source={source}"]
    return subprocess.Popen([*command, *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_node_that_is_lost_costs_only_time(tmp_path: Path, two_nodes: str, ray_once: None) -> None:
    source = tmp_path / "source"
    for number in range(SESSIONS):
        home = source / f"s{number}"
        home.mkdir(parents=True)
        make_clip(home / "a.mp4", seconds=15, size="640x360")
        make_clip(home / "b.mkv", seconds=15, size="640x360")
    whole = start(source, tmp_path / "whole/data")
    assert whole.wait(timeout=300) == 0
    data = tmp_path / "lost/data"
    run = start(source, data, "--ray-address", two_nodes)
    parts = data / "parts/ingest"
    deadline_s = time.monotonic() + 120
    while len(list(parts.glob("*.zip"))) < 2:
        assert run.poll() is None and time.monotonic() < deadline_s, run.communicate()
        time.sleep(0.05)
    assert len(processes(f"node-two-{os.getpid()}")) > 2
    kill_node(f"node-two-{os.getpid()}")
    left = SESSIONS - len(list(parts.glob("*.zip")))
    _, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors.decode()
    assert left >= 2
    assert contents(data) == contents(tmp_path / "whole/data")
    assert decoders(tmp_path) == []
