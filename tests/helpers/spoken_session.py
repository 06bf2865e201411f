"""Two voices that speak at known times, each on a track of its own."""

import importlib.util
from typing import Any

import numpy as np
import pytest

from pipelines.signals.voice_activity import RATE_HZ, energy_db, resample
from wanstreamer.clock import UNIT_MS, Span

NUM_UNITS = 75  # 12 s
LINES = {
    "a": [(800, "So we went down to the sea and took the boat to the island."), (8200, "Yes, it was a long way.")],
    "b": [(2300, "Mhm."), (5700, "Was it far?")],
}
Placed = dict[str, list[tuple[Span, str]]]


def speak_session() -> tuple[dict[str, np.ndarray], Placed]:
    """float32 (samples,) at 16 kHz per participant, low noise under it, and where what was said."""
    if importlib.util.find_spec("espeakng_loader") is None:  # asked for, not imported: it is for child processes only
        pytest.skip("needs the sample extra")
    from pipelines.conversation.voice import RATE_HZ as SPOKEN_HZ
    from pipelines.conversation.voice import Voice, VoiceSpec

    audio: dict[str, np.ndarray] = {}
    placed: Placed = {}
    noise = np.random.default_rng(0)
    with Voice(0) as voice:
        for who, name in (("a", "en-us+f3"), ("b", "en-us+m3")):
            spec = VoiceSpec(name=name, rate_wpm=170, pitch=50, range=50)
            track = noise.normal(0, 1e-4, NUM_UNITS * UNIT_MS * RATE_HZ // 1000).astype(np.float32)
            placed[who] = []
            for start_ms, text in LINES[who]:
                samples, _ = voice.say(text, spec)
                samples = resample(samples, SPOKEN_HZ)
                loud = np.flatnonzero(energy_db(samples) > -50)
                begin = start_ms * RATE_HZ // 1000 - int(loud[0]) * 160
                track[begin : begin + len(samples)] += samples
                placed[who].append((Span(start_ms, start_ms + 10 * int(loud[-1] + 1 - loud[0])), text))
            audio[who] = track
    return audio, placed


def words_of(placed: Placed, who: str) -> list[dict[str, Any]]:
    words: list[dict[str, Any]] = []
    for span, text in placed[who]:
        parts = text.split()
        step = span.duration_ms / len(parts)
        words += [
            {"word": part, "start_ms": span.start_ms + int(i * step), "end_ms": span.start_ms + int((i + 1) * step)}
            for i, part in enumerate(parts)
        ]
    return words
