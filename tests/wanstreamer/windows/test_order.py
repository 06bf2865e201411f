"""order: each epoch is a permutation, fixed by seed and epoch alone; little memory, and equal to what NumPy says."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.counts import examples
from wanstreamer.windows.index import Segments
from wanstreamer.windows.order import ExactOrder, ShardOrder, epoch_order, stream_indices


@pytest.mark.parametrize("num_windows", [1, 2, 3, 255, 256, 257, 65_535, 65_536, 65_537, 300_001])
def test_the_order_is_the_permutation_of_the_generator(num_windows):
    """What older versions used, at twice the memory: weights trained before do not change."""
    for seed, epoch in ((0, 0), (7, 3)):
        expected = np.random.default_rng([seed, epoch]).permutation(num_windows)
        order = epoch_order(num_windows, seed, epoch)
        np.testing.assert_array_equal(order, expected)
        assert order.dtype == np.uint32


def test_one_epoch_is_held_at_a_time_also_at_the_seam():
    num_windows = 1_000_000
    order = ExactOrder(num_windows, 0)
    tracemalloc.start()
    try:
        order.take(0, 1)
        tracemalloc.reset_peak()
        windows = order.take(num_windows - 8, num_windows + 8)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert windows == stream_indices(num_windows, 0, num_windows - 8, num_windows + 8)
    assert 4 * num_windows <= peak_bytes < 4.2 * num_windows


SEGMENTS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 5)), min_size=1, max_size=12)


def segments_of(stretches: list[tuple[int, int]]) -> Segments:
    num_windows, shard = (np.array(column, dtype=np.int64) for column in zip(*stretches, strict=True))
    return Segments(np.cumsum(num_windows) - num_windows, num_windows, shard)


@given(SEGMENTS, st.integers(1, 4), st.integers(0, 3), st.data())
@examples(200)
def test_shuffled_shards_give_every_window_once_per_epoch_and_resume_anywhere(stretches, buffer_shards, seed, data):
    segments = segments_of(stretches)
    num_windows = sum(count for count, _ in stretches)
    stream = ShardOrder(segments, seed, buffer_shards).take(0, 3 * num_windows)
    for epoch in range(3):
        assert sorted(stream[epoch * num_windows : (epoch + 1) * num_windows]) == list(range(num_windows))
    cuts = sorted(data.draw(st.lists(st.integers(0, 3 * num_windows), min_size=2, max_size=5)))
    resumed = ShardOrder(segments, seed, buffer_shards)
    for start, stop in zip(cuts, cuts[1:], strict=False):
        assert resumed.take(start, stop) == stream[start:stop]
    assert ShardOrder(segments, seed, buffer_shards).take(cuts[0], cuts[-1]) == stream[cuts[0] : cuts[-1]]
    assert resumed.take(0, num_windows) == stream[:num_windows]  # also back


@given(SEGMENTS, st.integers(1, 4), st.integers(0, 3))
@examples(200)
def test_shuffled_shards_are_read_a_few_at_a_time(stretches, buffer_shards, seed):
    shard_of = [shard for count, shard in stretches for _ in range(count)]
    left = np.bincount(shard_of)
    begun: set[int] = set()
    for window in ShardOrder(segments_of(stretches), seed, buffer_shards).take(0, len(shard_of)):
        begun.add(shard_of[window])
        assert len(begun) <= buffer_shards
        left[shard_of[window]] -= 1
        begun = {shard for shard in begun if left[shard]}


def test_shuffled_shards_differ_by_seed_and_epoch_and_mix_their_windows():
    segments = segments_of([(50, shard) for shard in (3, 1, 0, 2)])
    first = ShardOrder(segments, 0, 2).take(0, 400)
    assert first[:200] != first[200:] and first[:200] != ShardOrder(segments, 1, 2).take(0, 200)
    assert first[:100] != sorted(first[:100])
    assert len({window // 50 for window in first[:20]}) == 2  # of both shards of the group
    alone = ShardOrder(segments, 0, 1).take(0, 200)
    assert all(len({window // 50 for window in alone[start : start + 50]}) == 1 for start in range(0, 200, 50))


def test_the_hash_of_a_layout_says_which_windows_lie_together():
    one = ShardOrder(segments_of([(3, 0), (2, 1), (4, 0)]), 0, 2)
    assert one.layout_sha256() == ShardOrder(segments_of([(3, 0), (2, 1), (4, 0)]), 5, 1).layout_sha256()
    for other in ([(3, 0), (2, 1), (4, 1)], [(3, 1), (2, 0), (4, 1)], [(3, 0), (3, 1), (3, 0)]):
        assert ShardOrder(segments_of(other), 0, 2).layout_sha256() != one.layout_sha256()
