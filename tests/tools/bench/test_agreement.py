"""One-to-one matching, silences of the truth, and what a confidence is worth."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance

from tools.bench.agreement import Item, agreement, match, silences, wasserstein_1
from tools.bench.confidence import calibration


def items(kind: str, *spans: tuple[int, int], who: str = "a") -> list[Item]:
    return [Item(kind=kind, session_id="s1", participant=who, start_ms=start, end_ms=end) for start, end in spans]


def f1(truth: Sequence[Item], found: Sequence[Item], within_ms: int = 200) -> float | int | None:
    return agreement(truth, found, match(truth, found, within_ms=within_ms, ends=True))["f1"]


def test_what_is_found_counts_once_and_only_for_its_own_person() -> None:
    truth = items("turn", (1000, 3000), (5000, 7000))
    assert f1(truth, truth) == 1
    assert f1(truth, items("turn", (900, 3150), (5200, 6800))) == 1
    assert f1(truth, items("turn", (1000, 3000), (5201, 7000))) == 0.5
    assert f1(truth, items("turn", (1000, 3201), (5000, 7000))) == 0.5
    assert f1(truth, items("turn", (1000, 3000), (5000, 7000), who="b")) == 0
    assert f1(truth, items("gap", (1000, 3000), (5000, 7000))) == 0
    assert f1(truth, items("turn", (1000, 3000), (1100, 3100), (5000, 7000))) == 0.8


def test_of_backchannels_the_onset_alone_is_asked() -> None:
    assert f1(items("backchannel", (1000, 1300)), items("backchannel", (1100, 1900))) == 1


def test_length_chooses_which_silences_count_but_not_what_they_match() -> None:
    assert f1(items("gap", (0, 260)), items("gap", (10, 250))) is None  # nothing found counts: no precision
    both = agreement(items("gap", (0, 260), (900, 1900)), items("gap", (10, 250), (900, 1900)),
                     match(items("gap", (0, 260), (900, 1900)), items("gap", (10, 250), (900, 1900)),
                           within_ms=200, ends=True))  # fmt: skip
    assert (both["truth"], both["found"], both["precision"], both["recall"]) == (2, 1, 1, 1)
    short = agreement(items("gap", (0, 100)), [], [])
    assert (short["truth"], short["recall"]) == (0, None)


@given(
    st.lists(st.tuples(st.integers(1, 400), st.integers(50, 900)), max_size=8),
    st.lists(st.tuples(st.integers(1, 400), st.integers(50, 900)), max_size=8),
    st.booleans(),
)
def test_no_matching_finds_more_pairs(one: list[tuple[int, int]], two: list[tuple[int, int]], ends: bool) -> None:
    def laid_out(steps: list[tuple[int, int]]) -> list[Item]:
        spans, at = [], 0
        for silence, length in steps:
            spans.append((at + silence, at + silence + length))
            at += silence + length
        return items("turn", *spans)

    truth, found = laid_out(one), laid_out(two)
    pairs = match(truth, found, within_ms=200, ends=ends)
    assert len({id(a) for a, _ in pairs}) == len({id(b) for _, b in pairs}) == len(pairs)

    def fits(a: Item, b: Item) -> bool:
        return abs(a.start_ms - b.start_ms) <= 200 and (not ends or abs(a.end_ms - b.end_ms) <= 200)

    assert all(fits(a, b) for a, b in pairs)
    allowed = [[int(fits(a, b)) for b in found] for a in truth]
    if truth and found:
        rows, columns = linear_sum_assignment(allowed, maximize=True)
        assert len(pairs) == sum(allowed[i][j] for i, j in zip(rows, columns, strict=True))


def test_silences_of_the_truth_are_gaps_or_pauses() -> None:
    speech = [
        {"session_id": "s1", "participant": who, "start_ms": start, "end_ms": end}
        for who, start, end in (
            ("a", 0, 900),
            ("a", 1500, 3000),
            ("b", 2000, 2500),
            ("b", 3400, 4000),
            ("a", 4000, 4100),
        )
    ]
    found = [(kind, row["participant"], row["start_ms"], row["end_ms"]) for kind, row in silences(speech)]
    assert found == [("pause", "a", 900, 1500), ("gap", "a", 3000, 3400)]


def test_a_backchannel_of_the_truth_leaves_pauses_and_no_gap() -> None:
    places = [("a", 0, 900), ("b", 1200, 1500), ("a", 2000, 3000), ("b", 3400, 4000)]
    speech = [{"session_id": "s1", "participant": who, "start_ms": start, "end_ms": end} for who, start, end in places]
    found = [(kind, row["participant"], row["start_ms"], row["end_ms"]) for kind, row in silences(speech, speech[1:2])]
    assert found == [("pause", "a", 900, 1200), ("pause", "a", 1500, 2000), ("gap", "a", 3000, 3400)]


@given(st.lists(st.integers(-2000, 2000), min_size=1), st.lists(st.integers(-2000, 2000), min_size=1))
def test_distance_of_distributions_is_that_of_scipy(one: list[int], two: list[int]) -> None:
    assert wasserstein_1(one, two) == pytest.approx(wasserstein_distance(one, two))


def test_confidence_is_compared_with_what_was_right() -> None:
    (base,) = items("backchannel", (0, 300))
    found = [
        (replace(base, session_id=f"s{n}", confidence=0.9, about="lexical"), n % 10 < 5) for n in range(1000)
    ]  # fmt: skip
    half = calibration(found)
    (cell,) = half["cells"]
    assert (cell["kind"], cell["label"], cell["confidence"], cell["found"]) == ("backchannel", "lexical", 0.9, 1000)
    assert cell["precision"] == 0.5
    assert half["error"] == pytest.approx(0.4, abs=0.01)
    assert half["proposed_error"] < 0.15  # sessions that even and odd share nothing with
    assert calibration([(base, True)])["error"] is None  # without a confidence there is nothing to judge
