"""SegLST, WhisperX and Moshi: transcripts as JSON, times in seconds.

SegLST (MeetEval) is a list of segments of many sessions and may carry further keys: ours is `kind`, the tier, where it
is not `segments`. WhisperX holds segments with their words. Moshi holds words alone and calls the voice to be learnt
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
    read_text,
    safe_names,
)
from wanstreamer.clock import ms_to_seconds
from wanstreamer.errors import InputError

MOSHI_MAIN = "SPEAKER_MAIN"
UNTIMED = "words without times, left out"


def read_json(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON") from error


def write_seglst(intervals: Sequence[Interval]) -> Written:
    segments = []
    for one in intervals:
        segment: dict[str, Any] = {
            "session_id": one.session_id,
            "speaker": one.participant,
            "start_time": ms_to_seconds(one.start_ms),
            "end_time": ms_to_seconds(one.end_ms),
            "words": one.text,
        }
        if one.confidence is not None:
            segment["confidence"] = one.confidence
        if one.kind != SEGMENTS:
            segment["kind"] = one.kind
        segments.append(segment)
    return _dump(segments), Losses()


def read_seglst(path: Path, session_id: str) -> Read:
    losses, found = Losses(), []
    for number, segment in enumerate(_listed(read_json(path), path), start=1):
        try:
            found.append(
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
    return possible(found, losses), +losses


def write_whisperx(intervals: Sequence[Interval]) -> Written:
    segments = [one for one in intervals if one.kind != WORDS]
    words = [one for one in intervals if one.kind == WORDS]
    losses = not_held(segments, kind=SEGMENTS, confidence=False)
    inside: list[list[Interval]] = [[] for _ in segments]
    for word in words:
        around = _segment_of(word, segments)
        if around is None:
            losses["words outside of all segments, given one of their own"] += 1
            around = len(segments)
            segments.append(replace(word, kind=SEGMENTS, confidence=None))
            inside.append([])
        inside[around].append(word)
    for one in (*segments, *words):
        losses["blanks around a text"] += one.text != one.text.strip()
    told = [
        _whisperx(segment, "text") | {"words": [_whisperx(word, "word") for word in own]}
        for segment, own in zip(segments, inside, strict=True)
    ]
    told.sort(key=lambda segment: (segment["start"], segment["end"]))
    return _dump({"segments": told, "word_segments": [word for segment in told for word in segment["words"]]}), +losses


def _segment_of(word: Interval, segments: Sequence[Interval]) -> int | None:
    for i, one in enumerate(segments):
        if one.participant == word.participant and one.start_ms <= word.start_ms and word.end_ms <= one.end_ms:
            return i
    return None


def _whisperx(one: Interval, name: str) -> dict[str, Any]:
    told: dict[str, Any] = {
        "start": ms_to_seconds(one.start_ms),
        "end": ms_to_seconds(one.end_ms),
        name: one.text,
    }
    if one.kind == WORDS and one.confidence is not None:
        told["score"] = one.confidence
    if one.participant:
        told["speaker"] = one.participant
    return told


def read_whisperx(path: Path, session_id: str) -> Read:
    """A digit that the aligner could not place has no times: such words are left out and counted."""
    losses, found = Losses(), []
    content = read_json(path)
    try:
        for segment in content["segments"]:
            found.append(
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
                found.append(
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
    return possible(found, losses), +losses


def write_moshi(intervals: Sequence[Interval], main: str | None = None) -> Written:
    """`main` is the participant whose voice is to be learnt; without it names are written as they are."""
    losses = not_held(intervals, kind=WORDS, confidence=False)
    names = safe_names(
        (one.participant for one in intervals),
        lambda name: MOSHI_MAIN if name == main else name,
        losses,
        f"the name of {MOSHI_MAIN}",
    )
    told = [
        [one.text, [ms_to_seconds(one.start_ms), ms_to_seconds(one.end_ms)], names[one.participant]]
        for one in sorted(intervals, key=lambda one: (one.start_ms, one.end_ms))
    ]
    return _dump({"alignments": told}), +losses


def read_moshi(path: Path, session_id: str) -> Read:
    losses, found = Losses(), []
    try:
        for text, (start, end), speaker in read_json(path)["alignments"]:
            if start is None or end is None:
                losses[UNTIMED] += 1
                continue
            found.append(
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
    return possible(found, losses), +losses


def _listed(content: Any, path: Path) -> Iterable[Any]:
    if not isinstance(content, list):
        raise InputError(f"{path}: not SegLST; expected a list of segments")
    return content


def _dump(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"
