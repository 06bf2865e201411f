"""Sound of a recording of several people -> when each of them speaks, and when two at once do.

1. Speech is found (silero), with edges from its energy. Music and noise are no speech.
2. Pieces of 1.6 s become vectors (pipelines/signals/voice_embedding.py), and the vectors voices (voice_clusters.py).
3. The voices of this recording are fitted to shorter pieces (voice_classes.py), and with them both at once.
4. Each 50 ms of speech gets the voice of the most likely sequence (voice_timeline.py), each change its 10 ms
   (voice_edges.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from pipelines.engine.jobs import Rejected
from pipelines.people.rare_voices import with_rare_voices
from pipelines.people.voice_classes import BOTH, cut, fit_classes
from pipelines.people.voice_edges import cepstra, sharpen
from pipelines.people.voice_timeline import Run, runs_of_voices
from pipelines.people.voices_params import VoicesParams
from pipelines.signals.params import DetectorParams
from pipelines.signals.speech_models import Detector, load_detector
from pipelines.signals.voice_activity import RATE_HZ, speech_spans
from pipelines.signals.voice_clusters import unit_mean, voice_means
from pipelines.signals.voice_embedding import Embedder
from wanstreamer.clock import Span, merge_spans

WINDOW_MS, HOP_MS = 1600, 250  # of the pieces that tell voices apart
LONG_ENOUGH_MS = 1000  # pieces of which voices are made, where there are enough; shorter ones say little
SHORT_PAUSE_MS = 250  # pieces may hold shorter pauses
MIN_PIECES, FEWEST_PIECES = 8, 3  # of a voice; in short recordings a quarter of all pieces, but at least the second
PURE_MS = 400  # shorter speech of one voice alone is not used to fit it


@dataclass(frozen=True, kw_only=True)
class Voice:
    """One person by ear."""

    speech: tuple[Span, ...]  # ms from the start of the sound, in order; overlaps are in both voices
    embedding_E: np.ndarray  # float32, of length 1


@dataclass(frozen=True, kw_only=True)
class Voices:
    """All voices of a recording, in the order of their first words."""

    voices: tuple[Voice, ...]
    overlap: tuple[Span, ...]  # two at once speak
    uncertain: tuple[Span, ...]  # it is not known which of the voices speaks, or whether both do
    confidence: float  # mean probability of the voice that each 50 ms of speech was given to


def find_voices(audio_T: np.ndarray, params: VoicesParams, embedder: Embedder) -> Voices:
    """Who speaks when.

    Args:
        audio_T: float32 (num_samples,) at 16 kHz, any length.

    Raises:
        Rejected: `no_speech`.
    """
    speech = speech_in(audio_T, params)
    pieces = [cut(span, WINDOW_MS, HOP_MS) for span in merge_spans(speech, SHORT_PAUSE_MS)]
    every_piece = [piece for group in pieces for piece in group]
    vectors_NE = embedder(audio_T, every_piece)
    long = [i for i, piece in enumerate(every_piece) if piece.duration_ms >= LONG_ENOUGH_MS]
    used = long if len(long) >= 2 * FEWEST_PIECES else list(range(len(every_piece)))
    min_pieces = min(MIN_PIECES, max(FEWEST_PIECES, len(used) // 4))
    means_KE = voice_means(vectors_NE[used], embedder, most=params.most, min_pieces=min_pieces)
    means_KE, pure = _certain_voices(means_KE, pieces, vectors_NE)
    if len(pure) > 1:
        classes = fit_classes(audio_T, pure, embedder, overlap=params.overlap)
        runs = sharpen(runs_of_voices(audio_T, speech, classes, embedder), cepstra(audio_T), pure)
    else:
        runs = [Run(span, 0, 1.0) for span in speech]
    runs, rare = with_rare_voices(audio_T, runs, pure, embedder)
    return _in_order(runs, [*means_KE, *rare], params)


def speech_in(audio_T: np.ndarray, params: VoicesParams) -> list[Span]:
    """Speech of any voice. Raises Rejected `no_speech`."""
    found = speech_spans(_detector()(audio_T), audio_T, params.activity) if len(audio_T) else []
    found = [Span(span.start_ms, min(span.end_ms, 1000 * len(audio_T) // RATE_HZ)) for span in found]
    heard_ms = sum(span.duration_ms for span in found)
    if not found or heard_ms < params.min_speech_ms:
        raise Rejected("no_speech", f"{heard_ms / 1000:.1f} s of speech in {len(audio_T) / RATE_HZ:.1f} s")
    return found


@cache
def _detector() -> Detector:
    return load_detector(DetectorParams())


def _certain_voices(
    means_KE: np.ndarray, pieces: Sequence[Sequence[Span]], vectors_NE: np.ndarray
) -> tuple[np.ndarray, list[list[Span]]]:
    """The voices that somewhere speak alone for long enough to be known, and where each does."""
    while True:
        pure = pure_speech(pieces, vectors_NE @ means_KE.T)
        certain = [voice for voice, spans in enumerate(pure) if spans]
        if len(certain) == len(pure):
            return means_KE, pure
        if not certain:  # all speech is short
            return unit_mean(vectors_NE)[None], [[Span(group[0].start_ms, group[-1].end_ms) for group in pieces]]
        means_KE = means_KE[certain]


def pure_speech(pieces: Sequence[Sequence[Span]], cosines_NK: np.ndarray) -> list[list[Span]]:
    """Speech of each voice alone, as far as it is certain: where neighbouring pieces are all of one voice.

    Args:
        pieces: Of each continuous speech.
        cosines_NK: Of all pieces with the mean of each voice.
    """
    num_voices = cosines_NK.shape[1]
    pure: list[list[Span]] = [[] for _ in range(num_voices)]
    best_N = cosines_NK.argmax(axis=1)
    place = 0
    for group in pieces:
        labels = best_N[place : place + len(group)]
        place += len(group)
        changes = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
        for first, last in zip(changes[:-1], changes[1:], strict=True):
            # A piece next to one of another voice may hold the change: only its far half is certain.
            start_ms = group[first].start_ms + (group[first].duration_ms // 2 if first else 0)
            end_ms = group[last - 1].end_ms - (group[last - 1].duration_ms // 2 if last < len(labels) else 0)
            if end_ms - start_ms >= PURE_MS:
                pure[labels[first]].append(Span(start_ms, end_ms))
    return pure


def _in_order(runs: Sequence[Run], means: Sequence[np.ndarray], params: VoicesParams) -> Voices:
    """The voices by their first words. `means`: the vector of each."""
    runs = without_short(runs, params.min_overlap_ms)
    spans = [
        merge_spans(run.span for run in runs if run.label == voice or (run.label == BOTH and voice < 2))
        for voice in range(len(means))
    ]
    order = sorted((voice for voice in range(len(means)) if spans[voice]), key=lambda voice: spans[voice][0])
    return Voices(
        voices=tuple(Voice(speech=tuple(spans[voice]), embedding_E=means[voice].astype(np.float32)) for voice in order),
        overlap=tuple(merge_spans(run.span for run in runs if run.label == BOTH)),
        uncertain=tuple(merge_spans(run.span for run in runs if run.certainty < params.min_certainty)),
        confidence=float(np.average([run.certainty for run in runs], weights=[run.span.duration_ms for run in runs])),
    )


def without_short(runs: Sequence[Run], min_ms: int) -> list[Run]:
    """Runs of two at once under `min_ms` get the voice of the run before or after them, of one that touches if any."""
    left: list[Run] = []
    for place, run in enumerate(runs):
        if run.label == BOTH and run.span.duration_ms < min_ms:
            near = [*left[-1:], *[other for other in runs[place + 1 :] if other.label != BOTH][:1]]
            touching = [
                other
                for other in near
                if run.span.start_ms <= other.span.end_ms and other.span.start_ms <= run.span.end_ms
            ]
            run = run._replace(label=(touching or near or [run])[0].label)
        left.append(run)
    return left
