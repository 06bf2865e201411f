"""The things of the small world -> shapes to draw: what people hold up to the camera.

Each thing always has the same colour (grammar.py), so that a viewer can say which thing it is and who owns it.
"""

from collections.abc import Iterator

import numpy as np

from pipelines.conversation.look import Colour, shade

COLOURS: dict[str, Colour] = {  # blue, green, red
    "red": (40, 40, 205),
    "blue": (200, 95, 35),
    "white": (238, 240, 242),
    "brown": (42, 75, 125),
    "green": (70, 150, 40),
    "yellow": (45, 205, 240),
    "black": (32, 30, 30),
    "grey": (135, 132, 130),
}
Shape = tuple[np.ndarray, Colour]  # points (n, 2), x right, y down, within -1 to 1


def shapes(name: str, colour: str) -> Iterator[Shape]:
    """Filled outlines of a thing, back to front. Raises KeyError for an unknown thing or colour."""
    base = COLOURS[colour]
    light, dark = shade(base, 1.25), shade(base, 0.65)
    yield from _DRAWN[name](base, light, dark)


def _boat(base: Colour, light: Colour, dark: Colour) -> Iterator[Shape]:
    yield _polygon((-0.06, 0.3), (-0.06, -0.95), (0.06, -0.95), (0.06, 0.3)), dark
    yield _polygon((0.1, 0.2), (0.1, -0.9), (0.8, 0.2)), light
    yield _polygon((-0.12, 0.2), (-0.12, -0.7), (-0.6, 0.2)), (235, 238, 240)
    yield _polygon((-1, 0.3), (1, 0.3), (0.6, 0.85), (-0.65, 0.85)), base


def _car(base: Colour, light: Colour, dark: Colour) -> Iterator[Shape]:
    yield _polygon((-0.6, 0.05), (-0.35, -0.5), (0.4, -0.5), (0.7, 0.05)), base
    yield _polygon((-0.45, 0.02), (-0.28, -0.38), (0.0, -0.38), (0.0, 0.02)), (230, 215, 195)
    yield _polygon((0.1, 0.02), (0.1, -0.38), (0.33, -0.38), (0.52, 0.02)), (230, 215, 195)
    yield _polygon((-1, 0.0), (0.95, 0.0), (1, 0.5), (-1, 0.5)), base
    for x in (-0.55, 0.55):
        yield _ellipse(x, 0.52, 0.26, 0.26), (25, 25, 25)
        yield _ellipse(x, 0.52, 0.11, 0.11), (170, 170, 170)


def _house(base: Colour, light: Colour, dark: Colour) -> Iterator[Shape]:
    yield _polygon((-0.75, -0.15), (0.75, -0.15), (0.75, 0.9), (-0.75, 0.9)), base
    yield _polygon((-1, -0.12), (0, -0.95), (1, -0.12)), (50, 65, 150)
    yield _polygon((-0.15, 0.9), (-0.15, 0.35), (0.2, 0.35), (0.2, 0.9)), (45, 60, 85)
    for x in (-0.48, 0.5):
        yield _polygon((x - 0.14, 0.05), (x + 0.14, 0.05), (x + 0.14, 0.32), (x - 0.14, 0.32)), (165, 125, 80)


def _dog(base: Colour, light: Colour, dark: Colour) -> Iterator[Shape]:
    yield _polygon((-0.75, 0.0), (-1, -0.45), (-0.88, -0.5), (-0.6, -0.1)), base
    for x in (-0.55, -0.3, 0.2, 0.42):
        yield _polygon((x - 0.09, 0.2), (x + 0.09, 0.2), (x + 0.09, 0.9), (x - 0.09, 0.9)), dark
    yield _ellipse(-0.08, 0.15, 0.66, 0.33), base
    yield _ellipse(0.58, -0.35, 0.34, 0.3), base
    yield _ellipse(0.87, -0.27, 0.17, 0.13), light
    yield _ellipse(0.42, -0.4, 0.12, 0.3), dark
    yield _ellipse(0.66, -0.45, 0.05, 0.05), (15, 15, 15)


def _hat(base: Colour, light: Colour, dark: Colour) -> Iterator[Shape]:
    yield _polygon((-0.55, 0.35), (-0.45, -0.65), (0.45, -0.65), (0.55, 0.35)), base
    yield _ellipse(0, -0.65, 0.45, 0.12), light
    yield _polygon((-0.54, 0.3), (-0.51, 0.02), (0.51, 0.02), (0.54, 0.3)), dark
    yield _ellipse(0, 0.42, 1.0, 0.24), base


def _cup(base: Colour, light: Colour, dark: Colour) -> Iterator[Shape]:
    yield _ellipse(0.62, 0.0, 0.36, 0.4), base
    yield _ellipse(0.62, 0.0, 0.2, 0.23), (200, 205, 205)
    yield _polygon((-0.75, -0.6), (0.65, -0.6), (0.48, 0.8), (-0.58, 0.8)), base
    yield _ellipse(-0.05, -0.6, 0.7, 0.16), dark


def _bird(base: Colour, light: Colour, dark: Colour) -> Iterator[Shape]:
    yield _polygon((-0.55, 0.1), (-1, 0.35), (-0.95, -0.1)), dark
    yield _ellipse(-0.05, 0.1, 0.62, 0.42), base
    yield _ellipse(0.5, -0.35, 0.3, 0.28), base
    yield _polygon((0.72, -0.45), (1.0, -0.3), (0.72, -0.22)), (40, 150, 240)
    yield _ellipse(-0.12, 0.05, 0.4, 0.2), shade((120, 115, 110), 1.0)
    yield _ellipse(0.56, -0.42, 0.06, 0.06), (240, 240, 240)


def _book(base: Colour, light: Colour, dark: Colour) -> Iterator[Shape]:
    yield _polygon((-0.62, -0.85), (0.78, -0.85), (0.78, 0.85), (-0.62, 0.85)), (225, 235, 240)
    yield _polygon((-0.72, -0.92), (0.68, -0.92), (0.68, 0.8), (-0.72, 0.8)), base
    yield _polygon((-0.72, -0.92), (-0.5, -0.92), (-0.5, 0.8), (-0.72, 0.8)), dark
    yield _polygon((-0.28, -0.55), (0.48, -0.55), (0.48, -0.3), (-0.28, -0.3)), (225, 235, 240)


_DRAWN = {
    "boat": _boat, "car": _car, "house": _house, "dog": _dog, "hat": _hat, "cup": _cup, "bird": _bird, "book": _book,
}  # fmt: skip


def _polygon(*corners: tuple[float, float]) -> np.ndarray:
    return np.array(corners, dtype=np.float32)


def _ellipse(x: float, y: float, half_width: float, half_height: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return np.stack([x + half_width * np.cos(angle), y + half_height * np.sin(angle)], axis=-1).astype(np.float32)
