"""A seed -> what a person looks like, and the place where they sit.

The identity (skin, hair, shape of head, eyes, nose and mouth, glasses, beard, clothes) comes from the speaker's seed.
Background, light and framing come from the session's seed, as for people who are recorded twice.
"""

from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]  # blue, green, red

SKINS = (
    (199, 219, 245),
    (172, 202, 236),
    (143, 178, 222),
    (120, 158, 210),
    (92, 130, 186),
    (66, 98, 150),
    (48, 72, 112),
)
HAIRS = (
    (28, 26, 30),
    (35, 48, 68),
    (45, 70, 105),
    (80, 130, 175),
    (120, 180, 215),
    (50, 75, 150),
    (165, 165, 170),
    (90, 95, 100),
)
IRISES = ((110, 70, 40), (150, 110, 60), (60, 100, 60), (40, 65, 95), (35, 45, 60))
CLOTHES = (
    (150, 70, 50),
    (60, 60, 160),
    (70, 120, 60),
    (50, 50, 55),
    (190, 185, 180),
    (130, 60, 120),
    (60, 150, 200),
    (140, 130, 50),
)
WALLS = (
    (205, 195, 180),
    (190, 205, 205),
    (215, 215, 205),
    (150, 165, 160),
    (175, 160, 185),
    (140, 120, 110),
    (120, 140, 170),
    (225, 220, 225),
)
HAIR_STYLES = ("short", "parted", "long", "bob", "bun", "curly", "bald")


@dataclass(frozen=True, kw_only=True)
class Look:
    """One person in one session."""

    skin: Colour
    hair: Colour
    iris: Colour
    cloth: Colour
    wall: Colour
    hair_style: str
    has_glasses: bool
    beard: float  # 0: none, otherwise how strongly it covers the skin
    head_width: float  # half width over half height
    jaw: float  # taper below the cheeks
    fringe_y: float  # hairline
    eye_x: float
    eye_y: float
    eye_size: float
    brow_y: float
    brow_weight: float
    nose_length: float
    nose_width: float
    mouth_y: float
    mouth_width: float
    lip: float  # thickness
    light_side: int  # -1 or 1: where the light comes from
    decor: int  # which background
    scale: float  # half head height over frame height
    centre_x: float  # of the head, share of the frame
    centre_y: float


def make_look(face_seed: int, session_seed: list[int], *, may_have_beard: bool) -> Look:
    """The person of `face_seed` as recorded in the session of `session_seed`."""
    person, place = np.random.default_rng(face_seed), np.random.default_rng(session_seed)

    def any_of(rng: np.random.Generator, options: tuple[Colour, ...], spread: int) -> Colour:
        base = options[int(rng.integers(len(options)))]
        return colour_of(np.array(base) + rng.integers(-spread, spread + 1, size=3))

    tone = int(person.integers(len(SKINS)))
    hairs = HAIRS if tone < 4 else HAIRS[:3]
    styles = HAIR_STYLES[:2] + HAIR_STYLES[5:] if may_have_beard else HAIR_STYLES[1:6]
    return Look(
        skin=any_of(person, SKINS[tone : tone + 1], 8), hair=any_of(person, hairs, 8),
        iris=any_of(person, IRISES if tone < 4 else IRISES[3:], 10),
        cloth=any_of(person, CLOTHES, 25), wall=any_of(place, WALLS, 20),
        hair_style=styles[int(person.integers(len(styles)))], has_glasses=bool(person.random() < 0.3),
        beard=float(person.uniform(0.35, 0.8)) if may_have_beard and person.random() < 0.45 else 0.0,
        head_width=float(person.uniform(0.70, 0.82)), jaw=float(person.uniform(0.12, 0.32)),
        fringe_y=float(person.uniform(-0.68, -0.48)), eye_x=float(person.uniform(0.29, 0.35)),
        eye_y=float(person.uniform(-0.16, -0.08)), eye_size=float(person.uniform(0.115, 0.145)),
        brow_y=float(person.uniform(0.20, 0.27)), brow_weight=float(person.uniform(0.03, 0.06)),
        nose_length=float(person.uniform(0.25, 0.34)), nose_width=float(person.uniform(0.09, 0.14)),
        mouth_y=float(person.uniform(0.53, 0.60)), mouth_width=float(person.uniform(0.25, 0.31)),
        lip=float(person.uniform(0.045, 0.075)), light_side=int(place.choice((-1, 1))), decor=int(place.integers(4)),
        scale=float(place.uniform(0.40, 0.45)), centre_x=0.5 + float(place.uniform(-0.04, 0.04)),
        centre_y=0.49 + float(place.uniform(-0.02, 0.02)),
    )  # fmt: skip


def colour_of(values: np.ndarray) -> Colour:
    blue, green, red = (int(value) for value in np.clip(np.round(values), 0, 255))
    return blue, green, red


def shade(colour: Colour, factor: float) -> Colour:
    return colour_of(np.array(colour) * factor)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    return colour_of(np.array(first) * (1 - share) + np.array(second) * share)
