"""Faces are seen at every size of a track."""

import numpy as np
import pytest

from pipelines.signals.faces import shows_face
from tests.helpers.pictures import face, grey, scene


@pytest.mark.parametrize(("width", "height"), [(64, 48), (128, 96), (336, 192)])
def test_faces_are_seen_at_every_size_of_track(width: int, height: int) -> None:
    assert sum(shows_face(face(seed, width, height)) for seed in range(8)) >= 7
    others = [grey(np.resize(scene(seed), (height, width))) for seed in range(8)]
    others += [np.full((height, width, 3), level, np.uint8) for level in (0, 128, 255)]
    assert not any(shows_face(other) for other in others)
