"""SegLST, WhisperX and Moshi: transcripts as JSON, times in seconds.

SegLST (MeetEval) is a list of segments of many sessions. It may have further keys: we add `kind`, the tier, unless it
is `segments`. WhisperX holds segments with their words. Moshi holds words only; the voice that is learnt is called
SPEAKER_MAIN.
"""

import json
from collections.abc import Iterable, Sequence
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
from wanstreamer.text_files import read_text

MOSHI_MAIN = "SPEAKER_MAIN"
UNTIMED = "words without times, left out"


def read_json(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON") from error


def write_seglst(intervals: Sequence[Interval]) -> Written:
    segments = []
    for interval in intervals:
        segment: dict[str, Any] = {
            "session_id": interval.session_id,
            "speaker": interval.participant,
            "start_time": ms_to_seconds(interval.start_ms),
            "end_time": ms_to_seconds(interval.end_ms),
            "words": interval.text,
        }
        if interval.confidence is not None:
            segment["confidence"] = interval.confidence
        if interval.kind != SEGMENTS:
            segment["kind"] = interval.kind
        segments.append(segment)
    return _dump(segments), Losses()


def read_seglst(path: Path, session_id: str) -> Read:
    losses, intervals = Losses(), []
    for number, segment in enumerate(_listed(read_json(path), path), start=1):
        try:
            intervals.append(
                Interval(
                    session_id=str(segment["session_id"]),
                    participant=str(segment.get("speaker", "")),
                    kind=segment.get("kind", SEGMENTS),
                    start_ms=ms_of(segment["start_time"], losses),
                    end_ms=ms_of(segment["end_time"], losses),
                    text=str(segment.get("words", "")),
                    confidence=number_or_none(segment.get("confidence")),
                )
            )
        except (KeyError, ValueError, AttributeError, TypeError) as error:
            raise InputError(
                f"{path} segment {number}: not SegLST; expected session_id, speaker, start_time, end_time, words"
            ) from error
    return possible(intervals, losses), +losses


def write_whisperx(intervals: Sequence[Interval]) -> Written:
    segments = [interval for interval in intervals if interval.kind != WORDS]
    words = [interval for interval in intervals if interval.kind == WORDS]
    losses = not_held(segments, kind=SEGMENTS, confidence=False)
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
        _whisperx(segment, "text") | {"words": [_whisperx(word, "word") for word in own]}
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


def _whisperx(interval: Interval, name: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "start": ms_to_seconds(interval.start_ms),
        "end": ms_to_seconds(interval.end_ms),
        name: interval.text,
    }
    if interval.kind == WORDS and interval.confidence is not None:
        fields["score"] = interval.confidence
    if interval.participant:
        fields["speaker"] = interval.participant
    return fields


def read_whisperx(path: Path, session_id: str) -> Read:
    """Words that the aligner could not place, such as digits, have no times: they are left out and counted."""
    losses, intervals = Losses(), []
    content = read_json(path)
    try:
        for segment in content["segments"]:
            intervals.append(
                Interval(
                    session_id=session_id,
                    participant=str(segment.get("speaker", "")),
                    kind=SEGMENTS,
                    start_ms=ms_of(segment["start"], losses),
                    end_ms=ms_of(segment["end"], losses),
                    text=str(segment.get("text", "")).strip(),
                )
            )
            for word in segment.get("words", ()):
                if number_or_none(word.get("start")) is None or number_or_none(word.get("end")) is None:
                    losses[UNTIMED] += 1
                    continue
                intervals.append(
                    Interval(
                        session_id=session_id,
                        participant=str(word.get("speaker", segment.get("speaker", ""))),
                        kind=WORDS,
                        start_ms=ms_of(word["start"], losses),
                        end_ms=ms_of(word["end"], losses),
                        text=str(word["word"]).strip(),
                        confidence=number_or_none(word.get("score")),
                    )
                )
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: not WhisperX; expected segments with start, end, text and words") from error
    return possible(intervals, losses), +losses


def write_moshi(intervals: Sequence[Interval], main: str | None = None) -> Written:
    """`main` is the participant whose voice is learnt; without it, names are written unchanged."""
    losses = not_held(intervals, kind=WORDS, confidence=False)
    names = safe_names(
        (interval.participant for interval in intervals),
        lambda name: MOSHI_MAIN if name == main else name,
        losses,
        f"the name of {MOSHI_MAIN}",
    )
    alignments = [
        [interval.text, [ms_to_seconds(interval.start_ms), ms_to_seconds(interval.end_ms)], names[interval.participant]]
        for interval in sorted(intervals, key=lambda interval: (interval.start_ms, interval.end_ms))
    ]
    return _dump({"alignments": alignments}), +losses


def read_moshi(path: Path, session_id: str) -> Read:
    losses, intervals = Losses(), []
    try:
        for text, (start, end), speaker in read_json(path)["alignments"]:
            if start is None or end is None:
                losses[UNTIMED] += 1
                continue
            intervals.append(
                Interval(
                    session_id=session_id,
                    participant=str(speaker),
                    kind=WORDS,
                    start_ms=ms_of(start, losses),
                    end_ms=ms_of(end, losses),
                    text=str(text),
                )
            )
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not Moshi; expected alignments of [word, [start, end], speaker]") from error
    return possible(intervals, losses), +losses


def _listed(content: Any, path: Path) -> Iterable[Any]:
    if not isinstance(content, list):
        raise InputError(f"{path}: not SegLST; expected a list of segments")
    return content


def _dump(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"
