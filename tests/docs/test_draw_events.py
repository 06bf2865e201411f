"""The committed pictures of events are what the turn rules and `tools.picture` give today."""

from xml.etree import ElementTree

import pytest

from docs import draw_events
from tests.helpers.paths import ROOT
from wanstreamer.turns import Event

PAGE = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")


def test_committed_pictures_are_drawn_from_the_rules() -> None:
    drawn = draw_events.drawings()
    committed = {path: path.read_text(encoding="utf-8") for path in draw_events.FOLDER.glob("event-*.svg")}
    stale = sorted(path.name for path in drawn.keys() | committed.keys() if drawn.get(path) != committed.get(path))
    assert stale == [], "run python -m docs.draw_events and commit docs/images"


@pytest.mark.parametrize("name", draw_events.EXAMPLES)
def test_an_example_shows_what_it_is_named_after(name: str) -> None:
    example = draw_events.EXAMPLES[name]
    annotation = draw_events.annotate(example)
    labels = {event.label for event in annotation.events}
    assert set(example.events) <= labels
    notes = [note for _, note in draw_events.marks_of(example, annotation)]
    root = ElementTree.fromstring(draw_events.draw(example))
    texts = {"".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert notes and set(notes) <= texts


@pytest.mark.parametrize("name", draw_events.EXAMPLES)
def test_the_page_shows_every_picture(name: str) -> None:
    assert f"](images/event-{name}.svg)" in PAGE


def test_outcomes_are_those_of_the_files_names() -> None:
    outcomes = {}
    for name, example in draw_events.EXAMPLES.items():
        if name.startswith("interruption-"):
            (event,) = (event for event in draw_events.annotate(example).events if event.label == "interruption")
            outcomes[name] = event.outcome
    assert outcomes == {f"interruption-{o.replace('_', '-')}": o for o in ("floor_taking", "failed", "both_stop")}


def test_a_description_names_the_columns_that_are_not_null() -> None:
    event = Event(
        participant="b", start_ms=10, end_ms=40, kind="transition", label="interruption", source="timing",
        confidence=0.9, outcome="failed", other="a", yield_ms=30,
    )  # fmt: skip
    assert draw_events.describe(event) == "interruption: participant b, other a, outcome failed, yield_ms +30"
