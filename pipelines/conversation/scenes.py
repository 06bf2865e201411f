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
from pipelines.conversation.scene_kinds import KINDS
from wanstreamer.errors import InputError

SHARES = ("scene", 0.1, 0.2)  # of splits; a person who is found in a recording has another pseudonym
# Some variants of espeak's voice are the same voice with another name: the cosine of Resemblyzer's vectors of one voice
# with two texts is 0.92 to 0.98, and that of robert and rob 0.93. Of these, no two are above 0.78.
UNLIKE_VOICES = frozenset(
    ("f2", "f3", "Alicia", "Andrea", "belinda", "shelby", "steph")
    + ("m6", "Lee", "david", "edward", "marcelo", "miguel", "norbert", "rob", "travis", "victor")
)


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
