"""RTTM, CTM and STM: one line per interval of speech, word or segment, with fields separated by spaces and tabs.

These formats have no quotes: a blank in a name or word is written as `_`, an unknown participant as `<NA>`. The
participant is RTTM's speaker, CTM's channel and STM's speaker. All three hold many sessions.

RTTM has sounds that are not speech: NON-LEX from a person, NON-SPEECH from the room. For NON-SPEECH the standard leaves
the speaker open; here it is the participant in whose track the sound is.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.formats.rttm import TIMED, rttm_lines
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
    safe_names,
    sound_label,
)
from wanstreamer.clock import ms_to_seconds
from wanstreamer.errors import InputError
from wanstreamer.text_files import numbered_fields, read_text
from wanstreamer.turns.ctm import UNKNOWN, ctm_lines
from wanstreamer.turns.nonspeech import BLEED

BLANK = re.compile(
    "[ \\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ufeff]"
)  # what some reader takes for the end of a field or line
STM_LABEL = re.compile("<[^<> ]*,[^<> ]*>|<NA>")  # NIST: conditions of a segment, between end time and text
STM_GAPS = ("inter_segment_gap", "excluded_region")  # in the place of a speaker: no one's
STM_IGNORED = "IGNORE_TIME_SEGMENT_IN_SCORING"
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
    losses, intervals = Losses(), []
    names = {of: name for name, of in RTTM_SOUNDS.items()}
    for line in rttm_lines(read_text(path), str(path)):
        if line.type not in TIMED:
            losses["lines other than SPEAKER, NON-LEX and NON-SPEECH, left out"] += 1
            continue
        start_ms = ms_of(line.start_s, losses)
        interval = Interval(
            session_id=line.file,
            participant=_name(line.speaker),
            kind=SPEECH,
            start_ms=start_ms,
            end_ms=start_ms + ms_of(line.duration_s, losses),
            confidence=number_or_none(line.confidence),
        )
        if line.type != "SPEAKER":
            sound = line.type, line.subtype
            losses["subtypes unknown to RTTM, read as other"] += sound not in names
            interval = replace(interval, kind=NON_SPEECH, text=names.get(sound, names[line.type, "other"]))
        intervals.append(interval)
    return possible(intervals, losses), +losses


def write_ctm(intervals: Sequence[Interval]) -> Written:
    losses = not_held(intervals, kind=WORDS)
    names = _field_names(intervals, losses)
    lines: list[str] = []
    for interval in intervals:
        word = BLANK.sub("_", interval.text)
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
                participant=line.participant,
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
        text = re.sub(f"(?:{BLANK.pattern})+", " ", interval.text).strip(" ")
        losses["line breaks and runs of blanks, written as one blank"] += text != interval.text
        if STM_LABEL.fullmatch(text.partition(" ")[0]):  # or the first word would be read as a label
            text = f"<o,f0,unk> {text}"
        start, end = _seconds(interval.start_ms), _seconds(interval.end_ms)
        lines.append(
            f"{names[interval.session_id]} 1 {names[interval.participant]} {start} {end} {text}".rstrip(" ") + "\n"
        )
    return "".join(lines), +losses


def read_stm(path: Path, session_id: str) -> Read:
    """Regions that no one is scored in are no segments: they are left out and counted."""
    losses, intervals = Losses(), []
    for number, fields in numbered_fields(read_text(path), str(path)):
        if len(fields) < 5:
            raise InputError(f"{path} line {number}: not STM; expected file 1 speaker start end text")
        file, _, speaker, *times = fields[:5]
        words = fields[5:]
        try:
            start_ms, end_ms = (ms_of(time, losses) for time in times)
        except ValueError as error:
            raise InputError(
                f"{path} line {number}: not STM: start or end {error}; expected file 1 speaker start end text"
            ) from error
        if words and STM_LABEL.fullmatch(words[0]):
            losses["labels of conditions, left out"] += words.pop(0) != "<o,f0,unk>"
        if speaker.lower() in STM_GAPS or [word.upper() for word in words] == [STM_IGNORED]:
            losses["regions that are not scored, left out"] += 1
            continue
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


def _field_names(intervals: Sequence[Interval], losses: Losses) -> dict[str, str]:
    names = [name for interval in intervals for name in (interval.session_id, interval.participant) if name]
    safe = safe_names(names, _as_field, losses, "names with blanks or a first `;`, written with _")
    return {**safe, "": UNKNOWN}


def _as_field(name: str) -> str:
    field = re.sub("^;", "_", BLANK.sub("_", name))
    return f"_{field}_" if field == UNKNOWN or field.lower() in STM_GAPS else field


def _name(field: str) -> str:
    return "" if field == UNKNOWN else field


def _seconds(ms: int) -> str:
    return f"{ms_to_seconds(ms):.3f}"
