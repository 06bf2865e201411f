"""Audacity's labels: one `start<tab>end<tab>label` per line. A label begins with kind and participant, `[words@a]`."""

import re
from collections.abc import Sequence
from pathlib import Path

from tools.exchange.intervals import (
    SEGMENTS,
    Interval,
    Losses,
    Read,
    Written,
    ms_of,
    not_held,
    on_one_line,
    possible,
    safe_kinds,
    safe_names,
)
from wanstreamer.clock import ms_to_seconds
from wanstreamer.errors import InputError
from wanstreamer.text_files import read_text, text_lines

_TIER = re.compile(r"\[([^\]@]+)@([^\]]*)\] ?(.*)")


def write_audacity(intervals: Sequence[Interval]) -> Written:
    losses = not_held(intervals, confidence=False)
    intervals = safe_kinds(intervals, losses)
    names = safe_names(
        (interval.participant for interval in intervals),
        lambda name: on_one_line(name).replace("]", ")").strip(),
        losses,
        "line breaks, blanks and brackets in names",
    )
    lines: list[str] = []
    for interval in sorted(intervals, key=lambda interval: (interval.start_ms, interval.end_ms)):
        label = on_one_line(interval.text)
        losses["line breaks, tabs and control characters, written as spaces"] += label != interval.text
        if interval.participant or interval.kind != SEGMENTS or _TIER.fullmatch(label):
            label = f"[{interval.kind}@{names[interval.participant]}] {label}"
        lines.append(f"{ms_to_seconds(interval.start_ms):.6f}\t{ms_to_seconds(interval.end_ms):.6f}\t{label}\n")
    return "".join(lines), +losses


def read_audacity(path: Path, session_id: str) -> Read:
    """Labels without our `[kind@participant]` become segments of an unknown participant."""
    losses, intervals = Losses(), []
    for number, line in enumerate(text_lines(read_text(path), str(path)), start=1):
        if line.startswith("\\"):
            losses["frequency ranges, left out"] += 1
            continue
        if not line.strip():
            continue
        fields = line.split("\t", maxsplit=2)
        expected = "expected start, end and label, separated by tabs"
        if len(fields) < 2:
            raise InputError(f"{path} line {number}: not Audacity labels; {expected}")
        try:
            start_ms, end_ms = ms_of(fields[0], losses), ms_of(fields[1], losses)
        except ValueError as error:
            raise InputError(f"{path} line {number}: not Audacity labels: start or end {error}; {expected}") from error
        text = fields[2] if len(fields) > 2 else ""
        tier = _TIER.fullmatch(text)
        kind, participant, text = tier.groups() if tier else (SEGMENTS, "", text)
        intervals.append(
            Interval(
                session_id=session_id,
                participant=participant.strip(),
                kind=kind,
                start_ms=start_ms,
                end_ms=end_ms,
                text=text,
            )
        )
    return possible(intervals, losses), +losses
