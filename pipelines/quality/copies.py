"""Hashes of two tracks -> whether they are the same recording.

The times of the equal hashes are compared: copies have many at one offset, all over the track. Different recordings
have few; a phrase or jingle in both is in one place only. Equal sound in two sessions does not count if their pictures
differ, because participants may share a microphone.
"""

from typing import NamedTuple

import numpy as np

from pipelines.quality.hashes import MAX_HASHES, scrambled

SAME_FRAMES = 3  # the times of a hash may differ by this between copies
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
