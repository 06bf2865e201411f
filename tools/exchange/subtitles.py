"""SubRip (SRT) and WebVTT: cues with text. Both allow overlapping cues; players show them together.

SRT has no speakers: the name is written before the text as WhisperX does, `[a]: red?`. WebVTT has speakers,
`<v a>red?`. Neither has tiers. Meeting programs write `Anna Smith: red?` in both: if no cue names its speaker in the
format's own way, and each of several cues begins so, these are the speakers.
"""

import html
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tools.exchange.intervals import (
    SEGMENTS,
    Interval,
    Losses,
    Read,
    Written,
    not_held,
    on_one_line,
    possible,
    safe_names,
    without_nul,
)
from wanstreamer.errors import InputError
from wanstreamer.text_files import FARTHEST_S, MARK, read_text

_STAMP = r"(?:[0-9]+:)?[0-9]+:[0-9]+(?:[.,][0-9]+)?"
_TIMING = re.compile(rf"\s*({_STAMP})\s*-->\s*({_STAMP})(\s.*)?")
_SPEAKER = re.compile(r"\[([^\]\n]*)\]:[ \n]?(.*)", re.DOTALL)
_NAMED = re.compile(r"([^\W\d_][^:\uff1a\n<>\[\]{}]{0,59})(?:: +|\uff1a ?)(\S.*)", re.DOTALL)  # as Zoom writes it
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?[ \t]+([^>]*)>")
_TAG = re.compile(r"</?[a-z][^>]*>|<\d[^>]*>", re.IGNORECASE)
_SRT_TAG = re.compile(r"</?(?:i|b|u|s|em|strong|font|span|br|ruby|rt)(?:[\s=/][^<>]*)?>|\{\\[^{}]*\}", re.IGNORECASE)
BLANKS = "blank lines and blanks around lines"
TAGS = "tags of style and timing, left out"


class _Cue(NamedTuple):
    start_ms: int
    end_ms: int
    text: str
    participant: str = ""


def write_srt(intervals: Sequence[Interval]) -> Written:
    losses = not_held(intervals, kind=SEGMENTS, confidence=False)
    intervals = without_nul(intervals, losses)
    names = _names(intervals, lambda name: _without_tags(on_one_line(name).replace("]", ")")).strip(), losses)
    cues: list[str] = []
    for i, interval in enumerate(_by_time(intervals), start=1):
        text = _srt_text(interval.text, losses)
        if interval.participant or _SPEAKER.fullmatch(text) or _NAMED.fullmatch(text):  # or the text would name one
            text = f"[{names[interval.participant]}]: {text}".rstrip(" ")
        cues.append(f"{i}\n{_times(interval, ',')}\n{text}".rstrip("\n") + "\n")
    return "\n".join(cues), +losses


def _srt_text(text: str, losses: Losses) -> str:
    """SRT has no way to write a text that looks like a tag or like the times of a cue."""
    tidy = _tidy(text, losses)
    plain = _without_tags(tidy)
    losses["texts in the form of tags, left out"] += plain != tidy
    lines = _tidy(plain, Losses()).split("\n")
    losses["lines in the form of times, with another arrow"] += any(map(_TIMING.fullmatch, lines))
    return "\n".join(line.replace("-->", "->") if _TIMING.fullmatch(line) else line for line in lines)


def read_srt(path: Path, session_id: str) -> Read:
    """Tags of style, HTML's and those of ASS, are removed and counted."""
    losses: Losses = Losses()
    cues: list[_Cue] = []
    has_speakers = False
    for cue in _cues(read_text(path), path, losses):
        plain = _without_tags(cue.text)
        losses[TAGS] += plain != cue.text
        named = _SPEAKER.fullmatch(plain.strip())
        has_speakers |= bool(named)
        name, text = (named[1].strip(), named[2]) if named else ("", plain.strip())
        cues.append(cue._replace(text=text, participant=name))
    if not has_speakers:
        cues = _speakers_before_colons(cues, losses)
    return possible([_segment(session_id, cue) for cue in cues], losses), +losses


def write_vtt(intervals: Sequence[Interval]) -> Written:
    losses = not_held(intervals, kind=SEGMENTS, confidence=False)
    intervals = without_nul(intervals, losses)
    names = _names(intervals, lambda name: " ".join(on_one_line(name).split()), losses)
    cues = ["WEBVTT\n"]
    for interval in _by_time(intervals):
        text = html.escape(_tidy(interval.text, losses), quote=False)
        if interval.participant:
            text = f"<v {html.escape(names[interval.participant], quote=False)}>{text}"
        elif named := _NAMED.fullmatch(text):  # or the text would name a speaker
            text = f"{named[1]}&#{ord(text[named.end(1)])};{text[named.end(1) + 1 :]}"
        cues.append(f"{_times(interval, '.')}\n{text}".rstrip("\n") + "\n")
    return "\n".join(cues), +losses


def read_vtt(path: Path, session_id: str) -> Read:
    """A cue with several voices becomes one interval per voice. Other tags are removed and counted."""
    losses: Losses = Losses()
    cues: list[_Cue] = []
    has_voices = False
    for cue in _cues(read_text(path), path, losses):
        before, *voices = _VOICE.split(cue.text)
        voice_parts = list(zip(voices[::2], voices[1::2], strict=True))
        has_voices |= bool(voice_parts)
        if before.strip() or not voice_parts:
            voice_parts.insert(0, ("", before))
        for name, part in voice_parts:
            plain = _TAG.sub("", part)
            losses[TAGS] += plain != part.replace("</v>", "")
            cues.append(cue._replace(text=plain.strip(), participant=name))
    if not has_voices:
        cues = _speakers_before_colons(cues, losses)
    intervals = [
        _segment(
            session_id,
            cue._replace(text=html.unescape(cue.text).strip(), participant=html.unescape(cue.participant).strip()),
        )
        for cue in cues
    ]
    return possible(intervals, losses), +losses


def _speakers_before_colons(cues: list[_Cue], losses: Losses) -> list[_Cue]:
    """`Anna Smith: red?` in each of several cues -> its speaker and text. If only most cues begin so, report it."""
    named = [_NAMED.fullmatch(cue.text) for cue in cues if cue.text]
    count = sum(match is not None for match in named)
    if count < 2 or count < len(named):
        if count and 2 * count >= len(named) > 1:
            losses["names before a colon, read as text, because not every cue has one"] += count
        return cues
    return [
        cue._replace(participant=match[1].strip(), text=match[2]) if (match := _NAMED.fullmatch(cue.text)) else cue
        for cue in cues
    ]


def _cues(text: str, path: Path, losses: Losses) -> Iterator[_Cue]:
    """Each line of times begins a cue, which ends at a blank line or at the next cue. Other blocks are counted."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace(f"\n{MARK}WEBVTT", "\n\nWEBVTT")  # of joined files
    lines = [line.lstrip(MARK) for line in text.split("\n")]
    timings = [place for place, line in enumerate(lines) if _TIMING.fullmatch(line)]
    if not timings and text.strip() not in ("", "WEBVTT"):
        raise InputError(f"{path}: no cue with times such as 00:00:01,000 --> 00:00:02,000")
    if not timings:
        return
    begins = [place - _has_identifier(lines, place) for place in timings]
    _count_blocks(lines[: begins[0]], losses)
    for place, end in zip(timings, [*begins[1:], len(lines)], strict=True):
        timing = _TIMING.fullmatch(lines[place])
        assert timing
        body = lines[place + 1 : end]
        size = next((k for k, line in enumerate(body) if not line.strip()), len(body))
        _count_blocks(body[size:], losses)
        losses["positions of cues, left out"] += bool((timing[3] or "").strip())
        where = f"{path} line {place + 1}"
        yield _Cue(_ms(timing[1], where), _ms(timing[2], where), "\n".join(body[:size]).strip())


def _has_identifier(lines: Sequence[str], place: int) -> bool:
    """Whether the line before the times is the cue's number, or in WebVTT its name, which follows a blank line."""
    before = lines[place - 1].strip() if place else ""
    if not before or _TIMING.fullmatch(before):
        return False
    return before.isdecimal() or (not before.startswith("WEBVTT") and (place == 1 or not lines[place - 2].strip()))


def _count_blocks(lines: Sequence[str], losses: Losses) -> None:
    """Comments, styles and other blocks that are no cue."""
    for block in re.split(r"\n(?:[ \t]*\n)+", "\n".join(lines).strip("\n")):
        losses["X-TIMESTAMP-MAP, not applied: times are those in the file, not of the stream"] += len(
            re.findall("^X-TIMESTAMP-MAP", block, re.MULTILINE)
        )
        losses["blocks without times, left out"] += bool(block.strip()) and not block.startswith("WEBVTT")


def _segment(session_id: str, cue: _Cue) -> Interval:
    return Interval(
        session_id=session_id,
        participant=cue.participant,
        kind=SEGMENTS,
        start_ms=cue.start_ms,
        end_ms=cue.end_ms,
        text=cue.text,
    )


def _by_time(intervals: Sequence[Interval]) -> list[Interval]:
    return sorted(intervals, key=lambda interval: (interval.start_ms, interval.end_ms))


def _names(intervals: Sequence[Interval], written: Callable[[str], str], losses: Losses) -> Mapping[str, str]:
    names = (interval.participant for interval in intervals)
    return safe_names(names, written, losses, "line breaks, blanks, tags and brackets in names")


def _without_tags(text: str) -> str:
    """Until none is left: what remains around a tag may form another one."""
    while (plain := _SRT_TAG.sub("", text)) != text:
        text = plain
    return text


def _tidy(text: str, losses: Losses) -> str:
    """Removes blanks and marks around lines, and empty lines: an empty line would end the cue."""
    lines = (line.strip().strip(MARK).strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    tidy = "\n".join(line for line in lines if line)
    losses[BLANKS] += tidy != text
    return tidy


def _times(interval: Interval, point: str) -> str:
    return f"{_stamp(interval.start_ms, point)} --> {_stamp(interval.end_ms, point)}"


def _stamp(ms: int, point: str) -> str:
    seconds, ms = divmod(ms, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{ms:03d}"


def _ms(stamp: str, where: str) -> int:
    *hours, minutes, seconds = stamp.split(":")
    whole, _, fraction = seconds.replace(",", ".").partition(".")
    total_s = 3600 * int(hours[0] if hours else 0) + 60 * int(minutes) + int(whole)
    if total_s > FARTHEST_S:
        raise InputError(f"{where}: `{stamp}`: expected a time below {FARTHEST_S:.0f} s")
    return 1000 * total_s + round(float(f"0.{fraction or 0}") * 1000)
