"""What whisperx is known to get wrong, case by case, and what becomes of every word."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.annotate.whisperx_words import EDGE_MS, SHORTEST_MS, SNAP_MS, mend_words
from tests.helpers.counts import examples
from wanstreamer.clock import Span, covered_ms

SPEECH = [Span(0, 10_000)]
Words = list[tuple[str, int, int]]


def word(text: str, start_s: float | None = None, end_s: float | None = None, score: float | None = 0.8) -> dict:
    """As whisperx writes it: what it does not know has no key."""
    known = {"word": text, "start": start_s, "end": end_s, "score": None if start_s is None else score}
    return {name: value for name, value in known.items() if value is not None}


def segment(*words: dict, start_s: float = 0.0, end_s: float = 10.0, text: str | None = None) -> dict[str, Any]:
    text_of_words = " " + " ".join(entry["word"] for entry in words) if text is None else text
    return {"start": start_s, "end": end_s, "text": text_of_words, "words": list(words)}


def timed_words(*segments: dict, speech: list[Span] = SPEECH, language: str = "en") -> tuple[Words, list[str]]:
    words, reasons = mend_words(segments, speech, language)
    return [(timed.text, timed.start_ms, timed.end_ms) for timed in words], reasons


def test_words_with_times_pass() -> None:
    words, reasons = mend_words([segment(word("Is", 0.5, 0.7), word("it", 0.7, 0.8, 0.31))], SPEECH, "en")
    assert [(timed.text, timed.start_ms, timed.end_ms, timed.confidence, timed.source) for timed in words] == [
        ("Is", 500, 700, 0.8, "whisperx"), ("it", 700, 800, 0.31, "whisperx")
    ]  # fmt: skip
    assert reasons == []


def test_a_number_without_times_lies_between_its_neighbours_less_sure() -> None:
    utterance = segment(word("about", 1.0, 1.4, 0.8), word("25"), word("people", 2.0, 2.5, 0.4))
    words, reasons = mend_words([utterance], SPEECH, "en")
    assert (words[1].text, words[1].start_ms, words[1].end_ms, words[1].confidence) == ("25", 1400, 2000, 0.3)
    assert reasons == []


def test_words_at_the_ends_take_the_speech_that_is_left() -> None:
    utterance = segment(word("7"), word("of", 1.0, 1.2), word("100"))
    words, _ = timed_words(utterance, speech=[Span(700, 1900)])
    assert words == [("7", 700, 1000), ("of", 1000, 1200), ("100", 1200, 1900)]


def test_several_words_share_by_their_letters() -> None:
    utterance = segment(word("in", 1.0, 1.2), word("1"), word("2000"), word("years", 2.2, 2.5))
    words, _ = timed_words(utterance)
    assert words[1:3] == [("1", 1200, 1424), ("2000", 1424, 2200)]


def test_times_that_whisperx_copied_from_a_neighbour_are_none() -> None:
    copied = {"word": "25", "start": 1.0, "end": 1.4}  # times, but no score
    words, _ = timed_words(segment(word("about", 1.0, 1.4), copied, word("people", 2.0, 2.5)))
    assert words[1] == ("25", 1400, 2000)


@pytest.mark.parametrize(
    "bad",
    [
        word("bad", 1.5, 1.5),
        word("bad", 1.8, 1.5),
        word("bad", float("nan"), 1.7),
        word("bad", 0.2, 0.4),  # before the word it follows
        word("bad", 11.0, 12.0),  # after the segment
        {"word": "bad", "start": 1.5, "score": 0.5},
    ],
)
def test_times_that_cannot_be_are_replaced(bad: dict) -> None:
    words, reasons = timed_words(segment(word("one", 1.0, 1.4), bad, word("three", 2.0, 2.5)))
    assert words == [("one", 1000, 1400), ("bad", 1400, 2000), ("three", 2000, 2500)]
    assert reasons == []


def test_a_word_without_room_or_anchor_is_dropped() -> None:
    crowded = segment(word("one", 1.0, 1.4), word("2"), word("three", 1.43, 2.5))
    assert timed_words(crowded)[1] == ["word_without_time"]
    assert timed_words(segment(word("1"), word("2"))) == ([], ["word_without_time"] * 2)
    lost = segment(text=" these could not be aligned")
    assert timed_words(lost) == ([], ["word_without_time"] * 5)
    assert timed_words(segment(text="無 声"), language="zh") == ([], ["word_without_time"] * 2)


def test_words_over_silence_are_dropped() -> None:
    utterance = segment(
        word("yes", 1.0, 1.4), word("Thanks", 5.0, 5.4), word("for", 5.4, 5.6), word("watching", 5.6, 6.2)
    )
    words, reasons = timed_words(utterance, speech=[Span(900, 1500)])
    assert words == [("yes", 1000, 1400)]
    assert reasons == ["word_over_silence"] * 3


def test_a_word_that_reaches_over_a_silence_is_cut_to_its_speech() -> None:
    utterance = segment(word("so", 1.0, 5.0), word("what", 5.1, 5.3))
    words, reasons = timed_words(utterance, speech=[Span(900, 1300), Span(4900, 5400)])
    assert words == [("so", 1000, 1300 + EDGE_MS), ("what", 5100, 5300)]
    assert reasons == []


def looped(phrase: str, copies: int, gap_s: float = 0.1) -> list[dict]:
    words = []
    for index, text in enumerate(phrase.split() * copies):
        start_s = 0.5 + index * (0.2 + gap_s)
        words.append(word(text, start_s, start_s + 0.2))
    return words


def test_a_loop_leaves_one_copy() -> None:
    words, reasons = timed_words(segment(word("So", 0.1, 0.3), *looped("Thank you.", 9)))
    assert [text for text, _, _ in words] == ["So", "Thank", "you."]
    assert reasons == ["word_repeated"] * 16


def test_people_do_say_things_four_times_and_yeah_for_minutes() -> None:
    assert len(timed_words(segment(*looped("no", 4)))[0]) == 4
    assert len(timed_words(segment(*looped("no", 5)))[0]) == 1
    assert len(timed_words(segment(*looped("yeah", 6, gap_s=1.2)))[0]) == 6


def test_marks_without_letters_are_no_words() -> None:
    assert (
        timed_words(segment(word("yes", 1.0, 1.4), word("♪"), word("...", 1.6, 1.8)))[1] == ["word_without_letters"] * 2
    )


def test_overlapping_words_of_two_segments_are_put_apart() -> None:
    first, second = segment(word("one", 1.0, 2.4), end_s=3.0), segment(word("two", 2.0, 2.2), start_s=2.0)
    assert timed_words(first, second) == ([("one", 1000, 2000), ("two", 2000, 2200)], [])
    again = segment(word("one", 1.0, 1.2, 0.9))
    assert timed_words(first, again) == ([("one", 1000, 1200)], ["word_overlapped"])


TIMES = st.one_of(st.none(), st.floats(-1, 12), st.just(float("nan")))
SPOKEN = st.builds(word, st.sampled_from(["yes", "7", "thank", "you", "-"]), TIMES, TIMES, st.none() | st.floats(-1, 1))


@examples(300)
@given(
    st.lists(st.lists(SPOKEN, max_size=12), max_size=3),
    st.lists(st.integers(0, 10_000), max_size=6, unique=True).map(sorted),
    st.sampled_from(["whisperx", "whisper"]),
)
def test_every_word_comes_out_in_order_on_speech_or_counts(
    words_by_segment: list[list[dict]], edges: list[int], source: str
) -> None:
    speech = [Span(a, b) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    segments = [
        segment(*words, start_s=3.0 * index, end_s=3.0 * index + 3) for index, words in enumerate(words_by_segment)
    ]
    words, reasons = mend_words(segments, speech, "en", source=source)
    assert len(words) + len(reasons) == sum(map(len, words_by_segment))
    near = [Span(span.start_ms - EDGE_MS, span.end_ms + EDGE_MS) for span in speech]
    assert all(timed.end_ms <= after.start_ms for timed, after in pairwise(words))
    for timed in words:
        latest_ms = 9000 if source == "whisperx" else 9000 + SNAP_MS
        assert 0 <= timed.start_ms < timed.end_ms <= latest_ms and 0 <= timed.confidence <= 1
        assert max(covered_ms(Span(timed.start_ms, timed.end_ms), [span]) for span in near) > 0


def test_the_shortest_share_is_two_frames() -> None:
    utterance = segment(word("one", 1.0, 1.4), word("2"), word("3"), word("four", 1.4 + 2 * SHORTEST_MS / 1000, 2.0))
    assert timed_words(utterance)[0][1:3] == [("2", 1400, 1440), ("3", 1440, 1480)]


def test_whispers_own_times_take_the_edges_of_speech_that_are_near() -> None:
    speech = [Span(1000, 2000), Span(4000, 5000)]
    late = segment(word("so", 1.2, 1.5), word("I", 1.5, 1.8), word("can", 4.4, 4.7), word("say", 4.7, 4.8))
    own, reasons = mend_words([late], speech, "en", source="whisper")
    assert [(timed.text, timed.start_ms, timed.end_ms) for timed in own] == [
        ("so", 1000, 1500), ("I", 1500, 2000), ("can", 4400, 4700), ("say", 4700, 5000)
    ]  # fmt: skip
    assert reasons == [] and {timed.source for timed in own} == {"whisper"}
    aligned, _ = mend_words([late], speech, "en")
    assert [(timed.start_ms, timed.end_ms) for timed in aligned][0] == (1200, 1500)


def test_whispers_own_words_all_have_times_so_none_is_counted_as_left_out() -> None:
    hyphenated = segment(word("uh-huh", 1.0, 1.5), text=" uh - huh")
    assert mend_words([hyphenated], SPEECH, "en", source="whisper")[1] == []
    assert mend_words([hyphenated], SPEECH, "en")[1] == ["word_without_time"] * 2
