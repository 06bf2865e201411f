"""Sounds that are no speech, step 10 of the rules: labels of their own, and nothing else.

A sound takes speech away where a detector took it for speech and no word was said. Beyond that it changes nothing: it
is silence to every other rule, so it takes no floor, interrupts nobody, is no backchannel, and a gap may hold laughter.
"""

import sys
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wanstreamer.clock import Span, intersect_spans, merge_spans
from wanstreamer.turns.lexical import Word
from wanstreamer.turns.nonspeech import VOCAL
from wanstreamer.turns.rules import TurnParams
from wanstreamer.turns.transitions import Event


@dataclass(frozen=True, kw_only=True, slots=True)
class Sound:
    """A sound of one participant that is no speech; `label` is one of pipelines.nonspeech.LABELS."""

    start_ms: int
    end_ms: int
    label: str
    source: str = "words"  # what told of it: words (a transcript or another file), audio
    confidence: float = 1.0
    other: str | None = None  # bleed: whose voice


def without_sounds(
    speech: Iterable[Span], sounds: Sequence[Sound], words: Sequence[Word] | None, params: TurnParams
) -> list[Span]:
    """Speech of one participant, merged, less what is covered by a sound and holds no word.

    What is left of an interval beside a sound goes too where it is shorter than `sound_edge_ms` and holds no word.
    Without a transcript only sounds of one's own throat count: a door may slam while somebody talks.
    """
    whole = merge_spans(Span(*span) for span in speech)
    taken = merge_spans(Span(one.start_ms, one.end_ms) for one in sounds if words is not None or one.label in VOCAL)
    if not taken:
        return whole
    spoken = merge_spans(Span(word.start_ms, word.end_ms) for word in words or ())
    word_ends, untouched = [span.end_ms for span in spoken], set(whole)
    left: list[Span] = []
    for piece in _outside(whole, _outside(taken, spoken)):
        at = bisect_right(word_ends, piece.start_ms)
        holds_word = at < len(spoken) and spoken[at].start_ms < piece.end_ms
        if holds_word or piece in untouched or piece.duration_ms >= params.sound_edge_ms:
            left.append(piece)
    return left


def sound_events(sounds: Mapping[str, Iterable[Sound]]) -> list[Event]:
    """A row per sound; what two sources tell of the same stretch in the same words is one, the surer one."""
    rows: dict[tuple[str, int, int, str], Event] = {}
    for participant, own in sounds.items():
        for one in sorted(own, key=lambda one: one.confidence):
            rows[participant, one.start_ms, one.end_ms, one.label] = Event(
                participant=participant, start_ms=one.start_ms, end_ms=one.end_ms, kind="non_speech", label=one.label,
                source=one.source, confidence=one.confidence, other=one.other,
            )  # fmt: skip
    return list(rows.values())


def _outside(spans: Sequence[Span], taken: Sequence[Span]) -> list[Span]:
    """`spans` without `taken`, both in order and disjoint."""
    edges = [-sys.maxsize, *(ms for span in taken for ms in span), sys.maxsize]
    return intersect_spans(spans, [Span(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True)])
