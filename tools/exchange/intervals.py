"""The common form of all exchange formats: labelled intervals, and a count of what was lost.

A format's writer takes intervals and returns text and losses; its reader returns intervals and losses. A loss is a
phrase with a count. A round trip without losses returns equal intervals.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from wanstreamer.clock import Span, intersect_spans, merge_spans, seconds_to_ms
from wanstreamer.errors import InputError
from wanstreamer.text_files import number_of, seconds_of
from wanstreamer.turns.nonspeech import NOISE, SILENCE, described_as, part_words, sound_of

SPEECH = "speech"  # voice activity, no text
WORDS = "words"
SEGMENTS = "segments"  # longer pieces of talk with their text: utterances, subtitles
NON_SPEECH = "non_speech"  # sounds that are not speech, with their label

Losses = Counter[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Something that one participant does. Half-open, in ms on the session's clock; an instant has
    `end_ms == start_ms`."""

    session_id: str
    participant: str  # "" if the file does not name one
    kind: str  # the tier: speech, words, segments, turns, a kind of event, or a foreign file's name for it
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
        key=lambda interval: (
            interval.session_id,
            interval.participant,
            interval.kind,
            interval.start_ms,
            interval.end_ms,
            interval.text,
            -math.inf if interval.confidence is None else interval.confidence,
        ),
    )


def by_person(intervals: Iterable[Interval]) -> dict[tuple[str, str], list[Interval]]:
    """(session, participant) -> intervals by time."""
    groups: dict[tuple[str, str], list[Interval]] = {}
    for interval in in_order(intervals):
        groups.setdefault((interval.session_id, interval.participant), []).append(interval)
    return {person: sorted(own, key=lambda interval: interval.start_ms) for person, own in groups.items()}


def part_sounds(intervals: Iterable[Interval]) -> tuple[list[Interval], list[Interval]]:
    """Separates speech from other sounds: those of the tier NON_SPEECH, and tags inside words and segments.

    A tag becomes an interval with the tag's label. A segment of tags only is a sound too, unless a tagged word overlaps
    it: then the word is the sound.
    """
    spoken: list[Interval] = []
    sounds: list[Interval] = []
    for own in by_person(intervals).values():
        words, tagged = part_words([interval for interval in own if interval.kind == WORDS])
        sounds += [
            interval for interval in own if interval.kind == NON_SPEECH and described_as(interval.text) != SILENCE
        ]
        sounds += [replace(interval, kind=NON_SPEECH, text=label) for interval, label in tagged]
        tagged_spans = merge_spans(Span(interval.start_ms, interval.end_ms) for interval, _ in tagged)
        spoken += words
        for interval in own:
            label = sound_of(interval.text) if interval.kind == SEGMENTS else None
            if label is None:
                spoken += [interval] * (interval.kind not in (WORDS, NON_SPEECH))
            elif label != SILENCE and not intersect_spans([Span(interval.start_ms, interval.end_ms)], tagged_spans):
                sounds.append(replace(interval, kind=NON_SPEECH, text=label))
    return in_order(spoken), in_order(sounds)


def sound_label(interval: Interval) -> str:
    """One of wanstreamer.turns.nonspeech.LABELS for an interval of the tier NON_SPEECH; an unknown name is noise."""
    label = sound_of(interval.text) or described_as(interval.text)
    return NOISE if label in (None, SILENCE) else str(label)


def speech_of(intervals: Iterable[Interval]) -> list[Interval]:
    """Speech of all participants, without tags. If one has no speech intervals: the segments, or else the words."""
    speech: list[Interval] = []
    intervals, _ = part_sounds(intervals)
    for (session_id, participant), own in by_person(intervals).items():
        kinds = [kind for kind in (SPEECH, SEGMENTS, WORDS) if any(interval.kind == kind for interval in own)]
        if not kinds:
            continue
        chosen = [interval for interval in own if interval.kind == kinds[0]]
        if kinds[0] == SPEECH:
            speech += chosen
        else:
            spans = merge_spans(Span(interval.start_ms, interval.end_ms) for interval in chosen)
            speech += [
                Interval(session_id=session_id, participant=participant, kind=SPEECH, start_ms=start, end_ms=end)
                for start, end in spans
            ]
    return speech


def segments_of(intervals: Iterable[Interval], max_gap_ms: int) -> list[Interval]:
    """Segments of all participants. One without segments gets words joined over gaps, else speech without text."""
    all_segments: list[Interval] = []
    for own in by_person(intervals).values():
        segments = [interval for interval in own if interval.kind == SEGMENTS]
        if segments:
            all_segments += segments
        elif words := [interval for interval in own if interval.kind == WORDS]:
            all_segments += _joined(words, max_gap_ms)
        else:
            all_segments += [replace(interval, kind=SEGMENTS) for interval in own if interval.kind == SPEECH]
    return all_segments


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
    """The losses of a format without texts, without confidences, or without tiers other than `kind`."""
    losses: Losses = Counter()
    for interval in intervals:
        losses["tier names"] += kind is not None and interval.kind != kind
        losses["texts"] += not text and interval.text != ""
        losses["confidences"] += not confidence and interval.confidence is not None
    return +losses


def safe_names(names: Iterable[str], written: Callable[[str], str], losses: Losses, what: str) -> Mapping[str, str]:
    """Name -> the name as the format can write it. Changed names are counted in `losses` under `what`.

    Raises InputError if two names would become the same.
    """
    new_names: dict[str, str] = {}
    for name in sorted(set(names)):
        new_names[name] = written(name)
        losses[what] += new_names[name] != name
    owner: dict[str, str] = {}
    for name, safe in new_names.items():
        if owner.setdefault(safe, name) != name:
            raise InputError(f"{owner[safe]!r} and {name!r} would both be written as {safe!r}; rename one of them")
    return new_names


def safe_kinds(intervals: Iterable[Interval], losses: Losses) -> list[Interval]:
    """Kinds as names of tiers can hold them, on one line and without the marks that separate them from participants."""
    safe: list[Interval] = []
    for interval in intervals:
        kind = re.sub(r"[@#\]]", " ", on_one_line(interval.kind)).strip() or SEGMENTS
        losses["line breaks, blanks and marks in names of tiers"] += kind != interval.kind
        safe.append(replace(interval, kind=kind))
    return safe


def on_one_line(text: str) -> str:
    """Line breaks and control characters as spaces."""
    return "".join(
        " " if letter.isspace() or ord(letter) < 32 or 127 <= ord(letter) < 160 else letter for letter in text
    )


def without_nul(intervals: Sequence[Interval], losses: Losses) -> list[Interval]:
    """NUL characters as spaces: no text file may have them."""
    clean = [replace(interval, text=interval.text.replace("\0", " ")) for interval in intervals]
    losses["NUL characters, written as spaces"] += sum("\0" in interval.text for interval in intervals)
    return clean


def ms_of(seconds: object, losses: Losses) -> int:
    """Seconds, as a number or text -> ms. Raises ValueError for anything else, and for times no recording has."""
    value = seconds_of(seconds)
    losses["times finer than a millisecond, rounded"] += abs(value * 1000 - round(value * 1000)) > 1e-3
    return seconds_to_ms(value)


def number_or_none(value: object) -> float | None:
    """A confidence; None if the value is not a finite number (`<NA>`, `NA`, null, NaN)."""
    try:
        return number_of(value)
    except (ValueError, OverflowError):
        return None


def possible(intervals: Iterable[Interval], losses: Losses) -> list[Interval]:
    """Leaves out, and counts, intervals that begin before the session or end before they begin."""
    valid: list[Interval] = []
    for interval in intervals:
        if 0 <= interval.start_ms <= interval.end_ms:
            valid.append(interval)
        else:
            losses["intervals before 0 or of negative length, left out"] += 1
    return valid
