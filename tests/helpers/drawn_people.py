"""Drawn people who talk, as small pictures of a recording, and the sound of their mouths."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np

from pipelines.conversation.face import draw_frames
from pipelines.conversation.look import make_look
from pipelines.conversation.motion import Motion
from pipelines.media.pictures import SmallPicture
from wanstreamer.clock import FRAME_MS, FRAME_RATE_HZ, Span

RATE_HZ = 16000


def syllables(seed: int, spans: Sequence[Span], num_frames: int) -> np.ndarray:
    """How far a mouth is open, 0 to 1, (T,): closed outside the spans of speech."""
    rng = np.random.default_rng(seed)
    at_ms = np.arange(num_frames) * FRAME_MS
    opening = np.zeros(num_frames)
    for span in spans:
        time_ms = float(span.start_ms)
        while time_ms < span.end_ms:
            length_ms = float(rng.uniform(140, 320))
            share = (at_ms - time_ms) / length_ms
            opening = np.maximum(opening, rng.uniform(0.4, 1) * np.sin(np.pi * np.clip(share, 0, 1)))
            time_ms += length_ms * float(rng.uniform(0.8, 1.2))
    return opening


def turns(num_frames: int, *, first: int, every_ms: int = 2400) -> list[Span]:
    """Speech of the first (0) or second (1) of two people who take turns."""
    ends_ms = range(0, num_frames * FRAME_MS, every_ms)
    return [Span(start, min(start + every_ms - 300, num_frames * FRAME_MS)) for start in ends_ms[first::2]]


def voices(openings: Iterable[np.ndarray], *, seed: int = 0) -> np.ndarray:
    """Noise as loud as mouths are open, float32 at 16 kHz."""
    rng = np.random.default_rng(seed)
    per_frame = RATE_HZ // FRAME_RATE_HZ
    total = 0.0
    for opening in openings:
        steps = np.arange(len(opening) * per_frame) / per_frame
        total = total + 0.2 * np.interp(steps, np.arange(len(opening)), opening) ** 1.5 * rng.normal(size=len(steps))
    return np.asarray(total + 0.001 * rng.normal(size=np.shape(total)), np.float32)


def person(seed: int, opening: np.ndarray, width: int, height: int, *, wall: int = 0) -> np.ndarray:
    """A drawn person whose mouth opens so, and who turns, nods and blinks: uint8 RGB (T, H, W, 3)."""
    num_frames = len(opening)
    at_s = np.arange(num_frames) / FRAME_RATE_HZ
    moving = {name: np.zeros(num_frames, np.float32) for name in Motion.__dataclass_fields__}
    moving["mouth_open"] = opening.astype(np.float32)
    moving["yaw"] = (0.12 * np.sin(2 * np.pi * 0.23 * at_s + seed)).astype(np.float32)
    moving["pitch"] = (0.06 * np.sin(2 * np.pi * 0.37 * at_s + 1.3 * seed)).astype(np.float32)
    moving["roll"] = (0.04 * np.sin(2 * np.pi * 0.29 * at_s + 0.7 * seed)).astype(np.float32)
    moving["lid"] = (np.sin(2 * np.pi * 0.31 * at_s + seed) > 0.97).astype(np.float32)
    motion = Motion(**moving | {"things": (None,) * num_frames})  # type: ignore[arg-type]
    look = replace(make_look(seed, [0, wall], may_have_beard=seed % 2 == 1), centre_x=0.5, centre_y=0.45, scale=0.3)
    return np.stack([frame[:, :, ::-1] for frame in draw_frames(look, motion, width, height)])


def placed(parts: Sequence[tuple[np.ndarray, int, int]], width: int, height: int) -> np.ndarray:
    """Films (T, h, w, 3) at x, y of one picture, later ones on top."""
    canvas = np.full((max(len(film) for film, _, _ in parts), height, width, 3), 150, np.uint8)
    for film, x, y in parts:
        canvas[:, y : y + film.shape[1], x : x + film.shape[2]] = film
    return canvas


def small_pictures(frames: Iterable[np.ndarray]) -> Iterator[SmallPicture]:
    """RGB pictures of even size as the reader of recordings gives them."""
    for number, frame in enumerate(frames):
        yield SmallPicture(number, cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2YUV_I420))
