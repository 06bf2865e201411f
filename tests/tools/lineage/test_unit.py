"""From a unit of a window to its source: every stage is named, masks have their reasons, consent is respected."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines.engine.files import file_sha256
from pipelines.engine.tables import read_rows
from pipelines.media.tracks import read_frames
from pipelines.pack.params import PackParams
from tests.helpers.numbered_recordings import number_of
from tools.lineage.__main__ import main
from tools.lineage.show import unit_lines
from tools.lineage.unit import trace_unit
from wanstreamer.errors import InputError
from wanstreamer.windows.index import open_windows
from wanstreamer.windows.shards import load_sample


def test_a_unit_leads_to_the_bytes_it_was_made_from(data: Path) -> None:
    traced = trace_unit(data, "talk-1-a-000004", 3)
    window, agent, user = traced["window"], traced["roles"]["agent"], traced["roles"]["user"]
    assert (traced["session"]["unit"], traced["session"]["from_ms"], traced["session"]["origin_ms"]) == (7, 1120, 400)
    assert file_sha256(data / window["shard"]) == window["shard_sha256"]
    for role, found in (("a", agent), ("b", user)):
        assert found["participant"] == role
        track = found["video"]["track"]
        assert file_sha256(data / track["file"]) == track["sha256"] and track["frames"] == [28, 32]
        assert found["audio"]["track"]["samples"] == [7 * 2560, 8 * 2560]
        frames = read_frames(data / track["file"], 28, 32)
        source = found["video"]["source"]
        assert [frame["source_frame"] for frame in source["frames"]] == [number_of(frame) for frame in frames]
        assert source["hash"] == file_sha256(data.parent / "recordings" / source["file"])
    assert agent["video"]["source"]["from_ms"] == 1520 and user["video"]["source"]["from_ms"] == 1120
    assert user["video"]["source"]["crop"] == [128, 0, 128, 96]
    assert user["audio"]["source"]["file"] == "b-recorder.wav"
    assert user["audio"]["source"]["samples"] == [(1120 + 280) * 16, (1280 + 280) * 16]
    assert set(traced["made_by"]) == {"ingest", "pack"} and len(traced["made_by"]["pack"]["fingerprint"]) == 64


def test_the_latents_are_those_of_the_window(data: Path) -> None:
    traced = trace_unit(data, "talk-1-b-000004", 2)
    windows = open_windows(data / "windows", "train")
    place = [row["window_id"] for row in windows.rows].index("talk-1-b-000004")
    sample = load_sample(windows, place)
    latents = traced["roles"]["agent"]["video"]["latents"]
    offset = next(row["video_offset"] for row in read_rows(data, "latents") if row["participant"] == "b")
    with (data / latents["shard"]).open("rb") as file:
        file.seek(offset)
        array = np.load(file)
    assert np.array_equal(array[latents["row"]], sample["agent_video"][2])


def test_masks_have_their_reasons(data: Path) -> None:
    masked = {}
    for unit in range(8):
        found = trace_unit(data, "talk-1-b-000004", unit, look=False)
        assert found["uncertain_masks"] == []
        user = found["roles"]["user"]["audio"]
        assert user["known"] is not bool(user["masked_because"])
        masked[found["session"]["unit"]] = user["masked_because"]
    # b speaks in units 6 and 7 and is heard in the track of a; a unit more is masked on either side.
    assert masked == {unit: ["bleed"] if 5 <= unit <= 8 else [] for unit in range(4, 12)}


def test_reasons_by_other_parameters_are_called_uncertain(data: Path) -> None:
    traced = trace_unit(data, "talk-1-b-000004", 1, params=PackParams(max_bleed_db=0), look=False)
    assert traced["uncertain_masks"] == ["user_audio_bleed"]
    user = traced["roles"]["user"]["audio"]
    assert not user["known"] and user["masked_because"] == []
    text = "\n".join(unit_lines(traced))
    assert "audio: masked: cannot tell why" in text and "not certain" in text


def test_words_and_ids_of_people_who_are_not_to_be_shown_stay_out(data: Path) -> None:
    traced = trace_unit(data, "talk-1-a-000000", 1, look=False)
    agent, user = traced["roles"]["agent"], traced["roles"]["user"]
    next_unit = trace_unit(data, "talk-1-a-000000", 2, look=False)["roles"]["agent"]["text"]  # a unit has two ids
    assert (agent["speaker_id"], agent["text"]["said"] + next_unit["said"]) == ("p1", "red")
    assert (user["speaker_id"], user["text"]["ids"], user["text"]["said"]) == (None, None, None)
    assert "p2" not in json.dumps(traced) and "withheld" in "\n".join(unit_lines(traced))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["talk-1-c-000000", "0"], "no window talk-1-c-000000"),
        (["nothing", "0"], "no window nothing"),
        (["talk-1-a-000000", "8"], "unit 8: expected 0 to 7"),
        (["talk-1-a-000000", "-"], "UNIT -: expected the index"),
        (["talk-1-a-000000"], "UNIT None: expected the index"),
        ([], "expected WINDOW UNIT"),
    ],
)
def test_a_mistake_is_one_line(
    data: Path, arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--data", str(data)])
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert error in printed and printed.count("\n") == 1


def test_the_command_prints_lines_or_json(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["talk-1-a-000004", "3", "--data", str(data), "--params", str(data / "no-params.yaml")])
    lines = capsys.readouterr().out
    assert "window talk-1-a-000004, unit 3 of 8 (train)" in lines and "its frames 38, 39, 40, 41" in lines
    main(["talk-1-a-000004", "3", "--data", str(data), "--params", str(data / "no-params.yaml"), "--json"])
    assert json.loads(capsys.readouterr().out) == trace_unit(data, "talk-1-a-000004", 3)


def test_a_folder_without_the_table_says_what_to_run(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "tables" / "sources")
    with pytest.raises(InputError, match="sources: no such table yet; run the ingest stage first"):
        trace_unit(tmp_path / "data", "talk-1-a-000004", 3)
