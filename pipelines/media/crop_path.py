"""The part of a picture that shows a person, over time: a crop for each frame, or none where no one is seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wanstreamer.clock import Span

# Times of a path are whole milliseconds, whatever way they were rounded; times of pictures are exact. A picture at
# 1000.3 ms may be the one that a path calls 1000 or 1001.
JUST_UNDER_MS = 0.999


@dataclass(frozen=True, kw_only=True)
class CropPath:
    """Crops over time, on the clock of the picture's file, in pixels of the displayed picture.

    From one row to the next the crop moves in a straight line. Where `cut_N` is true it jumps when the row begins, and
    stands still until then. Before the first row it is that of the first row.
    """

    start_ms_N: np.ndarray  # int64, ascending
    boxes_N4: np.ndarray  # float64: x, y, width, height
    cut_N: np.ndarray  # bool
    visible: tuple[Span, ...]  # sorted, disjoint

    def crop(self, at_ms: float) -> tuple[float, float, float, float] | None:
        """x, y, width and height for the picture at a time; None: the person is not seen."""
        late_ms = at_ms + JUST_UNDER_MS
        if not len(self.start_ms_N) or not any(span.start_ms <= late_ms < span.end_ms for span in self.visible):
            return None
        place = max(0, int(np.searchsorted(self.start_ms_N, late_ms, side="right")) - 1)
        box = self.boxes_N4[place]
        if place + 1 < len(self.boxes_N4) and not self.cut_N[place + 1]:
            begin_ms, end_ms = self.start_ms_N[place : place + 2]
            share = min(1.0, max(0.0, (at_ms - begin_ms) / max(1, end_ms - begin_ms)))
            box = box + share * (self.boxes_N4[place + 1] - box)
        x, y, width, height = map(float, box)
        return x, y, width, height

    def between(self, start_ms: float, end_ms: float) -> "CropPath":
        """A path with the same crops from `start_ms` to `end_ms`, and no more rows than that takes."""
        first = max(0, int(np.searchsorted(self.start_ms_N, start_ms, side="right")) - 1)
        last = int(np.searchsorted(self.start_ms_N, end_ms + 1, side="right")) + 1
        near = tuple(span for span in self.visible if span.end_ms > start_ms and span.start_ms <= end_ms + 1)
        rows = slice(first, last)
        return replace(
            self, start_ms_N=self.start_ms_N[rows], boxes_N4=self.boxes_N4[rows], cut_N=self.cut_N[rows], visible=near
        )


def crop_path(crops: Sequence[Mapping[str, Any]], visible: Sequence[Span]) -> CropPath:
    """The path of a row of the table `people`. `crops`: start_ms, x, y, width, height, cut."""
    return CropPath(
        start_ms_N=np.array([crop["start_ms"] for crop in crops], np.int64),
        boxes_N4=np.array(
            [[crop[name] for name in ("x", "y", "width", "height")] for crop in crops], np.float64
        ).reshape(-1, 4),
        cut_N=np.array([crop["cut"] for crop in crops], bool),
        visible=tuple(visible),
    )


def in_shape(
    crop: tuple[float, float, float, float], picture: tuple[int, int], frame: tuple[int, int]
) -> tuple[float, float, float, float]:
    """A crop in the shape of a frame and inside a picture: it becomes longer in the direction in which it is too short,
    about its middle, as far as the picture reaches; only what does not fit then is cut off.

    >>> in_shape((0, 0, 100, 100), (640, 360), (200, 100))
    (0.0, 0.0, 200.0, 100.0)
    >>> in_shape((600, 340, 100, 100), (640, 360), (100, 100))  # moved into the picture
    (540.0, 260.0, 100.0, 100.0)
    """
    x, y, width, height = crop
    aspect = frame[0] / frame[1]
    middle_x, middle_y = x + width / 2, y + height / 2
    width = max(width, height * aspect, 1.0)
    width *= min(1.0, picture[0] / width, picture[1] / (width / aspect))
    height = width / aspect
    left = min(max(0.0, middle_x - width / 2), picture[0] - width)
    top = min(max(0.0, middle_y - height / 2), picture[1] - height)
    return left, top, width, height
