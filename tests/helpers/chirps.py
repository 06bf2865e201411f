"""A chirp whose place in a recording can be measured to a sample."""

import subprocess
from typing import Any

import numpy as np

from pipelines.media import tracks as media

RATE_HZ = 16000


CHIRP_S = 0.12


def chirp(rate_hz: int) -> np.ndarray:
    times = np.arange(round(CHIRP_S * rate_hz)) / rate_hz
    return np.sin(2 * np.pi * (600 * times + 0.5 * 20000 * times**2)) * np.hanning(len(times))


def ffmpeg(*arguments: object, **more: Any) -> None:
    command = [media.ffmpeg_path(), "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=60, **more)
