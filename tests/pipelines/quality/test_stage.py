"""Quality facts on tracks with known faults, and what the thresholds make of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.params import build_params
from pipelines.engine.tables import read_rows
from pipelines.quality import stage
from pipelines.quality.params import PERCEIVED
from pipelines.quality.stage import QualityParams, judge
from schemas import TABLES
from tests.helpers.small_corpus import Person
from tests.helpers.staged_corpus import Corpus, stage_corpus
from wanstreamer.errors import InputError


def test_thresholds_judge_and_an_unsure_offset_does_not() -> None:
    good: dict[str, Any] = {
        "clipped_share": 0.0, "silent_share": 1.0, "loudness_lufs": -25.0, "black_share": 0.0, "frozen_share": 0.2,
        "face_share": 0.9, "av_offset_ms": 40, "av_confidence": 0.8, "duplicate_of": None, "zero_share": 0.9, "cuts": 2,
        "cuts_per_min": 2.0, "same_picture_share": 0.1, "same_picture_as": "b", **dict.fromkeys(PERCEIVED, 1.0),
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


def test_reasons_have_the_figures() -> None:
    facts = dict.fromkeys((field.name for field in TABLES["quality"].fields), None)
    params = QualityParams()
    assert judge({**facts, "zero_share": 1.0}, params) == {
        "digital_silence": "share 1.0000 of digital zero, at most 0.995"
    }
    assert judge({**facts, "zero_share": 0.99}, params) == {}
    assert judge({**facts, "cuts": 40, "cuts_per_min": 8.0}, params) == {
        "cuts": "40 changes of shot, 8.0/min, at most 4"
    }
    assert judge({**facts, "cuts": 40, "cuts_per_min": 8.0}, replace(params, max_cuts_per_min=10)) == {}
    same = judge({**facts, "same_picture_share": 0.97, "same_picture_as": "ben"}, params)
    assert same["same_picture"].startswith("the picture of ben in a share of 0.970, at most 0.5; ")
    assert (
        judge(
            {**facts, "same_picture_share": 0.97, "same_picture_as": "b"}, replace(params, max_same_picture_share=1.0)
        )
        == {}
    )


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"max_black_share": 2}, "max_black_share"),
        ({"min_face_share": -0.1}, "min_face_share"),
        ({"min_loudness_lufs": -10, "max_loudness_lufs": -20}, "min_loudness_lufs"),
        ({"max_av_offset_ms": -1}, "max_av_offset_ms"),
        ({"max_zero_share": 1.1}, "max_zero_share"),
        ({"max_cuts_per_min": -1}, "max_cuts_per_min"),
        ({"max_same_picture_share": -0.1}, "max_same_picture_share"),
        ({"min_dnsmos_ovrl": 6}, "min_dnsmos_ovrl"),
        ({"min_aecmos_echo": -1}, "min_aecmos_echo"),
    ],
)
def test_thresholds_that_mean_nothing_are_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=rf"quality\.{named}"):
        build_params(QualityParams, wrong, "quality")


@pytest.mark.parametrize("name", PERCEIVED)
def test_scores_are_judged_only_on_demand(name: str) -> None:
    facts = dict.fromkeys((field.name for field in TABLES["quality"].fields), None)
    assert judge({**facts, name: 1.0}, QualityParams()) == {}
    assert judge({**facts, name: 2.5}, QualityParams(**{f"min_{name}": 3.0})) == {
        f"low_{name}": "score 2.50, at least 3"
    }
    assert judge({**facts, name: 3.5}, QualityParams(**{f"min_{name}": 3.0})) == {}
    assert judge(facts, QualityParams(**{f"min_{name}": 3.0})) == {}, "unknown is not bad"


def test_a_limit_of_a_score_needs_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    QualityParams().check()
    with pytest.raises(InputError, match=r"quality\.min_dnsmos_bak: 3; .* `make extras EXTRAS=mos`"):
        QualityParams(min_dnsmos_bak=3.0).check()


def test_only_what_can_be_judged_differently_is_judged_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    two = {"a": Person(), "b": Person()}
    corpus: Corpus = {f"s{number}": ("train", 8, two) for number in range(3)}
    stage_corpus(data, corpus, same=("s0", "s1"))
    judged: list[int] = []
    real = stage._judge_bucket

    def judge_bucket(data: Path, params: QualityParams, bucket: int, *rest: Any) -> None:
        judged.append(bucket)
        real(data, params, bucket, *rest)

    monkeypatch.setattr(stage, "_judge_bucket", judge_bucket)

    def judged_again(params: QualityParams) -> list[int]:
        judged.clear()
        stage.judge_all(data, params, 1)
        return list(judged)

    def usable() -> list[bool]:
        return [row["usable"] for row in read_rows(data, "quality")]

    assert usable().count(False) == 1, "a of s1 is a copy"
    assert judged_again(QualityParams()) == []
    assert judged_again(QualityParams(max_silent_share=0.5)) == [0] and judged_again(QualityParams()) == [0]
    assert judged_again(QualityParams(find_duplicates=False)) == [0] and all(usable())
    judged.clear()
    stage_corpus(data, corpus, same=("s0", "s1"))
    assert judged == [0] and usable().count(False) == 1
    judged.clear()
    stage_corpus(data, {**corpus, "s3": ("train", 8, two)}, same=("s0", "s1"))
    assert judged == [0], "a session more"
