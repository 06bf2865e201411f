"""Whose voice it is, on sessions with known voices: the bounds of invariant 10, and that the figures see faults."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.annotate.params import AnnotateParams
from pipelines.annotate.stage import Annotator
from tools.bench import crosstalk
from tools.bench.crosstalk import SAME, annotate, conditions, figures_of, measure
from tools.bench.crosstalk_corpus import Condition, Mixed, dialogues, mix

pytestmark = pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="needs the sample extra")

FEW = ("none", "-10 dB, both", "-20 dB", "-40 dB, both", "the same sound, other gain", "two cameras in a room",
       "the same sound in the second half")  # fmt: skip
SEED, LONG_SEED = 7, 1009


def levels(name: str) -> float:
    return float(name.split(" dB")[0]) if name[0] in "-0" else -200.0


def check(results: dict[str, Any]) -> None:
    """The bounds of invariant 10; figures are [value, low, high]."""
    for name, line in results.items():
        if name in SAME:
            continue
        assert line["wrong_speech"][0] < 0.01, (name, line)
        if levels(name) >= -20:
            assert line["bad_inputs"][0] <= 0.005 and line["bad_targets"][0] <= 0.005, (name, line)
        if levels(name) <= -20:
            assert line["f1_lost"][0] <= 0.03, (name, line)
        if levels(name) <= -40:
            assert line["more_masked"][0] <= 0.005, (name, line)
    for name in set(SAME) & set(results):
        assert results[name]["bad_inputs"][0] == results[name]["bad_targets"][0] == 0, (name, results[name])
        reasons = set(results[name]["reasons"])
        assert reasons == {"same_sound"} or (name == "two cameras in a room" and reasons), (name, reasons)
        assert results[name]["masked"][0] == 1 or (name.endswith("second half") and results[name]["masked"][0] >= 0.5)


def test_few_sessions(capsys: pytest.CaptureFixture[str]) -> None:
    named = conditions() | SAME
    results = measure(SEED, sessions=2, seconds=30, named={name: named[name] for name in FEW})
    check(results)
    crosstalk.show(results)
    assert "-40 dB, both" in capsys.readouterr().out


@pytest.mark.long
def test_more_sessions_at_every_level() -> None:
    check(measure(LONG_SEED, sessions=4, seconds=60, named=conditions() | SAME))


@pytest.fixture(scope="module")
def leaky() -> Mixed:
    condition = Condition(a_in_b_db=-10.0, b_in_a_db=-6.0, delay_ms=(5.0, 9.0), noise_db=30.0)
    return mix("s", dialogues(3, 1, 30)[0], condition, [3])


def test_the_figures_see_a_voice_that_is_not_masked_and_speech_of_the_other(leaky: Mixed, tmp_path: Path) -> None:
    result = annotate(leaky, Annotator(AnnotateParams()), tmp_path)
    good = figures_of(leaky, result)
    assert good["bad_inputs"] == good["bad_targets"] == 0 and good["wrong_ms"] < 0.01 * good["speech_ms"]
    for row in result.tables["units"]:
        row |= {"bleed_db": None, "audio_mixed": False}
    for row in result.tables["speech"]:
        row["participant"] = "ba"["ab".index(row["participant"])]
    bad = figures_of(leaky, result)
    assert bad["bad_inputs"] > 0.5 * bad["windows"] and bad["bad_targets"] > 0.5 * bad["windows"]
    assert bad["wrong_ms"] > 0.5 * bad["speech_ms"] and bad["masked_units"] == 0


def test_levels_in_the_corpus_are_relative_to_that_voice_in_its_own_track(leaky: Mixed) -> None:
    for voice, track, level_db in (("a", "b", -10.0), ("b", "a", -6.0)):
        powers = [float(np.mean(part**2)) for part in (leaky.leak[track], leaky.own[voice])]
        assert abs(10 * np.log10(powers[0] / powers[1]) - level_db) < 0.1
