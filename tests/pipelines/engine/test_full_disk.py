"""A disk that fills stops the run in one line, and the same command goes on once there is room."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.clips import make_clip
from tests.helpers.killed_ingest import contents, start

SESSIONS = 8


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 5 MB, which only root can mount."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=5m", "none", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a file system needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.stress
def test_a_disk_that_fills_stops_the_run_and_loses_nothing(tmp_path: Path, small_disk: Path, ray_once: None) -> None:
    source = tmp_path / "source"
    for number in range(SESSIONS):
        home = source / f"s{number}"
        home.mkdir(parents=True)
        make_clip(home / "a.mp4", seconds=8)
        make_clip(home / "b.mkv", seconds=8)
    assert start(source, tmp_path / "whole/data").wait(timeout=300) == 0
    data = small_disk / "data"
    child = start(source, data, stderr=subprocess.PIPE)
    said = child.communicate(timeout=300)[1].decode().strip().splitlines()
    assert child.returncode == 2
    assert [line for line in said if line.startswith("error:")] == [
        f"error: {data}: no space left; free some space and run the same command again"
    ]
    assert not any("Traceback" in line for line in said)
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    kept = len(list((data / "parts/ingest").glob("*.zip")))
    assert 0 < kept < SESSIONS
    assert start(source, data).wait(timeout=300) == 0
    assert contents(data) == contents(tmp_path / "whole/data")
