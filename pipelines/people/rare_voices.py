"""Runs of speech that are unlike every voice -> voices of their own: a third person who says two words.

Clustering needs several pieces of a voice, and short speech is less like its own voice than long speech is. Therefore a
short run is compared with pieces of the same length of each voice: what lies far outside their distribution is someone
else's, what lies at its edge is uncertain. Runs that are like each other are one rare voice.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipelines.people.voice_classes import both_at_once, cut, thinned
from pipelines.people.voice_timeline import Run
from pipelines.signals.voice_clusters import unit_mean
from pipelines.signals.voice_embedding import Embedder
from wanstreamer.clock import Span

LENGTHS_MS = (800, 400)  # of the pieces that are compared
SHORTEST_MS = 300  # runs under this say nothing, and runs under 400 ms may only be uncertain
# Standard deviations below the similarity of a voice with itself, from which on a run is uncertain, and someone else's.
UNLIKE, FAR = 2.0, 3.0
MIN_EXAMPLES, MOST_EXAMPLES = 8, 60  # of pieces of a voice, to know how alike they are


class Likeness(NamedTuple):
    """How alike pieces of one voice, of one length, are."""

    mean_E: np.ndarray
    cosine: float  # of a piece with the mean, on average
    deviation: float
    pair_cosine: float  # of two pieces, on average

    def distance(self, vectors_NE: np.ndarray) -> float:
        """How far pieces are below the average, in standard deviations; mean of the pieces."""
        return float(np.mean((self.cosine - vectors_NE @ self.mean_E) / self.deviation))


def with_rare_voices(
    audio_T: np.ndarray, runs: Sequence[Run], pure: Sequence[Sequence[Span]], embedder: Embedder
) -> tuple[list[Run], list[np.ndarray]]:
    """The runs, of which those of rare voices have labels from `len(pure)` on, and the mean vector of each rare voice.

    Args:
        pure: Speech of each voice alone.
    """
    known = {length_ms: _likenesses(audio_T, pure, length_ms, embedder) for length_ms in LENGTHS_MS}
    pieces: list[list[Span]] = []
    for run in runs:
        length_ms = next((length for length in LENGTHS_MS if run.span.duration_ms >= length), LENGTHS_MS[-1])
        pieces.append(cut(run.span, length_ms, length_ms // 2) if run.span.duration_ms >= SHORTEST_MS else [])
    vectors_NE = embedder(audio_T, [piece for group in pieces for piece in group])
    odd: list[tuple[int, np.ndarray, float]] = []  # run, its mean vector, and how alike two of one voice are
    checked = list(runs)
    place = 0
    for number, group in enumerate(pieces):
        own_NE = vectors_NE[place : place + len(group)]
        place += len(group)
        likenesses = known[LENGTHS_MS[0] if group and group[0].duration_ms >= LENGTHS_MS[0] else LENGTHS_MS[-1]]
        if not group or not likenesses:
            continue
        distance = min(likeness.distance(own_NE) for likeness in likenesses)
        if distance > FAR and group[0].duration_ms >= LENGTHS_MS[-1]:
            alike = float(np.mean([likeness.pair_cosine for likeness in likenesses]))
            odd.append((number, unit_mean(own_NE), alike))
        elif distance > UNLIKE:
            checked[number] = runs[number]._replace(certainty=0.5 * runs[number].certainty)
    rare: list[list[int]] = []  # places in `odd` of each rare voice
    for i, (_, vector_E, alike) in enumerate(odd):
        near = [group for group in rare if max(float(vector_E @ odd[j][1]) for j in group) >= alike]
        rare = [group for group in rare if group not in near] + [[*(j for group in near for j in group), i]]
    labels = {odd[i][0]: len(pure) + voice for voice, group in enumerate(rare) for i in group}
    return (
        [run._replace(label=labels.get(number, run.label)) for number, run in enumerate(checked)],
        [unit_mean(np.stack([odd[i][1] for i in group])) for group in rare],
    )


def _likenesses(
    audio_T: np.ndarray, pure: Sequence[Sequence[Span]], length_ms: int, embedder: Embedder
) -> list[Likeness]:
    """Of each voice with enough examples, and of the first two at once."""
    examples = []
    for spans in pure:
        pieces = [piece for span in spans for piece in cut(span, length_ms, length_ms // 2)]
        examples.append(thinned([piece for piece in pieces if piece.duration_ms == length_ms], MOST_EXAMPLES))
    vectors = [embedder(audio_T, pieces) for pieces in examples]
    if len(pure) > 1 and examples[0] and examples[1]:
        vectors.append(both_at_once(audio_T, examples[0], examples[1], embedder))
    return [_likeness(own_NE.astype(np.float64)) for own_NE in vectors if len(own_NE) >= MIN_EXAMPLES]


def _likeness(vectors_NE: np.ndarray) -> Likeness:
    num, mean_E = len(vectors_NE), unit_mean(vectors_NE)
    cosine_N = vectors_NE @ mean_E
    pair_cosine = (float(np.sum(vectors_NE.sum(axis=0) ** 2)) - num) / (num * (num - 1))
    return Likeness(mean_E, float(cosine_N.mean()), max(float(cosine_N.std()), 1e-3), pair_cosine)
