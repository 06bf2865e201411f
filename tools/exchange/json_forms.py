"""SegLST, WhisperX and Moshi: transcripts as JSON, times in seconds.

SegLST (MeetEval) is a list of segments of many sessions. It may have further keys: we add `kind`, the tier, unless it
is `segments`. WhisperX holds segments with their words. Moshi holds words only; the voice that is learnt is called
SPEAKER_MAIN.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tools.exchange.intervals import (
    SEGMENTS,
    WORDS,
    Interval,
    Losses,
    Read,
    Written,
    ms_of,
    not_held,
    number_or_none,
    possible,
    safe_names,
)
from wanstreamer.clock import ms_to_seconds
from wanstreamer.errors import InputError
from wanstreamer.text_files import is_missing, parse_json, read_text, shown

MOSHI_MAIN = "SPEAKER_MAIN"
UNTIMED = "words without times, left out"


def read_json(path: Path) -> Any:
    """Raises InputError for a file that is not JSON, or has half a letter: no text file could hold it."""
    content = parse_json(read_text(path), str(path))
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{path}: half a letter in a text (a lone surrogate, \\ud800 to \\udfff); write it again"
        ) from error
    return content


def _entries(path: Path, key: str, form: str, expected: str) -> list[Any]:
    """The list that the object in a JSON file has at this key."""
    content = read_json(path)
    with _named(path, "", form, expected):
        entries = content[key]
        if not isinstance(entries, list):
            raise TypeError(f"`{key}` is no list")
        return entries


@contextmanager
def _named(path: Path, place: str, form: str, expected: str) -> Iterator[None]:
    """Every mistake in one entry is an InputError with its place."""
    try:
        yield
    except InputError:
        raise
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}{place}: not {form} ({reason}); expected {expected}") from error


def _text(value: object) -> str:
    """A text, or a number as text; empty for null and NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError(f"`{shown(value)}`: expected text")
    return str(value)


def _name(value: object) -> str:
    return _text(value).strip()


def _times(start: object, end: object, losses: Losses) -> tuple[int, int] | None:
    """None, and counted, if one of them is missing."""
    if is_missing(start) or is_missing(end):
        return None
    try:
        return ms_of(start, losses), ms_of(end, losses)
    except ValueError as error:
        raise ValueError(f"start or end {error}") from error


def write_seglst(intervals: Sequence[Interval]) -> Written:
    losses: Losses = Losses()
    names = _names(intervals, losses)
    segments = []
    for interval in intervals:
        segment: dict[str, Any] = {
            "session_id": interval.session_id.strip(),
            "speaker": names[interval.participant],
            "start_time": ms_to_seconds(interval.start_ms),
            "end_time": ms_to_seconds(interval.end_ms),
            "words": interval.text,
        }
        losses["blanks around names"] += interval.session_id != interval.session_id.strip()
        if interval.confidence is not None:
            segment["confidence"] = interval.confidence
        if interval.kind != SEGMENTS:
            segment["kind"] = interval.kind
        segments.append(segment)
    return _dump(segments), +losses


def read_seglst(path: Path, session_id: str) -> Read:
    losses, intervals = Losses(), []
    expected = "session_id, speaker, start_time, end_time, words"
    for number, segment in enumerate(_listed(read_json(path), path), start=1):
        with _named(path, f" segment {number}", "SegLST", expected):
            times = _times(segment["start_time"], segment["end_time"], losses)
            if not _name(segment["session_id"]):
                raise ValueError("no session_id")
            if times is None:
                losses["segments without times, left out"] += 1
                continue
            intervals.append(
                Interval(
                    session_id=_name(segment["session_id"]),
                    participant=_name(segment.get("speaker")),
                    kind=_name(segment.get("kind")) or SEGMENTS,
                    start_ms=times[0],
                    end_ms=times[1],
                    text=_text(segment.get("words")),
                    confidence=number_or_none(segment.get("confidence")),
                )
            )
    return possible(intervals, losses), +losses


def write_whisperx(intervals: Sequence[Interval]) -> Written:
    segments = [interval for interval in intervals if interval.kind != WORDS]
    words = [interval for interval in intervals if interval.kind == WORDS]
    losses = not_held(segments, kind=SEGMENTS, confidence=False)
    names = _names(intervals, losses)
    inside: list[list[Interval]] = [[] for _ in segments]
    for word in words:
        around = _segment_of(word, segments)
        if around is None:
            losses["words outside all segments, written with a segment each"] += 1
            around = len(segments)
            segments.append(replace(word, kind=SEGMENTS, confidence=None))
            inside.append([])
        inside[around].append(word)
    for interval in (*segments, *words):
        losses["blanks around a text"] += interval.text != interval.text.strip()
    written = [
        _whisperx(segment, "text", names) | {"words": [_whisperx(word, "word", names) for word in own]}
        for segment, own in zip(segments, inside, strict=True)
    ]
    written.sort(key=lambda segment: (segment["start"], segment["end"]))
    return _dump(
        {"segments": written, "word_segments": [word for segment in written for word in segment["words"]]}
    ), +losses


def _segment_of(word: Interval, segments: Sequence[Interval]) -> int | None:
    for i, interval in enumerate(segments):
        if (
            interval.participant == word.participant
            and interval.start_ms <= word.start_ms
            and word.end_ms <= interval.end_ms
        ):
            return i
    return None


def _whisperx(interval: Interval, name: str, names: Mapping[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "start": ms_to_seconds(interval.start_ms),
        "end": ms_to_seconds(interval.end_ms),
        name: interval.text,
    }
    if interval.kind == WORDS and interval.confidence is not None:
        fields["score"] = interval.confidence
    if interval.participant:
        fields["speaker"] = names[interval.participant]
    return fields


def read_whisperx(path: Path, session_id: str) -> Read:
    """Words that the aligner could not place, such as digits, have no times: they are left out and counted."""
    losses, intervals = Losses(), []
    expected = "segments with start, end, text and words"
    for number, segment in enumerate(_entries(path, "segments", "WhisperX", expected), start=1):
        with _named(path, f" segment {number}", "WhisperX", expected):
            speaker = _name(segment.get("speaker"))
            words = [] if is_missing(segment.get("words")) else segment["words"]
            if not isinstance(words, list):
                raise TypeError("`words` is no list")
            times = _times(segment["start"], segment["end"], losses)
            losses["segments without times, left out"] += times is None
            if times is not None:
                text = _text(segment.get("text")).strip()
                intervals.append(
                    Interval(
                        session_id=session_id,
                        participant=speaker,
                        kind=SEGMENTS,
                        start_ms=times[0],
                        end_ms=times[1],
                        text=text,
                    )
                )
        for place, word in enumerate(words, start=1):
            with _named(path, f" segment {number} word {place}", "WhisperX", expected):
                times = _times(word.get("start"), word.get("end"), losses)
                if times is None:
                    losses[UNTIMED] += 1
                    continue
                intervals.append(
                    Interval(
                        session_id=session_id,
                        participant=_name(word.get("speaker")) or speaker,
                        kind=WORDS,
                        start_ms=times[0],
                        end_ms=times[1],
                        text=_text(word["word"]).strip(),
                        confidence=number_or_none(word.get("score")),
                    )
                )
    return possible(intervals, losses), +losses


def write_moshi(intervals: Sequence[Interval], main: str | None = None) -> Written:
    """`main` is the participant whose voice is learnt; without it, names are written unchanged."""
    losses = not_held(intervals, kind=WORDS, confidence=False)
    names = safe_names(
        (interval.participant for interval in intervals),
        lambda name: MOSHI_MAIN if name == main else name.strip(),
        losses,
        f"the name of {MOSHI_MAIN}, and blanks around names",
    )
    alignments = [
        [interval.text, [ms_to_seconds(interval.start_ms), ms_to_seconds(interval.end_ms)], names[interval.participant]]
        for interval in sorted(intervals, key=lambda interval: (interval.start_ms, interval.end_ms))
    ]
    return _dump({"alignments": alignments}), +losses


def read_moshi(path: Path, session_id: str) -> Read:
    losses, intervals = Losses(), []
    expected = "alignments of [word, [start, end], speaker]"
    for number, alignment in enumerate(_entries(path, "alignments", "Moshi", expected), start=1):
        with _named(path, f" alignment {number}", "Moshi", expected):
            text, (start, end), speaker = alignment
            times = _times(start, end, losses)
            if times is None:
                losses[UNTIMED] += 1
                continue
            intervals.append(
                Interval(
                    session_id=session_id,
                    participant=_name(speaker),
                    kind=WORDS,
                    start_ms=times[0],
                    end_ms=times[1],
                    text=_text(text),
                )
            )
    return possible(intervals, losses), +losses


def _names(intervals: Iterable[Interval], losses: Losses) -> Mapping[str, str]:
    return safe_names((interval.participant for interval in intervals), str.strip, losses, "blanks around names")


def _listed(content: Any, path: Path) -> Iterable[Any]:
    if not isinstance(content, list):
        raise InputError(f"{path}: not SegLST; expected a list of segments")
    return content


def _dump(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"
