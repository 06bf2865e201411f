"""A face in a picture -> numbers that are alike for pictures of one person, with the network SFace.

Zhong et al., "SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face Recognition", 2021; Apache-2.0, OpenCV Zoo.
`tools.models` fetches its file (37 MB) into a folder. OpenCV runs it.
"""

from pathlib import Path

import cv2
import numpy as np

from pipelines.engine.models import FACE_IDENTITY, lacking
from wanstreamer.errors import InputError

FILE = "face_recognition_sface_2021dec.onnx"
SAME_PERSON = 0.363  # least cosine of two pictures of one person (OpenCV Zoo, measured on LFW)


def face_weights_file(folder: Path, setting: str) -> Path:
    """The file of weights in the folder. Raises InputError that names the setting if it is not there."""
    if (folder / FILE).is_file():
        return folder / FILE
    raise lacking(setting, folder, FACE_IDENTITY, (FILE,))


class FaceEmbedding:
    """The network, on the CPU."""

    def __init__(self, folder: Path, setting: str) -> None:
        path = face_weights_file(folder, setting)
        try:
            self.network = cv2.FaceRecognizerSF.create(str(path), "")
        except cv2.error as error:
            reason = str(error).strip().splitlines()[-1][:200]
            raise InputError(f"{setting}: {path}: {reason}; expected the weights of SFace") from error

    def __call__(self, rgb_HWC: np.ndarray, box_4: np.ndarray, landmarks_52: np.ndarray) -> np.ndarray:
        """float32 (128,), of length 1. Box: left, top, right, bottom; landmarks as in signals/faces.py."""
        row = np.concatenate([box_4[:2], box_4[2:] - box_4[:2], landmarks_52.ravel(), [1.0]]).astype(np.float32)
        aligned = self.network.alignCrop(np.ascontiguousarray(rgb_HWC[:, :, ::-1]), row)
        embedding_E = self.network.feature(aligned).ravel().astype(np.float32)
        return embedding_E / max(float(np.linalg.norm(embedding_E)), 1e-9)
