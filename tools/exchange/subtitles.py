"""SubRip (SRT) and WebVTT: cues with text. Both allow overlapping cues; players show them together.

SRT has no speakers: the name is written before the text as WhisperX does, `[a]: red?`. WebVTT has speakers,
`<v a>red?`. Neither has tiers.
"""

import html
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

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
from wanstreamer.text_files import read_text

_TIMING = re.compile(r"\s*((?:\d+:)?\d+:\d+[.,]\d+)\s*-->\s*((?:\d+:)?\d+:\d+[.,]\d+)(\s.*)?")
_SPEAKER = re.compile(r"\[([^\]\n]*)\]:[ \n]?(.*)", re.DOTALL)
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?[ \t]+([^>]*)>")
_TAG = re.compile(r"</?[a-z][^>]*>|<\d[^>]*>", re.IGNORECASE)
BLANKS = "blank lines and blanks around lines"


def write_srt(intervals: Sequence[Interval]) -> Written:
    losses = not_held(intervals, kind=SEGMENTS, confidence=False)
    intervals = without_nul(intervals, losses)
    names = _names(intervals, lambda name: on_one_line(name).replace("]", ")"), losses)
    cues: list[str] = []
    for i, interval in enumerate(_by_time(intervals), start=1):
        text = _tidy(interval.text, losses)
        if interval.participant or _SPEAKER.fullmatch(text):  # or the text itself would be read as a speaker
            text = f"[{names[interval.participant]}]: {text}".rstrip(" ")
        cues.append(f"{i}\n{_times(interval, ',')}\n{text}".rstrip("\n") + "\n")
    return "\n".join(cues), +losses


def read_srt(path: Path, session_id: str) -> Read:
    losses, intervals = Losses(), []
    for start_ms, end_ms, text in _cues(read_text(path), path, losses):
        named = _SPEAKER.fullmatch(text)
        participant, text = (named[1], named[2]) if named else ("", text)
        intervals.append(_segment(session_id, participant, start_ms, end_ms, text))
    return possible(intervals, losses), +losses


def write_vtt(intervals: Sequence[Interval]) -> Written:
    losses = not_held(intervals, kind=SEGMENTS, confidence=False)
    intervals = without_nul(intervals, losses)
    names = _names(intervals, lambda name: " ".join(on_one_line(name).split()), losses)
    cues = ["WEBVTT\n"]
    for interval in _by_time(intervals):
        text = html.escape(_tidy(interval.text, losses), quote=False)
        if interval.participant:
            text = f"<v {html.escape(names[interval.participant], quote=False)}>{text}"
        cues.append(f"{_times(interval, '.')}\n{text}".rstrip("\n") + "\n")
    return "\n".join(cues), +losses


def read_vtt(path: Path, session_id: str) -> Read:
    """A cue with several voices becomes one interval per voice. Other tags are removed and counted."""
    losses, intervals = Losses(), []
    for start_ms, end_ms, text in _cues(read_text(path), path, losses):
        before, *voices = _VOICE.split(text)
        voice_parts = list(zip(voices[::2], voices[1::2], strict=True))
        if before.strip() or not voice_parts:
            voice_parts.insert(0, ("", before))
        for name, part in voice_parts:
            plain = _TAG.sub("", part)
            losses["tags of style and timing, left out"] += plain != part.replace("</v>", "")
            about = html.unescape(name).strip(), start_ms, end_ms, html.unescape(plain).strip()
            intervals.append(_segment(session_id, *about))
    return possible(intervals, losses), +losses


def _cues(text: str, path: Path, losses: Losses) -> Iterator[tuple[int, int, str]]:
    """(start, end, text) of each block with a line of times; the other blocks (comments, styles) are counted."""
    blocks = re.split(r"\n(?:[ \t]*\n)+", text.replace("\r\n", "\n").replace("\r", "\n").strip("\n"))
    timed = 0
    for i, block in enumerate(blocks):
        lines = block.split("\n")
        at = next((k for k, line in enumerate(lines[:2]) if _TIMING.fullmatch(line)), None)
        if at is None:
            losses["blocks without times, left out"] += not (i == 0 and block.startswith("WEBVTT")) and block != ""
            continue
        timing = _TIMING.fullmatch(lines[at])
        assert timing
        timed += 1
        losses["positions of cues, left out"] += bool((timing[3] or "").strip())
        yield _ms(timing[1]), _ms(timing[2]), "\n".join(lines[at + 1 :]).strip()
    if not timed and text.strip() not in ("", "WEBVTT"):
        raise InputError(f"{path}: no cue with times such as 00:00:01,000 --> 00:00:02,000")


def _segment(session_id: str, participant: str, start_ms: int, end_ms: int, text: str) -> Interval:
    return Interval(
        session_id=session_id, participant=participant, kind=SEGMENTS, start_ms=start_ms, end_ms=end_ms, text=text
    )


def _by_time(intervals: Sequence[Interval]) -> list[Interval]:
    return sorted(intervals, key=lambda interval: (interval.start_ms, interval.end_ms))


def _names(intervals: Sequence[Interval], written: Callable[[str], str], losses: Losses) -> Mapping[str, str]:
    names = (interval.participant for interval in intervals)
    return safe_names(names, written, losses, "line breaks, blanks and brackets in names")


def _tidy(text: str, losses: Losses) -> str:
    """Removes blanks around lines, and empty lines: an empty line would end the cue."""
    lines = (line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    tidy = "\n".join(line for line in lines if line)
    losses[BLANKS] += tidy != text
    return tidy


def _times(interval: Interval, point: str) -> str:
    return f"{_stamp(interval.start_ms, point)} --> {_stamp(interval.end_ms, point)}"


def _stamp(ms: int, point: str) -> str:
    seconds, ms = divmod(ms, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{ms:03d}"


def _ms(stamp: str) -> int:
    *hours, minutes, seconds = re.split(":", stamp)
    whole, fraction = re.split("[.,]", seconds)
    total_s = 3600 * int(hours[0] if hours else 0) + 60 * int(minutes) + int(whole)
    return 1000 * total_s + round(float(f"0.{fraction}") * 1000)
