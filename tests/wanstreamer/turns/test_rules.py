"""The turn rules on synthetic conversations with known truth; what holds for any intervals: test_turn_properties.py."""

import time

import pytest

from tests.helpers.dialogues import PARAMS, spread
from wanstreamer.clock import Span
from wanstreamer.turns import Annotation, Event, annotate_session, floor_at
from wanstreamer.turns.lexical import asks, ends_phrase, is_assent, is_backchannel_wording, is_full_yes

Utterance = tuple[int, int, str]


def talk(with_words: bool = True, lexical: bool = True, **utterances: list[Utterance]) -> Annotation:
    """Annotate `a=[(start_ms, end_ms, "some words."), ...]`: one speech interval each, the words spread over it."""
    words = {p: [word for utterance in own for word in spread(*utterance)] for p, own in utterances.items()}
    speech = {p: [Span(start, end) for start, end, _ in own] for p, own in utterances.items()}
    return annotate_session(speech, words if with_words else {}, PARAMS, lexical=lexical)


def transitions(annotation: Annotation) -> list[tuple[str, str, str | None]]:
    return [(e.participant, e.label, e.outcome) for e in annotation.events if e.kind == "transition"]


def backchannels(annotation: Annotation) -> list[tuple[str, int, str]]:
    return [(e.participant, e.start_ms, e.label) for e in annotation.events if e.kind == "backchannel"]


def states(annotation: Annotation) -> list[tuple[str, str, int, int]]:
    return [(e.participant, e.label, e.start_ms, e.end_ms) for e in annotation.events if e.kind == "state"]


def only(annotation: Annotation, label: str) -> Event:
    (event,) = [e for e in annotation.events if e.label == label]
    return event


def test_a_short_answer_between_two_questions_is_a_turn() -> None:
    annotation = talk(
        a=[(0, 1800, "What colour is it?"), (3400, 5000, "And how large is it?")],
        b=[(2100, 3000, "Blue.")],
    )
    assert [(t.participant, t.is_primary) for t in annotation.turns] == [("a", True), ("b", True), ("a", True)]
    assert transitions(annotation) == [
        ("a", "initiation", None), ("b", "smooth_shift", None), ("a", "smooth_shift", None)
    ]  # fmt: skip
    assert [e.fto_ms for e in annotation.events if e.kind == "transition"] == [None, 300, 400]
    assert backchannels(annotation) == []


@pytest.mark.parametrize(("with_words", "label"), [(True, "lexical"), (False, "acoustic")])
def test_mhm_inside_a_long_turn_is_a_backchannel(with_words: bool, label: str) -> None:
    annotation = talk(
        with_words,
        a=[(0, 3000, "So we went down to the sea and then"), (3300, 6000, "we took the boat to the island.")],
        b=[(2900, 3250, "Mhm.")],
    )
    assert backchannels(annotation) == [("b", 2900, label)]
    assert [(t.participant, t.start_ms, t.end_ms) for t in annotation.turns] == [("a", 0, 6000)]
    assert transitions(annotation) == [("a", "initiation", None)]


@pytest.mark.parametrize("with_words", [True, False])
def test_mhm_and_yeah_are_one_cluster_of_two_backchannels(with_words: bool) -> None:
    annotation = talk(
        with_words,
        a=[(0, 6000, "So we went down to the sea and then we took the boat to the island.")],
        b=[(2000, 2300, "Mhm."), (2700, 3000, "Yeah.")],
    )
    assert [(p, start) for p, start, _ in backchannels(annotation)] == [("b", 2000), ("b", 2700)]
    assert len(annotation.turns) == 1


@pytest.mark.parametrize("with_words", [True, False])
def test_mhm_that_leads_into_a_sentence_is_an_attempt(with_words: bool) -> None:
    annotation = talk(
        with_words,
        a=[(0, 6000, "So we went down to the sea and then we took the boat to the island.")],
        b=[(2000, 3300, "Mhm, I think so too.")],
    )
    assert backchannels(annotation) == []
    assert transitions(annotation) == [("a", "initiation", None), ("b", "interruption", "failed")]
    assert [t.is_primary for t in annotation.turns] == [True, False]


def test_a_candidate_that_starts_a_longer_turn_belongs_to_it() -> None:
    annotation = talk(
        a=[(0, 3000, "We took the boat to the island.")],
        b=[(3200, 3500, "Yeah."), (4000, 6000, "I went there last year.")],
    )
    assert backchannels(annotation) == []
    assert [(t.participant, t.start_ms, t.end_ms) for t in annotation.turns] == [("a", 0, 3000), ("b", 3200, 6000)]


def test_breaking_off_in_mid_phrase_gives_up_the_floor() -> None:
    annotation = talk(
        a=[(0, 3250, "So we went down to the sea and then we")], b=[(3000, 6000, "No wait, that was the year before.")]
    )
    event = only(annotation, "interruption")
    assert (event.participant, event.other, event.outcome, event.yield_ms) == ("b", "a", "floor_taking", 250)
    assert (event.start_ms, event.end_ms, event.fto_ms) == (3000, 3250, -250)
    assert floor_at(annotation.floor, 2999) == "a"
    assert floor_at(annotation.floor, 3000) == "b"


def test_without_words_a_short_overlap_counts_as_complete_with_less_confidence() -> None:
    a, b = [(0, 3250, "So we went to the sea and")], [(3000, 6000, "No wait, that was before.")]
    sure, unsure = only(talk(a=a, b=b), "interruption"), only(talk(False, a=a, b=b), "terminal_overlap")
    assert unsure.confidence < sure.confidence
    assert (unsure.source, sure.source) == ("timing", "words")


@pytest.mark.parametrize(
    ("a", "b", "label"),
    [
        ((0, 3800), (3000, 6000), "terminal_overlap"),  # nothing but overlap
        ((0, 4100), (3000, 6000), "interruption"),  # turns overlap less than that at their ends
        ((0, 6000), (3000, 5000), "interruption"),  # the incumbent goes on
        ((0, 3940), (2950, 4060), "interruption"),  # both stop
    ],
)
def test_without_words_an_interruption_needs_more_than_overlap(
    a: tuple[int, int], b: tuple[int, int], label: str
) -> None:
    annotation = talk(False, a=[(*a, "x")], b=[(*b, "x")])
    (event,) = [e for e in annotation.events if e.kind == "transition" and e.participant == "b"]
    assert (event.label, event.source) == (label, "timing")
    words = talk(a=[(*a, "so we went down to the")], b=[(*b, "no wait that was before we")])
    assert [e.label for e in words.events if e.kind == "transition" and e.participant == "b"] == ["interruption"]


def test_overlap_at_the_end_of_a_complete_turn_is_no_interruption() -> None:
    annotation = talk(
        a=[(0, 3000, "So we took the boat to the island.")], b=[(2200, 5000, "We did that too the year before.")]
    )
    event = only(annotation, "terminal_overlap")
    assert (event.fto_ms, event.yield_ms, event.outcome) == (-800, None, None)


def test_a_floor_that_was_taken_and_given_back() -> None:
    annotation = talk(
        a=[(0, 3000, "So we went down to the sea and then we"), (4300, 7000, "took the boat to the island.")],
        b=[(2700, 4000, "Not to the lake?")],
    )
    assert transitions(annotation) == [
        ("a", "initiation", None),
        ("b", "interruption", "floor_taking"),
        ("a", "smooth_shift", None),
    ]
    assert only(annotation, "smooth_shift").fto_ms == 300


@pytest.mark.parametrize("with_words", [True, False])
def test_a_simultaneous_start_in_which_both_stop_leaves_the_floor_to_no_one(with_words: bool) -> None:
    annotation = talk(
        with_words,
        a=[(0, 2000, "We took the boat to the island."), (4000, 5200, "And then we")],
        b=[(4150, 5300, "Where did you")],
    )
    assert transitions(annotation)[1:] == [
        ("a", "simultaneous_start", "both_stop"), ("b", "simultaneous_start", "both_stop")
    ]  # fmt: skip
    assert floor_at(annotation.floor, 3900) == "a"
    assert floor_at(annotation.floor, 4100) is None
    assert floor_at(annotation.floor, 5250) is None


def test_the_winner_of_a_simultaneous_start_holds_the_floor() -> None:
    annotation = talk(
        a=[(0, 2000, "We took the boat."), (3600, 4000, "And then")], b=[(3700, 6000, "Where did you take it?")]
    )
    assert transitions(annotation)[1:] == [
        ("a", "simultaneous_start", "gives_way"), ("b", "simultaneous_start", "goes_on")
    ]  # fmt: skip
    assert floor_at(annotation.floor, 5000) == "b"
    assert [e.fto_ms for e in annotation.events if e.label == "simultaneous_start"] == [None, 1700]


@pytest.mark.parametrize("with_words", [True, False])
def test_an_own_pause_of_1600_ms_makes_two_turns_and_a_hold(with_words: bool) -> None:
    annotation = talk(with_words, a=[(0, 2000, "We took the boat."), (3600, 6000, "It was a long way out.")], b=[])
    assert transitions(annotation) == [("a", "initiation", None), ("a", "hold", None)]


def test_yes_after_a_question_is_an_answer_with_words() -> None:
    annotation = talk(a=[(0, 1500, "Is it red?"), (2500, 5000, "Then it must be mine.")], b=[(1750, 2100, "Yes.")])
    assert backchannels(annotation) == []
    assert [t.participant for t in annotation.turns] == ["a", "b", "a"]
    assert transitions(annotation)[1:] == [("b", "smooth_shift", None), ("a", "smooth_shift", None)]


def test_yes_after_a_question_is_a_doubtful_backchannel_without_words() -> None:
    a, b = [(0, 1500, "Is it red?"), (2500, 5000, "Then it must be mine.")], [(1750, 2100, "Yes.")]
    doubtful = only(talk(False, a=a, b=b), "acoustic")
    inside = only(talk(False, a=[(0, 5000, "x")], b=[(1750, 2100, "y")]), "acoustic")
    assert doubtful.confidence < inside.confidence
    assert doubtful.source == "timing"


def test_without_punctuation_the_form_of_the_clause_makes_the_question() -> None:
    annotation = talk(
        a=[(0, 1500, "have you got a mill"), (2500, 5000, "then go round it to the south of the page")],
        b=[(1750, 2100, "uh-huh")],
    )
    assert backchannels(annotation) == []
    annotation = talk(
        a=[(0, 1500, "go down to the mill"), (2500, 5000, "then go round it to the south of the page")],
        b=[(1750, 2100, "uh-huh")],
    )
    assert backchannels(annotation) == [("b", 1750, "lexical")]


GOES_ON = (2600, 6000, "then go round it to the south of the page")


def test_who_leads_the_talk_confirms_and_does_not_backchannel() -> None:
    listener = talk(a=[(0, 2000, "go down to the mill"), GOES_ON], b=[(2100, 2400, "uh-huh")])
    assert backchannels(listener) == [("b", 2100, "lexical")]
    lead = [(0, 5000, "so from there you go all the way round to the mill"), (8000, 12_000, "and then up to the north")]
    check = [(5400, 6500, "down to the mill"), (7200, 7900, "the old mill")]
    assert backchannels(talk(a=check, b=[*lead, (6700, 7000, "uh-huh")])) == []
    # "Right" takes in what was heard: half of the talk is enough, but not next to none.
    half = [(3500, 5000, "so from there you go down")]
    assert backchannels(talk(a=check, b=[*half, (6700, 7000, "right")])) == [("b", 6700, "lexical")]
    assert backchannels(talk(a=check, b=[*half, (6700, 7000, "uh-huh")])) == []
    assert backchannels(talk(a=check, b=[*lead, (6700, 7000, "right")])) == []


def test_a_yes_to_what_only_the_listener_knows_is_an_answer() -> None:
    for text in ("you've got a mill there", "see the mill on the left"):
        assert backchannels(talk(a=[(0, 2000, text), GOES_ON], b=[(2100, 2400, "uh-huh")])) == []
    long_ago = [(0, 900, "you've got a mill there"), (1000, 4000, "well " * 15), (4600, 8000, "then go round it")]
    assert backchannels(talk(a=long_ago, b=[(4100, 4400, "uh-huh")])) == [("b", 4100, "lexical")]


def test_a_yes_that_is_received_was_an_answer() -> None:
    at_once = [(0, 2000, "go down to the mill"), (2600, 6000, "right then go round it to the south")]
    assert backchannels(talk(a=at_once, b=[(2100, 2400, "uh-huh")])) == []
    later = [(0, 2000, "go down to the mill"), (3600, 6000, "right then go round it to the south")]
    assert backchannels(talk(a=later, b=[(2100, 2400, "uh-huh")])) == [("b", 2100, "lexical")]


def test_a_full_yes_is_a_backchannel_only_during_talk() -> None:
    assert backchannels(talk(a=[(0, 2000, "go down to the mill"), GOES_ON], b=[(2100, 2400, "yes")])) == []
    during_talk = talk(a=[(0, 6000, "go down to the mill then round it to the south")], b=[(2100, 2400, "yes")])
    assert backchannels(during_talk) == [("b", 2100, "lexical")]


@pytest.mark.parametrize("tag", ["okay", "now okay", "right okay"])
def test_a_tag_after_a_pause_of_ones_own_is_a_check(tag: str) -> None:
    asked = talk(a=[(0, 2000, "go down to the mill"), (2500, 2900, tag), (3600, 6000, "then go round")],
                 b=[(3000, 3300, "right")])  # fmt: skip
    assert backchannels(asked) == []


@pytest.mark.parametrize(("before", "expected"), [("okay", []), ("right okay", []), ("yeah", [("b", 3500, "lexical")])])
def test_okay_on_its_own_is_a_check_and_yeah_is_a_response(before: str, expected: list[tuple[str, int, str]]) -> None:
    """Without a pause of one's own before it: b spoke in between."""
    b = [(2100, 2500, "the mill"), (3500, 3800, "right")]
    annotation = talk(
        a=[(0, 2000, "go down to the old mill"), (2900, 3200, before), (4200, 7000, "then go round it")], b=b
    )
    assert backchannels(annotation) == expected


def test_other_languages_fall_back_on_timing() -> None:
    a, b = [(0, 6000, "Wir sind mit dem Boot auf die Insel gefahren.")], [(2000, 2300, "Ja.")]
    assert backchannels(talk(lexical=False, a=a, b=b)) == [("b", 2000, "acoustic")]
    assert backchannels(talk(a=a, b=b)) == []


def test_the_clauses_of_other_languages_are_not_judged_as_english() -> None:
    """German "an" and "was" end clauses; as English words they never would, or only in some."""
    for text in ("wann fängt das denn an", "weißt du was"):
        annotation = talk(lexical=False, a=[(0, 2000, text)], b=[(2600, 4000, "um acht glaube ich")])
        event = only(annotation, "smooth_shift")
        assert (event.source, annotation.turns[0].complete) == ("timing", None)
        assert transitions(talk(a=[(0, 2000, "then an")], b=[(2600, 4000, "was it")]))[1][1] == "pause_interruption"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("wir fahren um,", "pause_interruption"),
        ("er dreht um.", "smooth_shift"),
        ("क्या यह लाल है।", "smooth_shift"),
        ("هل هو أحمر؟", "smooth_shift"),
    ],
)
def test_punctuation_decides_in_all_languages(text: str, label: str) -> None:
    first = (0, 1500, "ja." if "।" not in text and "؟" not in text else text)
    annotation = talk(lexical=False, a=[first, (1700, 3000, text)], b=[(3600, 5000, "x")])
    assert transitions(annotation)[1] == ("b", label, None)
    assert only(annotation, label).source == "words"


def test_short_ipus_are_kept() -> None:
    annotation = talk(a=[(0, 60, "Oh"), (1000, 3000, "we took the boat.")], b=[])
    assert [(i.start_ms, i.end_ms) for i in annotation.ipus["a"]] == [(0, 60), (1000, 3000)]


def test_ipus_join_silences_up_to_200_ms() -> None:
    annotation = talk(a=[(0, 500, "We"), (700, 1000, "took"), (1201, 1500, "it.")], b=[])
    assert [(i.start_ms, i.end_ms) for i in annotation.ipus["a"]] == [(0, 1000), (1201, 1500)]


def test_a_slow_answer_is_no_initiation_and_a_late_remark_is() -> None:
    asked = talk(a=[(0, 2000, "Where did you take it?")], b=[(5500, 7000, "To the island.")])
    stated = talk(a=[(0, 2000, "We took it home.")], b=[(5500, 7000, "To the island.")])
    assert transitions(asked)[1] == ("b", "smooth_shift", None)
    assert transitions(stated)[1] == ("b", "initiation", None)
    assert floor_at(stated.floor, 4999) == "a"
    assert floor_at(stated.floor, 5000) is None


def test_an_unfinished_turn_that_fell_silent_is_a_pause_interruption() -> None:
    annotation = talk(a=[(0, 2000, "So we went to the")], b=[(2600, 4000, "Was it far?")])
    assert transitions(annotation)[1] == ("b", "pause_interruption", None)


@pytest.mark.parametrize("text", ["what are you looking for", "what do you need to do this", "yes i am", "mm"])
def test_a_finished_clause_that_ends_in_a_function_word_is_no_pause_interruption(text: str) -> None:
    annotation = talk(a=[(0, 2000, text)], b=[(2600, 4000, "a mill on the left")])
    assert transitions(annotation)[1] == ("b", "smooth_shift", None)


def test_the_clause_may_begin_before_a_pause_of_its_own() -> None:
    annotation = talk(a=[(0, 1000, "what are you"), (1400, 2000, "looking for")], b=[(2600, 4000, "the old mill")])
    assert transitions(annotation)[1] == ("b", "smooth_shift", None)
    annotation = talk(a=[(0, 1000, "go round and"), (1400, 2000, "look for")], b=[(2600, 4000, "the old mill")])
    assert transitions(annotation)[1] == ("b", "pause_interruption", None)


@pytest.mark.parametrize("text", ["in the u.s.", "a t._v. there", "see Dr. Grey"])
def test_the_dot_of_an_abbreviation_is_no_punctuation(text: str) -> None:
    annotation = talk(a=[(0, 2000, text), (2300, 3000, "over there")], b=[(3600, 5000, "was it far")])
    assert transitions(annotation)[1] == ("b", "smooth_shift", None)


def test_floor_transfer_offsets_do_not_count_for_young_or_distant_turns() -> None:
    young = talk(a=[(0, 400, "So.")], b=[(150, 3000, "Where did you go that day?")])
    assert all(e.fto_ms is None for e in young.events)
    distant = talk(a=[(0, 2000, "Where did you take it?")], b=[(12_500, 14_000, "To the island.")])
    assert only(distant, "smooth_shift").fto_ms is None


def test_states_of_the_two_party_signal() -> None:
    annotation = talk(
        a=[(0, 1000, "x"), (1300, 2000, "x"), (2800, 4000, "x"), (5000, 5500, "x")],
        b=[(2500, 2800, "x"), (3100, 3400, "x"), (3900, 5000, "x")],
    )
    assert states(annotation) == [
        ("a", "pause", 1000, 1300),
        ("a", "gap", 2000, 2500),
        ("b", "latch", 2800, 2800),
        ("a", "overlap_within", 3100, 3400),
        ("a", "overlap_between", 3900, 4000),
        ("b", "latch", 5000, 5000),
    ]


def test_a_backchannel_inside_a_turn_leaves_pauses_and_no_gap() -> None:
    a = [(0, 2000, "first we went to the harbour"), (3000, 5000, "and then the rain came")]
    inside = talk(a=a, b=[(2300, 2700, "yeah")])
    assert states(inside) == [("a", "pause", 2000, 2300), ("a", "pause", 2700, 3000)]
    answer = talk(a=a, b=[(2300, 2700, "no")])
    assert states(answer) == [("a", "gap", 2000, 2300), ("b", "gap", 2700, 3000)]


def test_a_state_next_to_a_backchannel_is_only_as_sure_as_the_backchannel() -> None:
    a = [(0, 2000, "first we went to the harbour"), (3000, 5000, "and then the rain came"), (5500, 7000, "at night")]
    annotation = talk(a=a, b=[(2300, 2700, "yeah")])
    doubt = only(annotation, "lexical").confidence
    found = [(e.label, e.source, e.confidence == doubt) for e in annotation.events if e.kind == "state"]
    assert found == [("pause", "words", True), ("pause", "words", True), ("pause", "timing", False)]


def test_without_words_short_speech_in_a_silence_is_most_often_an_answer_and_has_gaps() -> None:
    annotation = talk(False, a=[(0, 2000, "x"), (3000, 5000, "x")], b=[(2300, 2700, "x")])
    assert backchannels(annotation) == [("b", 2300, "acoustic")]
    assert states(annotation) == [("a", "gap", 2000, 2300), ("b", "gap", 2700, 3000)]


@pytest.mark.parametrize(
    ("b", "expected"),
    [
        ((2000, 2400), [("a", "pause", 2400, 3000)]),  # without a gap after a, and no latch
        ((2020, 2400), [("a", "pause", 2000, 2020), ("a", "pause", 2400, 3000)]),
        ((1700, 2300), [("a", "overlap_within", 1700, 2000), ("a", "pause", 2300, 3000)]),  # outlasts a's speech
        ((1700, 2000), [("a", "overlap_within", 1700, 2000), ("a", "pause", 2000, 3000)]),  # ends with it
        ((2600, 3000), [("a", "pause", 2000, 2600)]),
        ((2600, 3200), [("a", "pause", 2000, 2600), ("a", "overlap_within", 3000, 3200)]),
    ],
)
def test_states_around_a_backchannel(b: tuple[int, int], expected: list[tuple[str, str, int, int]]) -> None:
    a = [(0, 2000, "first we went to the harbour"), (3000, 5000, "and then the rain came")]
    assert states(talk(a=a, b=[(*b, "mhm")])) == expected
    assert [label for _, label, *_ in states(talk(a=a, b=[(*b, "no")]))] != [label for _, label, *_ in expected]


def test_a_gap_around_a_backchannel_of_a_third_is_between_those_who_take_turns() -> None:
    turns = {"a": [(0, 2000, "first we went to the harbour.")], "c": [(3000, 5000, "was it far?")]}
    assert states(talk(**turns, b=[(2300, 2700, "Mhm.")])) == [("a", "gap", 2000, 2300), ("a", "gap", 2700, 3000)]
    # Together they are no latch, however short each is.
    close = talk(a=turns["a"], c=[(2500, 5000, "was it far?")], b=[(2030, 2470, "Mhm.")])
    assert [label for _, label, *_ in states(close)] == ["gap", "gap"]


def test_states_that_border_on_a_simultaneous_edge_are_ambiguous() -> None:
    annotation = talk(a=[(0, 1000, "x"), (2000, 3000, "x")], b=[(500, 1000, "x")])
    assert [(label, start) for _, label, start, _ in states(annotation)] == [
        ("boundary_ambiguous", 500), ("boundary_ambiguous", 1000)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Mhm.", True), ("Yeah, right", True), ("I see.", True), ("oh okay yeah right sure", True), ("Oh, nice one", True),
     ("And yeah", False), ("So, yeah", False), ("for a-", False), ("a mill", False), ("Got you.", True),
     ("Blue.", False), ("we took it", False), ("yeah it was far", False)],
)  # fmt: skip
def test_wording_of_backchannels(text: str, expected: bool) -> None:
    words = spread(0, 1000, text)
    assert is_backchannel_wording(words, max_words=3, min_cue_share=0.5) is expected


@pytest.mark.parametrize(
    ("text", "punctuated", "expected"),
    [("the island.", True, True), ("the island", True, False), ("the island", False, True), ("to the", False, False),
     ("the isl-", True, False), ("it was um.", True, False), ("mhm", True, True), ("mm", False, True),
     ("Yeah,", True, False), ("it was mm", False, False), ("uh", False, False), ("yeah a", False, False),
     ('"the island."', True, True), ("well...", True, False)],
)  # fmt: skip
def test_end_of_a_phrase(text: str, punctuated: bool, expected: bool) -> None:
    assert ends_phrase(spread(0, 1000, text), punctuated=punctuated) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("have you got a mill", True), ("and is it red", True), ("where do you go", True), ("it's red isn't it", True),
     ("you go to the left okay", True), ("you know where the mill is", True), ("go to the left", False),
     ("you are going down", False), ("okay", False), ("what you do is go to the left", False),
     ("what do you do", True), ("down there that's right", False), ("go to the right", False),
     ("go down there right", True)],
)  # fmt: skip
def test_questions_without_punctuation(text: str, expected: bool) -> None:
    assert asks(spread(0, 1000, text), punctuated=False) is expected


@pytest.mark.parametrize(
    ("text", "assents", "full"),
    [("yeah", True, False), ("Mm-hmm, yeah.", True, False), ("yes", True, True), ("yes yep", True, True),
     ("right", False, False), ("yeah okay", False, False)],
)  # fmt: skip
def test_words_of_assent(text: str, assents: bool, full: bool) -> None:
    assert is_assent(spread(0, 1000, text)) is assents
    assert is_full_yes(spread(0, 1000, text)) is full


def test_three_participants_the_other_is_any_other() -> None:
    annotation = talk(
        a=[(0, 4000, "So we went down to the sea and took the boat.")],
        b=[(1500, 1800, "Mhm.")],
        c=[(4300, 6000, "Was it far?")],
    )
    assert backchannels(annotation) == [("b", 1500, "lexical")]
    assert transitions(annotation) == [("a", "initiation", None), ("c", "smooth_shift", None)]


def test_whose_turn_is_next_does_not_hang_on_names_where_two_begin_at_once() -> None:
    utterances = {"a": [(0, 2500, "x"), (4500, 5000, "x"), (6500, 8000, "x")], "b": [(0, 5000, "x"), (6500, 8000, "x")]}
    annotation = talk(False, a=utterances["a"], b=utterances["b"])
    assert backchannels(annotation) == [("a", 4500, "acoustic")]
    assert backchannels(talk(False, a=utterances["b"], b=utterances["a"])) == [("b", 4500, "acoustic")]


def test_a_question_waits_whoever_ended_at_the_same_instant() -> None:
    asks_, tells = [(0, 5000, "where did we take the boat that day?")], [(0, 5000, "we took it home that day.")]
    for one, two in (("a", "b"), ("b", "a")):
        annotation = talk(**{one: asks_, two: [*tells, (8000, 9500, "To the island.")]})
        (label,) = [e.label for e in annotation.events if e.kind == "transition" and e.start_ms == 8000]
        assert label != "initiation"


def test_time_grows_with_length_and_no_faster() -> None:
    """Four times as long takes about four times as long, so that an hour is nothing to be afraid of."""

    def seconds_for(number: int) -> float:
        utterances: dict[str, list[Utterance]] = {"a": [], "b": []}
        for i in range(number):
            utterances["a"].append((2000 * i, 2000 * i + 1200, "so we go there and then on."))
            utterances["b"].append(
                (2000 * i + 900 + i % 700, 2000 * i + 1250 + i % 700, "yeah." if i % 3 else "but when?")
            )
        took_s = []
        for _ in range(3):
            began_s = time.perf_counter()
            annotation = talk(a=utterances["a"], b=utterances["b"])
            took_s.append(time.perf_counter() - began_s)
        assert len(annotation.turns) > number // 4
        return min(took_s)

    assert seconds_for(1800) < 8 * seconds_for(450)


def test_two_who_begin_at_the_same_instant_are_no_backchannels_of_each_other() -> None:
    speech = {"a": [Span(0, 500), Span(500, 1000)], "b": [Span(0, 1000)]}
    annotation = annotate_session(speech, {"a": None, "b": None}, PARAMS)
    labels = {(e.participant, e.label, e.outcome) for e in annotation.events if e.kind != "state"}
    assert labels == {("a", "simultaneous_start", "both_stop"), ("b", "simultaneous_start", "both_stop")}
