"""Samples of one voice -> when it is active: an energy threshold that fits recorded tracks and VAE output alike.

A neural detector is made for people's voices in rooms. The output of a model's VAE must be judged by whether it can
be heard at all, so all figures here use the level alone, relative to the quietest level of the voice:
    >>> import numpy as np
    >>> tone = np.sin(np.arange(16000) / 9, dtype=np.float32)
    >>> sounding_spans(np.concatenate([0 * tone, tone, 0 * tone]), 16000)
    [Span(start_ms=1000, end_ms=2000)]
"""

import numpy as np
from numpy.typing import NDArray

from wanstreamer.clock import Span, merge_spans

STEP_MS = 10
QUIET_DB = -42.0  # below full scale: a softer sound is no speech, even with a silent background
LOUD_DB = -32.0  # a louder sound is speech, even with a loud background; the median of speech here is -28
ABOVE_FLOOR_DB = 10.0
FLOOR_QUANTILE = 0.1  # of the steps' levels: the background
MIN_SOUND_MS = 60  # a shorter sound is a click
CLOSED_GAP_MS = 120  # the closure of a plosive is not a silence
SILENCE_DB = -100.0


def level_db(samples_T: NDArray[np.float32], rate_hz: int, step_ms: int = STEP_MS) -> NDArray[np.float64]:
    """Level of each step in dB below full scale, at least SILENCE_DB."""
    length = rate_hz * step_ms // 1000
    steps = samples_T[: len(samples_T) // length * length].reshape(-1, length).astype(np.float64)
    return 10 * np.log10(np.mean(steps**2, axis=1) + 10 ** (SILENCE_DB / 10))


def threshold_db(levels: NDArray[np.float64]) -> float:
    """A voice with these levels is active above this threshold."""
    floor = float(np.quantile(levels, FLOOR_QUANTILE)) if len(levels) else SILENCE_DB
    return min(max(floor + ABOVE_FLOOR_DB, QUIET_DB), LOUD_DB)


def sounding_spans(samples_T: NDArray[np.float32], rate_hz: int) -> list[Span]:
    """When the voice is active; gaps up to CLOSED_GAP_MS are closed, sounds shorter than MIN_SOUND_MS left out."""
    levels = level_db(samples_T, rate_hz)
    loud = levels > threshold_db(levels)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], loud.astype(np.int8), [0]]))) * STEP_MS
    spans = merge_spans(
        (Span(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)), CLOSED_GAP_MS
    )
    return [span for span in spans if span.duration_ms >= MIN_SOUND_MS]
