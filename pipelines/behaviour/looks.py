"""One conversation's frames and sound of the agent -> whether its mouth follows its voice, and it stays itself.

The mouth is assumed where a head-and-shoulders picture has it. Its opening is not measured by a rule: in every face,
lips and teeth are a few blurred pixels of another colour. Instead, a ridge regression, fitted on three quarters of the
conversation, predicts the level of the voice from these pixels in the fourth quarter. The figure is the correlation of
the predicted level with the real one. On tracks of the sample it is .88, and .83 after the VAEs; with the sound of
another time it is about 0.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.behaviour.activity import QUIET_DB, level_db, sounding_spans
from pipelines.behaviour.timing import Observed
from wanstreamer.clock import FRAME_MS, FRAME_RATE_HZ

MOUTH = (0.66, 0.86, 0.36, 0.64)  # top, bottom, left, right, in shares of the picture
FOLDS = 4
RIDGE = 0.1  # of the pixels' mean variance
MIN_FRAMES = 100  # 4 s: fewer cannot fit that many pixels
MAX_DELAY_FRAMES = 8  # 320 ms
LOUDEST_DB = 0.0
REFERENCE_S = 3  # at the conversation's start: the face that later faces are compared with
FACE_S = 3  # length of the picture that a face is taken from
LOUDNESS_S = 10  # long enough to contain speech


def observe_looks(
    frames_THWC: NDArray[np.uint8],
    samples_T: NDArray[np.float32],
    rate_hz: int,
    *,
    start_ms: int,
    seconds: Sequence[int],
) -> Observed:
    """Mouth, loudness, motion and identity of one conversation, in one row each; no row if there is nothing to measure.

    Args:
        frames_THWC, samples_T: The whole conversation.
        start_ms: When the agent began to run free; `seconds` count from there.

    Returns:
        mouth_r, mouth_lag_ms    from `start_ms` on; positive: the mouth moves after the sound
        loudness, loudness_{s}s  level of the active sound, dB: of all, and of the LOUDNESS_S before second s
        motion, motion_{s}s      mean absolute change of a pixel from frame to frame, of 255: of all, and of FACE_S
        identity_{s}s            correlation of the median picture of FACE_S with that of the first REFERENCE_S
    """
    observed: Observed = {}

    def add(key: str, value: float | None) -> None:
        if value is not None and np.isfinite(value):
            observed[key] = np.array([[value]])

    first = start_ms // FRAME_MS
    tracked = mouth_follows_voice(frames_THWC[first:], samples_T[start_ms * rate_hz // 1000 :], rate_hz)
    if tracked:
        add("mouth_r", tracked[0])
        add("mouth_lag_ms", tracked[1])
    add("loudness", loudness_db(samples_T[start_ms * rate_hz // 1000 :], rate_hz))
    add("motion", motion(frames_THWC[first:]))
    face = np.median(frames_THWC[: REFERENCE_S * FRAME_RATE_HZ], axis=0)
    for at in seconds:
        stop = first + at * FRAME_RATE_HZ
        if stop > len(frames_THWC):
            continue
        seen = frames_THWC[stop - FACE_S * FRAME_RATE_HZ : stop]
        add(f"motion_{at}s", motion(seen))
        add(f"identity_{at}s", correlation(np.median(seen, axis=0), face))
        stop_ms = start_ms + at * 1000
        recent_T = samples_T[(stop_ms - LOUDNESS_S * 1000) * rate_hz // 1000 : stop_ms * rate_hz // 1000]
        add(f"loudness_{at}s", loudness_db(recent_T, rate_hz))
    return observed


def mouth_follows_voice(
    frames_THWC: NDArray[np.uint8], samples_T: NDArray[np.float32], rate_hz: int
) -> tuple[float, float] | None:
    """(correlation, delay of the mouth in ms) of the best agreement; None if mouth or voice does not change."""
    count = min(len(frames_THWC), len(samples_T) * FRAME_RATE_HZ // rate_hz)
    if count < MIN_FRAMES:
        return None
    level = np.clip(level_db(samples_T, rate_hz, FRAME_MS)[:count], QUIET_DB, LOUDEST_DB)
    delays = sorted(range(-MAX_DELAY_FRAMES, MAX_DELAY_FRAMES + 1), key=abs)  # the smallest delay wins a tie
    level_TD = np.stack([np.roll(level, delay) for delay in delays], axis=1)  # the level that long before a frame
    read_TD = read_off(mouth_pixels(frames_THWC[:count]), level_TD)
    if level.std() == 0 or read_TD is None:
        return None
    middle = slice(MAX_DELAY_FRAMES, count - MAX_DELAY_FRAMES)
    agreed = [
        correlation(read_T[middle], level_T[middle]) for read_T, level_T in zip(read_TD.T, level_TD.T, strict=True)
    ]
    best = int(np.nanargmax(agreed))
    return agreed[best], float(delays[best] * FRAME_MS)


def read_off(pixels_TP: NDArray[np.float64], level_TD: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Levels (T, D) that ridge regressions, fitted on the other folds, predict from the pixels; None without change.

    Folds are stretches of time, so that neighbouring frames do not leak into each other.
    """
    if not pixels_TP.std(axis=0).any():
        return None
    read_TD = np.zeros_like(level_TD)
    for fold in np.array_split(np.arange(len(pixels_TP)), FOLDS):
        rest = np.delete(np.arange(len(pixels_TP)), fold)
        mean_P = pixels_TP[rest].mean(axis=0)
        centred_TP = pixels_TP[rest] - mean_P
        covariance_PP = centred_TP.T @ centred_TP / len(rest)
        covariance_PP += (RIDGE * np.trace(covariance_PP) / len(mean_P) + 1e-9) * np.eye(len(mean_P))
        agreement_PL = centred_TP.T @ (level_TD[rest] - level_TD[rest].mean(axis=0)) / len(rest)
        read_TD[fold] = (pixels_TP[fold] - mean_P) @ np.linalg.solve(covariance_PP, agreement_PL)
    return read_TD


def mouth_pixels(frames_THWC: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Brightness around the mouth, (T, pixels)."""
    height, width = frames_THWC.shape[1:3]
    top, bottom, left, right = MOUTH
    region = frames_THWC[:, int(top * height) : int(bottom * height), int(left * width) : int(right * width)]
    return region.mean(axis=-1).reshape(len(frames_THWC), -1)


def loudness_db(samples_T: NDArray[np.float32], rate_hz: int) -> float | None:
    """Level of the active sound; None for silence."""
    spans = sounding_spans(samples_T, rate_hz)
    if not spans:
        return None
    active_T = np.concatenate([samples_T[s.start_ms * rate_hz // 1000 : s.end_ms * rate_hz // 1000] for s in spans])
    return float(10 * np.log10(np.mean(active_T.astype(np.float64) ** 2)))


def motion(frames_THWC: NDArray[np.uint8]) -> float:
    """Mean absolute change from frame to frame, of 255."""
    return float(np.abs(np.diff(frames_THWC.astype(np.int16), axis=0)).mean()) if len(frames_THWC) > 1 else np.nan


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson's correlation of all numbers; nan if one of them does not vary."""
    x, y = a.ravel() - a.mean(), b.ravel() - b.mean()
    norm = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm else float("nan")
