"""Slopes: fitted, written and read again, and scaled to another machine."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tools.plan.amounts import FACTORS
from tools.plan.slopes import SHIPPED, SPEEDS, apply, fit, read_slopes, scaled, slopes_json
from wanstreamer.errors import InputError


def test_slopes_that_explain_the_costs_are_found() -> None:
    rows = [
        {"hours": hours, "sessions": sessions, "other": 1.0} for hours, sessions in ((1, 1), (4, 2), (2, 8), (9, 3))
    ]
    costs = [3 * row["hours"] + 0.5 * row["sessions"] for row in rows]
    slopes, error = fit(rows, ("hours", "sessions"), costs)
    assert slopes == pytest.approx({"hours": 3, "sessions": 0.5}) and error < 1e-9
    assert apply(slopes, {"hours": 10, "sessions": 2, "other": 7}) == pytest.approx(31)


def test_no_slope_is_below_zero_and_small_costs_count_as_much_as_large_ones() -> None:
    rows = [{"hours": 1.0, "pixels": 10.0}, {"hours": 100.0, "pixels": 0.0}]
    slopes, error = fit(rows, ("hours", "pixels"), [0.5, 100.0])
    assert slopes["pixels"] == 0 and 0.5 < slopes["hours"] < 1
    assert error == pytest.approx(max(slopes["hours"] / 0.5 - 1, 1 - slopes["hours"]))


def test_shipped_slopes_are_complete_and_survive_a_file(tmp_path: Path) -> None:
    slopes = read_slopes(None)
    for stage, names in FACTORS.items():
        assert set(slopes.cpu_s[stage]) == set(names) and min(slopes.cpu_s[stage].values()) >= 0
        assert slopes.errors[stage] < 0.25
    assert slopes.machine["processor"] and slopes.date >= "2025"
    path = tmp_path / "slopes.json"
    path.write_text(json.dumps(slopes_json(slopes)))
    assert read_slopes(path) == slopes


def test_a_machine_of_half_the_speed_takes_twice_the_time_of_that_kind() -> None:
    slopes = read_slopes(None)
    slower = scaled(slopes, {**slopes.speeds, "media": 2 * slopes.speeds["media"]})
    for stage, costs in slopes.cpu_s.items():
        factor = 2 if SPEEDS[stage] == "media" else 1
        assert slower.cpu_s[stage] == pytest.approx({name: factor * cost for name, cost in costs.items()})
    slower = scaled(slopes, {**slopes.speeds, "networks": 2 * slopes.speeds["networks"]})
    assert slower.duplex["flops_per_s"] == pytest.approx(slopes.duplex["flops_per_s"] / 2)
    assert slower.vae["video_steps"] == pytest.approx(2 * slopes.vae["video_steps"])
    assert slower.tables_mb == slopes.tables_mb and slower.bytes_per_frame == slopes.bytes_per_frame


def test_a_file_without_slopes_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "slopes.json"
    for content in (None, "{", "[]", json.dumps(slopes_json(replace(read_slopes(None), version=0)))):
        if content is not None:
            path.write_text(content)
        with pytest.raises(InputError, match=r"--slopes .*slopes.json: .*tools.bench cost"):
            read_slopes(path)
    assert SHIPPED.is_file()


def test_a_missing_slope_is_named_and_not_taken_for_zero(tmp_path: Path) -> None:
    path = tmp_path / "slopes.json"
    for kind, stage, factor in (("cpu_s", "ingest", "source_mpx"), ("tables_mb", "annotate", "audio_s")):
        content = slopes_json(read_slopes(None))
        del content[kind][stage][factor]
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match=f"{kind} of {stage} has no slope for {factor}; measure again with"):
            read_slopes(path)
