"""RTTM, CTM and STM: a line per stretch of speech, word or segment, its fields separated by blanks.

None has a way to quote: a blank in a name or word is written as `_`, and an unknown participant as `<NA>`. The
participant is RTTM's speaker, CTM's channel and STM's speaker. All three hold many sessions.

RTTM has sounds that are no speech: NON-LEX of a throat, NON-SPEECH of a room (there the standard leaves the speaker
open; here it is whose track it was heard in).
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
from wanstreamer.turns.nonspeech import BLEED

UNKNOWN = "<NA>"
RTTM_FIELDS = 9  # at least; of CTM there are six at most
STM_LABEL = re.compile(r"<[^<>\s]*,[^<>\s]*>")  # NIST: conditions of a segment, between end time and transcript
# A sound's name -> RTTM's type and subtype.
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
    losses = not_held([one for one in intervals if one.kind != NON_SPEECH], kind=SPEECH, text=False)
    names = _field_names(intervals, losses)
    lines: list[str] = []
    for one in intervals:
        line_type, subtype = _rttm_sound(one, losses) if one.kind == NON_SPEECH else ("SPEAKER", UNKNOWN)
        lines.append(
            f"{line_type} {names[one.session_id]} 1 {_seconds(one.start_ms)} {_seconds(one.end_ms - one.start_ms)} "
            f"{UNKNOWN} {subtype} {names[one.participant]} "
            f"{UNKNOWN if one.confidence is None else one.confidence} {UNKNOWN}\n"
        )
    return "".join(lines), +losses


def _rttm_sound(one: Interval, losses: Losses) -> tuple[str, str]:
    if one.text in RTTM_SOUNDS:
        return RTTM_SOUNDS[one.text]
    losses["names of sounds, written as RTTM's nearest type"] += 1
    label = sound_label(one)
    return RTTM_SOUNDS["other noise" if label == BLEED else label]


def read_rttm(path: Path, session_id: str) -> Read:
    text, losses, found = read_text(path), Losses(), []
    for line in speaker_lines(text, path):
        start_ms = ms_of(line.start_s, losses)
        found.append(
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
        losses["subtypes that RTTM does not have, read as other"] += (line_type, subtype) not in names
        found.append(
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
    return possible(found, losses), +losses


def write_ctm(intervals: Sequence[Interval]) -> Written:
    losses = not_held(intervals, kind=WORDS)
    names = _field_names(intervals, losses)
    lines: list[str] = []
    for one in intervals:
        word = re.sub(r"\s", "_", one.text)
        losses["blanks in words, written as _"] += word != one.text
        if not word:
            losses["words without text, left out"] += 1
            continue
        confidence = "" if one.confidence is None else f" {one.confidence}"
        start, duration = _seconds(one.start_ms), _seconds(one.end_ms - one.start_ms)
        lines.append(f"{names[one.session_id]} {names[one.participant]} {start} {duration} {word}{confidence}\n")
    return "".join(lines), +losses


def read_ctm(path: Path, session_id: str) -> Read:
    losses, found = Losses(), []
    for number, fields in _lines(read_text(path)):
        if fields[0] == "SPEAKER" and len(fields) >= RTTM_FIELDS:
            raise InputError(f"{path} line {number}: RTTM, not CTM; leave out --from, or name rttm")
        try:
            file, channel, start, duration, word, *rest = fields
            start_ms = ms_of(start, losses)
            end_ms = start_ms + ms_of(duration, losses)
        except ValueError as error:
            raise InputError(f"{path} line {number}: not CTM; expected file channel start duration word") from error
        found.append(
            Interval(
                session_id=file,
                participant=_name(channel),
                kind=WORDS,
                start_ms=start_ms,
                end_ms=end_ms,
                text=word,
                confidence=number_or_none(rest[0]) if rest else None,
            )
        )
    return possible(found, losses), +losses


def write_stm(intervals: Sequence[Interval]) -> Written:
    losses = not_held(intervals, kind=SEGMENTS, confidence=False)
    names = _field_names(intervals, losses)
    lines: list[str] = []
    for one in intervals:
        text = " ".join(one.text.split())
        losses["line breaks and runs of blanks, written as one blank"] += text != one.text
        if STM_LABEL.match(text):  # else its first word would be read as one
            text = f"<o,f0,unk> {text}"
        start, end = _seconds(one.start_ms), _seconds(one.end_ms)
        lines.append(f"{names[one.session_id]} 1 {names[one.participant]} {start} {end} {text}".rstrip() + "\n")
    return "".join(lines), +losses


def read_stm(path: Path, session_id: str) -> Read:
    losses, found = Losses(), []
    for number, fields in _lines(read_text(path)):
        try:
            file, _, speaker, start, end, *words = fields
            start_ms, end_ms = ms_of(start, losses), ms_of(end, losses)
        except ValueError as error:
            raise InputError(f"{path} line {number}: not STM; expected file 1 speaker start end text") from error
        if words and STM_LABEL.fullmatch(words[0]):
            losses["labels of conditions, left out"] += words.pop(0) != "<o,f0,unk>"
        found.append(
            Interval(
                session_id=file,
                participant=_name(speaker),
                kind=SEGMENTS,
                start_ms=start_ms,
                end_ms=end_ms,
                text=" ".join(words),
            )
        )
    return possible(found, losses), +losses


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """(number, fields) of the lines that are neither empty nor a comment."""
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if fields and not fields[0].startswith(";"):
            yield number, fields


def _field_names(intervals: Sequence[Interval], losses: Losses) -> dict[str, str]:
    names = [name for one in intervals for name in (one.session_id, one.participant) if name]
    safe = safe_names(names, _as_field, losses, "names with blanks or a first `;`, written with _")
    return {**safe, "": UNKNOWN}


def _as_field(name: str) -> str:
    field = re.sub(r"\s|^;", "_", name)
    return "_NA_" if field == UNKNOWN else field


def _name(field: str) -> str:
    return "" if field == UNKNOWN else field


def _seconds(ms: int) -> str:
    return f"{ms_to_seconds(ms):.3f}"
