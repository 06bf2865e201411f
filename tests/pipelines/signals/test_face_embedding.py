"""Missing and wrong weights of the face embedding are one line."""

from pathlib import Path

import pytest

from pipelines.signals.face_embedding import FILE, FaceEmbedding, face_weights_file
from wanstreamer.errors import InputError

SETTING = "people.face_model"


def test_a_folder_without_weights_or_with_others_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{SETTING} .*no {FILE} there; expected .*tools.models fetch sface"):
        face_weights_file(tmp_path, SETTING)
    (tmp_path / FILE).write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(InputError, match="expected the weights of SFace") as error:
        FaceEmbedding(tmp_path, SETTING)
    assert "\n" not in str(error.value)
