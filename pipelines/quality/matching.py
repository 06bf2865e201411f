"""Hashes and their tracks as sorted arrays -> pairs of rows, and pairs of tracks that may be copies."""

from collections.abc import Iterator, Sequence

import numpy as np

from pipelines.quality.copies import SAME_FRAMES

FEW_TRACKS = 16  # a hash or context that more tracks have is common
MIN_MATCHES = 4  # two tracks with this many matches at about one offset are compared; a context counts as two hashes
ROWS_PER_BATCH = 1 << 17  # each has at most FEW_TRACKS - 1 pairs with later rows
Pairs = tuple[np.ndarray, np.ndarray]  # indices of rows, (N,) each


def repeated(values: np.ndarray) -> np.ndarray:
    """Indices of the values (uint64) that occur twice or more; perhaps of others that differ in low bits only.

    The index takes the place of these low bits (21 of a million values), because sorting numbers is several times as
    fast as sorting indices.
    """
    bits = np.uint64(len(values).bit_length())
    packed = values >> bits << bits | np.arange(len(values), dtype=np.uint64)
    packed.sort()
    same = packed[1:] >> bits == packed[:-1] >> bits
    again = np.zeros(len(values), bool)
    again[1:] |= same
    again[:-1] |= same
    return (packed[again] & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)


def group_sizes(values: np.ndarray) -> np.ndarray:
    """For each of the ascending values, how many are equal to it."""
    starts = _starts(values)
    return np.bincount(starts, minlength=len(values))[starts]


def equal_pairs(values: np.ndarray) -> Iterator[Pairs]:
    """Pairs of rows with equal values (ascending), in batches.

    Of at most FEW_TRACKS rows each two; of more, each with the first.
    """
    few = group_sizes(values) <= FEW_TRACKS
    rows = np.flatnonzero(few)
    for start in range(0, len(rows), ROWS_PER_BATCH):
        first = rows[start : start + ROWS_PER_BATCH]
        pairs: list[Pairs] = []
        for apart in range(1, FEW_TRACKS):
            first = first[first + apart < len(values)]
            first = first[values[first] == values[first + apart]]
            pairs.append((first, first + apart))
        yield _joined(pairs)
    rows = np.flatnonzero(~few)
    firsts = _starts(values)[rows]
    yield firsts[firsts < rows], rows[firsts < rows]


def contexts(values: np.ndarray, tracks: np.ndarray) -> Pairs:
    """Each two rows of a track that have no value below theirs in between: fewer than two per row.

    values: uint32 (N,), in the order of time within a track, each only once. tracks: (N,), equal ones together.
    """
    early = np.arange(len(values))
    lowest = np.full(len(values), 2**32 - 1, np.uint32)  # value between the two rows
    pairs: list[Pairs] = [(early[:0], early[:0])]
    for apart in range(1, len(values)):
        end = np.searchsorted(early, len(values) - apart)
        inside = tracks[early[:end]] == tracks[early[:end] + apart]
        early, lowest = early[:end][inside], lowest[:end][inside]
        if not len(early):
            break
        value = values[early + apart]
        lower = value <= lowest
        pairs.append((early[lower], early[lower] + apart))
        ends = value < values[early]  # all later rows have it in between
        early, lowest = early[~ends], np.minimum(lowest, value)[~ends]
    return _joined(pairs)


def candidates(pairs: np.ndarray, offsets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The pairs (any numbers), ascending, that have MIN_MATCHES at about one offset; (N,) each, a row per match."""
    order = np.lexsort((offsets, pairs))
    pairs, offsets, weights = pairs[order], offsets[order].astype(np.int64), weights[order]
    places = (_starts(pairs) << 33) + offsets
    ends = np.searchsorted(places, places + 2 * SAME_FRAMES, side="right")
    totals = np.concatenate([[0], weights.cumsum()])
    return np.unique(pairs[totals[ends] - totals[:-1] >= MIN_MATCHES])


def _starts(values: np.ndarray) -> np.ndarray:
    """For each of the ascending values, the index of the first that is equal to it."""
    new = np.ones(len(values), bool)
    new[1:] = values[1:] != values[:-1]
    return np.flatnonzero(new)[new.cumsum() - 1]


def _joined(pairs: Sequence[Pairs]) -> Pairs:
    return np.concatenate([first for first, _ in pairs]), np.concatenate([second for _, second in pairs])
