"""A participant's speech -> the sound that Whisper gets, in chunks of up to 30 s, and its times back to the track's.

Whisper always computes 30 s, writes words for silences, and draws words that stand next to a silence into it. So the
chunks hold speech only, with silences cut to half a second: a participant who says two words a minute costs little.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipelines.signals.voice_activity import ENERGY_MS, RATE_HZ, energy_db
from wanstreamer.clock import Span, merge_spans

CHUNK_MS = 30_000  # the longest input of Whisper
GAP_MS = 500  # of the silence between two stretches of speech that is kept
EDGE_MS = 200  # sound this close to detected speech may still be its soft beginning or end
SAMPLES_PER_MS = RATE_HZ // 1000


class Piece(NamedTuple):
    """A stretch of the track and where it begins in its chunk."""

    start_ms: int
    span: Span


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """float32 (num_samples,) at 16 kHz, and the pieces of the track that it holds, in order."""

    audio_T: np.ndarray
    pieces: tuple[Piece, ...]

    @property
    def span(self) -> Span:
        """What it covers of the track, its silences too."""
        return Span(self.pieces[0].span.start_ms, self.pieces[-1].span.end_ms)

    def in_track(self, start_s: float, end_s: float) -> Span:
        """Times in the chunk -> on the track, inside the piece that holds their middle, or the next one."""
        middle_ms = 500 * (start_s + end_s)

        def away_ms(piece: Piece) -> float:
            return max(piece.start_ms - middle_ms, middle_ms - piece.start_ms - piece.span.duration_ms, 0)

        piece = min(self.pieces, key=away_ms)
        start_ms, end_ms = (
            min(max(round(1000 * at_s) - piece.start_ms, 0), piece.span.duration_ms) for at_s in (start_s, end_s)
        )
        return Span(piece.span.start_ms + start_ms, piece.span.start_ms + max(start_ms, end_ms))


def chunks_of(audio_T: np.ndarray, speech: Sequence[Span]) -> list[Chunk]:
    """The speech of a track and EDGE_MS around it.

    Args:
        audio_T: float32 (num_samples,) at 16 kHz.
        speech: Of the participant, ms, disjoint and in order.
    """
    length_ms = len(audio_T) // SAMPLES_PER_MS
    near = merge_spans(Span(max(0, span.start_ms - EDGE_MS), min(length_ms, span.end_ms + EDGE_MS)) for span in speech)
    stretches = cut_long([span for span in near if span.duration_ms > 0], energy_db(audio_T))
    chunks: list[Chunk] = []
    pieces: list[Piece] = []
    for span in stretches:
        start_ms = 0
        if pieces:
            last = pieces[-1]
            gap_ms = min(GAP_MS, span.start_ms - last.span.end_ms)
            start_ms = last.start_ms + last.span.duration_ms + gap_ms
            if start_ms + span.duration_ms > CHUNK_MS:
                chunks.append(_chunk(audio_T, pieces))
                pieces, start_ms = [], 0
        pieces.append(Piece(start_ms, span))
    return [*chunks, _chunk(audio_T, pieces)] if pieces else chunks


def _chunk(audio_T: np.ndarray, pieces: Sequence[Piece]) -> Chunk:
    last = pieces[-1]
    chunk_T = np.zeros((last.start_ms + last.span.duration_ms) * SAMPLES_PER_MS, np.float32)
    for start_ms, span in pieces:
        piece_T = audio_T[span.start_ms * SAMPLES_PER_MS : span.end_ms * SAMPLES_PER_MS]
        chunk_T[start_ms * SAMPLES_PER_MS :][: len(piece_T)] = piece_T
    return Chunk(audio_T=chunk_T, pieces=tuple(pieces))


def cut_long(speech: Sequence[Span], level_db: np.ndarray) -> list[Span]:
    """Speech in pieces of at most 30 s, as Whisper loses the rest; each is cut where its second half is quietest.

    Args:
        speech: ms, disjoint and in order.
        level_db: Of each 10 ms.
    """
    pieces: list[Span] = []
    for span in speech:
        start_ms = span.start_ms
        while span.end_ms - start_ms > CHUNK_MS:
            first = (start_ms + CHUNK_MS // 2) // ENERGY_MS
            quietest = first + int(np.argmin(level_db[first : (start_ms + CHUNK_MS) // ENERGY_MS]))
            pieces.append(Span(start_ms, quietest * ENERGY_MS))
            start_ms = quietest * ENERGY_MS
        pieces.append(Span(start_ms, span.end_ms))
    return pieces
