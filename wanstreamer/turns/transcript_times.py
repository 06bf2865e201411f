"""Timed words and detected speech of one participant -> words over silence, and the shift that would fit them better.

A word is spoken where there is speech. A detector misses a few words; many words over silence mean that the times of
the transcript are not those of the recording: another clock, an offset that was not applied, a recording that was cut.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from wanstreamer.clock import Span
from wanstreamer.turns.lexical import Word

MIN_WORDS = 20  # fewer words show nothing about a transcript
SHIFTS_MS = np.arange(-10_000, 10_001, 20)


def over_silence(words: Sequence[Word], speech: Sequence[Span]) -> list[bool]:
    """Whether each word shares no time with the participant's speech (in order, disjoint)."""
    ends = [span.end_ms for span in speech]
    silent: list[bool] = []
    for word in words:
        at = bisect_right(ends, word.start_ms)
        silent.append(at == len(speech) or speech[at].start_ms >= word.end_ms)
    return silent


def best_shift_ms(words: Sequence[Word], speech: Sequence[Span]) -> int:
    """By how much the words must move to cover most speech, at most 10 s, in steps of 20 ms; the least such shift."""
    edges = np.array([ms for span in speech for ms in span])
    if not len(edges) or not words:
        return 0
    lengths = edges[1::2] - edges[::2]
    spoken = np.concatenate([[0], np.cumsum(lengths)]).repeat(2)[1:-1]  # speech before each edge, ms
    starts, ends = (np.array([getattr(word, name) for word in words]) for name in ("start_ms", "end_ms"))
    covered = [
        float((np.interp(ends + shift, edges, spoken) - np.interp(starts + shift, edges, spoken)).sum())
        for shift in SHIFTS_MS
    ]
    most = max(covered)
    return min((int(shift) for shift, ms in zip(SHIFTS_MS, covered, strict=True) if ms == most), key=abs)


def misplaced(
    words: Sequence[Word], speech: Sequence[Span], others: Mapping[str, Sequence[Span]], max_share: float
) -> str | None:
    """Why the times of a transcript are unreliable, with figures and what would help; None if they are not.

    Args:
        words: Of one participant, at least `MIN_WORDS`; fewer show nothing.
        speech: Of the same participant, in order, disjoint.
        others: The same of the other participants, whose transcript it may be.
        max_share: Largest share of the words that may lie over silence.
    """
    silent, most = sum(over_silence(words, speech)), max_share * len(words)
    if len(words) < MIN_WORDS or silent <= most:
        return None
    figures = f"{silent} of {len(words)} words ({silent / len(words):.0%}) lie over silence"
    shift_ms = best_shift_ms(words, speech)
    moved = [replace(word, start_ms=word.start_ms + shift_ms, end_ms=word.end_ms + shift_ms) for word in words]
    left = sum(over_silence(moved, speech))
    if left <= most:
        return f"{figures}; {abs(shift_ms)} ms {'later' if shift_ms > 0 else 'earlier'}, {left} would"
    for other, spans in others.items():
        if sum(over_silence(words, spans)) <= most:
            return f"{figures}; they fit the speech of {other}: are the two transcripts exchanged?"
    return f"{figures}; no shift of up to 10 s helps"
