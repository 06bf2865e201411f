"""A kind of scene, a seed and a number -> the plan of one recording as people really have them: one file, no sidecars.

A scene is a conversation in one file with one sound and at most one picture: a camera that sees two people, a call with
both in one window, an interview with cuts, a microphone on a table. Most kinds are conversations of two; the others
must be rejected, each for its own reason. What happens in a scene is drawn from generators of its own (seed, kind,
index), so that a scene is the same whatever is made with it.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.conversation.cast import (
    AUDIO_ONLY_CONTAINERS,
    CONTAINERS,
    FRAME_RATES,
    HIGH_VOICES,
    LOW_VOICES,
    RATES_HZ,
    Speaker,
    people,
)
from wanstreamer.errors import InputError

SHARES = ("scene", 0.1, 0.2)  # of splits; a person who is found in a recording has another pseudonym
# Some variants of espeak's voice are the same voice with another name: the cosine of Resemblyzer's vectors of one voice
# with two texts is 0.92 to 0.98, and that of robert and rob 0.93. Of these, no two are above 0.78.
UNLIKE_VOICES = frozenset(
    ("f2", "f3", "Alicia", "Andrea", "belinda", "shelby", "steph")
    + ("m6", "Lee", "david", "edward", "marcelo", "miguel", "norbert", "rob", "travis", "victor")
)
MIN_SECONDS = 20  # less holds no exchange in which each speaks for some seconds
MIN_TWO_WORDS_SECONDS = 40  # in less, two words are more than 2 % of the speech


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a scene of this kind shows."""

    about: str
    voices: int  # who speak; a third who says two words is one of them
    rejection: str = ""  # the right one; empty: a conversation of two
    is_broken: bool = False  # no conversation that anyone would keep: any rejection that says why is right
    has_picture: bool = True
    has_sound: bool = True
    min_seconds: int = MIN_SECONDS


KINDS = {
    "two_shot": Kind(about="two people at a table, one camera", voices=2),
    "cuts": Kind(about="cuts between close-ups and both", voices=2),
    "side_by_side": Kind(about="a call, each in one half of the picture", voices=2),
    "gallery": Kind(about="a call in which the large tile or the order of tiles changes", voices=2),
    "thumbnails": Kind(about="a call in which the speaker is seen twice: in the large tile, and among all", voices=2),
    "off_screen": Kind(about="one person in the picture, and an interviewer behind the camera", voices=2),
    "two_words": Kind(
        about="two people at a table, and a third who says two words", voices=3, min_seconds=MIN_TWO_WORDS_SECONDS
    ),
    "poster": Kind(about="two people, and a poster with a face on the wall", voices=2),
    "music": Kind(about="cuts, with music in the background", voices=2),
    "captions": Kind(about="burned-in captions, at times across the mouths", voices=2),
    "echo": Kind(about="two people at some distance in a room with echo", voices=2),
    "sound": Kind(about="a sound file of one microphone", voices=2, has_picture=False),
    "still": Kind(about="a sound with one still picture, of no one", voices=2),
    "one_person": Kind(about="one person, alone", voices=1, rejection="one_person"),
    "one_person_poster": Kind(about="one person, and a poster with a face", voices=1, rejection="one_person"),
    "listener": Kind(about="two people, of whom one listens, nods and chews", voices=1, rejection="one_person"),
    "three": Kind(about="three people at a table, who all talk", voices=3, rejection="more_than_two"),
    "ten": Kind(about="a call of ten people", voices=10, rejection="more_than_two", is_broken=True),
    "crowd": Kind(about="ten people who all talk at once", voices=10, rejection="more_than_two", is_broken=True),
    "mute": Kind(about="two people, without sound", voices=2, rejection="no_audio", is_broken=True, has_sound=False),
    "slideshow": Kind(about="slides and one voice", voices=1, rejection="one_person", is_broken=True),
    "black": Kind(about="a black picture and one voice", voices=1, rejection="one_person", is_broken=True),
}
DYADS = tuple(name for name, kind in KINDS.items() if not kind.rejection)
NON_DYADS = tuple(name for name, kind in KINDS.items() if kind.rejection and not kind.is_broken)
# In the corpus of the sample, the first ones first: each is unlike those before it.
IN_CORPUS = ("two_shot", "gallery", "one_person", "cuts", "off_screen", "three", "side_by_side", "poster", "captions")
BROKEN = tuple(name for name, kind in KINDS.items() if kind.is_broken)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One recording that is planned."""

    session_id: str
    kind: str
    index: int
    seed: int
    seconds: int
    cast: tuple[Speaker, ...]  # who is there, in no order; each voice is another person's
    container: str
    audio_codec: str
    rate_hz: int
    frame_rate: str  # in ffmpeg's notation; empty: no picture
    width: int
    height: int

    def seeds(self, purpose: int) -> list[int]:
        """The seeds of the scene's own generator for one purpose."""
        return _seeds(self.seed, self.kind, self.index, purpose)

    def rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng(self.seeds(purpose))


def _seeds(seed: int, kind: str, index: int, purpose: int) -> list[int]:
    return [seed, 9, zlib.crc32(kind.encode()), index, purpose]


def plan_scenes(
    kinds: Sequence[str], count: int, *, seed: int, seconds: int, width: int = 640, height: int = 360
) -> list[Scene]:
    """`count` scenes, the kinds in turn. Raises InputError for an unknown kind, and for one that takes longer."""
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"scene `{kind}`: unknown; expected some of {', '.join(KINDS)}, separated by commas")
        if seconds < KINDS[kind].min_seconds:
            raise InputError(f"scene `{kind}` in {seconds} seconds: expected {KINDS[kind].min_seconds} or more")
    return [
        _scene(kinds[number % len(kinds)], number // len(kinds), seed, seconds, width, height)
        for number in range(count)
    ]


def _scene(kind: str, index: int, seed: int, seconds: int, width: int, height: int) -> Scene:
    rng = np.random.default_rng(_seeds(seed, kind, index, 0))
    # Of four people, two with high and two with low voices, any may meet.
    group = people("test", max(4, KINDS[kind].voices), rng, {*HIGH_VOICES, *LOW_VOICES} - UNLIKE_VOICES, SHARES)
    number = int(rng.integers(len(CONTAINERS) * len(FRAME_RATES) * len(RATES_HZ)))
    container, codec = CONTAINERS[number % len(CONTAINERS)]
    frame_rate = FRAME_RATES[number % len(FRAME_RATES)]
    if not KINDS[kind].has_picture:
        (container, codec), frame_rate = AUDIO_ONLY_CONTAINERS[number % len(AUDIO_ONLY_CONTAINERS)], ""
    return Scene(
        session_id=f"{kind}-{index:04d}", kind=kind, index=index, seed=seed, seconds=seconds,
        cast=tuple(group[int(place)] for place in rng.permutation(len(group))), container=container,
        audio_codec=codec, rate_hz=48000 if codec == "libopus" else RATES_HZ[number % len(RATES_HZ)],
        frame_rate=frame_rate, width=width, height=height,
    )  # fmt: skip
