"""Probability of speech in each track of a session -> who speaks when, with exact edges and without bleed.

A detector works in frames (silero: 32 ms) and is late at both edges, but turn-taking needs tens of milliseconds.
Therefore each edge is moved to where the energy crosses a level between the local background and the speech. Another
participant's voice that reaches a track is speech for any detector. An interval counts as the track's own speech unless
the other track is much louder at that time and has the same waveform.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.signals.params import VoiceParams
from wanstreamer.clock import Span, intersect_spans, merge_spans

RATE_HZ = 16_000  # input rate of the detectors; ingest writes it
ENERGY_MS = 10  # resolution of refined edges
SILENT_DB = -100.0  # level of digital silence


@dataclass(frozen=True, kw_only=True)
class Bleed:
    """Another participant's voice in this track, at `level_db` relative to that participant's own track."""

    span: Span
    other: str
    level_db: float
    correlation: float


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
    speech: Mapping[str, Sequence[Span]], audio: Mapping[str, np.ndarray], params: VoiceParams
) -> tuple[dict[str, list[Span]], dict[str, list[Bleed]]]:
    """Remove other participants' voices from each track's speech.

    Args:
        speech: Detected intervals per participant, ms, disjoint and in order.
        audio: float32 (num_samples,) at 16 kHz per participant, of equal length.
        params: `crosstalk_*`.

    Returns:
        Own speech per participant, and the removed bleed. Bleed includes a rest of the interval next to it, if the rest
        is under `vad_min_speech_ms`, or up to `crosstalk_tail_ms` and not louder than the bleed.
    """
    levels = {participant: energy_db(audio_T) for participant, audio_T in audio.items()}
    own: dict[str, list[Span]] = {}
    bleeds_by_participant: dict[str, list[Bleed]] = {}
    for participant, spans in speech.items():
        bleeds: list[Bleed] = []
        for other in sorted(audio):
            if other != participant and spans:
                suspect = _much_louder(levels[other], levels[participant], spans, params)
                bleeds += _same_voice(suspect, other, audio[participant], audio[other], params)
        bleeds.sort(key=lambda bleed: (bleed.span, bleed.other))
        left = subtract(spans, merge_spans(bleed.span for bleed in bleeds), 1)
        own[participant], bleeds_by_participant[participant] = _without_tails(left, bleeds, levels[participant], params)
    return own, bleeds_by_participant


def _without_tails(
    left: Sequence[Span], bleeds: Sequence[Bleed], level_db: np.ndarray, params: VoiceParams
) -> tuple[list[Span], list[Bleed]]:
    """(own speech, bleed): beginnings and ends of bleed that are too quiet to be recognised are added to it."""
    own: list[Span] = []
    whole = list(bleeds)
    for piece in left:
        touching = [
            i
            for i, bleed in enumerate(whole)
            if piece.start_ms == bleed.span.end_ms or piece.end_ms == bleed.span.start_ms
        ]
        soft = piece.duration_ms <= params.crosstalk_tail_ms and any(
            _loudness_db(level_db, piece) <= _loudness_db(level_db, bleeds[i].span) for i in touching
        )
        if not touching or (piece.duration_ms >= params.vad_min_speech_ms and not soft):
            own.append(piece)
            continue
        span = whole[touching[0]].span
        longer = Span(min(span.start_ms, piece.start_ms), max(span.end_ms, piece.end_ms))
        whole[touching[0]] = replace(whole[touching[0]], span=longer)
    return own, whole


def _loudness_db(level_db: np.ndarray, span: Span) -> float:
    """The 90th percentile of the levels of each 10 ms in `span`."""
    first = min(span.start_ms // ENERGY_MS, len(level_db) - 1)
    return float(np.percentile(level_db[first : max(first + 1, span.end_ms // ENERGY_MS)], 90))


def _much_louder(other_db: np.ndarray, own_db: np.ndarray, spans: Sequence[Span], params: VoiceParams) -> list[Span]:
    """Where `other_db` stays `crosstalk_db` above `own_db` within `spans`, also between syllables."""
    hold = 6  # frames: the peak level of a syllable is used for 60 ms around it
    windows = np.lib.stride_tricks.sliding_window_view
    other_peak = windows(np.pad(other_db, hold, constant_values=SILENT_DB), 2 * hold + 1).max(axis=1)
    own_peak = windows(np.pad(own_db, hold, constant_values=SILENT_DB), 2 * hold + 1).max(axis=1)
    louder = other_peak - own_peak >= params.crosstalk_db
    edges = np.flatnonzero(np.diff(np.concatenate(([0], louder.astype(np.int8), [0]))))
    runs = [Span(int(a) * ENERGY_MS, int(b) * ENERGY_MS) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    inside = intersect_spans(spans, merge_spans(runs, params.crosstalk_min_ms))
    return [span for span in inside if span.duration_ms >= params.crosstalk_min_ms]


def _same_voice(
    suspects: Sequence[Span], other: str, own_T: np.ndarray, other_T: np.ndarray, params: VoiceParams
) -> list[Bleed]:
    """The suspect intervals whose waveform follows that of the other track at some delay."""
    delay = params.crosstalk_delay_ms * RATE_HZ // 1000
    bleeds: list[Bleed] = []
    for span in suspects:
        start, end = span.start_ms * RATE_HZ // 1000, span.end_ms * RATE_HZ // 1000
        low, high = max(0, start - delay), min(len(other_T), end + delay)
        heard, voice = own_T[start:end].astype(np.float64), other_T[low:high].astype(np.float64)
        correlation, gain = _best_match(heard, voice)
        if correlation >= params.crosstalk_correlation:
            level_db = 20 * np.log10(max(gain, 1e-6))
            bleeds.append(Bleed(span=span, other=other, level_db=round(level_db, 1), correlation=round(correlation, 3)))
    return bleeds


def _best_match(heard_T: np.ndarray, voice_T: np.ndarray) -> tuple[float, float]:
    """(|normalised correlation|, gain) of `heard_T` with the part of the longer `voice_T` that fits it best."""
    size = 1 << int(np.ceil(np.log2(len(voice_T) + len(heard_T))))
    product = np.fft.rfft(voice_T, size) * np.conj(np.fft.rfft(heard_T, size))
    num_delays = len(voice_T) - len(heard_T) + 1
    dots = np.abs(np.fft.irfft(product, size)[:num_delays])
    powers = np.concatenate(([0.0], np.cumsum(voice_T**2)))
    energies = powers[len(heard_T) :][:num_delays] - powers[:num_delays]
    heard_energy = float(np.sum(heard_T**2))
    if heard_energy <= 0 or energies.max() <= 0:
        return 0.0, 0.0
    matches = dots / np.sqrt(np.maximum(energies, 1e-6 * energies.max()) * heard_energy)
    best = int(np.argmax(matches))
    return float(matches[best]), float(dots[best] / max(energies[best], 1e-12))


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
