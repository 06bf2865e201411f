"""Tracks of faces at given places, for tests of what is made of them."""

import numpy as np

from pipelines.people.face_tracks import FaceTrack
from pipelines.people.identities import Identity


def track(
    x: np.ndarray, y: np.ndarray, face: float, *, start_ms: int = 0, shot: int = 0, setup: int | None = None
) -> FaceTrack:
    times = start_ms + 200 * np.arange(len(x))
    boxes = np.stack([x - 0.4 * face, y - face / 2, x + 0.4 * face, y + face / 2], axis=1)
    return FaceTrack(
        shot=shot, setup=shot if setup is None else setup, start_ms=start_ms, end_ms=int(times[-1]) + 200,
        times_N=times, boxes_N4=boxes,
        landmarks_N52=np.zeros((len(x), 5, 2)), scores_N=np.ones(len(x)), first_frame=start_ms // 40,
        mouth_TB=np.zeros((1, 12), np.float32), motion_T=np.zeros(1, np.float32), asd_T=None,
        patch_HW=np.zeros((48, 40), np.float32), change=1.0, sharpness=1.0, frontal_share=1.0,
        colours_R3=np.zeros((3, 3), np.float32), embedding_E=None,
    )  # fmt: skip


def still(x: float, y: float, face: float, *, steps: int = 50, jitter: float = 0.0, **more: int) -> FaceTrack:
    rng = np.random.default_rng(0)
    return track(x + jitter * rng.normal(size=steps), y + jitter * rng.normal(size=steps), face, **more)


def identity(*tracks: FaceTrack) -> Identity:
    return Identity(tracks=tracks, share=1.0, is_static=False, copy_of=None, certainty=1.0)
