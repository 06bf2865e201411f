"""Speech of found voices against true ones: seconds of confusion, missed and false speech."""

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np

from wanstreamer.clock import Span

STEP_MS = 10


class DiarizationError(NamedTuple):
    """In seconds, as NIST counts them, without a collar."""

    confusion: float
    missed: float
    false: float
    speech: float  # of the truth, overlaps counted for each voice


def diarization_error(truth: Mapping[str, Sequence[Span]], found: Sequence[Sequence[Span]]) -> DiarizationError:
    """With the best assignment of found voices to true ones."""
    end_ms = max([span.end_ms for spans in [*truth.values(), *found] for span in spans], default=0)
    true_VF = _active(list(truth.values()), end_ms)
    found_VF = _active(found, end_ms)
    size = max(len(true_VF), len(found_VF))
    shared_VV = np.zeros((size, size))
    shared_VV[: len(true_VF), : len(found_VF)] = true_VF.astype(int) @ found_VF.T.astype(int)
    right = max(sum(shared_VV[i, j] for i, j in enumerate(order)) for order in permutations(range(size)))
    num_true, num_found = true_VF.sum(axis=0), found_VF.sum(axis=0)
    counts = (
        np.minimum(num_true, num_found).sum() - right,
        np.maximum(num_true - num_found, 0).sum(),
        np.maximum(num_found - num_true, 0).sum(),
        num_true.sum(),
    )
    return DiarizationError(*(float(count) * STEP_MS / 1000 for count in counts))


def _active(voices: Sequence[Sequence[Span]], end_ms: int) -> np.ndarray:
    """Whether each voice speaks in each step, bool (num_voices, num_steps)."""
    active_VF = np.zeros((len(voices), -(-end_ms // STEP_MS)), bool)
    for voice, spans in enumerate(voices):
        for span in spans:
            active_VF[voice, span.start_ms // STEP_MS : span.end_ms // STEP_MS] = True
    return active_VF
