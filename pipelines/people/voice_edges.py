"""Changes of voice within continuous speech -> the 10 ms where the sound changes from one voice to the other.

Pauses give exact edges by their energy. Where a voice follows another without a pause, embeddings are too long to say
when. There, a Gaussian of each voice over the cepstra of 10 ms decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipelines.people.voice_timeline import Run
from pipelines.signals.voice_embedding import HOP_MS, NUM_MELS, mel_power
from wanstreamer.clock import Span

NUM_CEPSTRA = 20  # without the first, which is the level
REACH_MS = 300  # a change moves by at most this
MIN_MS = 50  # of each run that is left
SHRINK = 0.1  # of the covariances, towards that of all voices
MIN_FRAMES = 100  # of a voice, for a Gaussian


def cepstra(audio_T: np.ndarray) -> np.ndarray:
    """Shape of the spectrum of each 10 ms, float32 (num_frames, NUM_CEPSTRA)."""
    level_FM = np.log(mel_power(audio_T) + 1e-8)
    places = (np.arange(NUM_MELS) + 0.5) / NUM_MELS
    cosines_MC = np.cos(np.pi * np.outer(places, np.arange(1, NUM_CEPSTRA + 1))).astype(np.float32)
    return level_FM @ cosines_MC


@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """Of the cepstra of one voice."""

    mean_C: np.ndarray
    whitening_CC: np.ndarray  # to independent values of variance 1

    def log_likelihood(self, frames_FC: np.ndarray) -> np.ndarray:
        """Of each frame, up to a constant that all voices share."""
        log_scale = float(np.linalg.slogdet(self.whitening_CC)[1])
        return log_scale - 0.5 * np.sum(((frames_FC - self.mean_C) @ self.whitening_CC) ** 2, axis=1)


def gaussians(cepstra_FC: np.ndarray, pure: Sequence[Sequence[Span]]) -> dict[int, Gaussian]:
    """One for each voice with enough speech."""
    frames = {
        voice: np.concatenate([cepstra_FC[span.start_ms // HOP_MS : span.end_ms // HOP_MS] for span in spans])
        for voice, spans in enumerate(pure)
        if sum(span.duration_ms for span in spans) >= MIN_FRAMES * HOP_MS
    }
    if not frames:
        return {}
    shared_CC = np.cov(np.concatenate(list(frames.values())).T)
    made = {}
    for voice, own_FC in frames.items():
        covariance_CC = (1 - SHRINK) * np.cov(own_FC.T) + SHRINK * shared_CC + 1e-6 * np.eye(NUM_CEPSTRA)
        made[voice] = Gaussian(
            mean_C=own_FC.mean(axis=0), whitening_CC=np.linalg.inv(np.linalg.cholesky(covariance_CC)).T
        )
    return made


def sharpen(runs: Sequence[Run], cepstra_FC: np.ndarray, pure: Sequence[Sequence[Span]]) -> list[Run]:
    """The runs with changes from one voice to another moved; those to or from both at once stay.

    Args:
        pure: Speech of each voice alone.
    """
    voices = gaussians(cepstra_FC, pure)
    sharpened = list(runs)
    for place, (one, other) in enumerate(pairwise(runs)):
        if one.span.end_ms != other.span.start_ms or not {one.label, other.label} <= voices.keys():
            continue
        first = max(sharpened[place].span.start_ms + MIN_MS, one.span.end_ms - REACH_MS) // HOP_MS
        last = min(other.span.end_ms - MIN_MS, one.span.end_ms + REACH_MS) // HOP_MS
        if last <= first:
            continue
        frames_FC = cepstra_FC[first:last]
        gain = voices[one.label].log_likelihood(frames_FC) - voices[other.label].log_likelihood(frames_FC)
        change_ms = HOP_MS * (first + int(np.argmax(np.concatenate([[0.0], np.cumsum(gain)]))))
        sharpened[place] = sharpened[place]._replace(span=Span(sharpened[place].span.start_ms, change_ms))
        sharpened[place + 1] = other._replace(span=Span(change_ms, other.span.end_ms))
    return sharpened
