"""Dialogues of the sample's script, each spoken once per process."""

from functools import cache

import numpy as np

from pipelines.conversation.dialogue import Dialogue
from pipelines.conversation.script import write_dialogue
from pipelines.conversation.voice import Voice, VoiceSpec

VOICES = {
    "a": VoiceSpec(name="en-us+f2", rate_wpm=165, pitch=55, range=50),
    "b": VoiceSpec(name="en-us+m3", rate_wpm=180, pitch=40, range=50),
}


@cache
def written_dialogue(index: int) -> Dialogue:
    """45 s between two who both have a camera."""
    with Voice(seed=index) as voice:
        rng = np.random.default_rng([7, index])
        return write_dialogue(voice, VOICES, rng, first_ms=500, duration_ms=45_000, seen="ab")
