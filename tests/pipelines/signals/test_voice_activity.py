"""Probabilities of speech to spans, their edges, and speech that is only bleed."""

import numpy as np
import pytest

from pipelines.signals.separation import runs, separate
from pipelines.signals.voice_activity import (
    RATE_HZ,
    Activity,
    VoiceParams,
    probable_spans,
    refine_edges,
    remove_bleed,
    resample,
)
from tests.helpers.spoken_session import Placed
from wanstreamer.clock import Span

PARAMS = VoiceParams()


def own_speech(audio: dict[str, np.ndarray], detected: dict[str, list[Span]]) -> dict[str, list[Span]]:
    voices, _ = separate(audio)
    return {
        who: remove_bleed(
            detected[who], {o: runs(leak.alone) for o, leak in voice.leaks.items()}, voice.audio_T, PARAMS
        )
        for who, voice in voices.items()
    }


def test_a_soft_voice_beside_a_loud_one_is_no_bleed(spoken: tuple[dict[str, np.ndarray], Placed]) -> None:
    audio, placed = spoken
    span = placed["b"][0][0]
    own = own_speech({"a": audio["a"], "b": 0.1 * audio["b"]}, {"b": [span], "a": []})
    assert own["b"] == [span]


def test_the_tail_that_a_detector_leaves_after_bleed_goes_with_it_and_a_voice_does_not() -> None:
    random = np.random.default_rng(0)
    voice = np.zeros(3 * RATE_HZ, np.float32)
    voice[RATE_HZ : 2 * RATE_HZ] = random.normal(0, 0.2, RATE_HZ)
    heard = random.normal(0, 1e-4, len(voice)).astype(np.float32) + 0.05 * voice
    detected = {"a": [Span(1000, 2000)], "b": [Span(1000, 2200)]}
    assert own_speech({"a": voice, "b": heard}, detected) == {"a": [Span(1000, 2000)], "b": []}
    heard[32_960:] += random.normal(0, 0.05, len(heard) - 32_960).astype(np.float32)  # their own, from 2060 ms on
    (kept,) = own_speech({"a": voice, "b": heard}, detected)["b"]
    assert kept.end_ms == 2200 and abs(kept.start_ms - 2060) <= 100


def test_probabilities_to_spans_with_hysteresis() -> None:
    def spans_of(*probabilities: float, frame_ms: int = 32) -> list[Span]:
        heard = Activity(probabilities=np.array(probabilities, np.float32), frame_ms=frame_ms, source="silero")
        return probable_spans(heard, VoiceParams())

    # 0.3 keeps it open, one frame of 0.1 is a dip of 32 ms, the last frame alone is a click.
    assert spans_of(0, 0.9, 0.3, 0.9, 0.1, 0.9, 0.1, 0.1, 0.1, 0.9, 0, 0) == [Span(32, 192)]
    assert spans_of(0.9, 0.9, 0.9) == [Span(0, 96)]
    assert spans_of(0, 0.9, 0.9, 0.9, 0.9, 0.9, 0, frame_ms=16) == [Span(16, 96)]


def test_edges_move_to_where_the_energy_rises_and_falls() -> None:
    level_db = np.full(300, -60.0)
    level_db[100:200] = -20
    assert refine_edges([Span(1088, 2112)], level_db, VoiceParams()) == [Span(1000, 2000)]
    assert refine_edges([Span(960, 1920)], level_db, VoiceParams()) == [Span(1000, 2000)]
    flat = np.full(300, -20.0)  # nothing to tell background from speech: the detector's edges stay
    assert refine_edges([Span(960, 1920)], flat, VoiceParams()) == [Span(960, 1920)]


@pytest.mark.parametrize("rate_hz", [8000, 22_050, 24_000, 48_000])
def test_resampling_keeps_time_and_level(rate_hz: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz).astype(np.float32)
    expected = np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ)
    made = resample(tone, rate_hz)
    assert len(made) == RATE_HZ
    assert np.abs(made - expected)[500:-500].max() < 5e-3
