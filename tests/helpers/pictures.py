"""Pictures for tests of what is seen: drawn faces, and scenes without one."""

import numpy as np

from pipelines.conversation.face import draw_frames
from pipelines.conversation.look import make_look
from pipelines.conversation.motion import Motion


def grey(light_THW: np.ndarray) -> np.ndarray:
    return np.repeat(np.clip(np.round(light_THW), 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def scene(seed: int) -> np.ndarray:
    """A picture of soft shapes, (48, 64) in 0 to 255."""
    return np.kron(np.random.default_rng(seed).random((6, 8)), np.ones((8, 8))) * 200 + 20


def face(seed: int, width: int, height: int) -> np.ndarray:
    """A drawn face, uint8 RGB."""
    still = Motion(**{name: np.zeros(1, np.float32) for name in Motion.__dataclass_fields__})
    person = make_look(seed, [0, seed], may_have_beard=seed % 2 == 1)
    return next(iter(draw_frames(person, still, width, height)))[:, :, ::-1]


def still_face(**moving: list[float]) -> Motion:
    still = {name: np.zeros(2, dtype=np.float32) for name in Motion.__dataclass_fields__}
    values = {name: np.array(some, dtype=np.float32) for name, some in moving.items()}
    return Motion(**still | {"things": (None, None)} | values)  # type: ignore[arg-type]


def talking_face(seed: int, width: int, height: int, num_frames: int, *, every: int = 1) -> np.ndarray:
    """A drawn person who speaks, turns and blinks, uint8 RGB (T, H, W, 3).

    every: frames until the picture changes.
    """
    at_T = (np.arange(num_frames) // every * every / 25).astype(np.float32)
    moving = {name: np.zeros(num_frames, np.float32) for name in Motion.__dataclass_fields__}
    moving["mouth_open"] = np.abs(np.sin(2 * np.pi * (2.1 + 0.3 * np.sin(seed)) * at_T + seed))
    moving["yaw"] = 0.15 * np.sin(2 * np.pi * 0.31 * at_T + seed) + 0.1 * np.sin(2 * np.pi * 0.87 * at_T + 2.7 * seed)
    moving["pitch"] = 0.08 * np.sin(2 * np.pi * 0.53 * at_T + 1.3 * seed)
    moving["roll"] = 0.06 * np.sin(2 * np.pi * 0.41 * at_T + 0.7 * seed)
    moving["lid"] = (np.sin(2 * np.pi * 0.23 * at_T + seed) > 0.97).astype(np.float32)
    motion = Motion(**moving | {"things": (None,) * num_frames})  # type: ignore[arg-type]
    person = make_look(seed, [0, seed], may_have_beard=seed % 2 == 1)
    return np.stack([frame[:, :, ::-1] for frame in draw_frames(person, motion, width, height)])
