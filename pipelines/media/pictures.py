"""A source -> all its pictures at 25 a second, small, as they are displayed: to look for cuts and faces.

ffmpeg decodes and scales, and writes raw pictures into a pipe; memory does not grow with the length of the file.
Picture n is the frame nearest to 40 n ms on the clock of the file, as in a track that begins with the file
(`conform_video`).
"""

import subprocess
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from pipelines.engine.jobs import Rejected
from pipelines.media.ffmpeg import Source, constant_rate, deinterlaced, scaled_to, source_input
from pipelines.media.process import complaint, ffmpeg_path, running
from wanstreamer.clock import FRAME_MS


class SmallPicture(NamedTuple):
    """One picture, and its number on the file's clock of 25 a second."""

    frame: int
    yuv_HW: np.ndarray  # uint8 (3/2 height, width): I420, BT.601, limited range

    @property
    def time_ms(self) -> int:
        return self.frame * FRAME_MS

    @property
    def luma(self) -> np.ndarray:
        """Brightness, uint8 (height, width), 16 to 235."""
        return self.yuv_HW[: self.yuv_HW.shape[0] // 3 * 2]

    @property
    def chroma(self) -> np.ndarray:
        """Both colours, uint8 (2, height / 2, width / 2); grey is 128."""
        height, width = self.luma.shape
        return self.yuv_HW.reshape(-1)[height * width :].reshape(2, height // 2, width // 2)

    def rgb(self) -> np.ndarray:
        """uint8 (height, width, 3)."""
        return cv2.cvtColor(self.yuv_HW, cv2.COLOR_YUV2RGB_I420)


def small_size(size: tuple[int, int], longer_side: int) -> tuple[int, int]:
    """Width and height of a picture once its longer side is at most `longer_side`; even, never larger than before.

    >>> small_size((1920, 1080), 640), small_size((99, 50), 640)
    ((640, 360), (98, 50))
    """
    scale = min(1.0, longer_side / max(size))
    width, height = (max(2, int(side * scale / 2 + 1e-6) * 2) for side in size)
    return width, height


def small_pictures(source: Source, size: tuple[int, int], *, end_ms: int | None = None) -> Iterator[SmallPicture]:
    """All pictures of a source, scaled to this even width and height, until its end or `end_ms`.

    Before its first frame a video shows that frame; in a gap, the frame before it.

    Raises Rejected `unreadable` if ffmpeg fails, or finds no picture.
    """
    width, height = size
    stream = constant_rate(deinterlaced(source_input(source)[str(source.video)], source), source, lead_ms=0.0)
    stream = scaled_to(stream, source, width, height, flags="area", pixels="yuv420p")
    limit = {} if end_ms is None else {"t": end_ms / 1000}
    command = stream.output("pipe:", format="rawvideo", **limit)
    command = command.global_args("-v", "error", "-nostdin", "-nostats", "-hide_banner", "-filter_threads", "1")
    frame = 0
    with (
        tempfile.TemporaryFile() as log,  # not a pipe: while pictures are read, no one would empty it
        running(command.compile(cmd=ffmpeg_path()), stdout=subprocess.PIPE, stderr=log) as process,
    ):
        assert process.stdout is not None
        while True:
            yuv_HW = np.empty((height * 3 // 2, width), np.uint8)
            if process.stdout.readinto(yuv_HW.data.cast("B")) < yuv_HW.size:  # type: ignore[attr-defined]
                break
            yield SmallPicture(frame, yuv_HW)
            frame += 1
        code = process.wait()
        log.seek(0)
        reported = complaint(log.read())
    if code or not frame:
        raise Rejected("unreadable", f"{source.path.name}: video: {reported}")
