"""Praat's TextGrid, long and short: a tier per participant and kind; instants are on point tiers.

A TextGrid is a sequence of numbers, quoted strings (`""` is a quote) and flags; everything else is a comment (Praat
manual, "TextGrid file formats"). In a TextGrid an interval without text is a gap. An annotated interval without text
therefore gets its kind in brackets as label, `(speech)`.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.exchange.intervals import (
    Interval,
    Losses,
    Read,
    Written,
    ms_of,
    not_held,
    on_one_line,
    possible,
    safe_names,
    without_nul,
)
from tools.exchange.tiers import is_instant, lanes, tier_meaning, tier_name
from wanstreamer.clock import ms_to_seconds
from wanstreamer.errors import InputError
from wanstreamer.text_files import read_text

_TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?<!\S)(-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?!\S)|![^\n]*')


def write_textgrid(intervals: Sequence[Interval]) -> Written:
    losses = not_held(intervals, confidence=False)
    intervals = without_nul(intervals, losses)
    names = safe_names((interval.participant for interval in intervals), on_one_line, losses, "line breaks in names")
    losses["labels that will be read as no label"] = sum(
        interval.text == _unlabelled(interval.kind) for interval in intervals
    )
    end_ms = max(1, *(interval.end_ms for interval in intervals)) if intervals else 1
    tiers = lanes(intervals)
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {ms_to_seconds(end_ms)}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for i, ((kind, participant, lane), own) in enumerate(tiers.items(), start=1):
        name = tier_name(kind, names[participant], lane)
        lines += [f"    item [{i}]:"] + _tier(name, own, end_ms)
    return "\n".join(lines) + "\n", +losses


def _tier(name: str, own: Sequence[Interval], end_ms: int) -> list[str]:
    """The lines of one tier. Gaps of an interval tier are filled with empty intervals."""
    points = is_instant(own[0])
    lines = [
        f'        class = "{"TextTier" if points else "IntervalTier"}"',
        f"        name = {_quoted(name)}",
        "        xmin = 0",
        f"        xmax = {ms_to_seconds(end_ms)}",
    ]
    if points:
        lines.append(f"        points: size = {len(own)}")
        for i, interval in enumerate(own, start=1):
            lines += [f"        points [{i}]:", f"            number = {ms_to_seconds(interval.start_ms)}"]
            lines.append(f"            mark = {_quoted(interval.text or _unlabelled(interval.kind))}")
        return lines
    filled = list(_filled(own, end_ms))
    lines.append(f"        intervals: size = {len(filled)}")
    for i, (start_ms, stop_ms, label) in enumerate(filled, start=1):
        lines += [f"        intervals [{i}]:", f"            xmin = {ms_to_seconds(start_ms)}"]
        lines += [f"            xmax = {ms_to_seconds(stop_ms)}", f"            text = {_quoted(label)}"]
    return lines


def _filled(own: Sequence[Interval], end_ms: int) -> Iterator[tuple[int, int, str]]:
    at_ms = 0
    for interval in own:
        if interval.start_ms > at_ms:
            yield at_ms, interval.start_ms, ""
        yield interval.start_ms, interval.end_ms, interval.text or _unlabelled(interval.kind)
        at_ms = interval.end_ms
    if at_ms < end_ms:
        yield at_ms, end_ms, ""


def read_textgrid(path: Path, session_id: str) -> Read:
    losses, intervals = Losses(), []
    tokens = _tokens(read_text(path))
    try:
        if next(tokens) not in ('"ooTextFile', '"ooTextFile short') or next(tokens) != '"TextGrid':
            raise ValueError("not the header of a TextGrid")
        next(tokens), next(tokens)  # start and end of the file
        for _ in range(int(next(tokens))):
            tier_class, name, _, _, size = (next(tokens) for _ in range(5))
            kind, participant = tier_meaning(_string(name))
            points = _string(tier_class) == "TextTier"
            for _ in range(int(size)):
                start_ms = ms_of(next(tokens), losses)
                end_ms = start_ms if points else ms_of(next(tokens), losses)
                label = _string(next(tokens))
                if label or points:
                    intervals.append(
                        Interval(
                            session_id=session_id,
                            participant=participant,
                            kind=kind,
                            start_ms=start_ms,
                            end_ms=end_ms,
                            text="" if label == _unlabelled(kind) else label,
                        )
                    )
    except (StopIteration, ValueError) as error:
        raise InputError(f"{path}: not a TextGrid as Praat saves it (text or short text file)") from error
    return possible(intervals, losses), +losses


def _tokens(text: str) -> Iterator[str]:
    """Numbers unchanged, strings with one `"` before them."""
    for match in _TOKEN.finditer(text):
        if match[1] is not None:
            yield '"' + match[1].replace('""', '"')
        elif match[2] is not None:
            yield match[2]


def _string(token: str) -> str:
    if not token.startswith('"'):
        raise ValueError(f"{token} is not a string")
    return token[1:]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _unlabelled(kind: str) -> str:
    return f"({kind})"
