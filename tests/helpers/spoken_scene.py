"""Two or more voices that take turns in one sound, at known times."""

import importlib.util
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest

from pipelines.conversation.voice import VoiceSpec
from pipelines.signals.voice_activity import RATE_HZ, energy_db, resample
from wanstreamer.clock import Span, merge_spans

SENTENCES = (
    "We went down to the sea and took the boat to the island.", "Was it far from there?",
    "No, it was about an hour, but the wind was strong.", "I have never been there myself.",
    "You should go in the summer, when the water is warm.", "Yes, my brother said the same thing last week.",
    "He lives near the harbour, in the old yellow house.", "Really? I thought that house was empty.",
    "It was, for years, and then they painted it.", "So what did you do after lunch?",
    "We walked along the beach and looked for stones.", "And then it began to rain, so we ran to the car.",
    "Did you get wet?", "Of course we did, all of us.", "The dog was the happiest of all.",
)  # fmt: skip
HIGH = VoiceSpec(name="en-us+f3", rate_wpm=170, pitch=60, range=50)
LOW = VoiceSpec(name="en-us+m3", rate_wpm=170, pitch=35, range=50)
OTHER = VoiceSpec(name="en-us+m7", rate_wpm=185, pitch=50, range=60)

SHRILL = VoiceSpec(name="en-us+Alicia", rate_wpm=190, pitch=80, range=40)


class Line(NamedTuple):
    """What a voice says, and how long after the end of the line before; negative: both at once."""

    voice: VoiceSpec
    text: str
    pause_ms: int = 300


def turns(order: Sequence[VoiceSpec], num_lines: int, first: int = 0) -> list[Line]:
    """Voices in turn, sentences in turn."""
    return [Line(order[i % len(order)], SENTENCES[(first + i) % len(SENTENCES)]) for i in range(num_lines)]


def speak_scene(lines: Sequence[Line], tail_ms: int = 500) -> tuple[np.ndarray, dict[str, list[Span]]]:
    """float32 (num_samples,) at 16 kHz with a little noise, and the speech of each voice by its name, in ms."""
    if importlib.util.find_spec("espeakng_loader") is None:  # not imported: it is for child processes only
        pytest.skip("needs the sample extra")
    from pipelines.conversation.voice import RATE_HZ as SPOKEN_HZ
    from pipelines.conversation.voice import Voice

    placed: list[tuple[int, np.ndarray]] = []
    spoken: dict[str, list[Span]] = {}
    end_ms = 0
    with Voice(0) as voice:
        for line in lines:
            samples_T = resample(voice.say(line.text, line.voice)[0], SPOKEN_HZ)
            loud = np.flatnonzero(energy_db(samples_T) > -50)
            samples_T = samples_T[int(loud[0]) * 160 : (int(loud[-1]) + 1) * 160]
            start_ms = max(0, end_ms + line.pause_ms)
            end_ms = start_ms + len(samples_T) * 1000 // RATE_HZ
            placed.append((start_ms, samples_T / max(float(np.sqrt(np.mean(samples_T**2))), 1e-9)))
            spoken.setdefault(line.voice.name, []).append(Span(start_ms, end_ms))
    length_ms = max(spans[-1].end_ms for spans in spoken.values()) + tail_ms
    audio_T = np.random.default_rng(0).normal(0, 1e-3, length_ms * RATE_HZ // 1000)
    for start_ms, samples_T in placed:
        first = start_ms * RATE_HZ // 1000
        audio_T[first : first + len(samples_T)] += 0.08 * samples_T[: len(audio_T) - first]
    return audio_T.astype(np.float32), {name: merge_spans(spans) for name, spans in spoken.items()}
