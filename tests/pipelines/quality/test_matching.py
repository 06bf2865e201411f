"""Pairs of rows, compared with the definition that looks at all pairs."""

from itertools import combinations
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.quality.matching import FEW_TRACKS, candidates, contexts, equal_pairs, group_sizes, repeated


@given(st.lists(st.integers(0, 30)))
def test_repeated_values_are_found(places: list[int]) -> None:
    values = np.array(places, np.uint64) << np.uint64(50)
    assert sorted(repeated(values)) == [index for index, place in enumerate(places) if places.count(place) > 1]


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(1, 40)), max_size=8))
def test_few_equal_rows_are_all_paired_and_many_with_the_first(groups: list[tuple[int, int]]) -> None:
    sizes = dict(groups)
    values = np.array([value for value in sorted(sizes) for _ in range(sizes[value])], np.uint64)
    assert group_sizes(values).tolist() == [sizes[value] for value in values.tolist()]
    expected, start = set(), 0
    for value in sorted(sizes):
        rows = range(start, start + sizes[value])
        few = len(rows) <= FEW_TRACKS
        expected |= set(combinations(rows, 2) if few else ((rows[0], row) for row in rows[1:]))
        start = rows.stop
    pairs = [pair for batch in equal_pairs(values) for pair in zip(*(rows.tolist() for rows in batch), strict=True)]
    assert len(pairs) == len(expected) and set(pairs) == expected
    assert len(pairs) <= FEW_TRACKS * len(values)


@given(st.lists(st.integers(0, 40), max_size=5), st.randoms())
def test_contexts_have_no_lower_value_in_between(lengths: list[int], random: Random) -> None:
    tracks = np.repeat(np.arange(len(lengths), dtype=np.uint32), lengths)
    drawn = list(range(2**32 - len(tracks), 2**32))
    random.shuffle(drawn)
    values = np.array(drawn, np.uint32)
    expected = {
        (early, late)
        for early, late in combinations(range(len(values)), 2)
        if tracks[early] == tracks[late] and (values[early + 1 : late] > max(values[early], values[late])).all()
    }
    pairs = list(zip(*(rows.tolist() for rows in contexts(values, tracks)), strict=True))
    assert len(pairs) == len(expected) and set(pairs) == expected
    assert len(pairs) <= 2 * len(values)


def test_contexts_do_not_change_when_the_highest_values_are_left_out() -> None:
    """As in a long track, which has only its lowest hashes."""
    values = np.random.default_rng(0).permutation(1000).astype(np.uint32)
    known = np.flatnonzero(values < 200)
    early, late = contexts(values[known], np.zeros(len(known)))
    everything = set(zip(*(values[rows].tolist() for rows in contexts(values, np.zeros(1000))), strict=True))
    assert len(early) > 300
    assert {*zip(values[known][early].tolist(), values[known][late].tolist(), strict=True)} <= everything


def test_candidates_have_enough_matches_at_about_one_offset() -> None:
    offsets = {1: [0, 1, 5, 6], 2: [0, 1, 5, 7], 3: [-100, 100, 200, 300], 4: [50, 50, 50], 5: [-7, 0, 0, 4, 4]}
    pairs = np.repeat(np.array([*offsets], np.uint64), [len(places) for places in offsets.values()])
    places = np.concatenate([np.array(places, np.int32) for places in offsets.values()])
    order = np.random.default_rng(0).permutation(len(pairs))
    ones = np.ones(len(pairs), int)
    assert candidates(pairs[order], places[order], ones).tolist() == [1, 5]
    twos = np.where(pairs == 4, 2, 1)
    assert candidates(pairs[order], places[order], twos[order]).tolist() == [1, 4, 5]
    assert candidates(pairs[:0], places[:0], ones[:0]).tolist() == []
