"""Tier names, and which interval goes on which tier, for formats whose tiers allow no overlaps.

A tier is called `kind@participant`, as is usual in ELAN; an interval that would overlap goes to `kind#2@participant`.
"""

import re
from collections.abc import Iterable, Sequence

from tools.exchange.intervals import NON_SPEECH, SEGMENTS, SPEECH, WORDS, Interval, in_order

_FIRST = (SPEECH, NON_SPEECH, WORDS, SEGMENTS, "turns")  # from the top; then the kinds derived from them
_ALIGNER = re.compile(r"(.*) - (words?|phones?)", re.DOTALL)  # the Montreal Forced Aligner, P2FA
# Names of tiers in files of one speaker: MFA, P2FA, WebMAUS (ORT-MAU, MAU), Praat's `To TextGrid (silences)`.
_KINDS = {
    WORDS: "words word ort-mau ort",
    "phones": "phones phone phonemes phoneme mau",
    "syllables": "syllables syllable mas",
    SPEECH: "silences speech",
    SEGMENTS: "segments segment utterances utterance sentences sentence transcript transcription text trn",
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names.split()}
_SILENCES = frozenset(
    ["sil", "sp", "pau", "<eps>", "<sil>", "<p:>", "{sl}", "silent"]
)  # labels of aligners and of Praat
_SOUNDING = frozenset({"sounding", "speech"})


def tier_name(kind: str, participant: str, lane: int) -> str:
    return f"{kind}@{participant}" if lane == 1 else f"{kind}#{lane}@{participant}"


def tier_meaning(name: str) -> tuple[str, str]:
    """(kind, participant) of a tier. A name in another form is taken as a participant with segments.

    >>> tier_meaning("words#2@a"), tier_meaning("anna - words"), tier_meaning("words"), tier_meaning("Anna")
    (('words', 'a'), ('words', 'anna'), ('words', ''), ('segments', 'Anna'))
    """
    kind, at, participant = name.partition("@")
    if at and kind:
        return re.sub(r"#\d+$", "", kind), participant.strip()
    if aligned := _ALIGNER.fullmatch(name):
        return _KIND_OF[aligned[2]], aligned[1].strip()
    known = kind_named(name)
    return (known, "") if known else (SEGMENTS, name.strip())


def kind_named(name: str) -> str | None:
    """The kind that a tier of one speaker is called after, if it is."""
    return _KIND_OF.get(name.strip().lower())


def label_text(tier: str, label: str) -> str | None:
    """The text of a label on a tier of an aligner; None for a mark of silence. Other tiers keep their labels."""
    if "@" in tier or not (_ALIGNER.fullmatch(tier) or kind_named(tier)):
        return label
    kind, plain = tier_meaning(tier)[0], label.strip().lower()
    if plain in _SILENCES:
        return None
    return "" if kind == SPEECH and plain in _SOUNDING else label


def lanes(intervals: Iterable[Interval]) -> dict[tuple[str, str, int], list[Interval]]:
    """(kind, participant, lane from 1) -> intervals that do not overlap. Instants have their own lanes."""
    tiers: dict[tuple[str, str, int], list[Interval]] = {}
    for interval in in_order(intervals):
        lane = 1
        while not _fits(tiers.get((interval.kind, interval.participant, lane), ()), interval):
            lane += 1
        tiers.setdefault((interval.kind, interval.participant, lane), []).append(interval)
    return dict(sorted(tiers.items(), key=lambda tier: (tier[0][1], _place(tier[0][0]), tier[0][0], tier[0][2])))


def _place(kind: str) -> int:
    return _FIRST.index(kind) if kind in _FIRST else len(_FIRST)


def _fits(lane: Sequence[Interval], interval: Interval) -> bool:
    if not lane:
        return True
    last = lane[-1]
    if is_instant(interval) or is_instant(last):
        return is_instant(interval) and is_instant(last) and last.start_ms < interval.start_ms
    return last.end_ms <= interval.start_ms


def is_instant(interval: Interval) -> bool:
    return interval.start_ms == interval.end_ms
