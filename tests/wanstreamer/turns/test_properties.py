"""What holds of the turn rules for any intervals and words."""

from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.counts import examples
from tests.helpers.dialogues import PARAMS, conversations
from wanstreamer.clock import Span
from wanstreamer.turns import Event, Word, annotate_session, speaking_stretches


@examples(300)
@given(conversations())
def test_every_ipu_is_in_exactly_one_turn_or_backchannel(conversation: tuple[dict, dict]) -> None:
    annotation = annotate_session(*conversation, PARAMS)
    placed = [(i.participant, i.start_ms, i.end_ms) for turn in annotation.turns for i in turn.ipus]
    placed += [(e.participant, e.start_ms, e.end_ms) for e in annotation.events if e.kind == "backchannel"]
    assert sorted(placed) == sorted((p, i.start_ms, i.end_ms) for p, own in annotation.ipus.items() for i in own)


@examples(300)
@given(conversations(("a", "b", "c")))
def test_every_turn_begins_with_exactly_one_transition(conversation: tuple[dict, dict]) -> None:
    annotation = annotate_session(*conversation, PARAMS)
    onsets = sorted((e.participant, e.start_ms) for e in annotation.events if e.kind == "transition")
    assert onsets == sorted((t.participant, t.start_ms) for t in annotation.turns)
    for event in annotation.events:
        assert (event.outcome is not None) == (event.label in ("interruption", "simultaneous_start"))
        assert (event.yield_ms is not None) == (event.label == "interruption")


@examples(300)
@given(conversations())
def test_states_and_lone_speech_partition_the_time(conversation: tuple[dict, dict]) -> None:
    annotation = annotate_session(*conversation, PARAMS)
    alone = [(s.start_ms, s.end_ms) for s in speaking_stretches(annotation.ipus) if len(s.speaking) == 1]
    cover = sorted(
        alone + [(e.start_ms, e.end_ms) for e in annotation.events if e.kind == "state" and e.end_ms > e.start_ms]
    )
    for (_, end), (start, _) in zip(cover, cover[1:], strict=False):
        assert end == start
    spans = [i for own in annotation.ipus.values() for i in own]
    if spans:
        assert (cover[0][0], cover[-1][1]) == (min(i.start_ms for i in spans), max(i.end_ms for i in spans))


@examples(300)
@given(conversations())
def test_rows_have_unique_keys(conversation: tuple[dict, dict]) -> None:
    annotation = annotate_session(*conversation, PARAMS)
    keys = [(e.participant, e.kind, e.start_ms, e.end_ms) for e in annotation.events]
    assert len(set(keys)) == len(keys)
    assert len({(t.participant, t.start_ms) for t in annotation.turns}) == len(annotation.turns)


@examples(200)
@given(conversations(), st.integers(-5000, 10**7))
def test_shifting_the_time_shifts_the_result(conversation: tuple[dict, dict], by_ms: int) -> None:
    speech, words = conversation
    moved_speech = {p: [Span(s.start_ms + by_ms, s.end_ms + by_ms) for s in own] for p, own in speech.items()}
    moved_words = {
        p: own and [Word(start_ms=w.start_ms + by_ms, end_ms=w.end_ms + by_ms, text=w.text) for w in own]
        for p, own in words.items()
    }
    annotation, moved = annotate_session(speech, words, PARAMS), annotate_session(moved_speech, moved_words, PARAMS)
    assert [row(e, by_ms) for e in annotation.events] == [row(e, 0) for e in moved.events]
    assert [(c.start_ms + by_ms, c.owner) for c in annotation.floor] == [(c.start_ms, c.owner) for c in moved.floor]


def row(event: Event, by_ms: int, names: dict[str, str] | None = None) -> tuple:
    name = {"a": "a", "b": "b", "c": "c"} | (names or {})
    # An ambiguous state belongs to no one in particular.
    who = "" if event.label == "boundary_ambiguous" else name[event.participant]
    return (
        event.start_ms + by_ms, event.end_ms + by_ms, event.kind, event.label, who, event.outcome or "",
        name[event.other] if event.other else "", event.yield_ms, event.fto_ms, event.source, event.confidence,
    )  # fmt: skip


@examples(300)
@given(conversations(), st.sampled_from([{"a": "b", "b": "a"}, {"a": "x", "b": "c"}]))
def test_renaming_the_participants_renames_the_result(conversation: tuple[dict, dict], names: dict[str, str]) -> None:
    speech, words = conversation
    annotation = annotate_session(speech, words, PARAMS)
    renamed = annotate_session(
        {names[p]: own for p, own in speech.items()}, {names[p]: own for p, own in words.items()}, PARAMS
    )
    back = {new: old for old, new in names.items()}
    assert sorted(map(repr, (row(e, 0) for e in annotation.events))) == sorted(
        map(repr, (row(e, 0, back) for e in renamed.events))
    )
    assert {(t.participant, t.start_ms, t.is_primary) for t in annotation.turns} == {
        (back[t.participant], t.start_ms, t.is_primary) for t in renamed.turns
    }


def without_ties(speech: dict, words: dict) -> tuple[dict, dict]:
    """No two spans share an edge: ties among three have no order of their own. Spans that would are left out."""
    taken: set[int] = set()
    kept: dict[str, list[Span]] = {p: [] for p in speech}
    for p, own in speech.items():
        for span in own:
            if taken.isdisjoint(span):
                kept[p].append(span)
                taken.update(span)
    return kept, {
        p: own and [w for w in own if any(s.start_ms <= w.start_ms and w.end_ms <= s.end_ms for s in kept[p])]
        for p, own in words.items()
    }


@examples(100)
@given(conversations(("a", "b", "c")), st.permutations(["a", "b", "c"]))
def test_renaming_three_participants_renames_the_result(conversation: tuple[dict, dict], order: list[str]) -> None:
    speech, words = without_ties(*conversation)
    names = dict(zip(("a", "b", "c"), order, strict=True))
    back = {new: old for old, new in names.items()}
    annotation = annotate_session(speech, words, PARAMS)
    renamed = annotate_session(
        {names[p]: o for p, o in speech.items()}, {names[p]: o for p, o in words.items()}, PARAMS
    )
    changes = [e for e in annotation.events if e.kind != "state"]
    assert sorted(map(repr, (row(e, 0) for e in changes))) == sorted(
        map(repr, (row(e, 0, back) for e in renamed.events if e.kind != "state"))
    )
