"""What Whisper gets of a track: all of the speech, little silence, in pieces whose times lead back to the track."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.annotate.chunks import CHUNK_MS, EDGE_MS, GAP_MS, SAMPLES_PER_MS, Chunk, chunks_of
from tests.helpers.counts import examples
from wanstreamer.clock import Span, merge_spans

LENGTH_MS = 100_000
RAMP_T = np.arange(LENGTH_MS * SAMPLES_PER_MS, dtype=np.float32) + 1  # a sample's value says where it was


def spans(gaps_and_lengths: list[tuple[int, int]]) -> list[Span]:
    placed: list[Span] = []
    end_ms = 0
    for gap_ms, length_ms in gaps_and_lengths:
        start_ms = end_ms + gap_ms
        end_ms = min(start_ms + length_ms, LENGTH_MS)
        if start_ms < end_ms:
            placed.append(Span(start_ms, end_ms))
    return placed


SPEECH = st.lists(st.tuples(st.integers(1, 9000), st.integers(1, 12_000)), max_size=30).map(spans)


@examples(100)
@given(speech=SPEECH)
def test_chunks_hold_all_speech_and_little_else(speech: list[Span]) -> None:
    chunks = chunks_of(RAMP_T, speech)
    pieces = [piece for chunk in chunks for piece in chunk.pieces]
    near = merge_spans(Span(max(0, a - EDGE_MS), min(LENGTH_MS, b + EDGE_MS)) for a, b in speech)
    assert merge_spans(piece.span for piece in pieces) == near
    assert all(one.span.end_ms <= other.span.start_ms for one, other in pairwise(pieces))
    for chunk in chunks:
        assert len(chunk.audio_T) <= CHUNK_MS * SAMPLES_PER_MS
        speech_ms = sum(piece.span.duration_ms for piece in chunk.pieces)
        silence_ms = len(chunk.audio_T) // SAMPLES_PER_MS - speech_ms
        assert silence_ms <= GAP_MS * (len(chunk.pieces) - 1)
        for piece in chunk.pieces:
            of_chunk = chunk.audio_T[piece.start_ms * SAMPLES_PER_MS :][: piece.span.duration_ms * SAMPLES_PER_MS]
            assert np.array_equal(
                of_chunk, RAMP_T[piece.span.start_ms * SAMPLES_PER_MS : piece.span.end_ms * SAMPLES_PER_MS]
            )
        assert np.count_nonzero(chunk.audio_T) == SAMPLES_PER_MS * speech_ms


def test_times_lead_back_and_never_into_a_silence() -> None:
    (chunk,) = chunks_of(RAMP_T, [Span(1000, 2000), Span(60_000, 61_000)])
    # 800 to 2200 ms, half a second of silence, 59.8 to 61.2 s
    assert chunk.span == Span(800, 61_200)
    assert chunk.in_track(0.2, 0.5) == Span(1000, 1300)
    assert chunk.in_track(2.0, 2.4) == Span(59_900, 60_300)
    assert chunk.in_track(1.0, 2.0) == Span(1800, 2200)  # half in the silence: not across it
    assert chunk.in_track(1.5, 1.6) == Span(2200, 2200)
    assert chunk.in_track(9.0, 9.5) == Span(61_200, 61_200)


def test_a_track_without_speech_has_no_chunks() -> None:
    assert chunks_of(RAMP_T, []) == []
    assert isinstance(chunks_of(RAMP_T[:1600], [Span(0, 100)])[0], Chunk)
