"""Missing and wrong weights of the face embedding are one line; the true ones recognise a person."""

import os
from pathlib import Path

import numpy as np
import pytest

from pipelines.signals.face_embedding import FILE, SAME_PERSON, FaceEmbedding, face_weights_file
from pipelines.signals.faces import detect_faces
from tests.helpers.pictures import talking_face
from wanstreamer.errors import InputError

SETTING = "people.face_model"


def test_a_folder_without_weights_or_with_others_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{SETTING} .*no {FILE} there; expected .*tools.models fetch sface"):
        face_weights_file(tmp_path, SETTING)
    (tmp_path / FILE).write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(InputError, match="expected the weights of SFace") as error:
        FaceEmbedding(tmp_path, SETTING)
    assert "\n" not in str(error.value)


@pytest.mark.skipif("WANSTREAMER_SFACE" not in os.environ, reason="WANSTREAMER_SFACE is not set: the folder with SFace")
def test_a_person_is_like_themselves() -> None:
    embed = FaceEmbedding(Path(os.environ["WANSTREAMER_SFACE"]), SETTING)
    for seed in range(3):
        first, *_, last = talking_face(seed, 160, 120, 20)
        one, other = (
            embed(picture, found.boxes_N4[0], found.landmarks_N52[0])
            for picture in (first, last)
            for found in (detect_faces(picture),)
        )
        assert one.shape == (128,) and abs(float(np.linalg.norm(one)) - 1) < 1e-5
        assert float(one @ other) > SAME_PERSON
