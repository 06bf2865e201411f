"""RTTM, CTM and STM: one line per interval of speech, word or segment, with fields separated by blanks.

These formats have no quotes: a blank in a name or word is written as `_`, an unknown participant as `<NA>`. The
participant is RTTM's speaker, CTM's channel and STM's speaker. All three hold many sessions.

RTTM has sounds that are not speech: NON-LEX from a person, NON-SPEECH from the room. For NON-SPEECH the standard leaves
the speaker open; here it is the participant in whose track the sound is.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines.formats.rttm import speaker_lines
from tools.exchange.intervals import (
    NON_SPEECH,
    SEGMENTS,
    SPEECH,
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
    sound_label,
)
from wanstreamer.clock import ms_to_seconds
from wanstreamer.errors import InputError
from wanstreamer.turns.ctm import UNKNOWN, ctm_lines
from wanstreamer.turns.nonspeech import BLEED

STM_LABEL = re.compile(r"<[^<>\s]*,[^<>\s]*>")  # NIST: conditions of a segment, between end time and text
# Name of a sound -> RTTM's type and subtype.
RTTM_SOUNDS = {
    "laughter": ("NON-LEX", "laugh"),
    "breath": ("NON-LEX", "breath"),
    "lipsmack": ("NON-LEX", "lipsmack"),
    "cough": ("NON-LEX", "cough"),
    "sneeze": ("NON-LEX", "sneeze"),
    "vocal_noise": ("NON-LEX", "other"),
    "noise": ("NON-SPEECH", "noise"),
    "music": ("NON-SPEECH", "music"),
    "other noise": ("NON-SPEECH", "other"),
}


def write_rttm(intervals: Sequence[Interval]) -> Written:
    losses = not_held([interval for interval in intervals if interval.kind != NON_SPEECH], kind=SPEECH, text=False)
    names = _field_names(intervals, losses)
    lines: list[str] = []
    for interval in intervals:
        line_type, subtype = _rttm_sound(interval, losses) if interval.kind == NON_SPEECH else ("SPEAKER", UNKNOWN)
        start, duration = _seconds(interval.start_ms), _seconds(interval.end_ms - interval.start_ms)
        confidence = UNKNOWN if interval.confidence is None else interval.confidence
        lines.append(
            f"{line_type} {names[interval.session_id]} 1 {start} {duration} {UNKNOWN} {subtype} "
            f"{names[interval.participant]} {confidence} {UNKNOWN}\n"
        )
    return "".join(lines), +losses


def _rttm_sound(interval: Interval, losses: Losses) -> tuple[str, str]:
    if interval.text in RTTM_SOUNDS:
        return RTTM_SOUNDS[interval.text]
    losses["names of sounds, written as the nearest type of RTTM"] += 1
    label = sound_label(interval)
    return RTTM_SOUNDS["other noise" if label == BLEED else label]


def read_rttm(path: Path, session_id: str) -> Read:
    text, losses, intervals = read_text(path), Losses(), []
    for line in speaker_lines(text, path):
        start_ms = ms_of(line.start_s, losses)
        intervals.append(
            Interval(
                session_id=line.file,
                participant=_name(line.speaker),
                kind=SPEECH,
                start_ms=start_ms,
                end_ms=start_ms + ms_of(line.duration_s, losses),
                confidence=number_or_none(line.confidence),
            )
        )
    names = {of: name for name, of in RTTM_SOUNDS.items()}
    for number, fields in _lines(text):
        if fields[0] not in ("NON-LEX", "NON-SPEECH"):
            losses["lines other than SPEAKER, NON-LEX and NON-SPEECH, left out"] += fields[0] != "SPEAKER"
            continue
        try:
            line_type, file, _, start, duration, _, subtype, speaker, *rest = fields
            start_ms = ms_of(start, losses)
            end_ms = start_ms + ms_of(duration, losses)
        except ValueError as error:
            raise InputError(
                f"{path} line {number}: not RTTM; expected {fields[0]} file 1 start duration <NA> subtype name"
            ) from error
        losses["subtypes unknown to RTTM, read as other"] += (line_type, subtype) not in names
        intervals.append(
            Interval(
                session_id=file,
                participant=_name(speaker),
                kind=NON_SPEECH,
                start_ms=start_ms,
                end_ms=end_ms,
                text=names.get((line_type, subtype), names[line_type, "other"]),
                confidence=number_or_none(rest[0]) if rest else None,
            )
        )
    return possible(intervals, losses), +losses


def write_ctm(intervals: Sequence[Interval]) -> Written:
    losses = not_held(intervals, kind=WORDS)
    names = _field_names(intervals, losses)
    lines: list[str] = []
    for interval in intervals:
        word = re.sub(r"\s", "_", interval.text)
        losses["blanks in words, written as _"] += word != interval.text
        if not word:
            losses["words without text, left out"] += 1
            continue
        confidence = "" if interval.confidence is None else f" {interval.confidence}"
        start, duration = _seconds(interval.start_ms), _seconds(interval.end_ms - interval.start_ms)
        lines.append(
            f"{names[interval.session_id]} {names[interval.participant]} {start} {duration} {word}{confidence}\n"
        )
    return "".join(lines), +losses


def read_ctm(path: Path, session_id: str) -> Read:
    losses, intervals = Losses(), []
    for line in ctm_lines(read_text(path), path):
        start_ms = ms_of(line.start_s, losses)
        intervals.append(
            Interval(
                session_id=line.file,
                participant=line.channel,
                kind=WORDS,
                start_ms=start_ms,
                end_ms=start_ms + ms_of(line.duration_s, losses),
                text=line.word,
                confidence=line.confidence,
            )
        )
    return possible(intervals, losses), +losses


def write_stm(intervals: Sequence[Interval]) -> Written:
    losses = not_held(intervals, kind=SEGMENTS, confidence=False)
    names = _field_names(intervals, losses)
    lines: list[str] = []
    for interval in intervals:
        text = " ".join(interval.text.split())
        losses["line breaks and runs of blanks, written as one blank"] += text != interval.text
        if STM_LABEL.match(text):  # or the first word would be read as a label
            text = f"<o,f0,unk> {text}"
        start, end = _seconds(interval.start_ms), _seconds(interval.end_ms)
        lines.append(
            f"{names[interval.session_id]} 1 {names[interval.participant]} {start} {end} {text}".rstrip() + "\n"
        )
    return "".join(lines), +losses


def read_stm(path: Path, session_id: str) -> Read:
    losses, intervals = Losses(), []
    for number, fields in _lines(read_text(path)):
        try:
            file, _, speaker, start, end, *words = fields
            start_ms, end_ms = ms_of(start, losses), ms_of(end, losses)
        except ValueError as error:
            raise InputError(f"{path} line {number}: not STM; expected file 1 speaker start end text") from error
        if words and STM_LABEL.fullmatch(words[0]):
            losses["labels of conditions, left out"] += words.pop(0) != "<o,f0,unk>"
        intervals.append(
            Interval(
                session_id=file,
                participant=_name(speaker),
                kind=SEGMENTS,
                start_ms=start_ms,
                end_ms=end_ms,
                text=" ".join(words),
            )
        )
    return possible(intervals, losses), +losses


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """(number, fields) of all lines that are neither empty nor comments."""
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if fields and not fields[0].startswith(";"):
            yield number, fields


def _field_names(intervals: Sequence[Interval], losses: Losses) -> dict[str, str]:
    names = [name for interval in intervals for name in (interval.session_id, interval.participant) if name]
    safe = safe_names(names, _as_field, losses, "names with blanks or a first `;`, written with _")
    return {**safe, "": UNKNOWN}


def _as_field(name: str) -> str:
    field = re.sub(r"\s|^;", "_", name)
    return "_NA_" if field == UNKNOWN else field


def _name(field: str) -> str:
    return "" if field == UNKNOWN else field


def _seconds(ms: int) -> str:
    return f"{ms_to_seconds(ms):.3f}"
