"""When an interval says "better": sessions are resampled in pairs."""

import json

import numpy as np
import pytest

from wanstreamer.bootstrap import Sums, compare, session_sums


def sums(values: list[float]) -> Sums:
    return Sums(over=np.array(values, dtype=float), under=np.ones(len(values)))


def against(model: list[float], baseline: list[float], **changes: bool) -> dict:
    options = {"higher_is_better": False, "resamples": 500, "seed": 0} | changes
    return compare(sums(model), sums(baseline), **options)


def test_better_in_every_session_beats_and_a_mixed_result_does_not():
    better = against([1.0, 2.0, 3.0, 4.0], [1.5, 2.6, 3.4, 4.5])
    assert better["beats"] and better["gain"] == pytest.approx(0.5) and 0 < better["low"] <= 0.5 <= better["high"]
    mixed = against([1.0, 2.0, 3.0, 4.0], [1.9, 1.5, 3.6, 3.4])
    assert not mixed["beats"] and mixed["low"] < 0 < mixed["high"]
    equal = against([1.0, 2.0], [1.0, 2.0])
    assert not equal["beats"] and equal["gain"] == 0
    assert against([0.9, 0.8], [0.5, 0.6], higher_is_better=True)["beats"]
    assert not against([0.9, 0.8], [0.5, 0.6])["beats"]


def test_sessions_are_resampled_in_pairs():
    """Sessions differ far more than model and baseline do: unpaired, the interval would be wide."""
    hard = np.array([1.0, 100.0, 10_000.0, 5.0])
    gains = against(list(hard), list(hard + 1))
    assert gains["low"] == gains["high"] == pytest.approx(1)


def test_one_session_or_nothing_counted_gives_no_verdict():
    alone = against([1.0], [2.0])
    assert alone["gain"] == 1 and alone["low"] is None and not alone["beats"]
    nothing = compare(
        Sums(over=np.zeros(2), under=np.zeros(2)), sums([1, 2]), higher_is_better=False, resamples=9, seed=0
    )
    assert nothing["gain"] is None and not nothing["beats"]
    json.dumps(nothing, allow_nan=False)


def test_windows_add_up_to_their_sessions():
    totals = session_sums(["b", "a", "b"], np.array([1.0, 2.0, 4.0]), np.array([1.0, 1.0, 3.0]))
    assert totals.over.tolist() == [2, 5] and totals.under.tolist() == [1, 4] and totals.value == 7 / 5
