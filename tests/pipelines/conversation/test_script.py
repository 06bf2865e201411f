"""Dialogues as they are written and spoken: true, in time, and with the turns that their labels say."""

from collections import Counter

import numpy as np
import pytest

from pipelines.conversation import grammar
from pipelines.conversation.dialogue import Dialogue, other
from pipelines.conversation.phrases import samples_of_ms
from pipelines.conversation.record import rms
from pipelines.conversation.script import YIELD_MS, write_dialogue
from pipelines.conversation.voice import RATE_HZ, Voice
from tests.helpers.written_dialogues import VOICES, written_dialogue
from wanstreamer.clock import merge_spans


@pytest.fixture(scope="module")
def dialogues() -> list[Dialogue]:
    return [written_dialogue(index) for index in range(10)]


def test_speech_intervals_begin_and_end_with_sound(dialogues: list[Dialogue]) -> None:
    for participant in "ab":
        track = dialogues[0].samples(participant)
        silent = np.ones(len(track), bool)
        for span in dialogues[0].speech(participant):
            first, last = samples_of_ms(span.start_ms), samples_of_ms(span.end_ms)
            silent[first:last] = False
            loud = np.sqrt(np.mean(track[first:last] ** 2))
            for edge in (track[first : first + RATE_HZ // 50], track[last - RATE_HZ // 50 : last]):
                assert np.sqrt(np.mean(edge**2)) > 0.005 * loud
        assert np.mean(track[silent] ** 2) < 1e-3 * np.mean(track[~silent] ** 2)


def test_words_are_in_order_inside_their_turns(dialogues: list[Dialogue]) -> None:
    for dialogue in dialogues:
        for utterance in dialogue.utterances:
            words = utterance.words
            assert words[0].start_ms >= utterance.start_ms and words[-1].end_ms <= utterance.end_ms
            for word, following in zip(words, words[1:], strict=False):
                assert word.start_ms < word.end_ms <= following.start_ms
            assert words[-1].text[-1] in ".?-"


def test_no_one_talks_over_themselves(dialogues: list[Dialogue]) -> None:
    for dialogue in dialogues:
        for participant in "ab":
            own = dialogue.of(participant)
            assert all(
                utterance.end_ms <= next_utterance.start_ms
                for utterance, next_utterance in zip(own, own[1:], strict=False)
            )
            assert own[-1].end_ms < dialogue.duration_ms


def test_answers_are_true_and_a_fifth_of_short_utterances(dialogues: list[Dialogue]) -> None:
    facts = {word for thing in grammar.WORLD for word in (thing.colour, thing.number, thing.owner)}
    short = sum(len(u.words) <= 3 for dialogue in dialogues for u in dialogue.utterances)
    answers = [answer for dialogue in dialogues for answer in dialogue.answers]
    assert sum(answer.is_short for answer in answers) >= short / 5
    for answer in answers:
        asked = {word.rstrip("?s") for word in answer.question.split()}
        thing = next(t for t in grammar.WORLD if t.name in asked)
        answer_words = set(answer.text.rstrip(".").split())
        if answer.fact in ("colour", "number", "owner"):
            assert answer_words & facts <= {thing.colour, thing.number, thing.owner}
            assert getattr(thing, answer.fact) in answer_words
        elif answer.fact == "yes_no":
            assert ("yes" in answer_words) == (thing.colour in asked)


def test_interruptions_cut_a_word_and_yield_in_time(dialogues: list[Dialogue]) -> None:
    outcomes: Counter[str] = Counter()
    yields_ms: list[int] = []
    for dialogue in dialogues:
        for transition in (t for t in dialogue.transitions if t.label == "interruption"):
            assert transition.outcome and transition.yielder and transition.yield_ms
            outcomes[transition.outcome] += 1
            broken = next(
                u
                for u in dialogue.of(transition.yielder)
                if u.start_ms <= transition.start_ms + transition.yield_ms <= u.end_ms
            )
            assert YIELD_MS[0] <= transition.yield_ms <= YIELD_MS[1]
            yields_ms.append(transition.yield_ms)
            assert broken.end_ms == transition.start_ms + transition.yield_ms
            assert broken.is_broken
            track = dialogue.samples(transition.yielder)
            end = samples_of_ms(broken.end_ms)
            assert np.abs(track[end - RATE_HZ // 10 : end]).max() > 0.01
            assert np.abs(track[end + 1 : end + RATE_HZ // 10]).max() == 0
            # The other speaks on past the break.
            assert any(s.start_ms <= broken.end_ms < s.end_ms for s in dialogue.speech(other(transition.yielder)))
    assert min(outcomes["floor_taking"], outcomes["failed"]) >= 2
    assert 330 <= np.median(yields_ms) <= 500
    assert np.mean(np.array(yields_ms) <= 640) > 0.85  # four units


def test_the_end_of_a_turn_is_heard_coming(dialogues: list[Dialogue]) -> None:
    """Whole phrases that end a turn grow softer; those before a pause of the same turn do not."""
    falls_db: dict[str, list[float]] = {"last": [], "before": []}
    for dialogue in dialogues:
        for turn in (u for u in dialogue.utterances if u.kind == "turn" and not u.is_broken):
            for place, (_, clip) in enumerate(turn.clips):
                if clip.duration_ms >= 1200:
                    third = len(clip.samples) // 3
                    fall_db = 20 * np.log10(rms(clip.samples[-third:]) / rms(clip.samples[:third]))
                    falls_db["last" if place == len(turn.clips) - 1 else "before"].append(fall_db)
    assert min(map(len, falls_db.values())) >= 10
    assert np.mean(falls_db["last"]) < np.mean(falls_db["before"]) - 4


def test_pauses_inside_a_turn_begin_with_a_filled_one(dialogues: list[Dialogue]) -> None:
    """Nearly all do, and nothing else ends so."""
    um = grammar.FILLED_PAUSE
    turns = [turn for dialogue in dialogues for turn in dialogue.utterances if turn.kind == "turn"]
    before = [clip.words[-1].text == um for turn in turns for _, clip in turn.clips[:-1]]
    assert 0.8 < np.mean(before) < 1 and len(before) > 50
    assert not any(turn.words[-1].text == um for turn in turns)


def test_transitions_have_the_offsets_their_labels_demand(dialogues: list[Dialogue]) -> None:
    gaps: list[int] = []
    overlaps: list[int] = []
    for dialogue in dialogues:
        for t in dialogue.transitions:
            before = [s.end_ms for p in "ab" for s in dialogue.speech(p) if s.start_ms < t.start_ms]
            if t.label == "smooth_shift":
                assert t.fto_ms is not None
                gaps.append(t.fto_ms)
            elif t.label == "terminal_overlap":
                assert t.fto_ms is not None
                overlaps.append(-t.fto_ms)
            elif t.label == "initiation":
                assert t.start_ms - max(before) >= 3000
                assert t.fto_ms is None  # no one had the floor
            elif t.label == "simultaneous_start" and t.holder != t.participant:
                assert t.fto_ms is None
            elif t.label == "hold":
                assert 1500 <= t.start_ms - max(before) < 3000
    assert min(gaps) >= 0 and min(overlaps) > 0 and max(overlaps) <= 1000
    assert 250 <= np.median(gaps) <= 520
    assert 270 <= np.median(overlaps) <= 560


def test_backchannels_leave_the_floor_where_it_is(dialogues: list[Dialogue]) -> None:
    in_pause = total = silent_after = 0
    for dialogue in dialogues:
        for participant in "ab":
            for backchannel in dialogue.of(participant, "backchannel"):
                total += 1
                turns = dialogue.of(other(participant), "turn")
                assert any(turn.start_ms < backchannel.start_ms and backchannel.end_ms < turn.end_ms for turn in turns)
                theirs = dialogue.speech(other(participant))
                in_pause += not any(s.start_ms < backchannel.end_ms and s.end_ms > backchannel.start_ms for s in theirs)
                over = [s for s in merge_spans(theirs, 500) if s.start_ms <= backchannel.start_ms < s.end_ms]
                silent_after += bool(over) and over[0].end_ms <= backchannel.start_ms + 640
    assert total >= 12
    assert silent_after / (total - in_pause) < 0.25  # who goes on after "mhm" mostly does so without a pause
    assert 0.15 <= in_pause / total <= 0.55


def test_a_thing_held_up_is_spoken_about_unasked(dialogues: list[Dialogue]) -> None:
    showings = [(dialogue, showing) for dialogue in dialogues for showing in dialogue.showings]
    assert len(showings) >= 4
    for dialogue, showing in showings:
        spoken = [span for who in "ab" for span in dialogue.speech(who)]
        assert not any(s.start_ms < showing.comment_start_ms and s.end_ms > showing.start_ms for s in spoken)
        assert 600 <= showing.comment_start_ms - showing.start_ms <= 1600
        comment = next(u for u in dialogue.utterances if u.start_ms == showing.comment_start_ms)
        assert comment.participant == other(showing.participant) and comment.end_ms < showing.end_ms
        assert showing.thing in comment.text and comment.about == showing.thing
        silent_since_ms = max(s.end_ms for s in spoken if s.start_ms < showing.start_ms)
        assert showing.comment_start_ms - silent_since_ms >= 3000  # an initiation to the turn rules
        assert [t.label for t in dialogue.transitions if t.start_ms == comment.start_ms] == ["initiation"]


def test_who_has_no_camera_holds_nothing_up() -> None:
    for seen in ("", "a"):
        showings = []
        for index in range(6):
            with Voice(seed=index) as voice:
                rng = np.random.default_rng([9, index])
                dialogue = write_dialogue(voice, VOICES, rng, first_ms=500, duration_ms=45_000, seen=seen)
                showings += dialogue.showings
        assert {showing.participant for showing in showings} == set(seen)
