"""A face throughout a recording -> the part of the picture that shows head and shoulders of this person over time.

Within a shot the part stands still, or follows slowly if the person moves; it jumps only at cuts. It has the shape of
the tracks, lies in the picture, and ends half way to the head of the next person where there is one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipelines.people.face_tracks import FaceTrack
from pipelines.people.identities import Identity
from wanstreamer.clock import Span, merge_spans, overlap_ms

HEIGHT = 2.6  # of the part, in heights of the face from forehead to chin
LEAST_HEIGHT = 1.7  # if the next person is near
WIDTH = 2.2  # at least, in heights of the face: the shoulders
LEAST_WIDTH = 1.1
FACE_AT = 0.45  # where the middle of the face is: share of the height of the part
STEP_MS = 200  # of the curves that are smoothed
SMOOTH_STEPS = 6.0  # deviation of the smoothing: 1.2 s
STILL = 0.15  # a wish that moves by less than this share of the part is not followed
GROWS = 1.5  # a face that grows by less in a shot has a part of one size
SLACK = 0.004  # of the part: points of a path that are as near to the line between others are left out
SAME_PLACE = 0.3  # of its size that a face may move over a cut without a jump of the part
PRESENT_MS = 3000  # a face that is back in its place after this time or less was there


class Crop(NamedTuple):
    """The part of the picture from `start_ms` on, in displayed pixels; it moves evenly to the next without `cut`."""

    start_ms: int
    x: int
    y: int
    width: int
    height: int
    cut: bool  # jumps here


def crop_path(
    identity: Identity, others: Sequence[Identity], size: tuple[int, int], aspect: float
) -> tuple[tuple[Crop, ...], tuple[Span, ...]]:
    """The path of the part that shows a person, and when the person is visible, in ms.

    Args:
        others: All other faces, also those of posters.
        size: Width and height of the displayed picture.
        aspect: Width over height of the part.
    """
    crops: list[Crop] = []
    for tracks in _segments(identity.tracks):
        setup = tracks[0].setup
        near = [track for other in others for track in other.tracks if track.setup == setup]
        crops += _path(tracks, near, size, aspect)
    return tuple(crops), visible_spans(identity)


def _segments(tracks: Sequence[FaceTrack]) -> list[list[FaceTrack]]:
    """Tracks between which the part does not jump: those of a shot, and those that go on in the same place after a
    graphic came up."""
    segments: list[list[FaceTrack]] = []
    for track in tracks:
        before = segments[-1][-1] if segments else None
        if before is not None and (before.shot == track.shot or _goes_on(before, track)):
            segments[-1].append(track)
        else:
            segments.append([track])
    return segments


def _goes_on(before: FaceTrack, track: FaceTrack) -> bool:
    """Whether a face is in the place and of the size in which it was, in the same set-up."""
    if before.setup != track.setup:
        return False
    moved_4 = np.abs(track.boxes_N4[0] - before.boxes_N4[-1])
    return bool(moved_4.max() < SAME_PLACE * track.size)


def visible_spans(identity: Identity) -> tuple[Span, ...]:
    """When a person is seen; over short times in which only the face is not found, too."""
    spans: list[Span] = []
    for before, track in zip((None, *identity.tracks), identity.tracks, strict=False):
        start_ms = track.start_ms
        if (
            before is not None
            and before.setup == track.setup
            and 0 < start_ms - before.end_ms <= PRESENT_MS
            and np.hypot(*(before.centre - track.centre)) < 2 * track.size
        ):
            start_ms = before.end_ms
        spans.append(Span(start_ms, track.end_ms))
    return tuple(merge_spans(spans))


def _path(tracks: Sequence[FaceTrack], near: Sequence[FaceTrack], size: tuple[int, int], aspect: float) -> list[Crop]:
    """The path of one segment."""
    start_ms, end_ms = tracks[0].start_ms, max(track.end_ms for track in tracks)
    times_N = np.concatenate([track.times_N for track in tracks])
    boxes_N4 = np.concatenate([track.boxes_N4 for track in tracks])
    order = np.argsort(times_N, kind="stable")
    grid_T = np.arange(start_ms, max(end_ms, start_ms + 1), STEP_MS)
    boxes_T4 = np.stack([np.interp(grid_T, times_N[order], side[order]) for side in boxes_N4.T], axis=1)
    x_T, y_T = _smooth((boxes_T4[:, 0] + boxes_T4[:, 2]) / 2), _smooth((boxes_T4[:, 1] + boxes_T4[:, 3]) / 2)
    face_T = _smooth(boxes_T4[:, 3] - boxes_T4[:, 1])
    if face_T.max() < GROWS * face_T.min():
        face_T = np.full(len(face_T), float(np.median(boxes_N4[:, 3] - boxes_N4[:, 1])))
    low_T2, high_T2 = _room(x_T, y_T, tracks, near, size, Span(start_ms, end_ms))
    most = min(size[1], size[0] / aspect)
    height_T = np.maximum(HEIGHT * face_T, WIDTH * face_T / aspect)
    least_T = np.maximum(LEAST_HEIGHT * face_T, LEAST_WIDTH * face_T / aspect)
    free_T = np.minimum(high_T2[:, 1] - low_T2[:, 1], (high_T2[:, 0] - low_T2[:, 0]) / aspect)
    height_T = np.minimum(most, np.maximum(least_T, np.minimum(height_T, free_T)))
    if np.ptp(face_T) == 0:
        height_T = np.full(len(height_T), height_T.min())
    size_T2 = np.stack([height_T * aspect, height_T], axis=1)
    place_T2 = np.stack([x_T, y_T], axis=1) - size_T2 * (0.5, FACE_AT)
    # Out of the room of others; but the face stays in; and all in the picture.
    last_T2 = high_T2 - size_T2
    place_T2 = np.where(last_T2 >= low_T2, np.clip(place_T2, low_T2, last_T2), (low_T2 + last_T2) / 2)
    middle_T2, half_T2 = np.stack([x_T, y_T], axis=1), np.stack([face_T, face_T], axis=1) / 2
    place_T2 = np.clip(place_T2, middle_T2 + half_T2 - size_T2, middle_T2 - half_T2)
    place_T2 = np.clip(place_T2, 0, np.array(size) - size_T2)
    for axis in (0, 1):
        if np.ptp(place_T2[:, axis]) < STILL * size_T2[:, axis].min() and np.ptp(size_T2[:, axis]) == 0:
            place_T2[:, axis] = np.median(place_T2[:, axis])
    path_T4 = np.concatenate([place_T2, size_T2], axis=1)
    return [
        _rounded(int(grid_T[index]), path_T4[index], size, cut=index == 0)
        for index in _corners(path_T4, SLACK * float(size_T2.min()))
    ]


def _room(
    x_T: np.ndarray,
    y_T: np.ndarray,
    tracks: Sequence[FaceTrack],
    near: Sequence[FaceTrack],
    size: tuple[int, int],
    span: Span,
) -> tuple[np.ndarray, np.ndarray]:
    """Where the part may lie: from and to, (T, 2) of x and y. It ends half way to other faces of the shot, on the side
    on which they are farther away."""
    low_T2 = np.zeros((len(x_T), 2))
    high_T2 = np.tile(np.array(size, float), (len(x_T), 1))
    own_2 = np.array([np.median(x_T), np.median(y_T)])
    for other in near:
        seen_ms = overlap_ms(Span(other.start_ms, other.end_ms), span)
        if seen_ms < min(1000, span.duration_ms // 2):
            continue
        away_2 = other.centre - own_2
        axis = int(abs(away_2[1]) > abs(away_2[0]))
        edge_T = ((x_T, y_T)[axis] + other.centre[axis]) / 2
        if away_2[axis] > 0:
            high_T2[:, axis] = np.minimum(high_T2[:, axis], edge_T)
        else:
            low_T2[:, axis] = np.maximum(low_T2[:, axis], edge_T)
    return low_T2, high_T2


def _smooth(curve_T: np.ndarray) -> np.ndarray:
    """Without single outliers, and then without quick motion."""
    padded = np.pad(curve_T, 2, mode="edge")
    curve_T = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    reach = round(3 * SMOOTH_STEPS)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SMOOTH_STEPS) ** 2)
    return np.convolve(np.pad(curve_T, reach, mode="edge"), kernel / kernel.sum(), mode="valid")


def _corners(path_TD: np.ndarray, slack: float) -> list[int]:
    """Indices between which straight lines are as near as `slack` to the path (Douglas and Peucker)."""
    kept, waiting = {0}, [(0, len(path_TD) - 1)]
    while waiting:
        first, last = waiting.pop()
        kept.add(last)
        if last - first < 2:
            continue
        share = (np.arange(first + 1, last) - first)[:, None] / (last - first)
        off = np.abs(path_TD[first] + share * (path_TD[last] - path_TD[first]) - path_TD[first + 1 : last]).max(1)
        if off.max() > slack:
            middle = first + 1 + int(off.argmax())
            waiting += [(first, middle), (middle, last)]
    corners = sorted(kept)
    # A part that stands still needs one point.
    return corners[:1] if len(corners) == 2 and np.abs(path_TD[-1] - path_TD[0]).max() <= slack else corners


def _rounded(start_ms: int, part_4: np.ndarray, size: tuple[int, int], *, cut: bool) -> Crop:
    """Whole pixels, in the picture."""
    width, height = (max(1, min(most, round(float(side)))) for side, most in zip(part_4[2:], size, strict=True))
    x, y = round(float(part_4[0])), round(float(part_4[1]))
    return Crop(start_ms, min(max(0, x), size[0] - width), min(max(0, y), size[1] - height), width, height, cut)
