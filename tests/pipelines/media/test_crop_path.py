"""Crops over time: straight lines within a shot, jumps at cuts, nothing where the person is not seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.media.crop_path import crop_path, in_shape
from tests.helpers.found_people import crop_row
from wanstreamer.clock import Span

PATH = crop_path(
    [crop_row(0, (0, 0, 40, 30)), crop_row(1000, (100, 50, 80, 60)), crop_row(2000, (7, 7, 40, 30), cut=True)],
    [Span(0, 2500), Span(3000, 4000)],
)


def test_a_crop_moves_in_a_straight_line_until_it_jumps() -> None:
    assert PATH.crop(0) == (0, 0, 40, 30)
    assert PATH.crop(500) == (50, 25, 60, 45)
    assert PATH.crop(1500) == PATH.crop(1990) == (100, 50, 80, 60), "before a cut it stands still"
    assert PATH.crop(2000) == PATH.crop(2499) == PATH.crop(3500) == (7, 7, 40, 30)
    assert PATH.crop(2500) is None and PATH.crop(2999) is None and PATH.crop(4000) is None


@pytest.mark.parametrize("exact_ms", [2000.0, 2000.4, 1999.6, 1999.1])
def test_a_cut_is_at_the_picture_however_its_time_was_rounded(exact_ms: float) -> None:
    """2000 may stand for any of these times, rounded down, up or to the nearest; the picture before is 16 ms before."""
    assert PATH.crop(exact_ms) == (7, 7, 40, 30)
    assert PATH.crop(exact_ms - 16.6) == (100, 50, 80, 60)


def test_no_crop_is_no_person() -> None:
    assert crop_path([], [Span(0, 100)]).crop(50) is None
    assert crop_path([crop_row(500, (1, 2, 3, 4))], [Span(0, 100)]).crop(50) == (1, 2, 3, 4), "before its first row"


@given(st.data())
def test_a_part_of_a_path_has_the_crops_of_the_whole(data: st.DataObject) -> None:
    starts = sorted(data.draw(st.sets(st.integers(0, 5000), min_size=1, max_size=12)))
    draw = st.tuples(*[st.integers(0, 100)] * 2, *[st.integers(2, 100)] * 2)
    rows = [crop_row(start, data.draw(draw), cut=data.draw(st.booleans())) for start in starts]
    edges = sorted(data.draw(st.sets(st.integers(0, 6000), min_size=2, max_size=8)))
    path = crop_path(rows, [Span(*pair) for pair in zip(edges[::2], edges[1::2], strict=False)])
    begin = data.draw(st.integers(0, 5000))
    part = path.between(begin, begin + 700)
    for at in np.arange(begin, begin + 700, 13.7):
        assert part.crop(float(at)) == path.crop(float(at))


@given(
    st.tuples(st.floats(-50, 700), st.floats(-50, 400), st.floats(2, 800), st.floats(2, 500)),
    st.sampled_from([(64, 48), (336, 192), (192, 336)]),
)
def test_a_crop_takes_the_shape_of_the_frame_inside_the_picture(
    crop: tuple[float, float, float, float], frame: tuple[int, int]
) -> None:
    x, y, width, height = in_shape(crop, (640, 361), frame)
    assert width / height == pytest.approx(frame[0] / frame[1])
    assert x >= -1e-6 and x + width <= 640 + 1e-6 and y >= -1e-6 and y + height <= 361 + 1e-6
    fits = crop[2] <= width + 1e-6 and crop[3] <= height + 1e-6
    assert fits or width == pytest.approx(640) or height == pytest.approx(361), (
        "cut off only if the picture is too small"
    )
