"""What is known of the voices of a recording -> how likely each of them, or two at once, is in any short piece of it.

Short pieces (0.6 s) say where a voice begins and ends, but one of them alone says little about who it is. Therefore a
linear discriminant is fitted to the recording itself: to pieces that lie inside of longer speech of one voice, and to
sums of two such pieces of two voices, which are what both at once would be. No labels and no other recordings are used.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.signals.voice_activity import RATE_HZ
from pipelines.signals.voice_embedding import Embedder
from wanstreamer.clock import Span

PIECE_MS = 600
MOST_PIECES = 150  # of each class that are used
BOTH = -1  # the label of speech of the first two voices at once
BOTH_BONUS = 1.0  # of log-likelihood
SHRINK = 0.5  # of the covariance within classes, towards equal variances: there are more dimensions than pieces
CLEAR_SCORE = 6.0  # mean difference of log-likelihood between the right class and the next, of pieces of one voice


@dataclass(frozen=True, kw_only=True)
class Classes:
    """A linear score for each voice; if overlap was fitted, also for the first two at once, and for changes of them."""

    weights_EK: np.ndarray
    bias_K: np.ndarray
    labels: tuple[int, ...]  # of the columns of `scores`: a voice, or BOTH

    def scores(self, vectors_NE: np.ndarray) -> np.ndarray:
        """Log-likelihoods up to a constant: float64 (num_pieces, len(labels))."""
        scores_NK = vectors_NE.astype(np.float64) @ self.weights_EK + self.bias_K
        if BOTH not in self.labels:
            return scores_NK
        # A piece in which one voice follows the other is less like one of them, but it is no overlap.
        voices_NK, change_N1 = scores_NK[:, :-2], scores_NK[:, -1:]
        voices_NK[:, :2] = np.logaddexp(voices_NK[:, :2], change_N1)
        return np.concatenate([voices_NK, scores_NK[:, -2:-1] + BOTH_BONUS], axis=1)


def fit_classes(audio_T: np.ndarray, pure: Sequence[Sequence[Span]], embedder: Embedder, *, overlap: bool) -> Classes:
    """From speech of each voice alone, one or more spans per voice. `overlap`: and of the first two at once."""
    clips = [pieces_in(spans) for spans in pure]
    vectors = [embedder(audio_T, pieces) for pieces in clips]
    if overlap:
        vectors.append(both_at_once(audio_T, clips[0], clips[1], embedder))
        vectors.append(one_after_the_other(audio_T, clips[0], clips[1], embedder))
    means_KE = np.stack([group.mean(axis=0, dtype=np.float64) for group in vectors])
    rest_NE = np.concatenate([group - mean_E for group, mean_E in zip(vectors, means_KE, strict=True)])
    within_EE = rest_NE.T @ rest_NE / len(rest_NE)
    width = len(within_EE)
    within_EE = (1 - SHRINK) * within_EE + SHRINK * (np.trace(within_EE) / width + 1e-9) * np.eye(width)
    weights_EK = np.linalg.solve(within_EE, means_KE.T)
    bias_K = -0.5 * np.sum(means_KE * weights_EK.T, axis=1)
    margins = [_margins(group @ weights_EK + bias_K, place) for place, group in enumerate(vectors[: len(pure)])]
    scale = CLEAR_SCORE / max(float(np.concatenate(margins).mean()), 1e-9)
    labels = (*range(len(pure)), *([BOTH] if overlap else []))
    return Classes(weights_EK=scale * weights_EK, bias_K=scale * bias_K, labels=labels)


def pieces_in(spans: Sequence[Span]) -> list[Span]:
    """Pieces of PIECE_MS, each a quarter later than the last one; a shorter span is one piece. At most MOST_PIECES."""
    pieces = [piece for span in spans for piece in cut(span, PIECE_MS, PIECE_MS // 4)]
    return thinned(pieces, MOST_PIECES)


def thinned(pieces: Sequence[Span], most: int) -> list[Span]:
    """At most so many of them, evenly chosen."""
    chosen = np.linspace(0, len(pieces) - 1, min(len(pieces), most)).astype(np.int64)
    return [pieces[i] for i in chosen]


def cut(span: Span, length_ms: int, hop_ms: int) -> list[Span]:
    """Pieces of `length_ms` every `hop_ms`, the last one at the end of the span; the span itself if it is shorter."""
    if span.duration_ms <= length_ms:
        return [span]
    last = span.end_ms - length_ms
    return [Span(start, start + length_ms) for start in [*range(span.start_ms, last, hop_ms), last]]


def both_at_once(audio_T: np.ndarray, first: Sequence[Span], second: Sequence[Span], embedder: Embedder) -> np.ndarray:
    """Vectors of sums of a piece of the first voice and one of the second, at the levels that they have."""
    sums = []
    for one, other in _pairs(first, second):
        length_ms = min(one.duration_ms, other.duration_ms)
        sums.append(_samples(audio_T, one.start_ms, length_ms) + _samples(audio_T, other.start_ms, length_ms))
    return _embed_clips(sums, embedder)


def one_after_the_other(
    audio_T: np.ndarray, first: Sequence[Span], second: Sequence[Span], embedder: Embedder
) -> np.ndarray:
    """Vectors of pieces in which one voice follows the other, with the change at 30 to 70 % of the piece."""
    joined = []
    for place, (one, other) in enumerate(_pairs(first, second)):
        length_ms = min(one.duration_ms, other.duration_ms)
        before, after = (one, other) if place % 2 else (other, one)
        change_ms = length_ms * (30 + 10 * (place % 5)) // 100
        tail_T = _samples(audio_T, after.start_ms + change_ms, length_ms - change_ms)
        joined.append(np.concatenate([_samples(audio_T, before.start_ms, change_ms), tail_T]))
    return _embed_clips(joined, embedder)


def _pairs(first: Sequence[Span], second: Sequence[Span]) -> Iterator[tuple[Span, Span]]:
    """Each piece, with one of the other voice."""
    for i in range(max(len(first), len(second))):
        yield first[i % len(first)], second[i % len(second)]


def _embed_clips(clips: Sequence[np.ndarray], embedder: Embedder) -> np.ndarray:
    ends_ms = np.cumsum([len(clip_T) * 1000 // RATE_HZ for clip_T in clips]).tolist()
    spans = [Span(start, end) for start, end in zip([0, *ends_ms[:-1]], ends_ms, strict=True)]
    return embedder(np.concatenate(clips).astype(np.float32), spans)


def _samples(audio_T: np.ndarray, start_ms: int, length_ms: int) -> np.ndarray:
    """Samples of a piece, with silence after the end of the recording."""
    samples = audio_T[start_ms * RATE_HZ // 1000 :][: length_ms * RATE_HZ // 1000]
    return np.pad(samples, (0, length_ms * RATE_HZ // 1000 - len(samples)))


def _margins(scores_NK: np.ndarray, right: int) -> np.ndarray:
    """Score of the right class above the best other one."""
    others_NK = np.delete(scores_NK, right, axis=1)
    return scores_NK[:, right] - others_NK.max(axis=1)
