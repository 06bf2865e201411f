"""Probability of speech in each track of a session -> who speaks when, with exact edges and without bleed.

A detector works in frames (silero: 32 ms) and is late at both edges, but turn-taking needs tens of milliseconds.
Therefore each edge is moved to where the energy crosses a level between the local background and the speech. Another
participant's voice that reaches a track is speech for any detector, and what is left of it after subtraction
(separation.py) may be, too. Where nothing louder than such a rest is left, the track has no speech of its own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.signals.params import VoiceParams
from wanstreamer.clock import Span, intersect_spans, merge_spans

RATE_HZ = 16_000  # input rate of the detectors; ingest writes it
ENERGY_MS = 10  # resolution of refined edges
SILENT_DB = -100.0  # level of digital silence


@dataclass(frozen=True, kw_only=True)
class Activity:
    """A detector's output for a track: the probability of speech in each frame; the first frame begins at 0."""

    probabilities: np.ndarray  # float32 (num_frames,)
    frame_ms: int
    source: str  # the detector

    def confidence(self, span: Span) -> float:
        """Mean probability over the frames that `span` touches."""
        return float(self.probabilities[span.start_ms // self.frame_ms : -(-span.end_ms // self.frame_ms)].mean())


def resample(audio_T: np.ndarray, rate_hz: int) -> np.ndarray:
    """float32 (num_samples,) at any rate -> the detectors' 16 kHz, with a windowed sinc; unchanged at 16 kHz."""
    if rate_hz == RATE_HZ:
        return audio_T
    import torch

    common = math.gcd(rate_hz, RATE_HZ)
    up, down = RATE_HZ // common, rate_hz // common
    cutoff = 0.95 * min(1.0, up / down)  # of the input's Nyquist frequency
    half = math.ceil(16 / cutoff)
    taps = torch.arange(-half, half + down, dtype=torch.float64)
    # Output sample j of each group of `up` lies at input position j * down / up.
    distance = taps[None] - torch.arange(up, dtype=torch.float64)[:, None] * down / up
    window = torch.cos(torch.clamp(distance / half, -1, 1) * (math.pi / 2)) ** 2
    kernel = (cutoff * torch.sinc(cutoff * distance) * window).float()
    padded = torch.nn.functional.pad(torch.from_numpy(audio_T)[None, None], (half, half + down))
    groups_1UG = torch.nn.functional.conv1d(padded, kernel[:, None], stride=down)
    return groups_1UG[0].T.reshape(-1)[: len(audio_T) * up // down].numpy()


def probable_spans(activity: Activity, params: VoiceParams) -> list[Span]:
    """Intervals above the threshold, with hysteresis. Short silences are closed first, then short intervals dropped."""
    spans: list[Span] = []
    begin: int | None = None
    for i, probability in enumerate([*activity.probabilities.tolist(), 0.0]):
        if begin is None and probability >= params.vad_threshold:
            begin = i
        elif begin is not None and probability < params.vad_off_threshold:
            spans.append(Span(begin * activity.frame_ms, i * activity.frame_ms))
            begin = None
    joined = merge_spans(spans, params.vad_min_silence_ms - 1)
    return [span for span in joined if span.duration_ms >= params.vad_min_speech_ms]


def speech_spans(activity: Activity, audio_T: np.ndarray, params: VoiceParams) -> list[Span]:
    """Intervals with speech in a track, own or bleed: the detector's intervals, with edges refined by energy.

    `audio_T`: float32 (num_samples,) at 16 kHz, the input of the detector.
    """
    return refine_edges(probable_spans(activity, params), energy_db(audio_T), params)


def energy_db(audio_T: np.ndarray) -> np.ndarray:
    """Level of each 10 ms in dB relative to full scale: float (num_samples,) -> float64 (num_samples // 160,)."""
    step = RATE_HZ * ENERGY_MS // 1000
    frames = audio_T[: len(audio_T) // step * step].reshape(-1, step).astype(np.float64)
    return 10 * np.log10(np.mean(frames**2, axis=1) + 10 ** (SILENT_DB / 10))


def refine_edges(spans: Sequence[Span], level_db: np.ndarray, params: VoiceParams) -> list[Span]:
    """Move each edge to where the level crosses between the local background and the interval's speech level.

    The background is the 10th percentile of the levels within a second of the edge, outside the interval. The speech
    level is the 90th percentile inside the interval. An edge never moves into a neighbouring interval.
    """
    if not spans:
        return []
    reach, depth = params.edge_reach_ms // ENERGY_MS, params.edge_depth_ms // ENERGY_MS
    around = 1000 // ENERGY_MS
    refined: list[Span] = []
    for i, span in enumerate(spans):
        start, end = span.start_ms // ENERGY_MS, min(-(-span.end_ms // ENERGY_MS), len(level_db))
        before = -(-spans[i - 1].end_ms // ENERGY_MS) if i else 0
        after = spans[i + 1].start_ms // ENERGY_MS if i + 1 < len(spans) else len(level_db)
        if start >= end:
            continue
        speech_db = float(np.percentile(level_db[start:end], 90))
        crossing = _crossing_db(level_db[max(before, start - around) : start], speech_db, params)
        new_start, new_end = start, end
        if crossing is not None:
            # The first of the consecutive loud frames that lead into the interval.
            low, high = max(before, start - reach), min(end, start + depth)
            loud = np.flatnonzero(level_db[low:high] >= crossing) + low
            new_start = _first_of_run(loud, start) if len(loud) else high
        crossing = _crossing_db(level_db[end : min(after, end + around)], speech_db, params)
        if crossing is not None:
            low, high = max(new_start + 1, end - depth), min(after, end + reach)
            loud = np.flatnonzero(level_db[low:high] >= crossing) + low
            new_end = _last_of_run(loud, end) + 1 if len(loud) else low
        if new_end > new_start:
            refined.append(Span(new_start * ENERGY_MS, new_end * ENERGY_MS))
    return [span for span in merge_spans(refined) if span.duration_ms >= params.vad_min_speech_ms]


_RUN_GAP = 3  # up to this many quiet frames of 10 ms do not end a run: the closure of a stop consonant


def _crossing_db(background: np.ndarray, speech_db: float, params: VoiceParams) -> float | None:
    """The level of an edge, or None if background and speech differ too little."""
    if not len(background):
        return None
    background_db = max(float(np.percentile(background, 10)), speech_db - 60)
    if speech_db - background_db < params.edge_min_rise_db:
        return None
    return background_db + params.edge_level * (speech_db - background_db)


def _first_of_run(loud: np.ndarray, edge: int) -> int:
    """First frame of the run of loud frames that touches or follows `edge`."""
    at = min(int(np.searchsorted(loud, edge)), len(loud) - 1)
    while at > 0 and loud[at] - loud[at - 1] <= _RUN_GAP:
        at -= 1
    return int(loud[at])


def _last_of_run(loud: np.ndarray, edge: int) -> int:
    """Last frame of the run of loud frames that touches or precedes `edge`."""
    at = max(int(np.searchsorted(loud, edge)) - 1, 0)
    while at + 1 < len(loud) and loud[at + 1] - loud[at] <= _RUN_GAP:
        at += 1
    return int(loud[at])


def remove_bleed(
    spans: Sequence[Span], leaks: Mapping[str, Sequence[Span]], audio_T: np.ndarray, params: VoiceParams
) -> list[Span]:
    """The detected speech of a track without the intervals in which only another voice is heard.

    A rest of an interval next to such a leak goes with it, if it is under `vad_min_speech_ms`, or up to
    `crosstalk_tail_ms` and not louder than the leak.

    Args:
        spans: Detected intervals, ms, disjoint and in order.
        leaks: Intervals by the other participant, ms, disjoint and in order.
        audio_T: float32 (num_samples,) at 16 kHz, the input of the detector.
    """
    taken = merge_spans(span for others in leaks.values() for span in others)
    taken = [span for span in intersect_spans(spans, taken) if span.duration_ms >= params.crosstalk_min_ms]
    level_db = energy_db(audio_T)
    own: list[Span] = []
    for piece in subtract(spans, taken, 1):
        touching = [leak for leak in taken if leak.end_ms == piece.start_ms or leak.start_ms == piece.end_ms]
        soft = piece.duration_ms <= params.crosstalk_tail_ms and any(
            _loudness_db(level_db, piece) <= _loudness_db(level_db, leak) for leak in touching
        )
        if not touching or (piece.duration_ms >= params.vad_min_speech_ms and not soft):
            own.append(piece)
    return own


def _loudness_db(level_db: np.ndarray, span: Span) -> float:
    """The 90th percentile of the levels of each 10 ms in `span`."""
    first = min(span.start_ms // ENERGY_MS, len(level_db) - 1)
    return float(np.percentile(level_db[first : max(first + 1, span.end_ms // ENERGY_MS)], 90))


def subtract(spans: Sequence[Span], taken: Sequence[Span], min_ms: int) -> list[Span]:
    """`spans` without `taken`; remaining pieces under `min_ms` are dropped."""
    left: list[Span] = []
    for span in spans:
        cuts = intersect_spans([span], taken)
        if not cuts:
            left.append(span)
            continue
        edges = [span.start_ms, *(ms for cut in cuts for ms in cut), span.end_ms]
        pieces = [Span(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True)]
        left += [piece for piece in pieces if piece.duration_ms >= min_ms]
    return left
