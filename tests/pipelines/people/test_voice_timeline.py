"""The most likely sequence of voices is the best of all sequences, and posteriors are sums over all of them."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.people.voice_timeline import best_path, posteriors
from tests.helpers.counts import examples


def totals(evidence_TK: np.ndarray, costs_T: np.ndarray) -> dict[tuple[int, ...], float]:
    """The log-likelihood of every sequence."""
    num_steps, num_classes = evidence_TK.shape
    return {
        path: sum(evidence_TK[t, k] - (costs_T[t] if t and path[t - 1] != k else 0.0) for t, k in enumerate(path))
        for path in product(range(num_classes), repeat=num_steps)
    }


@examples(100)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 3))
def test_of_all_sequences(seed: int, num_steps: int, num_classes: int) -> None:
    rng = np.random.default_rng(seed)
    evidence_TK, costs_T = rng.normal(0, 2, (num_steps, num_classes)), rng.uniform(0.1, 4, num_steps)
    total = totals(evidence_TK, costs_T)
    path = tuple(best_path(evidence_TK, costs_T).tolist())
    assert total[path] == pytest.approx(max(total.values()))
    expected_TK = np.zeros((num_steps, num_classes))
    for sequence, value in total.items():
        expected_TK[np.arange(num_steps), sequence] += np.exp(value)
    expected_TK /= expected_TK.sum(axis=1, keepdims=True)
    assert posteriors(evidence_TK, costs_T) == pytest.approx(expected_TK)


def test_a_change_needs_more_evidence_within_speech_than_after_a_pause() -> None:
    evidence_TK = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert best_path(evidence_TK, np.array([0, 4.0, 4.0])).tolist() == [0, 0, 0]
    assert best_path(evidence_TK, np.array([0, 0.1, 0.1])).tolist() == [0, 1, 0]
