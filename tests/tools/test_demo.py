"""`make demo`: four conversations become tables, a picture and three answers, and a second run has nothing to do."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pipelines.engine.tables import read_rows
from tests.helpers.paths import ROOT
from tools.demo import QUERIES


def run_demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.demo", *arguments],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.long
def test_the_demo_shows_something_and_makes_nothing_the_second_time(tmp_path: Path) -> None:
    first = run_demo(tmp_path)
    assert first.returncode == 0, first.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    data = tmp_path / "demo" / "data"

    steps = re.findall(r"^\[(\d)/5\] (\w+): ", first.stdout, flags=re.MULTILINE)
    assert steps == [("1", "sample"), ("2", "ingest"), ("3", "annotate"), ("4", "picture"), ("5", "queries")]
    for question, _ in QUERIES:
        assert question in first.stdout

    events = read_rows(data, "events")
    counts = Counter(event["label"] if event["kind"] == "transition" else event["kind"] for event in events)
    assert counts["interruption"] >= 2 and counts["backchannel"] >= 5, "little to see"
    interruptions = [event for event in events if event["label"] == "interruption"]
    assert {event["outcome"] for event in interruptions} >= {"floor_taking"}
    for event in interruptions:
        assert f"{event['start_ms'] / 1000:.4g}" in first.stdout

    *_, last = first.stdout.splitlines()
    picture = re.search(r"Open (\S+\.svg) in a browser", last)
    assert picture is not None and 'python -m tools.query --data demo/data "FROM session_summary"' in last
    assert ElementTree.parse(tmp_path / picture[1]).getroot().tag.endswith("svg")

    media = [path for name in ("sources", "tracks") for path in (data / name).rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in media}
    second = run_demo(tmp_path)
    assert second.returncode == 0 and second.stderr.count("up to date") == 3
    assert len(before) > 16 and {path: path.stat().st_mtime_ns for path in media} == before
    answers = [run.stdout[run.stdout.index(QUERIES[0][0]) : run.stdout.index("Done in")] for run in (first, second)]
    assert answers[0] == answers[1]


def test_it_tells_what_it_does() -> None:
    done = run_demo(ROOT, "--help")
    assert done.returncode == 0 and "default: demo/data" in done.stdout
