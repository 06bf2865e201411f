"""The one form between all exchange formats: labelled intervals, and a count of what could not be kept.

A format's writer takes intervals and returns text and losses, its reader returns intervals and losses. A loss is a
phrase and how often it happened; a round trip without losses gives back equal intervals.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wanstreamer.clock import Span, intersect_spans, merge_spans, seconds_to_ms
from wanstreamer.errors import InputError
from wanstreamer.turns.nonspeech import NOISE, SILENCE, described_as, part_words, sound_of

SPEECH = "speech"  # voice activity, no text
WORDS = "words"
SEGMENTS = "segments"  # stretches of talk with their text: utterances, subtitles
NON_SPEECH = "non_speech"  # sounds that are no speech, with their label

Losses = Counter[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Something one participant does, in ms on the session's clock, half-open; an instant has `end_ms == start_ms`."""

    session_id: str
    participant: str  # "" when the file does not say who
    kind: str  # the tier: speech, words, segments, turns, the kinds of events, or as a foreign file calls it
    start_ms: int
    end_ms: int
    text: str = ""
    confidence: float | None = None


Read = tuple[list[Interval], Losses]
Written = tuple[str, Losses]


def in_order(intervals: Iterable[Interval]) -> list[Interval]:
    """By session, participant, tier and time."""
    return sorted(
        intervals,
        key=lambda one: (
            one.session_id,
            one.participant,
            one.kind,
            one.start_ms,
            one.end_ms,
            one.text,
            -math.inf if one.confidence is None else one.confidence,
        ),
    )


def by_person(intervals: Iterable[Interval]) -> dict[tuple[str, str], list[Interval]]:
    """(session, participant) -> intervals by time."""
    found: dict[tuple[str, str], list[Interval]] = {}
    for one in in_order(intervals):
        found.setdefault((one.session_id, one.participant), []).append(one)
    return {person: sorted(own, key=lambda one: one.start_ms) for person, own in found.items()}


def part_sounds(intervals: Iterable[Interval]) -> tuple[list[Interval], list[Interval]]:
    """What is said, and the sounds that are no speech: their tier, and the tags that stand in words and segments.

    A segment that is nothing but tags is a sound, once if a word says it too. Tags become intervals of their label.
    """
    said: list[Interval] = []
    sounds: list[Interval] = []
    for own in by_person(intervals).values():
        words, tagged = part_words([one for one in own if one.kind == WORDS])
        sounds += [one for one in own if one.kind == NON_SPEECH and described_as(one.text) != SILENCE]
        sounds += [replace(one, kind=NON_SPEECH, text=label) for one, label in tagged]
        told = merge_spans(Span(one.start_ms, one.end_ms) for one, _ in tagged)
        said += words
        for one in own:
            label = sound_of(one.text) if one.kind == SEGMENTS else None
            if label is None:
                said += [one] * (one.kind not in (WORDS, NON_SPEECH))
            elif label != SILENCE and not intersect_spans([Span(one.start_ms, one.end_ms)], told):
                sounds.append(replace(one, kind=NON_SPEECH, text=label))
    return in_order(said), in_order(sounds)


def sound_label(one: Interval) -> str:
    """One of pipelines.nonspeech.LABELS for an interval of the tier NON_SPEECH; what is called otherwise is noise."""
    label = sound_of(one.text) or described_as(one.text)
    return NOISE if label in (None, SILENCE) else str(label)


def speech_of(intervals: Iterable[Interval]) -> list[Interval]:
    """Speech of everybody; where a participant has none, that of the segments or else of the words, without tags."""
    found: list[Interval] = []
    intervals, _ = part_sounds(intervals)
    for (session_id, participant), own in by_person(intervals).items():
        kinds = [kind for kind in (SPEECH, SEGMENTS, WORDS) if any(one.kind == kind for one in own)]
        if not kinds:
            continue
        chosen = [one for one in own if one.kind == kinds[0]]
        if kinds[0] == SPEECH:
            found += chosen
        else:
            spans = merge_spans(Span(one.start_ms, one.end_ms) for one in chosen)
            found += [
                Interval(session_id=session_id, participant=participant, kind=SPEECH, start_ms=start, end_ms=end)
                for start, end in spans
            ]
    return found


def segments_of(intervals: Iterable[Interval], max_gap_ms: int) -> list[Interval]:
    """Segments of everybody; where a participant has none, words joined over gaps, or else speech without text."""
    found: list[Interval] = []
    for own in by_person(intervals).values():
        segments = [one for one in own if one.kind == SEGMENTS]
        if segments:
            found += segments
        elif words := [one for one in own if one.kind == WORDS]:
            found += _joined(words, max_gap_ms)
        else:
            found += [replace(one, kind=SEGMENTS) for one in own if one.kind == SPEECH]
    return found


def _joined(words: Sequence[Interval], max_gap_ms: int) -> list[Interval]:
    groups: list[list[Interval]] = []
    end_ms = 0
    for word in words:
        if groups and word.start_ms - end_ms <= max_gap_ms:
            groups[-1].append(word)
            end_ms = max(end_ms, word.end_ms)
        else:
            groups.append([word])
            end_ms = word.end_ms
    return [
        replace(
            group[0],
            kind=SEGMENTS,
            end_ms=max(word.end_ms for word in group),
            text=" ".join(word.text for word in group if word.text),
            confidence=None,
        )
        for group in groups
    ]


def not_held(
    intervals: Iterable[Interval], *, kind: str | None = None, text: bool = True, confidence: bool = True
) -> Losses:
    """What a format loses that has no place for texts, confidences, or any tier but one of kind `kind`."""
    losses: Losses = Counter()
    for one in intervals:
        losses["tier names"] += kind is not None and one.kind != kind
        losses["texts"] += not text and one.text != ""
        losses["confidences"] += not confidence and one.confidence is not None
    return +losses


def safe_names(names: Iterable[str], written: Callable[[str], str], losses: Losses, what: str) -> Mapping[str, str]:
    """Name -> how a format can write it; changed ones are counted in `losses` under `what`.

    Raises InputError where two names would become one.
    """
    found: dict[str, str] = {}
    for name in sorted(set(names)):
        found[name] = written(name)
        losses[what] += found[name] != name
    owner: dict[str, str] = {}
    for name, safe in found.items():
        if owner.setdefault(safe, name) != name:
            raise InputError(f"{owner[safe]!r} and {name!r} would both be written as {safe!r}; rename one of them")
    return found


def on_one_line(text: str) -> str:
    """Line breaks and control characters as spaces."""
    return "".join(
        " " if letter.isspace() or ord(letter) < 32 or 127 <= ord(letter) < 160 else letter for letter in text
    )


def ms_of(seconds: object, losses: Losses) -> int:
    """Seconds as a number or its text -> ms. Raises ValueError for anything else, and for what is not finite."""
    value = float(str(seconds))
    if not math.isfinite(value):
        raise ValueError(f"{seconds!r} is no time")
    losses["times finer than a millisecond, rounded"] += abs(value * 1000 - round(value * 1000)) > 1e-3
    return seconds_to_ms(value)


def number_or_none(value: object) -> float | None:
    """A confidence, or None for what is not a finite number (`<NA>`, `NA`, null, NaN)."""
    try:
        found = float(str(value))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def possible(intervals: Iterable[Interval], losses: Losses) -> list[Interval]:
    """Without those that begin before the session or end before they begin, which are counted."""
    found: list[Interval] = []
    for one in intervals:
        if 0 <= one.start_ms <= one.end_ms:
            found.append(one)
        else:
            losses["intervals before 0 or of negative length, left out"] += 1
    return found


def read_text(path: Path) -> str:
    """A text file in UTF-8, or UTF-16 with its mark. Line ends as they are."""
    content = path.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not text in UTF-8; save it as UTF-8") from error
