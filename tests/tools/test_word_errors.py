"""Word errors: counted as by hand, for scripts with blanks and without."""

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.counts import examples
from tools.exchange.intervals import SEGMENTS, WORDS, Interval
from tools.word_errors import WordErrors, scored_words, word_errors, words_by_person

LISTS = st.lists(st.sampled_from("abc"), max_size=7)


@cache
def slow_errors(found: tuple[str, ...], reference: tuple[str, ...]) -> tuple[int, int]:
    """(errors, substitutions) of the best alignment, by trying all."""
    if not found or not reference:
        return len(found) + len(reference), 0
    wrong = found[-1] != reference[-1]
    both, more, less = (
        slow_errors(found[:-1], reference[:-1]), slow_errors(found[:-1], reference), slow_errors(found, reference[:-1])
    )  # fmt: skip
    ways = [(both[0] + wrong, both[1] + wrong), (more[0] + 1, more[1]), (less[0] + 1, less[1])]
    return min(ways, key=lambda way: (way[0], -way[1]))


@examples(100)
@given(LISTS, LISTS)
def test_errors_are_the_fewest_there_can_be(found: list[str], reference: list[str]) -> None:
    errors = word_errors(found, reference)
    assert (errors.substituted + errors.missed + errors.inserted, errors.substituted) == slow_errors(
        tuple(found), tuple(reference)
    )
    assert len(reference) - errors.missed + errors.inserted == len(found) and min(errors) >= 0


def test_rates() -> None:
    assert word_errors(["a", "b", "d", "e"], ["a", "b", "c"]) == WordErrors(1, 0, 1, 3)
    assert word_errors([], ["a", "b"]).rate == 1 and word_errors(["a"], []).rate is None


def test_words_that_are_scored() -> None:
    assert scored_words("Don't  — uh-huh, O’Neill 25%.") == ["don't", "uh", "huh", "o'neill", "25"]
    assert scored_words("你好，OK吗") == ["你", "好", "ok", "吗"]
    assert scored_words("हिन्दी भाषा") == ["हिन्दी", "भाषा"]
    assert scored_words("... '") == []


def interval(text: str, start_ms: int, kind: str, participant: str = "a") -> Interval:
    return Interval(
        session_id="s", participant=participant, kind=kind, start_ms=start_ms, end_ms=start_ms + 500, text=text
    )


def test_words_are_in_order_and_tags_are_none() -> None:
    intervals = [
        interval("two", 1000, WORDS), interval("one", 0, WORDS), interval("[laughter]", 500, WORDS),
        interval("one three", 0, SEGMENTS), interval("So, yes.", 0, SEGMENTS, "b"),
    ]  # fmt: skip
    assert words_by_person(intervals) == {("s", "a"): ["one", "two"], ("s", "b"): ["so", "yes"]}
