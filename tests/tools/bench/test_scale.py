"""The made-up corpus has the rows of real sessions, and the bench its figures."""

import argparse
import json
from pathlib import Path

import pytest

from pipelines.engine.tables import check_unique, to_table
from tests.helpers.blank_rows import blank_row
from tools.bench import scale, scale_corpus, scale_templates
from tools.bench.scale_corpus import REPEATS
from tools.bench.scale_templates import repeated


def test_a_session_is_repeated_in_time_and_its_keys_stay_unique() -> None:
    rows = [blank_row("units", session_id="s", participant=who, unit=unit) for who in "ab" for unit in range(5)]
    units = repeated(to_table("units", rows), 5)
    assert units.num_rows == 10 * REPEATS
    check_unique("units", units)
    of_a = [row["unit"] for row in units.to_pylist() if row["participant"] == "a"]
    assert of_a == list(range(5 * REPEATS))
    windows = to_table(
        "windows",
        [
            blank_row("windows", window_id=f"s-a-{start:06d}", session_id="s", agent="a", start_unit=start)
            for start in (0, 3)
        ],
    )
    ids = repeated(windows, 5)["window_id"].to_pylist()
    assert ids[:4] == ["s-a-000000", "s-a-000003", "s-a-000005", "s-a-000008"]


def test_a_row_per_session_is_not_repeated_but_longer() -> None:
    row = blank_row("sessions", session_id="s", num_units=5, duration_ms=800)
    (longer,) = repeated(to_table("sessions", [row]), 5).to_pylist()
    assert (longer["num_units"], longer["duration_ms"]) == (5 * REPEATS, 800 * REPEATS)


def test_no_track_of_the_corpus_is_a_copy_of_another() -> None:
    some = {"sound_hashes": [1, 2, 3], "sound_frames": [1, 2, 3], "picture_hashes": [4], "picture_frames": [9]}
    rows = to_table("hashes", [{"session_id": "s", "participant": who, **some} for who in "ab"])
    first, second = (scale_corpus.with_hashes(rows, key).to_pylist() for key in ("s1", "s2"))
    for row in (*first, *second):
        assert [len(row[name]) for name in some] == [3 * REPEATS, 3 * REPEATS, REPEATS, REPEATS]
        assert row["sound_frames"] == sorted(set(row["sound_frames"]))
    hashes = [value for row in (*first, *second) for name in some if "hashes" in name for value in row[name]]
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize(("values", "far"), [((1.0, 2.0, 3.0), 100.0), ((3.0, 3.0, 3.0), 3.0), ((3.0, 2.0, 1.0), 3.0)])
def test_the_far_point_is_on_the_line_or_at_the_largest_figure(values: tuple[float, ...], far: float) -> None:
    assert scale.at_far_hours([1000.0, 2000.0, 3000.0], values) == pytest.approx(far)


@pytest.mark.long
def test_every_stage_runs_again_and_with_one_more_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scale_templates, "TEMPLATE_S", 15)
    found = scale.run(argparse.Namespace(hours=[1, 2, 3], workers=2, scratch=tmp_path))
    json.dumps(found)
    for point in found["points"]:
        assert point["stages"].keys() == point["again"].keys() == point["added"].keys()
        assert point["files"]["tracks"] == 4 * point["sessions"]
        assert point["loader"]["windows"] > 20 * point["sessions"]
        assert 0 < point["driver_peak_gb"] < 3 and 0 < point["loader_gb"] < 1
    assert found["points"][0]["forget_differs"] == []
    assert 0 < found["points"][0]["forget_files_written"] < found["points"][0]["forget_files"]
    assert {"driver_gb", "merge_gb", "driver_cpu_s", "loader_gb"} <= found["extrapolated_to_100000h"].keys()
    scale.show(found)
    assert "extrapolated to 100,000 hours" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
