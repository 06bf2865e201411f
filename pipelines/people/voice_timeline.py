"""How likely each voice is in short pieces of speech -> which voice speaks in each 10 ms, or both at once.

The most likely sequence (Viterbi) over steps of 50 ms, in which a change costs something within continuous speech and
less the longer the pause is.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipelines.people.voice_classes import BOTH, PIECE_MS, Classes, cut
from pipelines.signals.voice_embedding import Embedder
from wanstreamer.clock import Span

STEP_MS = 50
HOP_MS = 150  # of the pieces
INDEPENDENT_MS = 200  # scores of pieces that are closer than this say nearly the same
CHANGE_COST = 1.5  # of log-likelihood, within continuous speech
SHORTEST_OVERLAP_MS = 500  # of continuous speech in which an overlap is looked for
PAUSE_MS = 400  # a pause of this length makes a change cheaper by 1 / e


class Run(NamedTuple):
    """Continuous speech of one voice, or of the first two at once."""

    span: Span
    label: int  # the voice, or BOTH
    certainty: float  # mean posterior probability of the class


def runs_of_voices(audio_T: np.ndarray, speech: Sequence[Span], classes: Classes, embedder: Embedder) -> list[Run]:
    """The speech, divided; runs in order, which touch where the voice changes within continuous speech."""
    pieces = [cut(span, PIECE_MS, HOP_MS) for span in speech]
    every_piece = [piece for group in pieces for piece in group]
    scores_NK = classes.scores(embedder(audio_T, every_piece))
    if BOTH in classes.labels:  # short pieces are unlike those that it was fitted to
        is_short_N = np.array([piece.duration_ms < SHORTEST_OVERLAP_MS for piece in every_piece])
        scores_NK[is_short_N, -1] = scores_NK[is_short_N].min(axis=1)
    steps, costs, place = [], [], 0
    previous_ms = None
    for span, group in zip(speech, pieces, strict=True):
        middles_ms = np.array([(piece.start_ms + piece.end_ms) / 2 for piece in group])
        own_NK = scores_NK[place : place + len(group)]
        place += len(group)
        times_ms = np.arange(span.start_ms + STEP_MS / 2, max(span.end_ms, span.start_ms + STEP_MS), STEP_MS)
        steps.append(np.stack([np.interp(times_ms, middles_ms, scores_N) for scores_N in own_NK.T], axis=1))
        pause_ms = np.inf if previous_ms is None else span.start_ms - previous_ms
        costs += [CHANGE_COST * float(np.exp(-pause_ms / PAUSE_MS)), *[CHANGE_COST] * (len(times_ms) - 1)]
        previous_ms = span.end_ms
    evidence_TK = np.concatenate(steps) * (STEP_MS / INDEPENDENT_MS)
    costs_T = np.array(costs)
    path_T, posterior_TK = best_path(evidence_TK, costs_T), posteriors(evidence_TK, costs_T)
    runs: list[Run] = []
    place = 0
    for span, step in zip(speech, steps, strict=True):
        rows = slice(place, place + len(step))
        runs += _runs(span, path_T[rows], posterior_TK[rows], classes.labels)
        place += len(step)
    return runs


def best_path(evidence_TK: np.ndarray, costs_T: np.ndarray) -> np.ndarray:
    """The most likely class of each step, int64 (num_steps,); a change into step t costs `costs_T[t]`."""
    num_steps, num_classes = evidence_TK.shape
    came_from_TK = np.zeros((num_steps, num_classes), np.int64)
    total_K = evidence_TK[0].copy()
    stay_K = np.arange(num_classes)
    for t in range(1, num_steps):
        best = int(total_K.argmax())
        changed = total_K[best] - costs_T[t]
        came_from_TK[t] = np.where(total_K >= changed, stay_K, best)
        total_K = np.maximum(total_K, changed) + evidence_TK[t]
    path_T = np.zeros(num_steps, np.int64)
    path_T[-1] = total_K.argmax()
    for t in range(num_steps - 1, 0, -1):
        path_T[t - 1] = came_from_TK[t, path_T[t]]
    return path_T


def posteriors(evidence_TK: np.ndarray, costs_T: np.ndarray) -> np.ndarray:
    """Probability of each class in each step (forward and backward), float64 (num_steps, num_classes)."""

    def forward(likelihood_TK: np.ndarray, odds_T: np.ndarray) -> np.ndarray:
        alpha_TK = np.zeros_like(likelihood_TK)
        alpha_TK[0] = likelihood_TK[0] / likelihood_TK[0].sum()
        for t in range(1, len(likelihood_TK)):
            mixed_K = (alpha_TK[t - 1] + odds_T[t] * (1 - alpha_TK[t - 1])) * likelihood_TK[t]
            alpha_TK[t] = mixed_K / mixed_K.sum()
        return alpha_TK

    likelihood_TK = np.exp(np.maximum(evidence_TK - evidence_TK.max(axis=1, keepdims=True), -50))
    odds_T = np.exp(-costs_T)
    ahead_TK = forward(likelihood_TK, odds_T)
    back_TK = forward(likelihood_TK[::-1], np.concatenate([odds_T[:1], odds_T[1:][::-1]]))[::-1]
    both_TK = ahead_TK * back_TK / likelihood_TK
    return both_TK / both_TK.sum(axis=1, keepdims=True)


def _runs(span: Span, path_T: np.ndarray, posterior_TK: np.ndarray, labels: Sequence[int]) -> list[Run]:
    changes = [0, *(np.flatnonzero(np.diff(path_T)) + 1).tolist(), len(path_T)]
    runs = []
    for first, last in zip(changes[:-1], changes[1:], strict=True):
        place = int(path_T[first])
        end_ms = span.end_ms if last == len(path_T) else span.start_ms + last * STEP_MS
        certainty = float(posterior_TK[first:last, place].mean())
        runs.append(Run(Span(span.start_ms + first * STEP_MS, end_ms), labels[place], certainty))
    return runs
