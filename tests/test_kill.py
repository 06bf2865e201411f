"""A stage that is killed again and again ends with the bytes of one that was not, and leaves nothing behind."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.test_ingest import make_clip

ROOT = Path(__file__).parents[1]
KILLS = int(os.environ.get("WANSTREAMER_KILLS", "1"))
SESSIONS = 4


def start(source: Path, data: Path, stderr: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "pipelines.ingest", "--data", str(data), "--set", f"ingest.source={source}"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=stderr)


def contents(data: Path) -> dict[str, str]:
    """Digests of everything but the notes of sizes, times and wall clocks."""
    return {
        str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(data.rglob("*"))
        if path.is_file() and "timings" not in path.parts and path.name != "ingest-digests.json"
    }


def decoders(folder: Path) -> list[str]:
    """Command lines of ffmpeg processes that work for this test."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "ffmpeg" in line and str(folder) in line:
            found.append(line)
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for orphans in /proc")
def test_killed_at_any_moment_and_resumed_it_ends_the_same(tmp_path: Path, ray_once: None) -> None:
    source = tmp_path / "source"
    for number in range(SESSIONS):
        home = source / f"s{number}"
        home.mkdir(parents=True)
        make_clip(home / "a.mp4", seconds=4 + number, size="640x360")
        make_clip(home / "b.mkv", seconds=4 + number, size="640x360")
    whole = start(source, tmp_path / "whole/data")
    began_s = time.monotonic()
    assert whole.wait(timeout=300) == 0
    usual_s = time.monotonic() - began_s
    chance, data = random.Random(0), tmp_path / "killed/data"
    for _ in range(KILLS):
        child = start(source, data)
        time.sleep(chance.uniform(0.2, 1.0) * usual_s)
        child.send_signal(signal.SIGKILL)
        child.wait()
        for table in (data / "tables").glob("*.parquet"):
            assert table.read_bytes()[-4:] == b"PAR1"  # whole, or not there
    assert start(source, data).wait(timeout=300) == 0
    assert contents(data) == contents(tmp_path / "whole/data")
    deadline_s = time.monotonic() + 20
    while decoders(tmp_path) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    assert decoders(tmp_path) == []
