"""Sounds that are not speech, step 10 of the rules: they get their own labels, and change nothing else.

A sound removes speech where a detector took the sound for speech and no word was spoken. To every other rule it is
silence: it takes no floor, interrupts no one and is no backchannel, and a gap may contain laughter.
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
    """A sound of one participant that is not speech; `label` is one of wanstreamer.turns.nonspeech.LABELS."""

    start_ms: int
    end_ms: int
    label: str
    source: str = "words"  # where it was found: words (a transcript or another file), audio
    confidence: float = 1.0
    other: str | None = None  # bleed: whose voice


def without_sounds(
    speech: Iterable[Span], sounds: Sequence[Sound], words: Sequence[Word] | None, params: TurnParams
) -> list[Span]:
    """Speech of one participant, merged, minus the parts that a sound covers and that contain no word.

    A remainder next to a sound is removed too if it is shorter than `sound_edge_ms` and contains no word. Without a
    transcript, only sounds of the participant's own throat count: a door may slam while someone talks.
    """
    whole = merge_spans(Span(*span) for span in speech)
    taken = merge_spans(
        Span(sound.start_ms, sound.end_ms) for sound in sounds if words is not None or sound.label in VOCAL
    )
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
    """A row per sound; if two sources report the same label for the same span, the more confident one stays."""
    rows: dict[tuple[str, int, int, str], Event] = {}
    for participant, own in sounds.items():
        for sound in sorted(own, key=lambda sound: sound.confidence):
            rows[participant, sound.start_ms, sound.end_ms, sound.label] = Event(
                participant=participant, start_ms=sound.start_ms, end_ms=sound.end_ms, kind="non_speech",
                label=sound.label, source=sound.source, confidence=sound.confidence, other=sound.other,
            )  # fmt: skip
    return list(rows.values())


def _outside(spans: Sequence[Span], taken: Sequence[Span]) -> list[Span]:
    """`spans` without `taken`, both in order and disjoint."""
    edges = [-sys.maxsize, *(ms for span in taken for ms in span), sys.maxsize]
    return intersect_spans(spans, [Span(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True)])
