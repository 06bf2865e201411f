"""A scene and its dialogue -> who sits where, what the cameras see, and when the picture cuts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import cv2
import numpy as np

from pipelines.conversation.cast import Speaker
from pipelines.conversation.dialogue import Dialogue, other
from pipelines.conversation.face import background
from pipelines.conversation.look import Colour, Look, make_look, shade
from pipelines.conversation.motion import Motion, make_motion
from pipelines.conversation.scene_picture import Box, Camera, Caption, Figure, Picture, Shot, Tile, hang_poster
from pipelines.conversation.scenes import Scene

TABLES: tuple[Colour, ...] = ((60, 88, 120), (52, 70, 92), (120, 130, 140), (70, 60, 56))
BLACK: Colour = (0, 0, 0)
GROUND: Colour = (24, 22, 20)  # between the tiles of a call
FLOOR_MS = 900  # an utterance of this length brings its speaker into the large tile or the next close-up
REACTION_MS = (150, 700)  # until the picture follows
SHOT_MS = (2200, 7000)
CLOSE_UP_SHARE, LISTENER_SHARE = 0.62, 0.2  # of the shots: close-ups of the speaker, and of the listener
MOVE_MS = (7000, 16_000)  # between changes of the order of tiles
SLIDE_MS = (5000, 12_000)
CHEWS_SHARE = 0.25  # of the scenes at a table: one of the two chews at times while silent
CHEW_HZ = 1.5
CHEW_MS = (2500, 6000)
TURNED = (0.08, 0.2)  # how far people at a table turn to each other, as in `Motion.yaw`
CAPTION_WORDS = 6
CAPTION_Y = 0.91  # of a caption that covers no face; share of the height
ACROSS_SHARE = 0.5  # of the captions, that run across the mouths
SEATS = {1: (0.5,), 2: (0.29, 0.71), 3: (0.19, 0.5, 0.81)}
PAGE = (640, 360)  # tiles are laid out on a picture of this size
LARGE, SMALL, HALF, FILLED = (472, 266), (160, 90), (312, 176), (320, 360)
PLANT = 2  # the decor that leaves the upper part of the wall free
Staging = tuple[list[Camera], list[Shot]]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all kinds of scenes need."""

    scene: Scene
    dialogue: Dialogue
    people: Mapping[str, Speaker]
    num_frames: int
    rate: Fraction
    rng: np.random.Generator
    room: Look  # only its wall, decor and light

    def frame_of(self, ms: float) -> int:
        return int(ms * self.rate / 1000)


def stage(scene: Scene, dialogue: Dialogue, people: Mapping[str, Speaker]) -> Picture | None:
    """What is seen in the scene; None for sound alone."""
    if not scene.frame_rate:
        return None
    rate = Fraction(scene.frame_rate)
    setting = Setting(
        scene=scene, dialogue=dialogue, people=people, num_frames=int(scene.seconds * rate), rate=rate,
        rng=scene.rng(4), room=make_look(0, scene.seeds(5), may_have_beard=False),
    )  # fmt: skip
    cameras, shots = STAGINGS[scene.kind](setting)
    picture = Picture(
        width=scene.width, height=scene.height, num_frames=setting.num_frames, rate=rate, cameras=tuple(cameras),
        shots=tuple(shots), ground=BLACK if scene.kind == "black" else GROUND,
    )  # fmt: skip
    return replace(picture, captions=_captions(setting, picture)) if scene.kind == "captions" else picture


def _whole(setting: Setting, camera: int) -> tuple[Tile, ...]:
    return (Tile(camera, 0, 0, setting.scene.width, setting.scene.height),)


def _tile(setting: Setting, camera: int, left: int, top: int, size: tuple[int, int]) -> Tile:
    """A tile at a place of a picture of the size PAGE."""
    across, down = setting.scene.width / PAGE[0], setting.scene.height / PAGE[1]
    return Tile(camera, round(left * across), round(top * down), round(size[0] * across), round(size[1] * down))


def _one_camera(setting: Setting, camera: Camera) -> Staging:
    return [camera], [Shot(0, _whole(setting, 0))]


def _at_table(setting: Setting) -> Staging:
    return _one_camera(setting, _table(setting, "ab", (0.13, 0.18)))


def _far_away(setting: Setting) -> Staging:
    return _one_camera(setting, _table(setting, "ab", (0.125, 0.145)))


def _three_at_table(setting: Setting) -> Staging:
    return _one_camera(setting, _table(setting, "abc", (0.115, 0.14)))


def _with_listener(setting: Setting) -> Staging:
    return _one_camera(setting, _table(setting, "ab", (0.13, 0.18), chewing="b"))


def _with_poster(setting: Setting) -> Staging:
    at = 0.5 + float(setting.rng.uniform(-0.02, 0.02)), float(setting.rng.uniform(0.2, 0.26))
    return _one_camera(setting, _table(setting, "ab", (0.13, 0.17), poster=at))


def _interview(setting: Setting) -> Staging:
    return _one_camera(setting, _single(setting, str(setting.rng.choice(("a", "b")))))


def _alone(setting: Setting) -> Staging:
    return _one_camera(setting, _single(setting, "a"))


def _alone_with_poster(setting: Setting) -> Staging:
    side = int(setting.rng.choice((-1, 1)))
    at = 0.5 + side * float(setting.rng.uniform(0.31, 0.36)), float(setting.rng.uniform(0.25, 0.35))
    return _one_camera(setting, _single(setting, "a", x=0.5 - 0.08 * side, poster=at))


def _cuts(setting: Setting) -> Staging:
    """Close-ups that mostly follow the speaker, and both at the table in between."""
    motions = _table_motions(setting, "ab", chewing=_who_chews(setting))
    cameras = [_table(setting, "ab", (0.13, 0.17), motions=motions)]
    for place, name in enumerate("ab"):
        look = _look(
            setting, name, scale=float(setting.rng.uniform(0.27, 0.36)), x=0.43 if place == 0 else 0.57, y=0.46
        )  # fmt: skip
        wall = background(_room(setting, decor=1 + place), setting.scene.width, setting.scene.height)
        cameras.append(Camera(back=wall, figures=(Figure(name=name, look=look, motion=motions[name]),)))
    floor = _floor(setting.dialogue)
    shots = [Shot(0, _whole(setting, 0))]
    camera, at_ms = 0, float(setting.rng.uniform(*SHOT_MS))
    while at_ms < setting.scene.seconds * 1000 - SHOT_MS[0]:
        speaker = next((name for start_ms, name in reversed(floor) if start_ms <= at_ms + REACTION_MS[0]), "a")
        chance = float(setting.rng.random())
        wanted = 1 + "ab".index(speaker if chance < CLOSE_UP_SHARE else other(speaker))
        if chance > CLOSE_UP_SHARE + LISTENER_SHARE or wanted == camera:
            wanted = 0 if camera else 1 + "ab".index(speaker)
        camera = wanted
        shots.append(Shot(setting.frame_of(at_ms), _whole(setting, camera)))
        at_ms += float(setting.rng.uniform(*SHOT_MS))
    return cameras, shots


def _side_by_side(setting: Setting) -> Staging:
    size = FILLED if setting.rng.random() < 0.5 else HALF
    cameras = [_webcam(setting, name, place, size) for place, name in enumerate("ab")]
    return cameras, [Shot(0, _pair(setting, size, (0, 1)))]


def _pair(setting: Setting, size: tuple[int, int], order: Sequence[int]) -> tuple[Tile, ...]:
    margin = (PAGE[0] - 2 * size[0]) // 4
    lefts = (margin, PAGE[0] - size[0] - margin)
    return tuple(
        _tile(setting, camera, left, (PAGE[1] - size[1]) // 2, size) for left, camera in zip(lefts, order, strict=True)
    )


def _gallery(setting: Setting) -> Staging:
    """The speaker in a large tile and the other in a small one, or two equal tiles that change their order."""
    if setting.rng.random() < 0.5:
        return _speaker_view(setting, show_all=False)
    cameras = [_webcam(setting, name, place, HALF) for place, name in enumerate("ab")]
    shots, order, at_ms = [Shot(0, _pair(setting, HALF, (0, 1)))], (0, 1), float(setting.rng.uniform(*MOVE_MS))
    while at_ms < setting.scene.seconds * 1000 - SHOT_MS[0]:
        order = (order[1], order[0])
        shots.append(Shot(setting.frame_of(at_ms), _pair(setting, HALF, order)))
        at_ms += float(setting.rng.uniform(*MOVE_MS))
    return cameras, shots


def _thumbnails(setting: Setting) -> Staging:
    return _speaker_view(setting, show_all=True)


def _speaker_view(setting: Setting, *, show_all: bool) -> Staging:
    """The large tile follows who has the floor; small tiles show the other, or all."""
    cameras = [_webcam(setting, name, place, LARGE) for place, name in enumerate("ab")]
    shots: list[Shot] = []
    for start_ms, name in _floor(setting.dialogue) or [(0, "a")]:
        at = setting.frame_of(start_ms + float(setting.rng.uniform(*REACTION_MS))) if shots else 0
        if shots and at - shots[-1].first_frame < setting.frame_of(500):
            continue
        speaker = "ab".index(name)
        small = (0, 1) if show_all else (1 - speaker,)
        tiles = [_tile(setting, speaker, 4, (PAGE[1] - LARGE[1]) // 2, LARGE)]
        tiles += [_tile(setting, camera, 480, 47 + 94 * row, SMALL) for row, camera in enumerate(small)]
        if not shots or shots[-1].tiles != tuple(tiles):
            shots.append(Shot(min(at, setting.num_frames - 1), tuple(tiles)))
    return cameras, shots


def _ten_tiles(setting: Setting) -> Staging:
    size = (PAGE[0] // 4 - 4, PAGE[1] // 4)
    names = list(setting.people)
    cameras = [_webcam(setting, name, place, size) for place, name in enumerate(names)]
    tiles = [
        _tile(setting, place, 2 + (size[0] + 4) * (place % 4), 20 + (size[1] + 20) * (place // 4), size)
        for place in range(len(names))
    ]
    return cameras, [Shot(0, tuple(tiles))]


def _many_heads(setting: Setting) -> Staging:
    """Ten people in two rows, as in a hall."""
    names = list(setting.people)
    wall = background(_room(setting), setting.scene.width, setting.scene.height)
    figures = []
    for place, name in enumerate(names):
        row, seat = divmod(place, 5)
        look = _look(setting, name, scale=0.085 + 0.015 * row, x=0.12 + 0.19 * seat + 0.04 * row, y=0.3 + 0.32 * row)
        figures.append(Figure(name=name, look=look, motion=_motion(setting, name, "ab"[seat % 2])))
    return _one_camera(setting, Camera(back=wall, figures=tuple(figures)))


def _page(setting: Setting) -> Camera:
    """Lines of text and boxes, without a person."""
    width, height = setting.scene.width, setting.scene.height
    page = np.full((height, width, 3), 245, np.uint8)
    title = " ".join(word.text for word in setting.dialogue.words("a")[:3]).upper()
    at = width // 12, round(0.12 * height)
    cv2.putText(page, title, at, cv2.FONT_HERSHEY_DUPLEX, height / 350, (40, 30, 30), 1, cv2.LINE_AA)
    for line in range(int(setting.rng.integers(3, 7))):
        end = round((0.3 + 0.6 * float(setting.rng.random())) * width)
        top = round((0.28 + 0.1 * line) * height)
        cv2.rectangle(page, (width // 12, top), (end, top + 8), (120, 90, 60), -1)
    return Camera(back=page)


def _cover(setting: Setting) -> Staging:
    return _one_camera(setting, _page(setting))


def _slides(setting: Setting) -> Staging:
    cameras: list[Camera] = []
    shots: list[Shot] = []
    at_ms = 0.0
    while at_ms < setting.scene.seconds * 1000 - SHOT_MS[0]:
        shots.append(Shot(setting.frame_of(at_ms), _whole(setting, len(cameras))))
        cameras.append(_page(setting))
        at_ms += float(setting.rng.uniform(*SLIDE_MS))
    return cameras, shots


def _nothing(setting: Setting) -> Staging:
    return [], [Shot(0, ())]


STAGINGS: dict[str, Callable[[Setting], Staging]] = {
    "two_shot": _at_table, "cuts": _cuts, "side_by_side": _side_by_side, "gallery": _gallery,
    "thumbnails": _thumbnails, "off_screen": _interview, "two_words": _at_table, "poster": _with_poster,
    "music": _cuts, "captions": _at_table, "echo": _far_away, "one_person": _alone,
    "one_person_poster": _alone_with_poster, "listener": _with_listener, "three": _three_at_table, "ten": _ten_tiles,
    "crowd": _many_heads, "mute": _at_table, "slideshow": _slides, "still": _cover, "black": _nothing,
}  # fmt: skip


def _table(
    setting: Setting,
    names: str,
    scales: tuple[float, float],
    *,
    chewing: str | None = None,
    poster: tuple[float, float] | None = None,
    motions: Mapping[str, Motion] | None = None,
) -> Camera:
    """People behind a table, as one camera sees them. `poster`: its middle, in shares of the picture."""
    width, height, rng = setting.scene.width, setting.scene.height, setting.rng
    wall = background(setting.room, width, height)
    posters = (_poster(setting, wall, poster),) if poster else ()
    motions = motions or _table_motions(setting, names, chewing=chewing or _who_chews(setting))
    scale, y = float(rng.uniform(*scales)), float(rng.uniform(0.4, 0.46))
    figures = []
    for name, x in zip(names, SEATS[len(names)], strict=True):
        look = _look(
            setting, name, scale=scale * float(rng.uniform(0.93, 1.07)), x=x + float(rng.uniform(-0.03, 0.03)),
            y=y + float(rng.uniform(-0.02, 0.02)),
        )  # fmt: skip
        figures.append(Figure(name=name, look=look, motion=motions[name]))
    top = min(0.9, y + 2.1 * scale)
    colour = TABLES[int(rng.integers(len(TABLES)))]
    edges = ((top, shade(colour, 1.1)), (top + 0.03, colour))
    front = tuple(
        (np.array([[0.04, at], [0.96, at], [1.05, 1.1], [-0.05, 1.1]]) * (width, height), shaded)
        for at, shaded in edges
    )
    return Camera(back=wall, figures=tuple(figures), front=front, posters=posters)


def _single(setting: Setting, name: str, *, x: float = 0.5, poster: tuple[float, float] | None = None) -> Camera:
    """One person, who looks past the camera."""
    rng = setting.rng
    side = str(rng.choice(("a", "b")))
    wall = background(
        _room(setting, decor=PLANT if poster else None), setting.scene.width, setting.scene.height
    )  # fmt: skip
    posters = (_poster(setting, wall, poster),) if poster else ()
    look = _look(
        setting, name, scale=float(rng.uniform(0.22, 0.3)), x=x + float(rng.uniform(-0.06, 0.06)),
        y=float(rng.uniform(0.42, 0.48)),
    )  # fmt: skip
    figure = Figure(name=name, look=look, motion=_motion(setting, name, side, turned=float(rng.uniform(0, 0.12))))
    return Camera(back=wall, figures=(figure,), posters=posters)


def _webcam(setting: Setting, name: str, place: int, size: tuple[int, int]) -> Camera:
    """A person at home, in a picture of this size on a page of the size PAGE."""
    tile = _tile(setting, 0, 0, 0, size)
    speaker = setting.people[name]
    home = make_look(speaker.face_seed, setting.scene.seeds(20 + place), may_have_beard=not speaker.is_high)
    low, high = (0.22, 0.28) if size[1] > size[0] else (0.34, 0.43)
    look = replace(
        home, scale=float(setting.rng.uniform(low, high)), centre_x=0.5 + float(setting.rng.uniform(-0.06, 0.06))
    )  # fmt: skip
    figure = Figure(name=name, look=look, motion=_motion(setting, name, "ab"[place % 2]))
    return Camera(back=background(home, tile.width, tile.height), figures=(figure,))


def _room(setting: Setting, decor: int | None = None) -> Look:
    return setting.room if decor is None else replace(setting.room, decor=decor)


def _look(setting: Setting, name: str, *, scale: float, x: float, y: float) -> Look:
    """The person in the light of the room."""
    speaker = setting.people[name]
    look = make_look(speaker.face_seed, setting.scene.seeds(5), may_have_beard=not speaker.is_high)
    return replace(look, scale=scale, centre_x=x, centre_y=y)


def _poster(setting: Setting, wall: np.ndarray, middle: tuple[float, float]) -> tuple[str, Box]:
    """Hang a poster onto the wall. Its person is another one than all who are in the scene."""
    seed = int(setting.scene.rng(6).integers(2**31))
    look = make_look(seed, setting.scene.seeds(7), may_have_beard=False)
    height, width = wall.shape[:2]
    at = round(middle[0] * width), round(middle[1] * height)
    return "poster", hang_poster(wall, look, at, round(float(setting.rng.uniform(0.28, 0.36)) * height))


def _table_motions(setting: Setting, names: str, *, chewing: str | None) -> dict[str, Motion]:
    """People at a table turn to each other; the one in the middle turns to neither side."""
    motions = {}
    for place, name in enumerate(names):
        role = "a" if place < len(names) / 2 else "b"
        is_middle = 2 * place + 1 == len(names)
        turned = 0.0 if is_middle else float(setting.rng.uniform(*TURNED))
        motions[name] = _motion(setting, name, role, turned=turned, chews=name == chewing)
    return motions


def _who_chews(setting: Setting) -> str | None:
    return str(setting.rng.choice(("a", "b"))) if setting.rng.random() < CHEWS_SHARE else None


def _motion(setting: Setting, name: str, role: str, *, turned: float = 0.0, chews: bool = False) -> Motion:
    """How a person moves who sits on the left (role a: looks to the right) or on the right."""
    dialogue = setting.dialogue
    frame_ms = np.arange(setting.num_frames) * float(1000 / setting.rate)
    seen = replace(
        dialogue, utterances=[
            replace(u, participant=role if u.participant == name else other(role)) for u in dialogue.utterances
        ], showings=[],
    )  # fmt: skip
    voices = {place: seen.samples(place) for place in "ab"}
    motion = make_motion(seen, role, voices, frame_ms, np.random.default_rng(setting.scene.seeds(40 + ord(name))))
    yaw = motion.yaw + np.float32(turned if role == "a" else -turned)
    opening = motion.mouth_open
    if chews:
        opening = np.maximum(opening, _chewing(setting, name, frame_ms))
    return replace(motion, yaw=yaw, mouth_open=opening)


def _chewing(setting: Setting, name: str, frame_ms: np.ndarray) -> np.ndarray:
    """How far a silent mouth opens that chews at times, (F,) float32."""
    rng = np.random.default_rng(setting.scene.seeds(80 + ord(name)))
    opening = np.zeros(len(frame_ms), np.float32)
    at_ms = float(rng.uniform(0, 3000))
    while at_ms < frame_ms[-1]:
        end_ms = at_ms + float(rng.uniform(*CHEW_MS))
        inside = (frame_ms >= at_ms) & (frame_ms < end_ms)
        opening[inside] = 0.3 * np.abs(np.sin(np.pi * CHEW_HZ * (frame_ms[inside] - at_ms) / 1000))
        at_ms = end_ms + float(rng.uniform(*CHEW_MS))
    for start_ms, end_ms in setting.dialogue.speech(name):
        opening[(frame_ms >= start_ms - 200) & (frame_ms < end_ms + 200)] = 0
    return opening


def _floor(dialogue: Dialogue) -> list[tuple[int, str]]:
    """When the floor goes to whom, from the first turn on."""
    changes: list[tuple[int, str]] = []
    for utterance in sorted(dialogue.utterances, key=lambda u: u.start_ms):
        is_long = utterance.end_ms - utterance.start_ms >= FLOOR_MS and utterance.kind != "backchannel"
        if (is_long or not changes) and (not changes or changes[-1][1] != utterance.participant):
            changes.append((utterance.start_ms, utterance.participant))
    return changes


def _captions(setting: Setting, picture: Picture) -> tuple[Caption, ...]:
    """What is said, some words at a time; some captions run across the mouths."""
    mouths = [
        figure.look.centre_y + (figure.look.mouth_y + 0.05) * figure.look.scale for figure in picture.cameras[0].figures
    ]
    captions = []
    for utterance in sorted(setting.dialogue.utterances, key=lambda u: u.start_ms):
        words = utterance.words
        for first in range(0, len(words), CAPTION_WORDS):
            some = words[first : first + CAPTION_WORDS]
            across = float(setting.rng.random()) < ACROSS_SHARE
            y = float(setting.rng.choice(mouths)) if across else CAPTION_Y
            captions.append(
                Caption(
                    setting.frame_of(some[0].start_ms), setting.frame_of(some[-1].end_ms),
                    " ".join(word.text for word in some), round(y * picture.height),
                )
            )  # fmt: skip
    return tuple(captions)
