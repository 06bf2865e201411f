"""Tracks of one session -> how good listeners would find their sound, and how much echo they would hear in it.

The networks hear 9 or 20 s at a time. From each of several equal parts of a track, the stretch with the most sound is
taken: the scores of silence mean nothing. An hour costs as much as two minutes.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.media.tracks import wav_part
from pipelines.quality.params import PERCEIVED
from pipelines.signals import opinion_scores
from pipelines.signals.opinion_scores import ECHO_SAMPLES, RATE_HZ, VOICE_SAMPLES

VOICE_CLIPS, ECHO_CLIPS = 8, 6
FRAME_S = 0.02
SOUNDING_DB = 25.0  # a frame sounds down to this much below the loud ones
LEAST_POWER = 1e-7  # -70 dB: what is quieter does not sound
LEAST_SHARE = 0.1  # of frames of a clip that sound; a clip with less is left out, unless all have less


def perceived_facts(
    data: Path, tracks: Sequence[Mapping[str, Any]], powers: Sequence[np.ndarray | None]
) -> list[dict[str, float | None]]:
    """PERCEIVED facts of each track; all None if the package is not installed, or the track is silent.

    powers: mean square of each 20 ms of the tracks; None without audio.
    """
    facts: list[dict[str, float | None]] = [dict.fromkeys(PERCEIVED) for _ in tracks]
    if opinion_scores.installed() is None:
        return facts
    sounding = [None if power_F is None else _sounding(power_F) for power_F in powers]
    for track, sounds_F, values in zip(tracks, sounding, facts, strict=True):
        if sounds_F is None or not sounds_F.any():
            continue
        starts_s = loudest_clips(sounds_F, VOICE_SAMPLES / RATE_HZ, VOICE_CLIPS)
        scores = [opinion_scores.voice_scores(_clip(data, track, start_s, VOICE_SAMPLES)) for start_s in starts_s]
        values |= dict(zip(PERCEIVED, (round(float(mean), 2) for mean in np.mean(scores, axis=0)), strict=False))
        # Echo is judged where the other person speaks; of several others, by the one with the most.
        echoes = [
            _echo(data, other, track, others_F)
            for other, others_F in zip(tracks, sounding, strict=True)
            if other is not track and others_F is not None and others_F.any()
        ]
        values["aecmos_echo"] = round(min(echoes), 2) if echoes else None
    return facts


def _echo(data: Path, other: Mapping[str, Any], own: Mapping[str, Any], others_F: np.ndarray) -> float:
    starts_s = loudest_clips(others_F, ECHO_SAMPLES / RATE_HZ, ECHO_CLIPS)
    clips = [[_clip(data, track, start_s, ECHO_SAMPLES, whole=False) for track in (other, own)] for start_s in starts_s]
    return float(np.mean([opinion_scores.echo_score(*pair) for pair in clips]))


def _sounding(power_F: np.ndarray) -> np.ndarray:
    """bool (F,): the frame is not silent."""
    return power_F > max(LEAST_POWER, float(np.percentile(power_F, 95)) * 10 ** (-SOUNDING_DB / 10))


def loudest_clips(sounds_F: np.ndarray, clip_s: float, most: int) -> list[float]:
    """Where clips of this length begin (s): the one with the most sounding frames of each of up to `most` parts."""
    size = ceil(clip_s / FRAME_S)
    if len(sounds_F) <= size:
        return [0.0]
    total_F = np.concatenate([[0], np.cumsum(sounds_F)])
    num_parts = min(most, len(sounds_F) // size)
    starts, shares = [], []
    for part in range(num_parts):
        first, last = (len(sounds_F) * number // num_parts for number in (part, part + 1))
        counts = total_F[first + size : last + 1] - total_F[first : last + 1 - size]
        start = first + int(counts.argmax())
        starts.append(start)
        shares.append(counts.max() / size)
    enough = [share >= min(LEAST_SHARE, max(shares)) for share in shares]
    return [start * FRAME_S for start, has in zip(starts, enough, strict=True) if has]


def _clip(data: Path, track: Mapping[str, Any], start_s: float, size: int, *, whole: bool = True) -> np.ndarray:
    """float32 at 16 kHz; `whole`: repeated until it has `size` samples, as DNSMOS does it."""
    rate_hz = track["rate_hz"]
    clip_T = wav_part(data / track["audio_path"], round(start_s * rate_hz), -(-size * rate_hz // RATE_HZ))
    if rate_hz != RATE_HZ:
        from scipy.signal import resample_poly

        clip_T = np.clip(resample_poly(clip_T, RATE_HZ, rate_hz), -1, 1).astype(np.float32)
    while whole and len(clip_T) < size:
        clip_T = np.concatenate([clip_T, clip_T])
    return clip_T[:size]
