"""Names of tiers, and how intervals are laid out on them: for formats whose tiers hold no overlaps.

A tier is called `kind@participant`, as ELAN users do; what would overlap goes to `kind#2@participant`.
"""

import re
from collections.abc import Iterable, Sequence

from tools.exchange.intervals import NON_SPEECH, SEGMENTS, SPEECH, WORDS, Interval, in_order

_FIRST = (SPEECH, NON_SPEECH, WORDS, SEGMENTS, "turns")  # from the top, then what was found in them
_ALIGNER = re.compile(r"(.*) - (words|phones)", re.DOTALL)  # the Montreal Forced Aligner's names


def tier_name(kind: str, participant: str, lane: int) -> str:
    return f"{kind}@{participant}" if lane == 1 else f"{kind}#{lane}@{participant}"


def tier_meaning(name: str) -> tuple[str, str]:
    """(kind, participant) of a tier. A foreign name is the participant's, its intervals are segments.

    >>> tier_meaning("words#2@a"), tier_meaning("anna - words"), tier_meaning("Anna")
    (('words', 'a'), ('words', 'anna'), ('segments', 'Anna'))
    """
    kind, at, participant = name.partition("@")
    if at and kind:
        return re.sub(r"#\d+$", "", kind), participant
    aligned = _ALIGNER.fullmatch(name)
    return (aligned[2], aligned[1]) if aligned else (SEGMENTS, name)


def lanes(intervals: Iterable[Interval]) -> dict[tuple[str, str, int], list[Interval]]:
    """(kind, participant, lane from 1) -> intervals that do not overlap. Instants get lanes of their own."""
    found: dict[tuple[str, str, int], list[Interval]] = {}
    for one in in_order(intervals):
        lane = 1
        while not _fits(found.get((one.kind, one.participant, lane), ()), one):
            lane += 1
        found.setdefault((one.kind, one.participant, lane), []).append(one)
    return dict(sorted(found.items(), key=lambda tier: (tier[0][1], _place(tier[0][0]), tier[0][0], tier[0][2])))


def _place(kind: str) -> int:
    return _FIRST.index(kind) if kind in _FIRST else len(_FIRST)


def _fits(lane: Sequence[Interval], one: Interval) -> bool:
    if not lane:
        return True
    last = lane[-1]
    if is_instant(one) or is_instant(last):
        return is_instant(one) and is_instant(last) and last.start_ms < one.start_ms
    return last.end_ms <= one.start_ms


def is_instant(one: Interval) -> bool:
    return one.start_ms == one.end_ms
