"""Praat's TextGrid, long and short: a tier per participant and kind; instants are on point tiers.

A TextGrid is a sequence of numbers, quoted strings (`""` is a quote) and flags; everything else is a comment (Praat
manual, "TextGrid file formats"). In a TextGrid an interval without text is a gap. An annotated interval without text
therefore gets its kind in brackets as label, `(speech)`.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tools.exchange.intervals import (
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
    without_nul,
)
from tools.exchange.tiers import is_instant, label_text, lanes, tier_meaning, tier_name
from wanstreamer.clock import ms_to_seconds
from wanstreamer.errors import InputError
from wanstreamer.text_files import read_text, shown

NO_TEXTGRID = "not a TextGrid as Praat saves it (text or short text file)"
BINARY = b"ooBinaryFile"
_TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?<!\S)(-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?!\S)|![^\n]*')


def write_textgrid(intervals: Sequence[Interval]) -> Written:
    losses = not_held(intervals, confidence=False)
    intervals = safe_kinds(intervals, losses)
    intervals = without_nul(intervals, losses)
    names = safe_names(
        (interval.participant for interval in intervals),
        lambda name: on_one_line(name).strip(),
        losses,
        "line breaks and blanks in names",
    )
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
    """Labels of silence on the tiers of an aligner are gaps."""
    text, losses, intervals = _text(path), Losses(), []
    try:
        for tier, start, end, label in _labels(_tokens(text), has_tiers="<absent>" not in text):
            kind, participant = tier_meaning(tier)
            meaning = label_text(tier, label)
            if meaning is None:
                continue
            intervals.append(
                Interval(
                    session_id=session_id,
                    participant=participant,
                    kind=kind,
                    start_ms=ms_of(start, losses),
                    end_ms=ms_of(end, losses),
                    text="" if meaning == _unlabelled(kind) else meaning,
                )
            )
    except StopIteration as error:
        raise InputError(f"{path}: {NO_TEXTGRID}; it ends too early") from error
    except ValueError as error:
        raise InputError(f"{path} {error}; {NO_TEXTGRID}") from error
    return possible(intervals, losses), +losses


def _text(path: Path) -> str:
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(BINARY)) == BINARY:
                raise InputError(f"{path}: is a binary TextGrid; save it with Praat as text file")
    return read_text(path)


def _labels(tokens: Iterator["_Token"], *, has_tiers: bool) -> list[tuple[str, str, str, str]]:
    """(tier, start, end, label) of all labelled intervals and points, times as written.

    Raises ValueError with the line that is wrong, and StopIteration if something is missing at the end.
    """
    labels: list[tuple[str, str, str, str]] = []
    if [_string(next(tokens)) for _ in range(2)] not in (["ooTextFile", "TextGrid"], ["ooTextFile short", "TextGrid"]):
        raise ValueError("line 1: another kind of file")
    _number(next(tokens)), _number(next(tokens))  # start and end of the file
    for _ in range(_count(next(tokens)) if has_tiers else 0):
        tier_class = next(tokens)
        if _string(tier_class) not in ("IntervalTier", "TextTier"):
            raise ValueError(f"line {tier_class.line}: `{shown(tier_class.value)}`: expected IntervalTier or TextTier")
        name = _string(next(tokens))
        _number(next(tokens)), _number(next(tokens))  # start and end of the tier
        for _ in range(_count(next(tokens))):
            start = _number(next(tokens))
            end = start if tier_class.value == "TextTier" else _number(next(tokens))
            label = _string(next(tokens))
            if label or tier_class.value == "TextTier":
                labels.append((name, start, end, label))
    if (rest := next(tokens, None)) is not None:
        raise ValueError(f"line {rest.line}: more than the sizes before it state")
    return labels


class _Token(NamedTuple):
    """A number, as written, or a string without its quotes."""

    value: str
    is_string: bool
    line: int


def _tokens(text: str) -> Iterator[_Token]:
    line, at = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", at, match.start())
        at = match.start()
        if match[1] is not None:
            yield _Token(match[1].replace('""', '"'), True, line)
        elif match[2] is not None:
            yield _Token(match[2], False, line)


def _string(token: _Token) -> str:
    if not token.is_string:
        raise ValueError(f"line {token.line}: `{shown(token.value)}`: expected a text in quotes")
    return token.value


def _number(token: _Token) -> str:
    """As written. Raises ValueError for text, and for times no recording has."""
    if token.is_string:
        raise ValueError(f"line {token.line}: `{shown(token.value)}`: expected a number")
    try:
        ms_of(token.value, Losses())
    except ValueError as error:
        raise ValueError(f"line {token.line}: {error}") from error
    return token.value


def _count(token: _Token) -> int:
    if token.is_string or not token.value.isdecimal():
        raise ValueError(f"line {token.line}: `{shown(token.value)}`: expected a number of tiers, intervals or points")
    return int(token.value)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _unlabelled(kind: str) -> str:
    return f"({kind})"
