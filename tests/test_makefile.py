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
