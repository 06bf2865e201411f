"""Words that lie over silence, and how a transcript with wrong times is recognised."""

import numpy as np
import pytest

from tests.helpers.dialogues import spread
from wanstreamer.clock import Span
from wanstreamer.turns import Word
from wanstreamer.turns.transcript_times import best_shift_ms, misplaced, over_silence

LIMIT = 0.1


def talk(seed: int, num: int = 30) -> tuple[list[Word], list[Span]]:
    """Utterances of 0.6 to 2 s with pauses of 0.4 to 4 s, four words each."""
    rng = np.random.default_rng(seed)
    words, speech, at = [], [], 1000
    for _ in range(num):
        end = at + int(rng.integers(600, 2000))
        speech.append(Span(at, end))
        words += spread(at, end, "we took the boat")
        at = end + int(rng.integers(400, 4000))
    return words, speech


def moved(words: list[Word], by_ms: int) -> list[Word]:
    return [Word(start_ms=w.start_ms + by_ms, end_ms=w.end_ms + by_ms, text=w.text) for w in words]


def test_a_word_over_silence_shares_no_time_with_speech() -> None:
    words = [Word(start_ms=a, end_ms=b, text="x") for a, b in ((0, 100), (50, 101), (150, 180), (200, 300), (199, 300))]
    assert over_silence(words, [Span(100, 200), Span(400, 500)]) == [True, False, False, True, False]
    assert over_silence(words, []) == [True] * 5


@pytest.mark.parametrize("by_ms", [-7300, -600, 600, 4000])
def test_a_shifted_transcript_is_unreliable_and_the_shift_is_found(by_ms: int) -> None:
    words, speech = talk(1)
    assert abs(best_shift_ms(moved(words, by_ms), speech) + by_ms) <= 20
    why = misplaced(moved(words, by_ms), speech, {}, LIMIT)
    assert why is not None and f"{abs(by_ms)} ms {'earlier' if by_ms > 0 else 'later'}, 0 would" in why


def test_of_all_shifts_that_fit_the_least_is_taken() -> None:
    speech = [Span(1000, 2000), Span(30_000, 31_000)]
    words = [Word(start_ms=at, end_ms=at + 100, text="x") for at in (1400, 30_400)]
    assert best_shift_ms(words, speech) == 0
    assert best_shift_ms(moved(words, 700), speech) == -200
    assert best_shift_ms([], speech) == best_shift_ms(words, []) == 0


@pytest.mark.parametrize("by_ms", [0, 100, -100])
def test_times_that_are_a_little_off_are_reliable(by_ms: int) -> None:
    words, speech = talk(1)
    assert misplaced(moved(words, by_ms), speech, {}, LIMIT) is None


def test_a_few_words_over_silence_are_what_the_detector_missed() -> None:
    words, speech = talk(1)
    assert misplaced(words, speech[1:-1], {}, LIMIT) is None
    why = misplaced(words, speech[:-5], {}, LIMIT)
    assert why == "20 of 120 words (17%) lie over silence; no shift of up to 10 s helps"
    assert misplaced(words, speech[:-5], {}, 0.2) is None


def test_too_few_words_show_nothing() -> None:
    words, speech = talk(1, num=4)
    assert misplaced(words, [], {}, LIMIT) is None
    assert misplaced([*words, *spread(90_000, 91_000, "and back by train")], speech[:1], {}, LIMIT) is not None


def test_the_transcript_of_another_participant_is_named() -> None:
    words, speech = talk(1)
    others, spoken_by_others = talk(2)
    why = misplaced(others, speech, {"b": spoken_by_others}, LIMIT)
    assert why is not None and why.endswith("they fit the speech of b: are the two transcripts exchanged?")
    assert misplaced(others, [], {}, LIMIT) == "120 of 120 words (100%) lie over silence; no shift of up to 10 s helps"
