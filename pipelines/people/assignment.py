"""Voices, faces and their scores of speaking -> which face each voice belongs to, and how sure this is.

For every pair, the scores of the face are summed while this voice speaks alone; everything is decided over the whole
recording, never for single moments. The best one-to-one assignment wins (Hungarian). A voice that goes with no face is
off screen; a face that is never heard belongs to no voice.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipelines.people.identities import Identity, seen_together
from pipelines.people.speaking import Speaking
from pipelines.signals.voice_activity import subtract
from wanstreamer.clock import FRAME_MS, Span, merge_spans

RUN_FRAMES = 125  # speech of a voice is cut into runs of at most 5 s, which count as independent
# Mean score below which a voice is rather off screen. LR-ASD gives most listeners less than -0.5, and small faces of
# speakers little more than 0.
NO_FACE = {"lr-asd": -0.25, "motion": 0.2}
SEEN_WEIGHT = 0.3  # of being in the picture just while this voice speaks: cameras are cut to the speaker
JOIN_ERRORS = 1.5  # standard errors by which a face must speak with a voice to be joined to its face
MOST = 3.0  # larger scores count as this: a minute of certain frames does not outweigh all others


class Speaker(Protocol):
    """A voice, as far as it matters here."""

    @property
    def speech(self) -> tuple[Span, ...]: ...


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Which face each voice belongs to."""

    faces: tuple[int | None, ...]  # index of an identity for each voice; None: off screen
    confidence: float | None  # 0 to 1: how sure the best assignment is, against the next best; None without any face


def assign(voices: Sequence[Speaker], identities: Sequence[Identity], speaking: Speaking) -> Assignment:
    """The best assignment. Confidence: 0 for two that are equally good; 0.95 where the runs of speech are so much in
    favour of the best as is a difference of two standard errors."""
    people, runs = _evidence(voices, identities, speaking)
    if not people or not voices:
        return Assignment(faces=(None,) * len(voices), confidence=None)
    totals_VI = np.stack([run_RI.sum(0) for run_RI in runs])
    best = _best(totals_VI, forbidden=None)
    if all(face is None for face in best):
        return Assignment(faces=best, confidence=None)
    sure = [_sureness(runs, best, _best(totals_VI, forbidden=(place, face))) for place, face in enumerate(best)]
    return Assignment(
        faces=tuple(None if face is None else people[face] for face in best), confidence=round(min(sure), 3)
    )


def join_by_voice(
    voices: Sequence[Speaker], identities: Sequence[Identity], speaking: Speaking
) -> tuple[tuple[Identity, ...], Speaking]:
    """Faces that go with the same voice and are never seen together are one person, however different they look: from
    the side, or in another light. The faces afterwards, and their scores."""
    people, runs = _evidence(voices, identities, speaking)
    chosen = assign(voices, identities, speaking).faces
    homes: dict[int, int] = {}
    for column, place in enumerate(people):
        if place in chosen:
            continue
        sums = [float(run_RI[:, column].sum()) for run_RI in runs]
        voice = int(np.argmax(sums))
        face, own_R = chosen[voice], runs[voice][:, column]
        others = sum(value for other, value in enumerate(sums) if other != voice)
        if (
            face is not None
            and sums[voice] > JOIN_ERRORS * math.sqrt(float((own_R**2).sum()))
            and others < 0.5 * sums[voice]
            and not seen_together(identities[face].tracks, identities[place].tracks)
            and not any(
                seen_together(identities[other].tracks, identities[place].tracks)
                for other, home in homes.items()
                if home == face
            )
        ):
            homes[place] = face
    if not homes:
        return tuple(identities), speaking
    joined, scores = [], []
    for place, identity in enumerate(identities):
        if place in homes:
            continue
        parts = [place, *(other for other, home in homes.items() if home == place)]
        tracks = sorted((track for part in parts for track in identities[part].tracks), key=lambda one: one.start_ms)
        score_F = speaking.scores[place].copy()
        for part in parts[1:]:
            score_F = np.where(np.isnan(score_F), speaking.scores[part], score_F)
        original = identity.copy_of
        if original is not None:
            original = homes.get(original, original)
            original -= sum(other < original for other in homes)
        share = round(sum(identities[part].share for part in parts), 4)
        certainty = min(identities[part].certainty for part in parts)
        joined.append(replace(identity, tracks=tuple(tracks), share=share, copy_of=original, certainty=certainty))
        scores.append(score_F)
    return tuple(joined), Speaking(tuple(scores), speaking.measure)


def _evidence(
    voices: Sequence[Speaker], identities: Sequence[Identity], speaking: Speaking
) -> tuple[list[int], list[np.ndarray]]:
    """The faces that are people, and for each voice the sums of their scores in its runs (`_runs`)."""
    people = [place for place, identity in enumerate(identities) if identity.is_person]
    if not people:
        return [], []
    scores_IF = np.stack([speaking.scores[place] for place in people])
    seen_IF = ~np.isnan(scores_IF)
    scores_IF = np.clip(np.nan_to_num(scores_IF - NO_FACE[speaking.measure]), -MOST, MOST)
    speech = merge_spans(span for voice in voices for span in voice.speech)
    scores_IF += SEEN_WEIGHT * (seen_IF - _mean_during(seen_IF, speech)[:, None])
    return people, [_runs(scores_IF, _alone(voices, place)) for place in range(len(voices))]


def _alone(voices: Sequence[Speaker], place: int) -> list[Span]:
    """When this voice speaks and no other does."""
    others = merge_spans(span for other, voice in enumerate(voices) if other != place for span in voice.speech)
    return subtract(merge_spans(voices[place].speech), others, FRAME_MS)


def _mean_during(values_IF: np.ndarray, spans: Sequence[Span]) -> np.ndarray:
    """Mean of each row over the frames in the spans, (I,)."""
    during_F = np.zeros(values_IF.shape[1], bool)
    for span in spans:
        during_F[span.start_ms // FRAME_MS : -(-span.end_ms // FRAME_MS)] = True
    return values_IF[:, during_F].mean(1) if during_F.any() else np.zeros(len(values_IF))


def _runs(scores_IF: np.ndarray, spans: Sequence[Span]) -> np.ndarray:
    """Sum of the scores of each face in each run, (R, I + 1); the last is that of no face."""
    sums: list[np.ndarray] = []
    for span in spans:
        first, last = -(-span.start_ms // FRAME_MS), min(span.end_ms // FRAME_MS, scores_IF.shape[1])
        starts = range(first, last, RUN_FRAMES)
        sums += [scores_IF[:, start : min(last, start + RUN_FRAMES)].sum(1) for start in starts]
    sums_RI = np.stack(sums) if sums else np.zeros((0, len(scores_IF)))
    return np.concatenate([sums_RI, np.zeros((len(sums_RI), 1))], axis=1)


def _best(totals_VI: np.ndarray, forbidden: tuple[int, int | None] | None) -> tuple[int | None, ...]:
    """The assignment with the largest sum; not with one pair, if that is forbidden."""
    num_voices, num_faces = totals_VI.shape[0], totals_VI.shape[1] - 1
    # Without any evidence, a voice has no face.
    gains = np.concatenate(
        [totals_VI[:, :num_faces] - 1e-6, np.repeat(totals_VI[:, num_faces:], num_voices, axis=1)], axis=1
    )
    if forbidden is not None:
        voice, face = forbidden
        gains[voice, slice(num_faces, None) if face is None else face] = -1e9
    rows, columns = linear_sum_assignment(gains, maximize=True)
    chosen = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    return tuple(chosen[voice] if chosen[voice] < num_faces else None for voice in range(num_voices))


def _sureness(runs: Sequence[np.ndarray], best: Sequence[int | None], other: Sequence[int | None]) -> float:
    """How sure one assignment is better than another: 0 to 1, from the runs in which they differ."""
    differences = [
        run_RI[:, -1 if face is None else face] - run_RI[:, -1 if another is None else another]
        for run_RI, face, another in zip(runs, best, other, strict=True)
        if face != another
    ]
    difference_R = np.concatenate(differences) if differences else np.zeros(0)
    error = math.sqrt(float((difference_R**2).sum()))
    return math.erf(max(0.0, float(difference_R.sum())) / error / math.sqrt(2)) if error > 0 else 0.0
