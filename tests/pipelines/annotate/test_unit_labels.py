"""Labels of units that need no speech: whether the video shows the participant."""

from typing import Any

import pytest

from pipelines.annotate.params import AnnotateParams
from pipelines.annotate.unit_labels import unit_rows
from tests.helpers.found_people import spans
from wanstreamer.turns import annotate_session


@pytest.mark.parametrize(
    ("video_path", "visible", "expected"),
    [
        (None, None, [None] * 5),
        ("a.mp4", None, [True] * 5),
        ("a.mp4", [], [False] * 5),
        ("a.mp4", spans((0, 320), (360, 680)), [True, True, False, True, False]),  # half of units 2 and 4
        ("a.mp4", spans((40, 160), (160, 10_000)), [False, True, True, True, True]),
    ],
)
def test_a_unit_is_visible_if_all_of_it_is(
    video_path: str | None, visible: list[dict[str, int]] | None, expected: list[bool | None]
) -> None:
    track: dict[str, Any] = {"participant": "a", "num_units": 5, "mixed": []}
    annotation = annotate_session({"a": []}, {"a": None}, AnnotateParams())
    rows = unit_rows("s", track | {"video_path": video_path, "visible": visible}, {"a": []}, annotation)
    assert [row["video_visible"] for row in rows] == expected
