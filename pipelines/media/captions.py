"""Frames -> enlarged frames with a line of text, for pictures and videos that people look at.

Frames are uint8 (T, H, W, 3). Each function returns the same number of frames, with the same text on all.
"""

import numpy as np
from PIL import Image, ImageDraw

CAPTION_ROWS = 16  # pixels


def captioned(frames_THWC: np.ndarray, text: str, scale: int) -> np.ndarray:
    """Frames enlarged by `scale`, with a line of text above them."""
    large = frames_THWC.repeat(scale, axis=1).repeat(scale, axis=2)
    return np.concatenate([_line(text, "white", len(large), large.shape[2]), large], axis=1)


def marked(frames_THWC: np.ndarray, text: str) -> np.ndarray:
    """Frames with a line of text below them."""
    return np.concatenate([frames_THWC, _line(text, "yellow", len(frames_THWC), frames_THWC.shape[2])], axis=1)


def _line(text: str, colour: str, count: int, width: int) -> np.ndarray:
    strip = Image.new("RGB", (width, CAPTION_ROWS), "black")
    ImageDraw.Draw(strip).text((3, 2), text, fill=colour)
    return np.broadcast_to(np.asarray(strip), (count, CAPTION_ROWS, width, 3))
