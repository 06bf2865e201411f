"""Lags in windows along two recordings -> offset and drift of their clocks, jumps, or why they are not known.

alignment.py measures the lags, and says what they mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

FRAME_S = 0.5  # of the spectra that give a lag
WINDOW_FRAMES = 16  # of half overlapping frames per window: 4.25 s
PEAK = 8.0  # a peak counts if it is this many times the standard deviation of the other lags; chance reaches 5.5
MAX_DRIFT_PPM = 2000  # NTSC's pull-down is 1000
MIN_WINDOWS = 5  # that agree
MIN_SHARE = 0.03  # of the windows with sound in both
MIN_APART = 3  # windows that do not overlap
MIN_SPREAD = 0.4  # of the recording, from the first to the last that agree: one sound that both have is not enough
EVEN_SHARE = 0.6  # of the windows with a clear lag; with fewer, the lags are those of other sounds that resemble
INLIER_S = 0.006  # from the line; two people before one camera differ by their distances to it, 3 ms/m
VOICE_S = 0.0015  # lags of one voice differ by less
STEP_MS = 8.0  # a smaller step is no jump: a lost buffer of 512 samples at 48 kHz is 11 ms
STEP_WINDOWS = 3  # on both sides of a jump
MAX_ERROR_PPM = 20.0  # a drift with a larger error is not known; it is 2 ms in 100 s
ROOM_S = 0.03  # sound takes no longer from one person to the other's microphone: 10 m
CALL_S = 1.0  # nor from a loudspeaker, if it went through a call
OWN_DB = 6.0  # if levels differ less along a recording, they do not show who speaks
NEAR_MS = 1.0  # sound takes longer from one person to the other's microphone: 34 cm

# measured; or why not: silent, too_short, unrelated, clock_jumps (fitted, with steps), one_way (only one person's voice
# is in both: the drift is measured, but the time that the voice takes looks like an offset of the clocks)
Finding = Literal["measured", "silent", "too_short", "unrelated", "clock_jumps", "one_way"]


@dataclass(frozen=True, kw_only=True)
class ClockFit:
    """How the clock of a sound differs from that of its reference."""

    finding: Finding
    confidence: float = 0.0  # share of the windows with sound in both whose waveforms agree with the fit
    offset_ms: float | None = None  # the sound's file began this much later than stated
    drift_ppm: float | None = None  # its clock runs this much faster; None: cannot tell, the error is too large
    drift_error_ppm: float | None = None  # standard error of the drift
    residual_ms: float | None = None  # the farthest that lags lie from the fit, as a median of five windows
    span_ms: tuple[float, float] = (0.0, 0.0)  # of the reference, in which both record
    jumps: tuple[tuple[float, float], ...] = ()  # (time in the reference in ms, step of the lag in ms)


@dataclass(frozen=True)
class Window:
    """One window: the sound has what the reference has at `time_s`, at `time_s + lag_s` of its own clock."""

    time_s: float
    lag_s: float
    peak: float  # in standard deviations
    level_db: float  # of the sound relative to the reference


def fit_clock(
    windows: Sequence[Window], reference_s: float, sound_s: float, stated_lag_s: float, two_people: bool
) -> ClockFit:
    """The line through the lags, in pieces where the clock jumps.

    Args:
        windows: In the order of time; at least MIN_WINDOWS with a clear lag.
        reference_s: Length of the reference, and `sound_s` that of the sound.
        stated_lag_s: The lag at time 0 that the manifest states.
        two_people: Whether the lags depend on who speaks.
    """
    points = [window for window in windows if window.peak > PEAK]
    time, lag, level_db = (np.array([getattr(p, name) for p in points]) for name in ("time_s", "lag_s", "level_db"))
    side = _louder_sides(level_db) if two_people else np.ones(len(time))
    slope = _robust_slope(time, lag, side)
    side = _checked_sides(lag - slope * time, side)
    side_lag = _side_lag(lag - slope * time, side)
    level = lag - slope * (time - time.mean()) - side_lag * side
    starts = _jumps(level)
    segment = np.searchsorted(starts, np.arange(len(time)), side="right")
    segments = range(len(starts) + 1)
    design = np.stack([*(segment == each for each in segments), time - time.mean(), side], axis=1).astype(np.float64)
    values = np.array([*(np.median(level[segment == each]) for each in segments), slope, side_lag])
    if not side.any():
        design, values = design[:, :-1], values[:-1]
    for _ in range(5):
        inliers = np.abs(lag - design @ values) < INLIER_S
        if inliers.sum() < MIN_WINDOWS or len(np.unique(segment[inliers])) <= len(starts):
            break
        values = np.linalg.lstsq(design[inliers], lag[inliers], rcond=None)[0]
    values, fitted = _refined(design, lag, values)
    residual = lag - design @ values
    inliers = np.abs(residual) < INLIER_S
    agreed = int(inliers.sum())
    confidence = round(agreed / len(windows), 3)
    times_s = np.array([window.time_s for window in windows])
    if not _is_common(time[inliers], times_s) or agreed < EVEN_SHARE * len(points):
        return ClockFit(finding="unrelated", confidence=confidence)
    slope = float(values[len(starts) + 1])
    if abs(slope) > MAX_DRIFT_PPM * 1e-6:
        return ClockFit(finding="unrelated", confidence=confidence)
    fitted = fitted if fitted.any() else inliers
    error_ppm = 1e6 * float(residual[fitted].std() / fitted.sum() ** 0.5 / max(time[fitted].std(), 1e-9))
    if knows_drift := error_ppm < MAX_ERROR_PPM:
        values[: len(starts) + 1] -= slope * time.mean()  # the lag of each segment's line at time 0
    else:
        residual += slope * (time - time.mean())
        slope = 0.0
    first = values[: len(starts) + 1].tolist()
    finding: Finding = "measured"
    if starts:
        finding = "clock_jumps"
    elif two_people and not side.any() and abs(first[0] - stated_lag_s) < CALL_S:
        finding = "one_way"
    near = residual[inliers]
    smooth = [abs(float(np.median(near[max(0, at - 2) : at + 3]))) for at in range(agreed)]
    return ClockFit(
        finding=finding,
        confidence=confidence,
        offset_ms=None if finding == "one_way" else round(1000 * (stated_lag_s - first[0] / (1 + slope)), 2),
        drift_ppm=round(1e6 * slope, 2) if knows_drift else None,
        drift_error_ppm=round(error_ppm, 2),
        residual_ms=round(1000 * max(smooth), 1),
        span_ms=(1000 * max(0.0, -first[0]), 1000 * min(reference_s, sound_s - first[-1])),
        jumps=tuple(
            (round(500 * float(time[start - 1] + time[start])), round(1000 * (first[place + 1] - first[place]), 1))
            for place, start in enumerate(starts)
        ),
    )


def _refined(design: np.ndarray, lag: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The fit to the lags of one voice, the most frequent, and which these are.

    Two people differ by their distances to a camera: a fit to all lags would follow who speaks when.
    """
    fitted = np.zeros(len(lag), bool)
    for _ in range(3):
        residual = lag - design @ values
        order = np.sort(residual)
        counts = np.searchsorted(order, order + VOICE_S, side="right") - np.arange(len(order))
        first = order[np.argmax(counts)]
        close = (residual >= first) & (residual <= first + VOICE_S)
        if close.sum() < max(MIN_WINDOWS, len(lag) / 3) or not design[close].any(0).all():
            break
        values, fitted = np.linalg.lstsq(design[close], lag[close], rcond=None)[0], close
    return values, fitted


def _is_common(agreed_s: np.ndarray, windows_s: np.ndarray) -> bool:
    """Whether windows that agree are many, and along the whole recording."""
    if len(agreed_s) < max(MIN_WINDOWS, MIN_SHARE * len(windows_s)):
        return False
    apart, last_s = 0, -np.inf
    for time_s in agreed_s:
        if time_s - last_s > FRAME_S * (WINDOW_FRAMES + 1) / 2:
            apart, last_s = apart + 1, time_s
    spread_s = float(agreed_s[-1] - agreed_s[0])
    return apart >= MIN_APART and spread_s >= MIN_SPREAD * (windows_s[-1] - windows_s[0])


def _robust_slope(time: np.ndarray, lag: np.ndarray, side: np.ndarray) -> float:
    """The median slope between two windows of one side, weighted by their distance.

    They are a third of the recording apart or less, so that jumps are in few of these pairs.
    """
    slopes, weights = [np.zeros(1)], [np.full(1, 1e-9)]
    for apart in range(1, max(2, len(time) // 3)):
        alike = (side[apart:] == side[:-apart]) & (side[apart:] != 0)
        distance = np.maximum(time[apart:] - time[:-apart], 1e-3)[alike]
        slopes.append((lag[apart:] - lag[:-apart])[alike] / distance)
        weights.append(distance)
    slope, weight = np.concatenate(slopes), np.concatenate(weights)
    order = np.argsort(slope, kind="stable")
    return float(slope[order][np.searchsorted(weight[order].cumsum(), weight.sum() / 2)])


def _jumps(lag: np.ndarray) -> list[int]:
    """Indices at which the lags take another level for good."""
    found: list[int] = []
    queue = [(0, len(lag))]
    while queue:
        first, last = queue.pop()
        part = lag[first:last]
        best, gain = 0, 0.0
        whole = np.abs(part - np.median(part)).sum()
        for at in range(STEP_WINDOWS, len(part) - STEP_WINDOWS + 1):
            left, right = part[:at], part[at:]
            cost = np.abs(left - np.median(left)).sum() + np.abs(right - np.median(right)).sum()
            if whole - cost > gain:
                best, gain = at, whole - cost
        if not best:
            continue
        near = np.median(part[max(0, best - 5) : best]), np.median(part[best : best + 5])
        far = np.median(part[:best]), np.median(part[best:])
        steps = near[1] - near[0], far[1] - far[0]
        if min(map(abs, steps)) > STEP_MS / 1000 and steps[0] * steps[1] > 0:
            found.append(first + best)
            queue += [(first, first + best), (first + best, last)]
    return sorted(found)


def _louder_sides(level_db: np.ndarray) -> np.ndarray:
    """Who is louder in each window: 1 the sound's owner, -1 the reference's, 0 neither; all 1 if levels are equal."""
    low, high = np.percentile(level_db, [10, 90])  # the gains of the recorders are unknown
    if high - low < OWN_DB:
        return np.ones(len(level_db))
    return np.where(level_db > high - (high - low) / 3, 1.0, np.where(level_db < low + (high - low) / 3, -1.0, 0.0))


def _checked_sides(lag: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Who speaks in each window, by the lags; all 0 if only one person's voice is in both recordings."""
    apart = _side_lag(lag, side)
    if apart > -NEAR_MS / 1000:
        return np.zeros(len(lag))
    middle = (np.median(lag[side > 0]) + np.median(lag[side < 0])) / 2
    side = np.where(lag < middle, 1.0, -1.0)  # where both speak, levels do not show whose voice was found
    return side if min((side > 0).sum(), (side < 0).sum()) >= STEP_WINDOWS else np.zeros(len(lag))


def _side_lag(lag: np.ndarray, side: np.ndarray) -> float:
    """Half of the difference between the lags of both sides: minus the time from a mouth to the other microphone."""
    if not ((side > 0).any() and (side < 0).any()):
        return 0.0
    return float(np.median(lag[side > 0]) - np.median(lag[side < 0])) / 2
