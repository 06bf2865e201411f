"""Cameras and a sequence of shots -> the frames of one picture, and where each face is in it.

A camera sees people before a wall. A shot lasts until the next one, and shows the pictures of one or more cameras as
tiles. All positions are pixels of the final picture.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import cv2
import numpy as np

from pipelines.conversation.face import Stroke, draw_frames, face_boxes, paint, strokes_of
from pipelines.conversation.look import Colour, Look
from pipelines.conversation.motion import Motion
from wanstreamer.clock import Span

BLOCK = 250  # frames whose strokes are in memory
FACES_EVERY_MS = 200
FRAME_COLOUR: Colour = (45, 62, 80)  # of a poster
TEXT = (cv2.FONT_HERSHEY_DUPLEX, 1)  # font, thickness


class Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A person before a camera; the look has the place in that camera's picture."""

    name: str
    look: Look
    motion: Motion


@dataclass(frozen=True, kw_only=True)
class Camera:
    """What one camera sees."""

    back: np.ndarray  # (H, W, 3) uint8 BGR: the wall, and what hangs on it
    figures: tuple[Figure, ...] = ()
    front: tuple[tuple[np.ndarray, Colour], ...] = ()  # polygons (n, 2) in pixels before the people: a table
    posters: tuple[tuple[str, Box], ...] = ()  # faces that are part of the wall


class Tile(NamedTuple):
    camera: int
    left: int
    top: int
    width: int
    height: int


class Shot(NamedTuple):
    first_frame: int
    tiles: tuple[Tile, ...]


class Caption(NamedTuple):
    first_frame: int
    end_frame: int
    text: str
    middle_y: int  # of the line


@dataclass(frozen=True, kw_only=True)
class Picture:
    """All that is seen in a recording; every motion has `num_frames` instants."""

    width: int
    height: int
    num_frames: int
    rate: Fraction  # frames a second
    cameras: tuple[Camera, ...]
    shots: tuple[Shot, ...]  # the first begins at frame 0
    captions: tuple[Caption, ...] = ()
    ground: Colour  # where there is no tile

    def ms_of(self, frame: int) -> int:
        """When a frame begins."""
        return round(frame * 1000 / self.rate)


class Face(NamedTuple):
    """A face in the picture at an instant; one person may be seen twice."""

    name: str
    time_ms: int
    box: Box


def draw(picture: Picture) -> Iterator[np.ndarray]:
    """The frames, (H, W, 3) uint8 BGR. Memory does not grow with their number, apart from the motions."""
    for first in range(0, picture.num_frames, BLOCK):
        block = slice(first, min(first + BLOCK, picture.num_frames))
        strokes = _strokes(picture, block)
        for frame in range(block.start, block.stop):
            yield _compose(picture, frame, strokes, frame - first)


def frame_at(picture: Picture, frame: int) -> np.ndarray:
    """One frame, as `draw` gives it."""
    return _compose(picture, frame, _strokes(picture, slice(frame, frame + 1)), 0)


def _strokes(picture: Picture, block: slice) -> list[list[list[Stroke]]]:
    """Per camera and person, the strokes in a block of frames."""
    return [
        [
            strokes_of(figure.look, figure.motion.at(block), camera.back.shape[1], camera.back.shape[0])
            for figure in camera.figures
        ]
        for camera in picture.cameras
    ]


def _compose(picture: Picture, frame: int, strokes: list[list[list[Stroke]]], place: int) -> np.ndarray:
    """`place`: of the frame in the block of the strokes."""
    canvas = np.full((picture.height, picture.width, 3), picture.ground, np.uint8)
    for tile in _shot_at(picture, frame).tiles:
        camera = picture.cameras[tile.camera]
        view = camera.back.copy()
        for some in strokes[tile.camera]:
            paint(view, some, place)
        for polygon, colour in camera.front:
            cv2.fillPoly(view, [polygon.astype(np.int32)], colour, cv2.LINE_AA)
        if view.shape[:2] != (tile.height, tile.width):
            view = cv2.resize(view, (tile.width, tile.height), interpolation=cv2.INTER_AREA)
        canvas[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width] = view
    for caption in picture.captions:
        if caption.first_frame <= frame < caption.end_frame:
            _write(canvas, caption)
    return canvas


def _shot_at(picture: Picture, frame: int) -> Shot:
    return picture.shots[bisect_right([shot.first_frame for shot in picture.shots], frame) - 1]


def faces(picture: Picture) -> list[Face]:
    """Where each face is, every FACES_EVERY_MS, that of a poster too."""
    times_ms = range(0, picture.ms_of(picture.num_frames), FACES_EVERY_MS)
    frames = [min(int(time_ms * picture.rate / 1000), picture.num_frames - 1) for time_ms in times_ms]
    boxes: list[list[tuple[str, np.ndarray]]] = []
    for camera in picture.cameras:
        height, width = camera.back.shape[:2]
        own = [
            (figure.name, face_boxes(figure.look, figure.motion, width, height)[frames]) for figure in camera.figures
        ]
        still = [(name, np.tile(np.array(box), (len(frames), 1))) for name, box in camera.posters]
        boxes.append([*own, *still])
    rows = []
    for index, (time_ms, frame) in enumerate(zip(times_ms, frames, strict=True)):
        for tile in _shot_at(picture, frame).tiles:
            height, width = picture.cameras[tile.camera].back.shape[:2]
            scale = np.array([tile.width / width, tile.height / height] * 2)
            corner = np.array([tile.left, tile.top] * 2)
            rows += [
                Face(name, time_ms, Box(*(box[index] * scale + corner).round(1).tolist()))
                for name, box in boxes[tile.camera]
            ]
    return rows


def visible(picture: Picture) -> dict[str, list[Span]]:
    """Where each person is in the picture."""
    spans: dict[str, list[Span]] = {}
    for shot, span in zip(picture.shots, shot_spans(picture), strict=True):
        for name in sorted({f.name for tile in shot.tiles for f in picture.cameras[tile.camera].figures}):
            own = spans.setdefault(name, [])
            if own and own[-1].end_ms == span.start_ms:
                own[-1] = Span(own[-1].start_ms, span.end_ms)
            else:
                own.append(span)
    return spans


def shot_spans(picture: Picture) -> list[Span]:
    """The time of each shot."""
    edges = [*(shot.first_frame for shot in picture.shots), picture.num_frames]
    return [
        Span(picture.ms_of(first), picture.ms_of(last)) for first, last in zip(edges, edges[1:], strict=False)
    ]  # fmt: skip


def hang_poster(wall: np.ndarray, look: Look, middle: tuple[int, int], height: int) -> Box:
    """Draw a poster of a smiling person onto a wall; returns where its face is."""
    width = round(0.8 * height)
    still = {name: np.zeros(1, np.float32) for name in Motion.__dataclass_fields__}
    smile = {"mouth_wide": np.full(1, 0.8, np.float32), "mouth_open": np.full(1, 0.25, np.float32)}
    motion = Motion(**still | smile | {"things": (None,)})  # type: ignore[arg-type]
    picture = next(draw_frames(look, motion, width, height))
    rim = max(2, height // 24)
    picture = cv2.copyMakeBorder(picture, rim, rim, rim, rim, cv2.BORDER_CONSTANT, value=FRAME_COLOUR)
    left, top = middle[0] - picture.shape[1] // 2, middle[1] - picture.shape[0] // 2
    left, top = (max(0, min(at, room - size)) for at, room, size in zip(
        (left, top), (wall.shape[1], wall.shape[0]), (picture.shape[1], picture.shape[0]), strict=True
    ))  # fmt: skip
    wall[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    corner = np.array([left + rim, top + rim] * 2)
    return Box(*(face_boxes(look, motion, width, height)[0] + corner).round(1).tolist())


def _write(canvas: np.ndarray, caption: Caption) -> None:
    """A line of white text on a dark band, in the middle of the width."""
    height, width = canvas.shape[:2]
    scale = height / 560
    (across, up), _ = cv2.getTextSize(caption.text, TEXT[0], scale, TEXT[1])
    half = max(across // 2 + height // 40, round(0.36 * width))
    band = canvas[
        max(0, caption.middle_y - up) : caption.middle_y + up, max(0, width // 2 - half) : width // 2 + half
    ]  # fmt: skip
    band[:] = band // 4
    at = (width // 2 - across // 2, caption.middle_y + up // 2)
    cv2.putText(canvas, caption.text, at, TEXT[0], scale, (255, 255, 255), TEXT[1], cv2.LINE_AA)
