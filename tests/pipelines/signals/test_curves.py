"""The quick part of a curve has no slow changes, and keeps those of syllables."""

import numpy as np

from pipelines.signals.curves import quick


def test_turns_go_and_syllables_stay() -> None:
    at_s = np.arange(500) / 25
    slow, fast = np.sin(2 * np.pi * 0.1 * at_s), np.sin(2 * np.pi * 4 * at_s)
    curves = quick(np.stack([slow + 5, fast, slow + fast], axis=1), 25)[20:-20]
    assert curves.dtype == np.float32 and np.abs(curves[:, 0]).max() < 0.1
    assert np.corrcoef(curves[:, 2], fast[20:-20])[0, 1] > 0.98


def test_no_curves_and_short_ones() -> None:
    assert quick(np.zeros((0, 3)), 25).shape == (0, 3)
    assert quick(np.ones((1, 3)), 25).tolist() == [[0, 0, 0]]
