"""Crops hold the head, lie in the picture, have the shape of the tracks, and move slowly."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.people.crops import Crop, crop_path
from tests.helpers.made_tracks import identity, still, track
from wanstreamer.clock import Span

SIZE = (640, 360)


def at(crops: tuple[Crop, ...], time_ms: int) -> np.ndarray:
    """The part at a time: between two rows of a shot, it moves evenly."""
    place = max(index for index, crop in enumerate(crops) if crop.start_ms <= time_ms)
    before = np.array(crops[place][1:5], float)
    if place + 1 == len(crops) or crops[place + 1].cut:
        return before
    after = crops[place + 1]
    share = (time_ms - crops[place].start_ms) / (after.start_ms - crops[place].start_ms)
    return before + share * (np.array(after[1:5]) - before)


def holds(part_4: np.ndarray, box_4: np.ndarray) -> bool:
    return bool(
        part_4[0] <= box_4[0] and part_4[1] <= box_4[1]
        and part_4[0] + part_4[2] >= box_4[2] and part_4[1] + part_4[3] >= box_4[3]
    )  # fmt: skip


@pytest.mark.parametrize("aspect", [4 / 3, 1.75, 1.0, 0.6])
@pytest.mark.parametrize(
    ("x", "y", "face"), [(320, 160, 60), (20, 30, 60), (630, 350, 40), (320, 180, 300), (90, 90, 21)]
)
def test_the_part_lies_in_the_picture_and_has_the_shape(x: float, y: float, face: float, aspect: float) -> None:
    (crop,), visible = crop_path(identity(still(x, y, face)), [], SIZE, aspect)
    assert crop.cut and crop.start_ms == 0 and visible == (Span(0, 10_000),)
    assert crop.x >= 0 and crop.y >= 0 and crop.x + crop.width <= SIZE[0] and crop.y + crop.height <= SIZE[1]
    assert abs(crop.width - aspect * crop.height) <= 1 + aspect
    middle = np.clip([x, y], 0, SIZE)
    assert crop.x <= middle[0] <= crop.x + crop.width and crop.y <= middle[1] <= crop.y + crop.height


def test_a_sitting_person_has_one_row_whatever_the_jitter() -> None:
    crops, _ = crop_path(identity(still(300, 150, 60, jitter=3.0)), [], SIZE, 4 / 3)
    assert len(crops) == 1 and holds(at(crops, 0), np.array([270, 115, 330, 185]))


def test_the_part_follows_slowly() -> None:
    x = np.concatenate([np.full(25, 120.0), np.linspace(120, 500, 25), np.full(25, 500.0)])
    walker = track(x, np.full(75, 160.0), 60)
    crops, _ = crop_path(identity(walker), [], SIZE, 4 / 3)
    assert 3 <= len(crops) < 30 and [crop.cut for crop in crops] == [True] + [False] * (len(crops) - 1)
    parts = np.stack([at(crops, time_ms) for time_ms in range(0, 15_000, 40)])
    assert np.abs(np.diff(parts[:, 0])).max() < 0.02 * parts[0, 2]
    assert np.ptp(parts[:, 2]) <= 1
    held = [holds(at(crops, int(time)), box) for time, box in zip(walker.times_N, walker.boxes_N4, strict=True)]
    assert np.mean(held) > 0.98


def test_the_part_jumps_at_cuts_only() -> None:
    shots = [still(150, 150, 60, steps=20), still(450, 150, 90, steps=20, start_ms=4000, shot=1)]
    crops, visible = crop_path(identity(*shots), [], SIZE, 4 / 3)
    assert [(crop.start_ms, crop.cut) for crop in crops] == [(0, True), (4000, True)]
    assert visible == (Span(0, 8000),)


def test_a_graphic_moves_nothing_and_time_that_is_cut_out_jumps() -> None:
    shots = [
        still(150, 150, 60, steps=20), still(153, 151, 60, steps=20, start_ms=4000, shot=1, setup=0),
        still(210, 150, 60, steps=20, start_ms=8000, shot=2, setup=0),
    ]  # fmt: skip
    crops, visible = crop_path(identity(*shots), [], SIZE, 4 / 3)
    assert [crop.start_ms for crop in crops if crop.cut] == [0, 8000]
    assert visible == (Span(0, 12_000),)


@pytest.mark.parametrize("apart", [90, 130, 200, 300])
def test_two_people_side_by_side_share_the_space_between_them(apart: int) -> None:
    left, right = identity(still(320 - apart / 2, 160, 60)), identity(still(320 + apart / 2, 160, 60))
    (one,), _ = crop_path(left, [right], SIZE, 4 / 3)
    (other,), _ = crop_path(right, [left], SIZE, 4 / 3)
    assert holds(np.array(one[1:5]), left.tracks[0].boxes_N4[0])
    assert holds(np.array(other[1:5]), right.tracks[0].boxes_N4[0])
    shown = max(0, one.x + one.width - (320 + apart / 2 - 24)) / 48  # share of the other's face
    assert shown < 0.5, "mostly the other person"
    if apart >= 130:
        assert shown <= 0 and one.x + one.width <= 321 and other.x >= 319


def test_a_face_above_another_is_cut_off_below() -> None:
    upper, lower = identity(still(320, 90, 60)), identity(still(330, 270, 60))
    (crop,), _ = crop_path(upper, [lower], SIZE, 4 / 3)
    assert crop.y + crop.height <= 181 and holds(np.array(crop[1:5]), upper.tracks[0].boxes_N4[0])


def test_a_person_who_comes_nearer_fills_a_larger_part() -> None:
    steps = 60
    face = np.linspace(40, 110, steps)
    near = track(np.full(steps, 320.0), np.full(steps, 160.0), 40)
    boxes = np.stack([320 - 0.4 * face, 160 - face / 2, 320 + 0.4 * face, 160 + face / 2], axis=1)
    crops, _ = crop_path(identity(replace(near, boxes_N4=boxes)), [], SIZE, 4 / 3)
    assert crops[-1].width > 1.8 * crops[0].width
    assert all(abs(crop.width - 4 / 3 * crop.height) <= 2 for crop in crops)


def test_short_times_without_a_face_are_visible_and_long_ones_are_not() -> None:
    first, soon = still(150, 150, 60, steps=10), still(155, 150, 60, steps=10, start_ms=4000)
    late, elsewhere = still(150, 150, 60, steps=10, start_ms=12_000), still(500, 150, 60, steps=10, start_ms=16_000)
    _, visible = crop_path(identity(first, soon, late, elsewhere), [], SIZE, 4 / 3)
    assert visible == (Span(0, 6000), Span(12_000, 14_000), Span(16_000, 18_000))
