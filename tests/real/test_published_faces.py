"""The published weights of LR-ASD and SFace, on noise and on drawn faces."""

import numpy as np
import pytest

from pipelines.signals.active_speaker import load_active_speaker, sound_of_frames
from pipelines.signals.face_embedding import SAME_PERSON, FaceEmbedding
from pipelines.signals.faces import detect_faces
from tests.helpers.pictures import talking_face
from tests.helpers.real import real_model

pytestmark = pytest.mark.real


def test_noise_does_not_speak() -> None:
    network = load_active_speaker(real_model("lr-asd"), "people.asd_model")
    rng = np.random.default_rng(0)
    sound = sound_of_frames(rng.normal(0, 0.05, 16_000).astype(np.float32), 0, 25)
    scores = network.scores(rng.integers(0, 256, (25, 112, 112), np.uint8), sound)
    print(f"\nLR-ASD on noise: {scores.mean():.2f}")
    assert np.isfinite(scores).all() and scores.mean() < 0


def test_a_person_is_like_themselves() -> None:
    embed = FaceEmbedding(real_model("sface"), "people.face_model")
    for seed in range(3):
        first, *_, last = talking_face(seed, 160, 120, 20)
        one, other = (
            embed(picture, found.boxes_N4[0], found.landmarks_N52[0])
            for picture in (first, last)
            for found in (detect_faces(picture),)
        )
        assert one.shape == (128,) and abs(float(np.linalg.norm(one)) - 1) < 1e-5
        assert float(one @ other) > SAME_PERSON
