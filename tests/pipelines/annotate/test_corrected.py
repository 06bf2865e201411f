"""Corrections win over the rules, the later one over the earlier, and what fits nothing is returned, not applied."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipelines.annotate.corrected import TOLERANCE_MS, correct_events, correct_speech, correct_words
from pipelines.annotate.whisperx_words import TimedWord
from pipelines.sources.annotation_corrections import AnnotationCorrection, annotation_correction
from wanstreamer.clock import Span
from wanstreamer.turns import Event

END_MS = 10_000
EVENT = Event(
    participant="b", start_ms=1000, end_ms=1400, kind="backchannel", label="lexical", source="words", confidence=0.68,
    other="a",
)  # fmt: skip


def line(kind: str, action: str, start_ms: int, end_ms: int, number: int = 1, **fields: Any) -> AnnotationCorrection:
    content = {"kind": kind, "action": action, "participant": "b", "start_ms": start_ms, "end_ms": end_ms, "by": "mk"}
    return annotation_correction({"stage": "annotate"} | content | fields, f"x/s.jsonl line {number}")


def before(event: Event, moved_ms: int = 0) -> dict[str, Any]:
    times = {"start_ms": event.start_ms + moved_ms, "end_ms": event.end_ms + moved_ms}
    return {"kind": event.kind, "label": event.label, **times}


ACOUSTIC = {"kind": "backchannel", "label": "acoustic", "other": "a"}


def test_a_changed_event_is_a_persons() -> None:
    (event,), misfits = correct_events(
        [EVENT], [line("event", "change", 1100, 1500, value=ACOUSTIC, before=before(EVENT))], END_MS, {"a", "b"}
    )
    assert misfits == []
    assert event == replace(EVENT, label="acoustic", start_ms=1100, end_ms=1500, source="person", confidence=1.0)


def test_the_later_of_two_people_wins() -> None:
    first = line("event", "delete", 1000, 1400, before=before(EVENT))
    second = line("event", "change", 1000, 1400, value=ACOUSTIC, before=before(EVENT), by="zo")
    right = line("event", "right", 1000, 1400, before=before(EVENT), by="zo")
    assert correct_events([EVENT], [second, first], END_MS, {"a", "b"}) == ([], [])
    (event,), misfits = correct_events([EVENT], [first, second], END_MS, {"a", "b"})
    assert event.label == "acoustic" and misfits == []
    assert correct_events([EVENT], [second, right], END_MS, {"a", "b"}) == ([EVENT], [])


@given(st.integers(-900, 900))
def test_a_row_that_has_moved_too_far_is_not_touched(moved_ms: int) -> None:
    events, misfits = correct_events(
        [EVENT], [line("event", "delete", 1, 2, 7, before=before(EVENT, moved_ms))], END_MS, {"a", "b"}
    )
    near = abs(moved_ms) <= TOLERANCE_MS
    assert (events == []) == near and (misfits == []) == near
    assert near or misfits == [("b", "s.jsonl line 7: nothing within 250 ms to delete")]


def test_unknown_people_and_times_are_returned() -> None:
    added = [
        line("event", "add", 1, 2, value=ACOUSTIC, participant="c"),
        line("event", "add", END_MS, END_MS + 1, 2, value=ACOUSTIC),
    ]
    events, misfits = correct_events([EVENT], added, END_MS, {"a", "b"})
    assert events == [EVENT] and [who for who, _ in misfits] == ["c", "b"]


def test_words_and_speech() -> None:
    yes = TimedWord(start_ms=0, end_ms=200, text="yes", source="whisper", confidence=0.5)
    changed = line(
        "word", "change", 0, 250, value={"word": "yet"}, before={"word": "yes", "start_ms": 0, "end_ms": 200}
    )
    added = line("word", "add", 300, 400, value={"word": "then"})
    words, misfits = correct_words({"a": None, "b": [yes]}, [added, changed], END_MS)
    assert misfits == [] and words["a"] is None
    assert [(w.start_ms, w.end_ms, w.text, w.source) for w in words["b"] or ()] == [
        (0, 250, "yet", "person"), (300, 400, "then", "person"),
    ]  # fmt: skip
    own = {"a": [Span(0, 500)], "b": [Span(1000, 2000)]}
    moved = line("speech", "change", 1100, 2000, before={"start_ms": 1000, "end_ms": 2000})
    speech, by_people, misfits = correct_speech(own, [moved, line("speech", "add", 3000, 3500)], END_MS)
    assert speech == {"a": [Span(0, 500)], "b": [Span(1100, 2000), Span(3000, 3500)]} and misfits == []
    assert by_people == {"a": [], "b": speech["b"]}


def test_ten_thousand_lines() -> None:
    lines = [line("word", "add", n, n + 1, value={"word": f"w{n}"}) for n in range(9_000)]
    words, _ = correct_words({"b": []}, lines, END_MS)
    assert len(words["b"] or ()) == 9_000


def test_without_corrections_nothing_changes() -> None:
    assert correct_events([EVENT], [], END_MS, {"a", "b"}) == ([EVENT], [])
