"""What a run ends with: what was rejected, by stage and reason, and the commands that come next."""

import json
import sys
from pathlib import Path

import pytest

from pipelines.engine.bucket_files import write_rejections
from pipelines.engine.tables import to_table, write_table
from tests.helpers.blank_rows import blank_row
from tools import summary


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "my data"
    write_table(folder, "events", to_table("events", []))
    write_rejections(
        folder, "ingest", [("call 1", "unreadable", "a.mp4: moov atom not found"), ("b", "unreadable", "")]
    )
    write_rejections(
        folder, "quality", [("c/a", "too_quiet", "-70.1 LUFS, at least -60"), ("c/b", "no_face", "x " * 300)]
    )
    return folder


def printed(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    monkeypatch.setattr(sys, "argv", ["summary", "--data", str(data), *options])
    summary.main()
    return capsys.readouterr().out


def test_rejections_are_listed_by_stage_and_reason(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = printed(data, monkeypatch, capsys, "--next")
    assert "rejected:\n  ingest: 2 x unreadable, for example b\n" in said
    assert "  quality: 1 x too_quiet, for example c/a: -70.1 LUFS, at least -60\n" in said
    (long,) = (line for line in said.splitlines() if line.startswith("  quality: 1 x no_face, for example c/b"))
    assert len(long) < 220
    assert "# all rejections" in said and "rejected:" not in printed(data, monkeypatch, capsys)


def test_what_comes_next_depends_on_what_is_there(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = f"'{data}'"
    said = printed(data, monkeypatch, capsys, "--next")
    assert f"python -m tools.picture --data {place}" in said and "there are no windows yet" in said
    assert f"python -m tools.show --data {place}" in said and f"python -m tools.report {place} --out" in said
    assert "pipelines.train.duplex" not in said and "tools.people" not in said
    write_table(data, "people", to_table("people", [blank_row("people", session_id="c", participant="a")]))
    assert f"python -m tools.people --data {place}  #" in printed(data, monkeypatch, capsys, "--next")
    (data / "windows").mkdir()
    for splits, command in (
        (["train", "test"], f"python -m pipelines.train.duplex --data {place}"),
        (["test"], "--set ingest.test_fraction=0 --set ingest.valid_fraction=0"),
    ):
        (data / "windows" / "manifest.json").write_text(json.dumps({"content_sha256": dict.fromkeys(splits, "x")}))
        said = printed(data, monkeypatch, capsys, "--next")
        assert command in said and "there are no windows yet" not in said


def test_a_folder_without_rejections_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = printed(tmp_path, monkeypatch, capsys, "--next")
    assert "rejected: nothing\n" in said and "all rejections" not in said
    write_rejections(tmp_path, "ingest", [])
    assert "rejected: nothing\n" in printed(tmp_path, monkeypatch, capsys, "--next")
