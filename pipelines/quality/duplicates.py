"""Hashes of all tracks -> which tracks are a recording of an earlier session, given again.

Tracks that share hashes are found in sorted hashes, never by looking at all pairs, and then compared by when the hashes
come: copies share many at one offset, all over the track; strangers share few, and a phrase or jingle that two
recordings have in common stays in one place. Tracks of one session are not compared: they may share a microphone. For
the same reason a shared sound is not believed across sessions where the pictures differ.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.quality.hashes import MAX_HASHES, scrambled

NEIGHBOURS = 16  # tracks holding the same hash that each is paired with: bounds the work where a hash is common
SAME_FRAMES = 3  # by which the times of a hash may differ between copies
MIN_SHARED = 4  # hashes at about the same offset that make two tracks worth a look
MIN_HASHES, MIN_SHARE = 8, 0.05  # at one offset, of copies; the share is of the shorter track's hashes
STRETCHES, MIN_STRETCHES = 8, 4  # of the shorter track, and how many of them must share hashes
CONFIRMING_HASHES = 3  # of the picture, at the offset that the sound has told


class Hashes(NamedTuple):
    """uint32 (N,) and int32 (N,), ascending in time; a frame is 40 ms."""

    value: np.ndarray
    frame: np.ndarray


def find_duplicates(hashes: pa.Table) -> dict[tuple[str, str], tuple[str, str]]:
    """(session, participant) of a copy -> that of the recording in the session that sorts first."""
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
    """Whether (sound, picture) of two tracks are of one recording, one perhaps a part of the other."""
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
    """Frames by which a hash of `track` comes later in `other`, or None where they are no copies."""
    first, second = _shared(track, other)
    if len(first) < MIN_HASHES:
        return None
    offsets = other.frame[second] - track.frame[first]
    ascending = np.sort(offsets)
    within = np.searchsorted(ascending, ascending + 2 * SAME_FRAMES, side="right") - np.arange(len(ascending))
    offset = int(ascending[int(np.argmax(within))]) + SAME_FRAMES
    agree = np.abs(offsets - offset) <= SAME_FRAMES
    # Of a long track only the hashes of lowest scrambled value are known: what the other has above them tells nothing.
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
    """Places of the hashes that both have; no hash is twice in one track."""
    _, first, second = np.intersect1d(track.value, other.value, assume_unique=True, return_indices=True)
    return first, second


def _hashes(table: pa.Table, stream: str) -> list[Hashes]:
    """Of each row, as views into two arrays."""
    hashes, frames = (table[f"{stream}_{what}"].combine_chunks() for what in ("hashes", "frames"))
    ends = np.concatenate([[0], np.cumsum(hashes.value_lengths().to_numpy(zero_copy_only=False))]).astype(int)
    values, times = hashes.flatten().to_numpy(zero_copy_only=False), frames.flatten().to_numpy(zero_copy_only=False)
    return [Hashes(values[start:end], times[start:end]) for start, end in zip(ends, ends[1:], strict=False)]


def _pairs(tracks: list[Hashes], sessions: np.ndarray) -> list[tuple[int, int]]:
    """Tracks of two sessions, first < second, that share MIN_SHARED hashes at about one offset."""
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
    for shift in (0, width // 2):  # twice, so that no offset lies at an edge both times
        cell = (offset - offset.min(initial=0) + shift) // width
        cells = int(cell.max(initial=0)) + 1
        cell_pairs, times = np.unique(pair * cells + cell, return_counts=True)
        near.append(cell_pairs[times >= MIN_SHARED] // cells)
    return [(int(pair_id) // len(tracks), int(pair_id) % len(tracks)) for pair_id in np.unique(np.concatenate(near))]
