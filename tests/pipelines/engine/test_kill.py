"""A stage that is killed again and again ends with the bytes of one that was not, and leaves nothing behind."""

import random
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.clips import make_clip
from tests.helpers.counts import count
from tests.helpers.killed_ingest import contents, decoders, start

KILLS = count(20, 1)
SESSIONS = 4


@pytest.mark.slow
@pytest.mark.counts
@pytest.mark.skipif(sys.platform != "linux", reason="looks for orphans in /proc")
def test_killed_at_any_moment_and_resumed_it_ends_the_same(tmp_path: Path, ray_once: None) -> None:
    source = tmp_path / "source"
    for number in range(SESSIONS):
        home = source / f"s{number}"
        home.mkdir(parents=True)
        make_clip(home / "a.mp4", seconds=3 + number, size="320x180")
        make_clip(home / "b.mkv", seconds=3 + number, size="320x180")
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
        for table in (data / "tables").rglob("b=*.parquet"):
            assert table.read_bytes()[-4:] == b"PAR1"  # whole, or not there
    assert start(source, data).wait(timeout=300) == 0
    assert contents(data) == contents(tmp_path / "whole/data")
    deadline_s = time.monotonic() + 20
    while decoders(tmp_path) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    assert decoders(tmp_path) == []
