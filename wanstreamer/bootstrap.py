"""Per-session sums of errors -> figures with paired bootstrap intervals.

Every figure is a ratio of sums over sessions (mean squared error, mean cross-entropy, F1), so that whole sessions can
be resampled as rows. A difference is always the model's gain: positive means that the model is better.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

COVERAGE = 0.95


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Numerator and denominator of one figure, float64 (sessions,) each."""

    over: np.ndarray
    under: np.ndarray

    @property
    def value(self) -> float:
        """nan if nothing was counted."""
        return float(_ratio(self.over.sum(), self.under.sum()))


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    return np.divide(over, under, out=np.full(np.shape(over), np.nan), where=np.asarray(under) > 0)


def compare(model: Sums, baseline: Sums, *, higher_is_better: bool, resamples: int, seed: int) -> dict[str, object]:
    """The baseline's figure, the model's gain over it and a 95 % interval from resampling sessions in pairs.

    `beats` is true if the interval lies above 0. Fewer than two sessions give no interval, and false.
    """
    sign = 1 if higher_is_better else -1
    num_sessions = len(model.over)
    drawn = np.random.default_rng(seed).integers(num_sessions, size=(resamples, num_sessions))
    model_R, baseline_R = (_ratio(sums.over[drawn].sum(1), sums.under[drawn].sum(1)) for sums in (model, baseline))
    gain_R = sign * (model_R - baseline_R)
    # A resample in which nothing is counted has no value.
    gain_R = gain_R[np.isfinite(gain_R)]
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(gain_R, [tail, 1 - tail]) if len(gain_R) and num_sessions > 1 else (np.nan, np.nan)
    return {
        "value": rounded(baseline.value),
        "gain": rounded(sign * (model.value - baseline.value)),
        "low": rounded(low),
        "high": rounded(high),
        "beats": bool(low > 0),
    }


def rounded(value: float) -> float | None:
    """Six significant digits; None if there is no figure (JSON has no nan)."""
    return float(f"{value:.6g}") if np.isfinite(value) else None


def session_sums(sessions: Iterable[str], over: np.ndarray, under: np.ndarray) -> Sums:
    """Add up windows (rows) by session, sessions in sorted order."""
    names, place = np.unique(list(sessions), return_inverse=True)
    return Sums(over=np.bincount(place, over, len(names)), under=np.bincount(place, under, len(names)))
