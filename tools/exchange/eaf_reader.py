"""ELAN's EAF -> intervals, with the times that ELAN shows.

Times are in slots, and slots may have none: the annotations of a time subdivision share the time of their parent
evenly between the slots that have times, and symbolic subdivisions share all of it (EAF format 3.0, TIME_ORDER).
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from tools.exchange.intervals import WORDS, Interval, Losses, Read, in_order, possible
from tools.exchange.tiers import kind_named, label_text, tier_meaning
from wanstreamer.errors import InputError
from wanstreamer.text_files import FARTHEST_S, number_of, parse_xml, shown

UNTIMED = "annotations without times, left out"
Times = tuple[int, int] | None


class _Slot(NamedTuple):
    order: int  # in the file, which is the order in time
    ms: int | None


class _Note(NamedTuple):
    """One annotation: with slots of its own, or with the parent whose time it shares."""

    id: str
    text: str
    start: _Slot | None = None
    end: _Slot | None = None
    parent: str = ""
    previous: str = ""


@dataclass(kw_only=True)
class _Tier:
    name: str
    participant: str
    parent: str
    notes: list[_Note] = field(default_factory=list)


def read_eaf(path: Path, session_id: str) -> Read:
    """Annotations of all tiers. A TIME_ORIGIN that all media have is applied: times are those of the media."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    root = parse_xml(path.read_bytes(), str(path))
    if root.tag != "ANNOTATION_DOCUMENT":
        raise InputError(f"{path}: not an EAF; open and save it with ELAN")
    losses: Losses = Losses()
    try:
        tiers = _tiers(root, _slots(root))
        shift_ms = _media_origin_ms(root, losses)
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: not an EAF as ELAN saves it ({error}); open and save it with ELAN") from error
    times = _all_times(tiers)
    intervals: list[Interval] = []
    for tier in tiers:
        kind, participant = tier_meaning(tier.name)
        if tier.participant and "@" not in tier.name:
            kind = WORDS if kind_named(tier.name) == WORDS else tier.name
            participant = tier.participant
        for note in tier.notes:
            span, text = times[note.id], label_text(tier.name, note.text)
            if span is None:
                losses[UNTIMED] += 1
            elif text is not None:
                intervals.append(
                    Interval(
                        session_id=session_id,
                        participant=participant,
                        kind=kind,
                        start_ms=span[0] + shift_ms,
                        end_ms=span[1] + shift_ms,
                        text=text,
                    )
                )
    return possible(in_order(intervals), losses), +losses


def _media_origin_ms(root: ElementTree.Element, losses: Losses) -> int:
    """What has to be added to ELAN's times so that they are those of the media: the media begin at TIME_ORIGIN."""
    header = root.find("HEADER")
    units = "milliseconds" if header is None else header.get("TIME_UNITS", "milliseconds")
    if units != "milliseconds":
        raise ValueError(f"TIME_UNITS `{shown(units)}`: expected milliseconds")
    origins = {_whole_ms(media.get("TIME_ORIGIN", "0"), "TIME_ORIGIN") for media in root.iter("MEDIA_DESCRIPTOR")}
    if len(origins) > 1:
        losses["media that begin at different times (TIME_ORIGIN): times are ELAN's, not those of the media"] += 1
    return origins.pop() if len(origins) == 1 else 0


def _slots(root: ElementTree.Element) -> dict[str, _Slot]:
    slots: dict[str, _Slot] = {}
    for order, slot in enumerate(root.iter("TIME_SLOT")):
        name, value = slot.attrib["TIME_SLOT_ID"], slot.get("TIME_VALUE")
        slots[name] = _Slot(order, None if value is None else _whole_ms(value, f"time slot {name}"))
    return slots


def _whole_ms(value: str, what: str) -> int:
    try:
        ms = number_of(value or "0")
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{what} {error}") from error
    if abs(ms) > FARTHEST_S * 1000:
        raise ValueError(f"{what} `{shown(value)}`: no time that a recording has")
    return round(ms)


def _tiers(root: ElementTree.Element, slots: Mapping[str, _Slot]) -> list[_Tier]:
    """Raises KeyError for an attribute or time slot that is missing."""
    tiers = []
    ids: set[str] = set()
    for element in root.iter("TIER"):
        tier = _Tier(
            name=element.attrib["TIER_ID"],
            participant=element.get("PARTICIPANT", "").strip(),
            parent=element.get("PARENT_REF", ""),
        )
        for note in (*element.iter("ALIGNABLE_ANNOTATION"), *element.iter("REF_ANNOTATION")):
            name, text = note.attrib["ANNOTATION_ID"], note.findtext("ANNOTATION_VALUE") or ""
            if name in ids:
                raise ValueError(f"annotation {shown(name)} is there twice")
            ids.add(name)
            if note.tag == "REF_ANNOTATION":
                parent, previous = note.attrib["ANNOTATION_REF"], note.get("PREVIOUS_ANNOTATION", "")
                tier.notes.append(_Note(name, text, parent=parent, previous=previous))
            else:
                start, end = slots[note.attrib["TIME_SLOT_REF1"]], slots[note.attrib["TIME_SLOT_REF2"]]
                tier.notes.append(_Note(name, text, start, end))
        tiers.append(tier)
    return tiers


def _all_times(tiers: Sequence[_Tier]) -> dict[str, Times]:
    """Annotation -> start and end. Parents come first; tiers that depend on each other in a circle have no times."""
    times: dict[str, Times] = {}
    by_name = {tier.name: tier for tier in tiers}
    waiting = list(tiers)
    finished: set[str] = set()
    while waiting:
        ready = [tier for tier in waiting if tier.parent in finished or tier.parent not in by_name]
        if not ready:
            break
        for tier in ready:
            _add_subdivisions(tier, times)
            _add_aligned(tier, by_name.get(tier.parent), times)
            finished.add(tier.name)
        waiting = [tier for tier in waiting if tier.name not in finished]
    return {note.id: times.get(note.id) for tier in tiers for note in tier.notes}


def _add_subdivisions(tier: _Tier, times: dict[str, Times]) -> None:
    """Annotations that share the time of a parent annotation: one has all of it, several have equal parts."""
    children: dict[str, list[_Note]] = {}
    for note in tier.notes:
        if note.start is None:
            children.setdefault(note.parent, []).append(note)
    for parent, notes in children.items():
        span = times.get(parent)
        for place, note in enumerate(_chained(notes)):
            times[note.id] = span and (_part(span, place, len(notes)), _part(span, place + 1, len(notes)))


def _chained(notes: Sequence[_Note]) -> list[_Note]:
    """In the order of PREVIOUS_ANNOTATION; what is in no chain follows in the order of the file."""
    after = {note.previous: note for note in notes}
    chain: dict[str, _Note] = {}
    note = after.get("")
    while note is not None and note.id not in chain:
        chain[note.id] = note
        note = after.get(note.id)
    return [*chain.values(), *(note for note in notes if note.id not in chain)]


def _part(span: tuple[int, int], place: int, count: int) -> int:
    return span[0] + (span[1] - span[0]) * place // count


def _add_aligned(tier: _Tier, parent: _Tier | None, times: dict[str, Times]) -> None:
    """Annotations with slots. A run of them between two known times has equal parts of the time between."""
    own = sorted((note for note in tier.notes if note.start), key=lambda note: (note.start, note.end))
    known = [
        _Around(note.start.order, note.end.order, times.get(note.id))
        for note in (parent.notes if parent else ())
        if note.start and note.end
    ]
    parents = sorted(known, key=lambda around: (around.first, around.last))
    run: list[_Note] = []
    around: Times = None
    begin_ms: int | None = None  # where a run begins whose first slot has no time
    for note in own:
        assert note.start and note.end
        outside = _parent_times(note.start.order, note.end.order, parents)
        if outside != around or note.start.ms is not None:
            _share(run, begin_ms, note.start.ms if outside == around else None, around, times)
            run = []
        if outside != around or begin_ms is None:
            begin_ms = outside and outside[0]
        around = outside
        run.append(note)
        if note.end.ms is not None:
            _share(run, begin_ms, None, around, times)
            run, begin_ms = [], note.end.ms
    _share(run, begin_ms, None, around, times)


def _share(
    run: Sequence[_Note], begin_ms: int | None, next_ms: int | None, around: Times, times: dict[str, Times]
) -> None:
    """`next_ms`: when the next annotation of the same parent begins, if known; `around`: the times of the parent."""
    if not run:
        return
    first, last = run[0].start, run[-1].end
    assert first and last
    start_ms = first.ms if first.ms is not None else begin_ms
    end_ms = next((ms for ms in (last.ms, next_ms, around and around[1]) if ms is not None), None)
    span = None if start_ms is None or end_ms is None else (start_ms, end_ms)
    for place, note in enumerate(run):
        times[note.id] = span and (_part(span, place, len(run)), _part(span, place + 1, len(run)))


class _Around(NamedTuple):
    """A parent's annotation: the places of its slots in the file, and its times."""

    first: int
    last: int
    times: Times


def _parent_times(first: int, last: int, parents: Sequence[_Around]) -> Times:
    """The times of the parent whose slots are around the slots `first` to `last`; `parents` are in order."""
    place = bisect_right(parents, first, key=lambda around: around.first)
    if not place or parents[place - 1].last < last:
        return None
    return parents[place - 1].times
