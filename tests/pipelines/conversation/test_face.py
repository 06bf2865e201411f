"""What a drawn face shows at the size of a track."""

import numpy as np

from pipelines.conversation.face import draw_frames
from pipelines.conversation.look import make_look
from tests.helpers.pictures import still_face


def test_an_open_mouth_can_be_seen_at_64_by_48() -> None:
    motion = still_face(mouth_open=[0.0, 1.0])
    for seed in range(6):
        look = make_look(seed, [0, seed], may_have_beard=seed % 2 == 1)
        shut, opened = (
            frame.reshape(48, 5, 64, 5, 3).mean(axis=(1, 3)) for frame in draw_frames(look, motion, 320, 240)
        )
        changed = np.abs(shut - opened).max(axis=-1)[: round(48 * (look.centre_y + 0.85 * look.scale))] > 25
        assert changed.any(axis=0).sum() >= 6
        assert changed.any(axis=1).sum() >= 4
