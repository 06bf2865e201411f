"""Killed just before any kind of write, a rerun ends with the bytes of a run that was never killed."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.counted_jobs import contents
from tests.helpers.counts import count
from tests.helpers.fault_points import AFTER, BEFORE, make_small
from tests.helpers.paths import ROOT
from tests.helpers.staged_corpus import stage_corpus
from tools.compact import compact_folder
from tools.verify import verify

KILLS = count(100, 3)


def run_until(data: Path, log: Path, number: int) -> int:
    command = [sys.executable, "-m", "tests.helpers.fault_points", str(data), str(log), str(number)]
    return subprocess.run(command, cwd=ROOT, check=False, stderr=subprocess.DEVNULL).returncode


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


@pytest.mark.slow
@pytest.mark.counts
def test_killed_before_any_kind_of_write_it_ends_the_same(tmp_path: Path) -> None:
    """Sessions were added, left and changed: shards are given up, and files removed."""
    data, begun, log = tmp_path / "work/data", tmp_path / "begun", tmp_path / "log"
    stage_corpus(data, AFTER)
    expected = contents(data)
    shutil.rmtree(data)
    stage_corpus(data, BEFORE)
    shutil.copytree(data, begun)
    assert run_until(data, log, 0) == 0
    kinds: dict[str, list[int]] = {}
    for number, kind in enumerate(log.read_text().splitlines(), start=1):
        kinds.setdefault(kind, []).append(number)
    assert len(kinds) >= 20
    chance = random.Random(0)
    places = [(kind, chance.choice(numbers)) for kind, numbers in kinds.items()]
    for kind, number in [("no kill", 0), *places[:: max(1, len(places) // KILLS)]]:
        shutil.rmtree(data)
        shutil.copytree(begun, data)
        assert run_until(data, log, number) == (-9 if number else 0), kind
        stage_corpus(data, AFTER)
        assert verify(data).damages == [], kind
        compact_folder(data)
        assert contents(data) == expected, kind
