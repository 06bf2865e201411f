"""From a moment of a file or of a session to all windows that hold it, in both role views."""

import json
from pathlib import Path

import pytest

from pipelines.engine.tables import read_rows
from tools.lineage.__main__ import main
from tools.lineage.moment import windows_of_session, windows_of_source
from tools.lineage.unit import trace_unit
from wanstreamer.clock import UNIT_MS
from wanstreamer.errors import InputError


def test_a_unit_is_found_again_from_its_source(data: Path) -> None:
    for window in read_rows(data, "windows")[::3]:
        for unit in (0, 5, 7):
            traced = trace_unit(data, window["window_id"], unit, look=False)
            for role in ("agent", "user"):
                for kind in ("video", "audio"):
                    source = traced["roles"][role][kind]["source"]
                    middle_s = (source["from_ms"] + source["to_ms"]) / 2000
                    found = windows_of_source(data, source["file"], middle_s)
                    places = {
                        (place["window_id"], place["unit"], place["role"])
                        for moment in found["moments"]
                        for place in moment["windows"]
                    }
                    assert (window["window_id"], unit, role) in places


def test_all_windows_of_a_moment_are_listed_once(data: Path) -> None:
    found = windows_of_source(data, "a.mkv", 1.6)
    [moment] = found["moments"]
    assert (moment["participant"], moment["streams"]) == ("a", ["picture", "sound"])
    assert (moment["time_ms"], moment["unit"], moment["track_frame"]) == (1200, 7, 30)
    held = {
        row["window_id"]
        for row in read_rows(data, "windows")
        if row["start_unit"] * UNIT_MS <= 1200 < (row["start_unit"] + row["num_units"]) * UNIT_MS
    }
    assert {place["window_id"] for place in moment["windows"]} == held
    assert {(place["agent"], place["role"]) for place in moment["windows"]} == {("a", "agent"), ("b", "user")}
    same = windows_of_session(data, "talk-1", 1.2)["moments"][0]
    assert [place["window_id"] for place in same["windows"]] == [place["window_id"] for place in moment["windows"]]


def test_picture_and_sound_of_one_participant_have_their_own_clocks(data: Path) -> None:
    [picture], [sound] = (windows_of_source(data, name, 1.0)["moments"] for name in ("b.mkv", "b-recorder.wav"))
    assert (picture["streams"], picture["time_ms"]) == (["picture"], 1000)
    assert (sound["streams"], sound["time_ms"]) == (["sound"], 720)


def test_what_ingest_cut_off_is_in_no_window(data: Path) -> None:
    [before] = windows_of_source(data, "a.mkv", 0.3)["moments"]
    assert before["outside"] == "before the tracks begin" and before["windows"] == []
    [after] = windows_of_source(data, "a.mkv", 999)["moments"]
    assert after["outside"].startswith("the tracks of talk-1 end at")


def test_a_file_is_known_by_path_or_name(data: Path) -> None:
    path = data.parent / "recordings" / "a.mkv"
    assert windows_of_source(data, str(path), 1.6) == windows_of_source(data, "a.mkv", 1.6)
    with pytest.raises(InputError, match="no track is made of it; did you mean a.mkv"):
        windows_of_source(data, "elsewhere/a.mkv", 1.6)
    with pytest.raises(InputError, match="--source c'.mkv: no track is made of it"):
        windows_of_source(data, "c'.mkv", 1.6)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--source", "a.mkv"], "--at None: expected seconds"),
        (["--source", "a.mkv", "--at", "soon"], "--at soon: expected seconds"),
        (["--source", "a.mkv", "--session", "talk-1", "--at", "1"], "expected WINDOW UNIT, or --source"),
        (["--session", "talk-2", "--at", "1"], "no session talk-2"),
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
    main(["--source", "a.mkv", "--at", "1.6", "--data", str(data)])
    lines = capsys.readouterr().out
    assert "talk-1/a (picture and sound): 1.200 s of the tracks, unit 7, frame 30" in lines
    assert "next: python -m tools.lineage talk-1-" in lines
    main(["--session", "talk-1", "--at", "1.2", "--data", str(data), "--json"])
    assert json.loads(capsys.readouterr().out) == windows_of_session(data, "talk-1", 1.2)
