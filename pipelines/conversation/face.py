"""A look and motion -> frames of a talking face, drawn with OpenCV.

The head fills most of the frame and the mouth a sixth of its width, so that lips can still be read at 64 x 48.

Coordinates of the drawing: origin in the middle of the head, x right, y down, 1 = half the height of the head.
A point of the face at depth z moves by z times (yaw, pitch): features slide over the outline as on a turning head.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import cv2
import numpy as np

from pipelines.conversation.look import CLOTHES, Colour, Look, mix, shade
from pipelines.conversation.motion import Motion
from pipelines.conversation.things import shapes

SHIFT = 4  # OpenCV takes fixed-point coordinates: sixteenths of a pixel keep slow motion smooth
LARGE_HEAD = 0.4  # half the head's height over that of the picture; smaller heads have thinner lines
THING_X = 1.06  # of its middle, on the light side
THING_UP_Y = 0.32  # of its middle when it is up: next to mouth and cheek
THING_WAY = 1.7  # how far it rises, from below the picture
THING_SIZE = 0.43  # half its width
Points = np.ndarray  # (n, 2) at rest, or (F, n, 2)
# Points (F or 1, n, 2) int32 in sixteenths of a pixel, colour, and thickness: 0 filled, negative a closed line.
Stroke = tuple[np.ndarray, Colour, int]


class Add(Protocol):
    """Adds one shape to the drawing, see `strokes_of`."""

    def __call__(
        self, points: Points, colour: Colour, *, depth: float | None = None, thickness: int = 0, follow: float = 1.0
    ) -> None: ...


def draw_frames(look: Look, motion: Motion, width: int, height: int) -> Iterator[np.ndarray]:
    """Frames (height, width, 3) uint8, BGR, one for each of the motion's F instants."""
    wall = background(look, width, height)
    strokes = strokes_of(look, motion, width, height)
    for frame in range(len(motion.yaw)):
        picture = wall.copy()
        paint(picture, strokes, frame)
        yield picture


def paint(picture: np.ndarray, strokes: Sequence[Stroke], frame: int) -> None:
    """Draw the strokes of one frame onto a BGR picture."""
    for points, colour, thickness in strokes:
        outline = points[frame] if len(points) > 1 else points[0]
        if thickness:
            cv2.polylines(picture, [outline], thickness < 0, colour, abs(thickness), cv2.LINE_AA, SHIFT)
        else:
            cv2.fillPoly(picture, [outline], colour, cv2.LINE_AA, SHIFT)


def strokes_of(look: Look, motion: Motion, width: int, height: int) -> list[Stroke]:
    """All strokes of a person in a picture of this size, back to front."""
    line = max(1, round(height / 120 * min(1.0, look.scale / LARGE_HEAD)))
    bold = line + (look.scale > LARGE_HEAD / 2)
    dark = shade(look.skin, 0.72)
    opening = motion.mouth_open
    strokes: list[Stroke] = []

    def add(
        points: Points, colour: Colour, *, depth: float | None = None, thickness: int = 0, follow: float = 1.0
    ) -> None:
        pixels = _to_pixels(points, look, motion, width, height, depth=depth, follow=follow)
        strokes.append((np.round(pixels * (1 << SHIFT)).astype(np.int32, order="C"), colour, thickness))

    head = _head(look, opening)
    if look.hair_style in ("long", "bob", "curly", "bun"):
        add(_back_hair(look), shade(look.hair, 0.8), depth=-0.4)
    add(_neck(look), dark, depth=0.0, follow=0.35)
    add(_shoulders(look), look.cloth, depth=0.0, follow=0.12)
    add(_collar(look), shade(look.cloth, 0.7), depth=0.0, follow=0.12)
    for side in (-1, 1):
        if look.hair_style not in ("long", "bob"):
            add(_ellipse(side * look.head_width * 1.0, 0.02, 0.1, 0.2), shade(look.skin, 0.88), depth=-0.1)
    add(head, look.skin, depth=0.0)
    add(_far_cheek(look, head), shade(look.skin, 0.86), depth=0.0)
    if look.beard:
        add(_beard(look, opening), mix(look.skin, look.hair, look.beard), depth=0.05)
    _add_mouth(add, look, motion, line)
    nose_y = look.eye_y + 0.12 + look.nose_length
    add(_nose(look, nose_y), dark, depth=1.15, thickness=bold)
    for side in (-1, 1):
        _add_eye(add, look, motion, side, bold)
    if look.hair_style != "bald":
        add(_fringe(look), look.hair, depth=0.12)
    if look.has_glasses:
        for side in (-1, 1):
            rim = _ellipse(side * look.eye_x, look.eye_y + 0.02, look.eye_size * 1.75, look.eye_size * 1.5)
            add(rim, (40, 40, 45), depth=1.0, thickness=-bold)
        bridge = np.array(
            [[-look.eye_x + look.eye_size * 1.75, look.eye_y], [look.eye_x - look.eye_size * 1.75, look.eye_y]]
        )
        add(bridge, (40, 40, 45), depth=1.0, thickness=bold)
    for thing in sorted({thing for thing in motion.things if thing}):
        _add_thing(add, look, motion, thing)
    return strokes


def face_boxes(look: Look, motion: Motion, width: int, height: int) -> np.ndarray:
    """Where the face is in each frame, from the hairline to the chin: left, top, right, bottom in pixels, (F, 4)."""
    outline = _head(look, motion.mouth_open)
    outline[..., 1] = np.maximum(outline[..., 1], look.fringe_y)
    pixels = _to_pixels(outline, look, motion, width, height, depth=0.0)
    return np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=1)


def _to_pixels(
    points: Points, look: Look, motion: Motion, width: int, height: int, *, depth: float | None, follow: float = 1.0
) -> np.ndarray:
    """Points of a moving person in pixels, (F, n, 2). `depth` None: on the surface of the face. `follow`: how much of
    the head's own motion they share."""
    points = np.asarray(points, dtype=np.float32)
    if points.ndim == 2:
        points = points[None]
    if depth is None:
        round_ = 1 - (points[..., 0] / look.head_width) ** 2 - points[..., 1] ** 2
        z = np.sqrt(np.clip(round_, 0, 1)) * 0.9
    else:
        z = np.full(points.shape[:2], depth, dtype=np.float32)
    yaw, pitch, roll = (values[:, None] * follow for values in (motion.yaw, motion.pitch, motion.roll))
    x = points[..., 0] + yaw * (z + 0.3)
    y = points[..., 1] + pitch * (z + 0.35) - 1.3
    turned = np.stack([x * np.cos(roll) - y * np.sin(roll), x * np.sin(roll) + y * np.cos(roll) + 1.3], axis=-1)
    return turned * (look.scale * height) + np.array([look.centre_x * width, look.centre_y * height])


def _add_thing(add: Add, look: Look, motion: Motion, thing: tuple[str, str]) -> None:
    """A thing in a raised hand next to the face; below the picture while it is not up."""
    up = motion.held_up * np.array([shown == thing for shown in motion.things])
    centre = np.stack([np.full_like(up, look.light_side * THING_X), THING_UP_Y + (1 - up) * THING_WAY], axis=-1)
    sleeve = np.array([[-0.2, 0.55], [0.2, 0.55], [0.3, 2.6], [-0.3, 2.6]])
    add(centre[:, None] + sleeve, shade(look.cloth, 0.9), depth=0.0, follow=0.0)
    add(centre[:, None] + _ellipse(0, 0.42, 0.2, 0.19), look.skin, depth=0.0, follow=0.0)
    for outline, colour in shapes(*thing):
        add(centre[:, None] + THING_SIZE * outline, colour, depth=0.0, follow=0.0)


def _head(look: Look, opening: np.ndarray) -> Points:
    """The outline of the face, (F, n, 2); the chin drops with the mouth."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x, y = np.sin(angle), -np.cos(angle)
    x = look.head_width * np.sign(x) * np.abs(x) ** 0.9 * (1 - look.jaw * np.clip(y, 0, 1) ** 1.5)
    y = y[None] + 0.09 * opening[:, None] * np.clip(y - 0.2, 0, 1)[None]
    return np.stack([np.broadcast_to(x, y.shape), y], axis=-1)


def _far_cheek(look: Look, head: Points) -> Points:
    """The side of the face away from the light."""
    half = [i for i in range(head.shape[1]) if head[0, i, 0] * -look.light_side >= 0]
    half.sort(key=lambda i: head[0, i, 1])
    rim = head[:, half]
    inner = rim[:, ::-1].copy()
    inner[..., 0] -= -look.light_side * 0.32 * np.sqrt(np.clip(1 - inner[..., 1] ** 2, 0, 1)) * look.head_width
    return np.concatenate([rim, inner], axis=1)


def _neck(look: Look) -> Points:
    w = look.head_width * 0.52
    return np.array([[-w, 0.5], [w, 0.5], [w * 1.15, 1.6], [-w * 1.15, 1.6]])


def _shoulders(look: Look) -> Points:
    x = np.linspace(-1.9, 1.9, 33)
    y = 1.06 + 0.10 * np.abs(x) ** 1.5 + 0.35 * np.clip(np.abs(x) - 1.2, 0, 1) ** 2
    y += 0.12 * np.exp(-((x / 0.35) ** 2))
    return np.concatenate([np.stack([x, y], axis=-1), [[1.9, 3.0], [-1.9, 3.0]]])


def _collar(look: Look) -> Points:
    w = look.head_width * 0.62
    return np.array([[-w, 1.07], [0, 1.32], [w, 1.07], [w * 1.05, 1.17], [0, 1.46], [-w * 1.05, 1.17]])


def _back_hair(look: Look) -> Points:
    w = look.head_width
    if look.hair_style == "bun":
        return np.concatenate([_ellipse(0, -1.08, 0.33, 0.26)])
    if look.hair_style == "curly":
        angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
        radius = 1 + 0.045 * np.cos(14 * angle)
        return np.stack([1.3 * w * radius * np.sin(angle), -0.22 - 1.02 * radius * np.cos(angle)], axis=-1)
    bottom = 1.45 if look.hair_style == "long" else 0.72
    angle = np.linspace(-np.pi / 2, np.pi / 2, 24)
    top = np.stack([1.17 * w * np.sin(angle), -0.05 - 1.1 * np.cos(angle)], axis=-1)
    return np.concatenate(
        [top, [[1.24 * w, bottom * 0.6], [1.12 * w, bottom], [-1.12 * w, bottom], [-1.24 * w, bottom * 0.6]]]
    )


def _fringe(look: Look) -> Points:
    """The hair over the forehead: the crown above, the hairline below."""
    w = look.head_width
    down = {"short": 0.30, "parted": 0.25, "long": 0.55, "bob": 0.45, "bun": 0.2, "curly": 0.3}[look.hair_style]
    edge = np.arccos(np.clip(look.fringe_y + down, -1, 1) * -1)  # where the hair meets the temple
    angle = np.linspace(-edge, edge, 28)
    lift = 1.07 if look.hair_style != "curly" else 1.12
    wave = 0.02 * np.cos(11 * angle) if look.hair_style == "curly" else 0.0
    crown = np.stack(
        [1.05 * w * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** 0.9, -(lift + wave) * np.cos(angle)], axis=-1
    )
    x = np.linspace(0.93 * w, -0.93 * w, 24)
    if look.hair_style == "parted":
        y = look.fringe_y + 0.24 * np.clip((x / w + 0.35), -0.2, 1.3) ** 2
    elif look.hair_style in ("long", "bob"):
        y = look.fringe_y + 0.45 * (x / w) ** 4 + 0.04
    else:
        y = look.fringe_y + 0.22 * (x / w) ** 2
    return np.concatenate([crown, np.stack([x, y], axis=-1)])


def _beard(look: Look, opening: np.ndarray) -> Points:
    """A beard along the jaw, up to the nose."""
    outer = _head(look, opening)
    low = [i for i in range(outer.shape[1]) if outer[0, i, 1] > 0.1]
    low.sort(key=lambda i: outer[0, i, 0])
    rim = outer[:, low] * np.array([0.985, 1.0])
    x = np.linspace(0.97 * look.head_width, -0.97 * look.head_width, 15)
    side = np.abs(x) / look.head_width
    y = look.mouth_y - 0.14 + 0.16 * np.sin(np.pi * np.clip(side, 0, 1)) ** 2 - 0.3 * side**4
    top = np.broadcast_to(np.stack([x, y], axis=-1), (len(rim), 15, 2))
    return np.concatenate([rim, top], axis=1)


def _nose(look: Look, nose_y: float) -> Points:
    w = look.nose_width
    return np.array(
        [
            [w * 0.25, nose_y - look.nose_length * 0.8],
            [w * 0.5, nose_y - 0.1],
            [w, nose_y - 0.01],
            [w * 0.4, nose_y + 0.04],
            [-w * 0.8, nose_y],
        ]
    )


def _add_mouth(add: Add, look: Look, motion: Motion, line: int) -> None:
    opening, wide = motion.mouth_open[:, None], motion.mouth_wide[:, None]
    half = look.mouth_width * (1 + 0.16 * wide - 0.14 * opening)
    middle = look.mouth_y + 0.04 * opening
    u = np.linspace(-1, 1, 15)[None]
    arch = 1 - u**2
    corner = -0.03 * np.abs(u) ** 3  # the corners lie a little higher: a friendly face at rest
    upper = middle + corner - (0.065 * opening) * arch
    lower = middle + corner + (0.19 * opening) * arch
    bow = arch * (1 - 0.25 * np.exp(-((u / 0.18) ** 2)))
    x = half * u
    lips = _closed(x * 1.06, upper - look.lip * bow, lower + look.lip * 1.25 * arch)
    red = mix(look.skin, (80, 70, 175), 0.55)
    add(lips, red)
    add(_closed(x, upper, lower), (35, 22, 48))
    teeth = np.minimum(0.075 * opening, 0.05) * arch**0.5
    add(_closed(x * 0.8, upper, upper + teeth), (228, 232, 236))
    add(_closed(x * 0.6, lower - 0.055 * opening * arch, lower), (90, 80, 170))
    add(np.stack([x, (upper + lower) / 2], axis=-1), shade(red, 0.5), thickness=line)


def _add_eye(add: Add, look: Look, motion: Motion, side: int, bold: int) -> None:
    size = look.eye_size
    x0, y0 = side * look.eye_x, look.eye_y
    u = np.linspace(-1, 1, 11)[None]
    arch = np.sqrt(1 - u**2)
    gaze_x, gaze_y, lid = (values[:, None] for values in (motion.gaze_x, motion.gaze_y, motion.lid))
    x = np.broadcast_to(x0 + size * 1.25 * u, (len(motion.lid), u.shape[1]))
    top, bottom = y0 - size * 0.85 * arch, y0 + size * 0.65 * arch
    add(_closed(x, np.broadcast_to(top, x.shape), np.broadcast_to(bottom, x.shape)), (240, 242, 243))
    ring = np.stack(
        np.broadcast_arrays(np.cos(np.linspace(0, 2 * np.pi, 16))[None], np.sin(np.linspace(0, 2 * np.pi, 16))[None]),
        axis=-1,
    )
    centre = np.stack([x0 + gaze_x * size * 0.5, y0 + gaze_y * size * 0.3 + 0 * lid], axis=-1)
    add(centre + ring * size * 0.62, look.iris)
    add(centre + ring * size * 0.3, (18, 14, 14))
    # The lids cover everything outside the opening, above all the iris.
    eyelid = shade(look.skin, 0.93)
    shut = np.maximum(lid, 0.25 * np.clip(gaze_y, 0, 1))
    edge = top + (bottom - top) * shut
    add(_closed(x, np.broadcast_to(top - size * 0.4, x.shape), edge), eyelid)
    add(np.stack([x, edge], axis=-1), (45, 38, 42), thickness=bold)
    brow_y = y0 - look.brow_y - 0.07 * motion.brow[:, None]
    brow_x = np.broadcast_to(x0 + size * 1.45 * u, x.shape)
    arc = brow_y + 0.05 * (u + 0.12 * side) ** 2
    add(
        _closed(brow_x, arc - look.brow_weight * (1 - 0.5 * u**2), arc + look.brow_weight * 0.6),
        shade(look.hair, 0.75),
    )


def _closed(x: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> Points:
    """The area between two curves over the same x, (F, 2n, 2)."""
    x, upper, lower = np.broadcast_arrays(x, upper, lower)
    return np.concatenate([np.stack([x, upper], axis=-1), np.stack([x, lower], axis=-1)[:, ::-1]], axis=1)


def _ellipse(x: float, y: float, half_width: float, half_height: float) -> Points:
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return np.stack([x + half_width * np.cos(angle), y + half_height * np.sin(angle)], axis=-1)


def background(look: Look, width: int, height: int) -> np.ndarray:
    """A wall lit from one side, with a window, shelf, plant or picture on it."""
    ramp = np.linspace(1.08, 0.82, width)[None, :: look.light_side * -1, None]
    fall = np.linspace(1.04, 0.9, height)[:, None, None]
    wall = np.clip(np.array(look.wall) * ramp * fall, 0, 255).astype(np.uint8)
    at = lambda x, y: (round(x * width), round(y * height))  # noqa: E731
    if look.decor == 0:
        cv2.rectangle(wall, at(0.02, 0.05), at(0.2, 0.6), (235, 225, 205), -1, cv2.LINE_AA)
        cv2.rectangle(wall, at(0.02, 0.05), at(0.2, 0.6), shade(look.wall, 0.6), 3, cv2.LINE_AA)
    elif look.decor == 1:
        cv2.rectangle(wall, at(0.78, 0.22), at(1.0, 0.27), shade(look.wall, 0.55), -1)
        for i in range(5):
            cv2.rectangle(wall, at(0.79 + 0.04 * i, 0.07 + 0.02 * (i % 3)), at(0.82 + 0.04 * i, 0.22), CLOTHES[i], -1)
    elif look.decor == 2:
        for i in range(5):
            cv2.ellipse(
                wall,
                at(0.1, 0.55),
                (width // 30, height // 5),
                24 * (i - 2),
                0,
                360,
                (70, 120 + 8 * i, 60),
                -1,
                cv2.LINE_AA,
            )
    else:
        cv2.rectangle(wall, at(0.8, 0.12), at(0.97, 0.42), (60, 80, 110), -1)
        cv2.rectangle(wall, at(0.82, 0.15), at(0.95, 0.39), mix(look.wall, (200, 140, 80), 0.5), -1)
    return wall
