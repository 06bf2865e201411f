"""Observations of many conversations -> figures with n and bootstrap intervals, compared with the truth.

A figure uses all rows of one name, from all sessions; intervals come from resampling whole sessions. Distances to the
truth (Wasserstein-1, Jensen-Shannon) compare with all of the truth. The truth's own distance is therefore 0, and its
interval shows how far so few sessions can differ from all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from pipelines.behaviour.timing import STOP_UNITS, Observed
from wanstreamer.bootstrap import COVERAGE, rounded
from wanstreamer.clock import UNIT_MS

Rows = NDArray[np.float64]
Reduce = Callable[[Rows, Rows], float]  # an agent's rows, the truth's rows -> value
TIMING_BINS_MS = np.arange(-1600, 1601, 200)  # of backchannels around ends of phrases; Full-Duplex-Bench's 200 ms


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table."""

    title: str
    key: str  # of the observations
    reduce: Reduce
    best: str  # "high", "low", "truth" (as near as possible) or "" (no better or worse)
    truth_key: str = ""  # of the truth's rows for `reduce`; "": the same key
    digits: int = 2


def mean(rows: Rows, truth: Rows) -> float:
    return float(rows.mean())


def median(rows: Rows, truth: Rows) -> float:
    return float(np.median(rows))


def ratio(rows: Rows, truth: Rows) -> float:
    part, whole = rows.sum(axis=0)
    return float(part / whole) if whole else float("nan")


def in_units(reduce: Reduce) -> Reduce:
    return lambda rows, truth: reduce(rows, truth) / UNIT_MS


def begun_after(reduce: Reduce) -> Reduce:
    """For response onsets: an answer that began before the turn's end counts as 0 (Full-Duplex-Bench's latency)."""
    return lambda rows, truth: reduce(np.maximum(rows, 0), np.maximum(truth, 0))


def heard_live(reduce: Reduce, latency_ms: int) -> Reduce:
    """As a live listener hears it: a unit can be heard after its end and after its computation."""
    return lambda rows, truth: reduce(rows + UNIT_MS + latency_ms, truth)


def w1(rows: Rows, truth: Rows) -> float:
    return float(wasserstein_distance(rows[:, 0], truth[:, 0])) if len(truth) else float("nan")


def divergence(rows: Rows, truth: Rows) -> float:
    """Jensen-Shannon, in bits: 0 equal, 1 disjoint."""
    counts = [
        np.histogram(np.clip(values, TIMING_BINS_MS[0], TIMING_BINS_MS[-1]), TIMING_BINS_MS)[0]
        for values in (rows, truth)
    ]
    return float(jensenshannon(*counts, base=2) ** 2) if len(truth) else float("nan")


def less_truth(rows: Rows, truth: Rows) -> float:
    return float(rows.mean() - truth.mean()) if len(truth) else float("nan")


def times_truth(rows: Rows, truth: Rows) -> float:
    return float(rows.mean() / truth.mean()) if len(truth) else float("nan")


def figures_of_timing(latency_ms: int) -> dict[str, Figure]:
    return {
        "answered": Figure(title="turn ends answered", key="answered", reduce=mean, best="high"),
        "takeover": Figure(title="turn ends taken over (1 s or more)", key="takeover", reduce=mean, best="truth"),
        "onset_median_units": Figure(
            title="response onset, median, units", key="offset_ms", reduce=in_units(begun_after(median)), best="truth"
        ),
        "onset_w1_units": Figure(
            title="response onset, W1, units", key="offset_ms", reduce=in_units(begun_after(w1)), best="low"
        ),
        "offset_median_ms": Figure(
            title="floor transfer offset, median, ms", key="offset_ms", reduce=median, best="truth", digits=0
        ),
        "offset_w1_ms": Figure(title="floor transfer offset, W1, ms", key="offset_ms", reduce=w1, best="low", digits=0),
        "live_offset_median_ms": Figure(
            title="- heard live, median, ms", key="offset_ms", reduce=heard_live(median, latency_ms), best="", digits=0
        ),
        "live_offset_w1_ms": Figure(
            title="- heard live, W1, ms", key="offset_ms", reduce=heard_live(w1, latency_ms), best="low", digits=0
        ),
        "stop_median_ms": Figure(
            title="interrupted: time to stop, median, ms", key="stop_ms", reduce=median, best="low", digits=0
        ),
        "stopped": Figure(title=f"- stopped within {STOP_UNITS} units", key="stopped", reduce=mean, best="high"),
        "stopped_by_backchannel": Figure(
            title="fell silent at a backchannel", key="stopped_by_backchannel", reduce=mean, best="low"
        ),
        "gave_up_at_backchannel": Figure(
            title="- and gave up its turn", key="gave_up_at_backchannel", reduce=mean, best="low"
        ),
        "cut_into_pause": Figure(title="cut into a pause", key="cut_into_pause", reduce=mean, best="low"),
        "backchannels_per_min": Figure(
            title="backchannels a minute of listening", key="backchannels", reduce=ratio, best="truth"
        ),
        "backchannel_jsd": Figure(
            title="- their timing, Jensen-Shannon", key="backchannel_ms", reduce=divergence, best="low"
        ),
        "talking_over": Figure(title="talking over the user", key="talking_over", reduce=ratio, best="truth", digits=3),
        "sound_where_silent": Figure(
            title="sound where silent", key="sound_where_silent", reduce=ratio, best="low", digits=3
        ),
        "sounding": Figure(title="share of time with sound", key="sounding", reduce=ratio, best="truth"),
        "initiated": Figure(title="spoke of a thing shown", key="initiated", reduce=mean, best="high"),
        "initiation_median_ms": Figure(
            title="- latency, median, ms", key="initiation_ms", reduce=median, best="truth", digits=0
        ),
    }


def figures_of_looks(seconds: Sequence[int]) -> dict[str, Figure]:
    """Figures of `looks.observe_looks` at these seconds of free running."""
    figures = {
        "mouth_r": Figure(title="sound and mouth, correlation", key="mouth_r", reduce=mean, best="high"),
        "mouth_lag_ms": Figure(
            title="- the mouth is later by, median, ms", key="mouth_lag_ms", reduce=median, best="truth", digits=0
        ),
    }
    for at in seconds:
        figures |= {
            f"loudness_{at}s_db": Figure(
                title=f"at {at} s: louder than the truth by, dB", key=f"loudness_{at}s", reduce=less_truth,
                truth_key="loudness", best="truth", digits=1,
            ),
            f"motion_{at}s": Figure(
                title=f"at {at} s: motion, times the truth's", key=f"motion_{at}s", reduce=times_truth,
                truth_key="motion", best="truth",
            ),
            f"identity_{at}s": Figure(
                title=f"at {at} s: face as at first, correlation", key=f"identity_{at}s", reduce=mean, best="high"
            ),
        }  # fmt: skip
    return figures


def summarize(
    figures: Mapping[str, Figure],
    observations: Mapping[str, Sequence[Observed]],
    truth: Mapping[str, Sequence[Observed]],
    *,
    resamples: int,
    seed: int,
) -> dict[str, dict[str, float | int | None]]:
    """Per figure its value, n and the ends of a 95 % interval; None if there is no value.

    Args:
        observations: Session -> observations of its conversations. A figure that was never observed has no rows.
        truth: The same for the truth.
    """
    sessions = sorted(observations)
    drawn = np.random.default_rng(seed).integers(len(sessions), size=(resamples, len(sessions)))
    summary: dict[str, dict[str, float | int | None]] = {}
    for name, figure in figures.items():
        rows = [_pooled(observations[session], figure.key) for session in sessions]
        true = _pooled(
            [observed for conversations in truth.values() for observed in conversations], figure.truth_key or figure.key
        )
        value = _reduced(figure, rows, true)
        low = high = np.nan
        if len(sessions) > 1 and np.isfinite(value):
            values = np.array([_reduced(figure, [rows[index] for index in draw], true) for draw in drawn])
            values = values[np.isfinite(values)]  # a draw in which nothing is counted has no value
            tail = (1 - COVERAGE) / 2
            low, high = np.quantile(values, [tail, 1 - tail])
        summary[name] = {"value": rounded(value), "n": sum(map(len, rows)), "low": rounded(low), "high": rounded(high)}
    return summary


def _pooled(observed: Sequence[Observed], key: str) -> Rows:
    rows = [rows[key] for rows in observed if key in rows and len(rows[key])]
    return np.concatenate(rows) if rows else np.zeros((0, 1))


def _reduced(figure: Figure, rows: Sequence[Rows], truth: Rows) -> float:
    filled = [part for part in rows if len(part)]
    return figure.reduce(np.concatenate(filled), truth) if filled else float("nan")
