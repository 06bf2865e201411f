"""What `make` says before it starts anything."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("typo", "error: SOURCE=typo: no such folder or manifest"),
        ("", "error: SOURCE is not set; name your recordings: make windows"),
    ],
)
def test_recordings_are_looked_for_before_an_environment_is_made(tmp_path: Path, source: str, said: str) -> None:
    done = subprocess.run(
        ["make", "-f", str(ROOT / "Makefile"), "windows", f"SOURCE={source}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stderr.startswith(said)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_extras_are_asked_for_before_an_environment_is_made(tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "-f", str(ROOT / "Makefile"), "extras"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stderr.startswith("error: EXTRAS is not set; name extras of pyproject.toml")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(("failing", "code"), [("", 0), ("pack", 2)])
def test_windows_ends_with_the_summary(tmp_path: Path, failing: str, code: int) -> None:
    """Also if a stage fails, with its exit code. `python` is a script here that notes what it is asked to run."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / "calls/data/tables").mkdir(parents=True)
    (tmp_path / "recordings #1").mkdir()
    python = tmp_path / ".venv/bin/python"
    python.write_text(
        f'#!/bin/sh\necho $(echo "$@") >> {tmp_path}/log\n'
        'case "$2" in pipelines.engine.ray) shift 2; exec "$@";; pipelines.' + (failing or "none") + ") exit 2;; esac\n"
    )
    python.chmod(0o755)
    done = subprocess.run(
        ["make", "-f", str(ROOT / "Makefile"), "-o", ".venv/.core", "windows", "SOURCE=recordings #1", "OUT=calls"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code
    modules = [line.split()[1] for line in (tmp_path / "log").read_text().splitlines()]
    stages = [f"pipelines.{stage}" for stage in ("people", "ingest", "quality", "annotate", "vae", "encode", "pack")]
    assert modules == ["pipelines.params", "pipelines.engine.ray", *stages, "tools.summary"]
    assert (tmp_path / "log").read_text().splitlines()[-1] == "-m tools.summary --data calls/data --next"
    assert "--set ingest.source=recordings #1 --set" in (tmp_path / "log").read_text()
