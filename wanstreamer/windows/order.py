"""The order of the endless stream of windows: epoch after epoch, a function of the seed and the epoch's number.

`ExactOrder` permutes all windows of an epoch. It depends on nothing but their number, and takes 4 bytes per window.
`ShardOrder` permutes the shards, and then the windows of a few shards at a time: what is read lies close together, and
memory does not grow with the number of windows. But windows of one session come closer to each other, and the order
depends on the shards: it changes when data is appended or compacted.
"""

import hashlib

import numpy as np

from wanstreamer.windows.index import Segments


def epoch_order(num_windows: int, seed: int, epoch: int) -> np.ndarray:
    """The order of one epoch, (num_windows,): a permutation that depends only on seed and epoch.

    It is `Generator.permutation(num_windows)`, at half the memory if there are fewer than 2^32 windows (uint32).
    """
    order = np.arange(num_windows, dtype=np.uint32 if num_windows <= 1 << 32 else np.int64)
    np.random.default_rng([seed, epoch]).shuffle(order)
    return order


def stream_indices(num_windows: int, seed: int, start: int, stop: int) -> list[int]:
    """The windows at the places `start` to `stop` (exclusive) of the stream."""
    return ExactOrder(num_windows, seed).take(start, stop)


class ExactOrder:
    """Every epoch is a permutation of all windows. Holds the order of one epoch at a time."""

    def __init__(self, num_windows: int, seed: int) -> None:
        self.num_windows, self.seed = num_windows, seed
        self._epoch = -1
        self._order = np.empty(0, np.uint32)

    def take(self, start: int, stop: int) -> list[int]:
        """The windows at the places `start` to `stop` (exclusive) of the stream."""
        windows: list[int] = []
        while start < stop:
            epoch, first = divmod(start, self.num_windows)
            if epoch != self._epoch:
                del self._order  # before the next one is made: two would need twice the memory
                self._order, self._epoch = epoch_order(self.num_windows, self.seed, epoch), epoch
            part = self._order[first : first + stop - start].tolist()
            windows += part
            start += len(part)
        return windows


class ShardOrder:
    """Every epoch is a permutation of the shards; they are cut into groups of `buffer_shards`, the last one smaller.

    The windows of a group are permuted, and all are used before the next group begins. Holds the order of one group.
    """

    def __init__(self, segments: Segments, seed: int, buffer_shards: int) -> None:
        by_shard = np.argsort(segments.shard, kind="stable")
        self._segments = Segments(*(column[by_shard] for column in segments))
        self._segment_begin = np.flatnonzero(np.diff(self._segments.shard, prepend=-1))  # of each shard
        self._shard_windows = np.add.reduceat(self._segments.num_windows, self._segment_begin)
        self.num_windows, self.seed, self.buffer_shards = int(self._shard_windows.sum()), seed, buffer_shards
        self._epoch = self._group = -1
        self._shards = self._group_ends = self._order = np.empty(0, np.int64)

    def layout_sha256(self) -> str:
        """Hash of which windows lie together in a shard: besides seed and buffer, the order depends on this alone."""
        numbers = np.concatenate([*self._segments[:2], self._segment_begin]).astype("<i8")
        return hashlib.sha256(numbers.tobytes()).hexdigest()

    def take(self, start: int, stop: int) -> list[int]:
        """The windows at the places `start` to `stop` (exclusive) of the stream."""
        windows: list[int] = []
        while start < stop:
            epoch, place = divmod(start, self.num_windows)
            if epoch != self._epoch:
                self._begin_epoch(epoch)
            group = int(np.searchsorted(self._group_ends, place, side="right"))
            if group != self._group:
                self._order, self._group = self._group_order(group), group
            first = place - int(self._group_ends[group]) + len(self._order)
            part = self._order[first : first + stop - start].tolist()
            windows += part
            start += len(part)
        return windows

    def _begin_epoch(self, epoch: int) -> None:
        self._shards = np.random.default_rng([self.seed, epoch]).permutation(len(self._shard_windows))
        windows = self._shard_windows[self._shards]
        self._group_ends = np.add.reduceat(windows, np.arange(0, len(windows), self.buffer_shards)).cumsum()
        self._epoch, self._group = epoch, -1

    def _group_order(self, group: int) -> np.ndarray:
        shards = self._shards[group * self.buffer_shards : (group + 1) * self.buffer_shards]
        segment_ends = np.append(self._segment_begin, len(self._segments.shard))
        segments = np.concatenate([np.arange(segment_ends[shard], segment_ends[shard + 1]) for shard in shards])
        num_windows = self._segments.num_windows[segments]
        into_group = np.cumsum(num_windows) - num_windows
        windows = np.arange(num_windows.sum()) + np.repeat(self._segments.first[segments] - into_group, num_windows)
        # From 1: a seed that ends in 0 is the same as a seed without it, and the shards use that one.
        np.random.default_rng([self.seed, self._epoch, 1 + group]).shuffle(windows)
        return windows
