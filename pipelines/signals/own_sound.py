"""Levels of all tracks of a session -> when each track's sound is its own person's, as far as levels can tell.

A listener's microphone has the speaker's voice too. Where two tracks are active together, and the difference of their
levels takes two values along the session, the larger one is the speech of the track's own person: this needs no equal
gains. If the difference takes one value only (the same sound in both tracks, or one person who speaks alone), levels
cannot tell whose sound it is, unless the difference is larger than that of any gains.
"""

from collections.abc import Sequence

import numpy as np

RATE_HZ = 50  # of the levels
ACTIVE_DB = 6.0  # above the floor of the track
FLOOR_PERCENT = 10  # of the levels: the floor
LOWEST_DB = -80.0  # relative to full scale: less is no sound
LOUD_PERCENT = 75  # of the levels where a track is active: frames that are surely somebody's speech
TAIL_FRAMES = 5  # echoes follow a voice for 100 ms, and recorders are this far apart
TWO_VALUES_DB = 12.0  # between the differences of one's speech and of the other's
SURE_DB = 20.0  # more than the gains of two recorders differ
CLEAR_DB = 3.0  # from the middle between both values
MIN_SHARED_S = 1.0  # of loud frames; with less, tracks are active together because people overlap


def own_sound(levels_db: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
    """For each track, bool (N,): the sound is this person's, or silence. False: another's, or cannot tell.

    `levels_db`: level (N,) at RATE_HZ of each track, relative to full scale; None: the track has no sound.
    """
    own: list[np.ndarray | None] = []
    for i, level in enumerate(levels_db):
        mine = None if level is None else np.ones(len(level), bool)
        for j, other in enumerate(levels_db):
            if j != i and mine is not None and level is not None and other is not None:
                length = min(len(level), len(other))
                mine[:length] &= ~_is_others(level[:length], other[:length])
        own.append(mine)
    return own


def _is_others(level_db: np.ndarray, other_db: np.ndarray) -> np.ndarray:
    """Frames in which the first track may have the other's voice."""
    active, other_active = _active(level_db), _active(other_db)
    difference_db = level_db - other_db
    shared = active & other_active & (_loud(level_db, active) | _loud(other_db, other_active))
    middle_db = 0.0
    if shared.sum() >= MIN_SHARED_S * RATE_HZ:
        low, median, high = np.percentile(difference_db[shared], [10, 50, 90])
        if high - low >= TWO_VALUES_DB:
            middle_db = (low + high) / 2
        elif abs(median) < SURE_DB:
            return other_active
    return other_active & (difference_db <= middle_db + CLEAR_DB)


def _active(level_db: np.ndarray) -> np.ndarray:
    """Frames above the floor of the track, and those near them."""
    loud = level_db > max(float(np.percentile(level_db, FLOOR_PERCENT)), LOWEST_DB) + ACTIVE_DB
    width = 2 * TAIL_FRAMES + 1
    counts = np.concatenate([[0], np.pad(loud, TAIL_FRAMES).cumsum()])
    return (counts[width:] - counts[:-width]) > 0


def _loud(level_db: np.ndarray, active: np.ndarray) -> np.ndarray:
    return level_db > np.percentile(level_db[active], LOUD_PERCENT) if active.any() else active
