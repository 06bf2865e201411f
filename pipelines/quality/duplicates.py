"""Hashes of all tracks -> which tracks are a second copy of a recording in an earlier session.

Tracks with equal hashes are found by sorting the hashes, never by comparing all pairs. Then the times of the equal
hashes are compared: copies have many at one offset, all over the track. Different recordings have few; a phrase or
jingle in both is in one place only. Tracks of one session are not compared, because they may share a microphone. For
the same reason, equal sound in two sessions does not count if their pictures differ.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.quality.hashes import MAX_HASHES, scrambled

NEIGHBOURS = 16  # a track is paired with at most this many others per equal hash: limits the work for common hashes
SAME_FRAMES = 3  # the times of a hash may differ by this between copies
MIN_SHARED = 4  # two tracks with this many equal hashes at about one offset are compared
MIN_HASHES, MIN_SHARE = (
    8,
    0.05,
)  # copies have at least this many equal hashes at one offset, and this share of the shorter track's
STRETCHES, MIN_STRETCHES = 8, 4  # the shorter track is cut into 8 parts; at least 4 must have equal hashes
CONFIRMING_HASHES = 3  # equal hashes of the picture, at the offset of the sound, that confirm a copy


class Hashes(NamedTuple):
    """uint32 (N,) and int32 (N,), ascending in time; a frame is 40 ms."""

    value: np.ndarray
    frame: np.ndarray


def find_duplicates(hashes: pa.Table) -> dict[tuple[str, str], tuple[str, str]]:
    """(session, participant) of a copy -> the same recording in the session that sorts first."""
    table = hashes.sort_by([("session_id", "ascending"), ("participant", "ascending")])
    keys = list(zip(table["session_id"].to_pylist(), table["participant"].to_pylist(), strict=True))
    numbers = {session: number for number, session in enumerate(sorted({session for session, _ in keys}))}
    sessions = np.array([numbers[session] for session, _ in keys], np.int32)
    sounds, pictures = _hashes(table, "sound"), _hashes(table, "picture")
    originals: dict[tuple[str, str], tuple[str, str]] = {}
    pairs = {*_pairs(sounds, sessions), *_pairs(pictures, sessions)}
    for second, first in sorted((second, first) for first, second in pairs):
        if keys[second] not in originals and is_copy(
            (sounds[first], pictures[first]), (sounds[second], pictures[second])
        ):  # fmt: skip
            originals[keys[second]] = originals.get(keys[first], keys[first])
    return originals


def is_copy(track: tuple[Hashes, Hashes], other: tuple[Hashes, Hashes]) -> bool:
    """Whether (sound, picture) of two tracks are the same recording; one may be a part of the other."""
    heard, seen = (_copied(*streams) for streams in zip(track, other, strict=True))
    if seen is not None or heard is None:
        return seen is not None
    pictures = (track[1], other[1])
    if min(len(picture.value) for picture in pictures) < MIN_HASHES:
        return True
    first, second = _shared(*pictures)
    away = pictures[1].frame[second] - pictures[0].frame[first] - heard
    return int((np.abs(away) <= SAME_FRAMES).sum()) >= CONFIRMING_HASHES


def _copied(track: Hashes, other: Hashes) -> int | None:
    """Offset in frames of `other` relative to `track`, or None if they are not copies."""
    first, second = _shared(track, other)
    if len(first) < MIN_HASHES:
        return None
    offsets = other.frame[second] - track.frame[first]
    ascending = np.sort(offsets)
    within = np.searchsorted(ascending, ascending + 2 * SAME_FRAMES, side="right") - np.arange(len(ascending))
    offset = int(ascending[int(np.argmax(within))]) + SAME_FRAMES
    agree = np.abs(offsets - offset) <= SAME_FRAMES
    # A long track has only its hashes of lowest scrambled value: higher ones of the other track are ignored.
    limit = min(_limit(track), _limit(other))
    known = [scrambled(hashes.value) <= limit for hashes in (track, other)]
    spans = [int(hashes.frame[-1] - hashes.frame[0]) for hashes in (track, other)]
    shorter = int(spans[1] < spans[0])
    frames, places = (track, other)[shorter].frame[known[shorter]], ((first, second)[shorter])[agree]
    hits = np.isin(frames, (track, other)[shorter].frame[places])
    stretches = sum(bool(part.any()) for part in np.array_split(hits, STRETCHES))
    enough = hits.sum() >= max(MIN_HASHES, MIN_SHARE * len(frames)) and stretches >= MIN_STRETCHES
    return offset if enough else None


def _limit(hashes: Hashes) -> int:
    return int(scrambled(hashes.value).max()) if len(hashes.value) >= MAX_HASHES else 2**32


def _shared(track: Hashes, other: Hashes) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the hashes that both tracks have; a hash is in a track only once."""
    _, first, second = np.intersect1d(track.value, other.value, assume_unique=True, return_indices=True)
    return first, second


def _hashes(table: pa.Table, stream: str) -> list[Hashes]:
    """Hashes of each row, as views into two arrays."""
    hashes, frames = (table[f"{stream}_{what}"].combine_chunks() for what in ("hashes", "frames"))
    ends = np.concatenate([[0], np.cumsum(hashes.value_lengths().to_numpy(zero_copy_only=False))]).astype(int)
    values, times = hashes.flatten().to_numpy(zero_copy_only=False), frames.flatten().to_numpy(zero_copy_only=False)
    return [Hashes(values[start:end], times[start:end]) for start, end in zip(ends, ends[1:], strict=False)]


def _pairs(tracks: list[Hashes], sessions: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of tracks (first < second) of different sessions with MIN_SHARED equal hashes at about one offset."""
    value = np.concatenate([np.empty(0, np.uint32), *(hashes.value for hashes in tracks)])
    frame = np.concatenate([np.empty(0, np.int32), *(hashes.frame for hashes in tracks)])
    track = np.repeat(np.arange(len(tracks), dtype=np.int32), [len(hashes.value) for hashes in tracks])
    order = np.argsort(value, kind="stable")  # among equal hashes, tracks stay in their order
    value, frame, track = value[order], frame[order], track[order]
    pairs, offsets = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for apart in range(1, NEIGHBOURS + 1):
        place = np.flatnonzero(value[apart:] == value[:-apart])
        place = place[sessions[track[place]] != sessions[track[place + apart]]]
        pairs.append(track[place].astype(np.int64) * len(tracks) + track[place + apart])
        offsets.append(frame[place + apart].astype(np.int64) - frame[place])
    pair, offset = np.concatenate(pairs), np.concatenate(offsets)
    near = []
    width = 4 * SAME_FRAMES
    for shift in (0, width // 2):  # two grids, so that no offset is at an edge of both
        cell = (offset - offset.min(initial=0) + shift) // width
        cells = int(cell.max(initial=0)) + 1
        cell_pairs, times = np.unique(pair * cells + cell, return_counts=True)
        near.append(cell_pairs[times >= MIN_SHARED] // cells)
    return [(int(pair_id) // len(tracks), int(pair_id) % len(tracks)) for pair_id in np.unique(np.concatenate(near))]
