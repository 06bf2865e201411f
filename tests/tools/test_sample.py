"""`tools.sample --scene`: loose files as in a user's folder; without it, the sample stage under its old name."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tools import sample


def test_scenes_lie_in_the_folder_and_their_truth_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, truth = tmp_path / "mine", tmp_path / "truth"
    arguments = ["--scene", "sound", "--sessions", "2", "--seconds", "20", "--out", str(out), "--workers", "1"]
    sample.main([*arguments, "--truth", str(truth)])
    assert [path.stem for path in sorted(out.iterdir())] == ["sound-0000", "sound-0001"]
    assert pq.read_table(truth / "scenes.parquet")["kind"].to_pylist() == ["sound", "sound"]
    assert "2 scenes of 20 s" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        sample.main(arguments)
    assert ended.value.code == 2 and "exists already; pass another --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scene", "two_shots"], "scene `two_shots`: unknown; expected some of two_shot"),
        (["--scene", ","], "--scene: no kind; expected some of two_shot"),
        (["--scene", "cuts", "--sessions", "0"], "expected --sessions and --workers of 1 or more"),
        (["--scene", "cuts", "--seconds", "5"], "scene `cuts` in 5 seconds: expected 20 or more"),
    ],
)
def test_what_cannot_be_made_is_one_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        sample.main([*arguments, "--out", str(tmp_path / "mine")])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and said in error and error.count("\n") == 1
    assert not (tmp_path / "mine").exists()


def test_groups_are_their_kinds() -> None:
    assert sample.kinds_of("two_shot, non_dyads,two_shot") == [
        "two_shot", "one_person", "one_person_poster", "listener", "three"
    ]  # fmt: skip
    assert len(sample.kinds_of("all")) == len(sample.KINDS)


def test_without_a_scene_the_command_is_the_sample_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(sample, "run_as", started.append)
    sample.main(["--sessions", "2"])
    assert started == ["pipelines.sample"]
