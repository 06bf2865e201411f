"""Quality facts on tracks with known faults, and what the thresholds make of them."""

from dataclasses import replace
from typing import Any

import pytest

from pipelines.engine.params import build_params
from pipelines.quality.stage import QualityParams, judge
from wanstreamer.errors import InputError


def test_thresholds_judge_and_an_unsure_offset_does_not() -> None:
    good: dict[str, Any] = {
        "clipped_share": 0.0, "silent_share": 1.0, "loudness_lufs": -25.0, "black_share": 0.0, "frozen_share": 0.2,
        "face_share": 0.9, "av_offset_ms": 40, "av_confidence": 0.8, "duplicate_of": None,
    }  # fmt: skip
    params = QualityParams()
    assert judge(good, params) == {}
    assert list(judge({**good, "clipped_share": 0.2, "frozen_share": 1.0}, params)) == ["clipped", "frozen"]
    assert list(judge({**good, "loudness_lufs": -65.0}, params)) == ["too_quiet"]
    assert list(judge({**good, "loudness_lufs": 1.0}, params)) == ["too_loud"]
    assert list(judge({**good, "face_share": 0.05}, params)) == ["no_face"]
    assert judge({**good, "face_share": 0.0}, replace(params, min_face_share=0)) == {}
    assert list(judge(good, replace(params, max_silent_share=0.9))) == ["silent"]
    assert judge({**good, "duplicate_of": "one/a"}, params) == {"duplicate": "the same recording as one/a"}
    assert list(judge({**good, "av_offset_ms": -300}, params)) == ["out_of_sync"]
    assert judge({**good, "av_offset_ms": -300, "av_confidence": 0.2}, params) == {}
    assert judge({**good, "av_offset_ms": -300}, replace(params, max_av_offset_ms=400)) == {}
    assert judge(dict.fromkeys(good), params) == {}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"max_black_share": 2}, "max_black_share"),
        ({"min_face_share": -0.1}, "min_face_share"),
        ({"min_loudness_lufs": -10, "max_loudness_lufs": -20}, "min_loudness_lufs"),
        ({"max_av_offset_ms": -1}, "max_av_offset_ms"),
    ],
)
def test_thresholds_that_mean_nothing_are_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=rf"quality\.{named}"):
        build_params(QualityParams, wrong, "quality")
