"""Pictures of a recording with boxes and names on them -> one picture of all, for a person to look at."""

from collections.abc import Sequence

import cv2
import numpy as np

COLOURS = ((230, 60, 60), (60, 120, 240), (40, 180, 80), (230, 170, 30), (170, 80, 220), (30, 190, 200))
COLUMNS = 4
WIDTH = 320  # of a picture on the sheet


def contact_sheet(
    pictures: Sequence[np.ndarray], boxes: Sequence[Sequence[np.ndarray]], names: Sequence[Sequence[str]]
) -> np.ndarray:
    """uint8 RGB.

    Args:
        pictures: uint8 RGB, all of one size.
        boxes: Those of each picture: left, top, right, bottom in its pixels.
        names: Of each box. Equal names have equal colours.
    """
    known = sorted({name for some in names for name in some})
    shown = []
    for picture, picture_boxes, picture_names in zip(pictures, boxes, names, strict=True):
        scale = WIDTH / picture.shape[1]
        small = cv2.resize(picture, (WIDTH, max(1, round(picture.shape[0] * scale))), interpolation=cv2.INTER_AREA)
        for box_4, name in zip(picture_boxes, picture_names, strict=True):
            colour = COLOURS[known.index(name) % len(COLOURS)]
            left, top, right, bottom = (round(float(side) * scale) for side in box_4)
            cv2.rectangle(small, (left, top), (right, bottom), colour, 2)
            cv2.putText(small, name, (left, max(10, top - 4)), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)
        shown.append(small)
    blank = np.full_like(shown[0], 255)
    shown += [blank] * (-len(shown) % COLUMNS)
    rows = [np.concatenate(shown[start : start + COLUMNS], axis=1) for start in range(0, len(shown), COLUMNS)]
    return np.concatenate(rows)
