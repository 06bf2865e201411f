"""A face that stands still but for what is named."""

import numpy as np

from pipelines.conversation.motion import Motion


def still_face(**moving: list[float]) -> Motion:
    still = {name: np.zeros(2, dtype=np.float32) for name in Motion.__dataclass_fields__}
    values = {name: np.array(some, dtype=np.float32) for name, some in moving.items()}
    return Motion(**still | {"held": (None, None)} | values)  # type: ignore[arg-type]
