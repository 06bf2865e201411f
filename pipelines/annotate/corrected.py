"""Words, speech and events of a session -> the same as people have corrected them.

Lines count in the order of the file. A line finds its row by `before`: the participant and what identifies the row
(a word's text, an event's kind and label), with both edges within TOLERANCE_MS; the nearest such row counts. A row is
also found by what it was before an earlier line: when two people contradict each other, the later line wins. `right`
and `wrong` are judgements for tools.score; `right` also brings back what an earlier line has changed or deleted.
A line whose row does not exist (any more) changes nothing and is returned, with its reason.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pipelines.annotate.whisperx_words import TimedWord
from pipelines.sources.annotation_corrections import IDENTITY, AnnotationCorrection
from wanstreamer.clock import Span, merge_spans
from wanstreamer.turns import Event

TOLERANCE_MS = 250  # how far each edge of a row may have moved since a person saw it
PERSON = "person"  # `source` of a row that a person has made
Row = TypeVar("Row")
Misfit = tuple[str, str]  # participant, and which line does not fit; without any text of the transcript


@dataclass(kw_only=True, eq=False)
class _Item(Generic[Row]):
    """A row, None once deleted, and everything that it was: what a `before` is compared with."""

    row: Row | None
    was: list[tuple[dict[str, Any], Row]] = field(default_factory=list)


def correct_words(
    words: Mapping[str, Sequence[TimedWord] | None], corrections: Iterable[AnnotationCorrection], duration_ms: int
) -> tuple[dict[str, list[TimedWord] | None], list[Misfit]]:
    """Words by participant, in order. A participant without a transcript has one after a word is added."""
    rows = [(who, word) for who, own in words.items() for word in own or ()]

    def made(line: AnnotationCorrection, old: tuple[str, TimedWord] | None) -> tuple[str, TimedWord]:
        times = {"start_ms": line.span.start_ms, "end_ms": min(line.span.end_ms, duration_ms)}
        return line.participant, TimedWord(**times, text=line.value["word"], source=PERSON, confidence=1.0)

    def identity(row: tuple[str, TimedWord]) -> dict[str, Any]:
        who, word = row
        return {"participant": who, "start_ms": word.start_ms, "end_ms": word.end_ms, "word": word.text}

    after, misfits = _replay("word", rows, corrections, identity, made, duration_ms, set(words))
    known = {who for who, own in words.items() if own is not None} | {who for who, _ in after}
    by_person: dict[str, list[TimedWord] | None] = {who: [] if who in known else None for who in words}
    for who, word in sorted(after, key=lambda row: (row[1].start_ms, row[1].end_ms)):
        own = by_person[who]
        assert own is not None
        own.append(word)
    return by_person, misfits


def correct_speech(
    speech: Mapping[str, Sequence[Span]], corrections: Iterable[AnnotationCorrection], duration_ms: int
) -> tuple[dict[str, list[Span]], dict[str, list[Span]], list[Misfit]]:
    """Speech by participant, merged; the spans that people have put there; and the lines that do not fit."""
    rows = [(who, span, False) for who, own in speech.items() for span in merge_spans(own)]

    def made(line: AnnotationCorrection, old: tuple[str, Span, bool] | None) -> tuple[str, Span, bool]:
        return line.participant, Span(line.span.start_ms, min(line.span.end_ms, duration_ms)), True

    def identity(row: tuple[str, Span, bool]) -> dict[str, Any]:
        return {"participant": row[0], "start_ms": row[1].start_ms, "end_ms": row[1].end_ms}

    after, misfits = _replay("speech", rows, corrections, identity, made, duration_ms, set(speech))
    merged = {who: merge_spans(span for other, span, _ in after if other == who) for who in speech}
    by_people = {who: [span for other, span, by_person in after if other == who and by_person] for who in speech}
    return merged, by_people, misfits


def correct_events(
    events: Sequence[Event], corrections: Iterable[AnnotationCorrection], duration_ms: int, people: set[str]
) -> tuple[list[Event], list[Misfit]]:
    """Events in the order of the rules. Two equal ones that people have added are one."""

    def made(line: AnnotationCorrection, old: Event | None) -> Event:
        value: dict[str, Any] = dict.fromkeys(("outcome", "other", "yield_ms", "fto_ms")) | dict(line.value)
        times: dict[str, Any] = {"start_ms": line.span.start_ms, "end_ms": min(line.span.end_ms, duration_ms)}
        if old is not None and (old.start_ms, old.end_ms, old.label) == (*times.values(), value["label"]):
            measured = {name: getattr(old, name) for name in ("yield_ms", "fto_ms") if name not in line.value}
            value |= measured  # neither the times nor the label have changed: what was measured still holds
        return Event(participant=line.participant, source=PERSON, confidence=1.0, **times, **value)

    def identity(event: Event) -> dict[str, Any]:
        names = ("participant", "start_ms", "end_ms", "kind", "label")
        return {name: getattr(event, name) for name in names}

    after, misfits = _replay("event", events, corrections, identity, made, duration_ms, people)
    unique = {tuple(identity(event).values()): event for event in after}  # the later one stays
    order = sorted(unique.values(), key=lambda row: (row.start_ms, row.end_ms, row.kind, row.participant, row.label))
    return order, misfits


def _replay(
    kind: str,
    rows: Iterable[Row],
    corrections: Iterable[AnnotationCorrection],
    identity: Callable[[Row], dict[str, Any]],
    made: Callable[[AnnotationCorrection, Row | None], Row],
    duration_ms: int,
    people: set[str],
) -> tuple[list[Row], list[Misfit]]:
    items: list[_Item[Row]] = []
    index: dict[tuple[Any, ...], list[_Item[Row]]] = {}

    def note(item: _Item[Row], row: Row) -> None:
        item.row = row
        item.was.append((identity(row), row))
        own = index.setdefault(_names(kind, item.was[-1][0]), [])
        if item not in own[-1:]:
            own.append(item)

    def put(row: Row) -> None:
        items.append(_Item(row=row))
        note(items[-1], row)

    for row in rows:
        put(row)
    misfits: list[Misfit] = []
    for line in corrections:
        if line.kind != kind:
            continue
        where = line.where.rpartition("/")[2]
        if line.participant not in people or line.value.get("other") not in (None, *people):
            misfits.append((line.participant, f"{where}: no such participant"))
            continue
        if line.action in ("add", "change") and line.span.start_ms >= duration_ms:
            misfits.append((line.participant, f"{where}: after the end of the session ({duration_ms} ms)"))
            continue
        if line.action == "add":
            row = made(line, None)
            same = index.get(_names(kind, identity(row)), ())
            if not any(item.row is not None and identity(item.row) == identity(row) for item in same):
                put(row)
            continue
        item, place = _find(index.get(_names(kind, line.before or {}), ()), line)
        if item is None:
            misfits.append((line.participant, f"{where}: nothing within {TOLERANCE_MS} ms to {line.action}"))
        elif line.action == "delete":
            item.row = None
        elif line.action == "change":
            note(item, made(line, item.was[place][1]))
        elif line.action == "right":
            item.row = item.was[place][1]
    return [item.row for item in items if item.row is not None], misfits


def _names(kind: str, row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in ("participant", *IDENTITY[kind]))


def _find(items: Sequence[_Item[Row]], line: AnnotationCorrection) -> tuple[_Item[Row] | None, int]:
    """The item that is or was what `before` says, and at which place of its past; a row that still is wins."""
    before = line.before or {}
    best: tuple[tuple[int, bool], _Item[Row], int] | None = None
    for item in items:
        for place, (was, row) in enumerate(item.was):
            if _names(line.kind, was) != _names(line.kind, before):
                continue
            apart = [abs(was[name] - before[name]) for name in ("start_ms", "end_ms")]
            if max(apart) > TOLERANCE_MS:
                continue
            rank = (sum(apart), row is not item.row)
            if best is None or rank < best[0]:
                best = rank, item, place
    return (best[1], best[2]) if best else (None, 0)


def by_person(rows: Sequence[dict[str, Any]], spans: Mapping[str, Sequence[Span]]) -> list[dict[str, Any]]:
    """Rows of the table speech; those that hold a span of a person are marked as a person's."""
    return [
        row | {"source": PERSON, "confidence": 1.0}
        if any(span.start_ms < row["end_ms"] and row["start_ms"] < span.end_ms for span in spans[row["participant"]])
        else row
        for row in rows
    ]
