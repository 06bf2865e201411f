"""Pictures of a recording -> which of them begin a shot: after a cut, or in the middle of a dissolve.

The idea is that of PySceneDetect's AdaptiveDetector: at a cut a picture differs from the one before by more than its
neighbours do, so that a pan, or someone who walks through the picture, is none. Two things are added. A flash or a
picture that stands out for up to six frames is no cut, because the pictures before and after it are alike. And during a
dissolve, each picture is a mixture of those before and after.

Everything is measured on thumbnails of 48 x 32 pixels.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from pipelines.media.pictures import SmallPicture

THUMB = (48, 32)  # width, height
NEIGHBOURS = 2  # pictures on each side whose changes a cut is compared with
TIMES_NEIGHBOURS = 3.0  # a cut changes the picture by at least this many times as much
CHANGED_SHARE, CHANGED_BY = 0.2, 8.0  # at a cut, at least this share of the picture changes by this many grey levels
FLASH_FRAMES = 6
LASTING_SHARE = 0.6  # of the least change at a cut that must be left without differences of brightness
HALF_DISSOLVES = (8, 16, 25)  # frames before and after the middle
TIMES_CUT = 1.6  # a dissolve changes the picture by at least this many times the least change at a cut
MIXTURE_ERROR = 0.22  # of the change over a dissolve: how far pictures may be from a mixture of its ends
MOVED_BY = 3  # pixels of the thumbnail
MOVED_SHARE = 0.6  # of the change over a dissolve that no movement of the picture explains
REACH = max(HALF_DISSOLVES)
SAME_SETUP = 7.0  # largest mean difference of two shots of one camera, in grey levels


class Marked(NamedTuple):
    """A picture, and whether a shot begins with it."""

    picture: SmallPicture
    thumb_3HW: np.ndarray
    begins: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Shot:
    """What one camera shows without a cut."""

    start_ms: int
    end_ms: int
    thumb_3HW: np.ndarray  # mean of its thumbnails


def mark_shots(pictures: Iterable[SmallPicture], cut_change: float) -> Iterator[Marked]:
    """The pictures, a second behind; memory holds two seconds of thumbnails and one of pictures.

    cut_change: Least mean change of brightness and both colours at a cut, in grey levels.
    """
    ahead: deque[SmallPicture] = deque()
    thumbs: deque[np.ndarray] = deque(maxlen=2 * REACH + 1)  # the last is that of the newest picture
    steps: deque[float] = deque(maxlen=2 * REACH + 1)  # change from the picture before
    since = 0  # pictures since the last beginning

    def oldest() -> Marked:
        nonlocal since
        place = len(thumbs) - len(ahead)
        picture = ahead.popleft()
        begins = picture.frame == 0 or _is_cut(thumbs, steps, place, cut_change)
        if not begins and since > REACH and picture.frame % 2 == 0:
            begins = _is_dissolve(thumbs, steps, place, cut_change)
        since = 0 if begins else since + 1
        return Marked(picture, thumbs[place], begins)

    for picture in pictures:
        thumb = thumbnail(picture)
        steps.append(difference(thumbs[-1], thumb) if thumbs else 0.0)
        thumbs.append(thumb)
        ahead.append(picture)
        if len(ahead) > REACH:
            yield oldest()
    while ahead:
        yield oldest()


def thumbnail(picture: SmallPicture) -> np.ndarray:
    """float32 (3, 32, 48): brightness and both colours."""
    planes = (picture.luma, *picture.chroma)
    return np.stack([cv2.resize(plane, THUMB, interpolation=cv2.INTER_AREA) for plane in planes]).astype(np.float32)


def difference(one_3HW: np.ndarray, other_3HW: np.ndarray) -> float:
    """Mean change of brightness and both colours, in grey levels."""
    return float(np.abs(one_3HW - other_3HW).mean() * 3)


def lasting_difference(one_3HW: np.ndarray, other_3HW: np.ndarray) -> float:
    """`difference` once the first picture is made as bright and as rich in contrast as the other, within limits."""
    first, second = one_3HW[0].ravel(), other_3HW[0].ravel()
    spread = float(first.var())
    centred = first - first.mean()
    gain = float((centred * (second - second.mean())).mean()) / spread if spread > 1 else 1.0
    gain = min(2.0, max(0.5, gain))
    offset = float(second.mean()) - gain * float(first.mean())
    rest = np.abs(gain * one_3HW[0] + offset - other_3HW[0]).mean()
    colours = np.abs(gain * (one_3HW[1:] - 128) - (other_3HW[1:] - 128))  # more light, stronger colours
    return float(rest + colours.mean(axis=(1, 2)).sum())


def same_setup(one: Shot, other: Shot) -> bool:
    """Whether two shots show the same place from the same camera."""
    return lasting_difference(one.thumb_3HW, other.thumb_3HW) < SAME_SETUP


def _is_cut(thumbs: "deque[np.ndarray]", steps: "deque[float]", place: int, cut_change: float) -> bool:
    """Whether there is a cut before the picture at this place."""
    if place < 1 or steps[place] < cut_change:
        return False
    near = [
        steps[index]
        for index in range(max(1, place - NEIGHBOURS), min(len(steps), place + NEIGHBOURS + 1))
        if index != place
    ]
    if near and steps[place] < TIMES_NEIGHBOURS * (sum(near) / len(near)):
        return False
    if float((np.abs(thumbs[place] - thumbs[place - 1]).max(0) > CHANGED_BY).mean()) < CHANGED_SHARE:
        return False  # a caption
    before = {max(0, place - 1 - back) for back in (0, FLASH_FRAMES // 2, FLASH_FRAMES)}
    after = {min(len(thumbs) - 1, place + ahead) for ahead in (0, FLASH_FRAMES // 2, FLASH_FRAMES)}
    return all(
        lasting_difference(thumbs[one], thumbs[other]) >= LASTING_SHARE * cut_change
        for one in before
        for other in after
    )


def _is_dissolve(thumbs: "deque[np.ndarray]", steps: "deque[float]", place: int, cut_change: float) -> bool:
    """Whether the picture at this place is the middle of a dissolve."""
    halves = [half for half in HALF_DISSOLVES if place >= half and place + half < len(thumbs)]
    changes = [difference(thumbs[place - half], thumbs[place + half]) for half in halves]
    if not halves or max(changes) < TIMES_CUT * cut_change:
        return False
    # The shortest time in which nearly all of the change happens.
    half, change = next(
        (half, change) for half, change in zip(halves, changes, strict=True) if change >= 0.85 * max(changes)
    )
    first, last = place - half, place + half
    before, middle, after = thumbs[first], thumbs[place], thumbs[last]
    if max(steps[index] for index in range(first + 1, last + 1)) > 0.5 * change:
        return False  # a cut or a flash
    if difference(middle, (before + after) / 2) > MIXTURE_ERROR * change:
        return False
    way, shares = after - before, []
    for index in (place - half // 2, place + half // 2):
        part = thumbs[index] - before
        shares.append(float((way * part).sum() / (way * way).sum()))
        if difference(part, shares[-1] * way) > MIXTURE_ERROR * change:
            return False
    return (
        shares[0] < 0.45
        and shares[1] > 0.55
        and lasting_difference(before, after) >= TIMES_CUT * LASTING_SHARE * cut_change
        and _moved_difference(before, after) > MOVED_SHARE * change
    )


def _moved_difference(one_3HW: np.ndarray, other_3HW: np.ndarray) -> float:
    """The least `difference` when one picture is moved over the other: small for a camera that turns slowly."""
    height, width = one_3HW.shape[1:]
    inner = one_3HW[:, MOVED_BY : height - MOVED_BY, MOVED_BY : width - MOVED_BY]
    return min(
        difference(inner, other_3HW[:, y : y + inner.shape[1], x : x + inner.shape[2]])
        for y in range(2 * MOVED_BY + 1)
        for x in range(2 * MOVED_BY + 1)
    )
