"""When a voice sounds; and what its frames show, on pictures and sound made by hand."""

import numpy as np
import pytest

from pipelines.behaviour.activity import level_db, sounding_spans
from pipelines.behaviour.looks import loudness_db, mouth_follows_voice, observe_looks
from wanstreamer.clock import Span

RATE_HZ = 16_000
NOISE = np.random.default_rng(0)


def sound(*spans: tuple[int, int], seconds: int = 4, level: float = -25, background: float | None = None) -> np.ndarray:
    """A hum at `level` dB where the spans (ms) are, noise at `background` dB everywhere."""
    samples = np.zeros(seconds * RATE_HZ, dtype=np.float32)
    for start_ms, end_ms in spans:
        span = slice(start_ms * 16, end_ms * 16)
        samples[span] = (
            np.sqrt(2) * 10 ** (level / 20) * np.sin(2 * np.pi * 200 * np.arange(len(samples))[span] / RATE_HZ)
        )
    if background is not None:
        samples += 10 ** (background / 20) * NOISE.standard_normal(len(samples)).astype(np.float32)
    return samples


def test_levels_are_below_full_scale() -> None:
    assert level_db(sound((0, 4000)), RATE_HZ, 1000) == pytest.approx(-25, abs=0.1)
    assert level_db(sound(), RATE_HZ).max() == pytest.approx(-100)


@pytest.mark.parametrize("background", [None, -60, -45])
def test_a_voice_sounds_above_its_background(background: float | None) -> None:
    spans = sounding_spans(sound((500, 1500), (2000, 3000), background=background), RATE_HZ)
    assert spans == [Span(500, 1500), Span(2000, 3000)]


def test_neither_noise_nor_clicks_sound_and_closures_do() -> None:
    assert sounding_spans(sound(background=-45), RATE_HZ) == []
    assert sounding_spans(sound((500, 540)), RATE_HZ) == []
    assert sounding_spans(sound((500, 900), (1000, 1400)), RATE_HZ) == [Span(500, 1400)]
    assert sounding_spans(np.zeros(0, np.float32), RATE_HZ) == []


def test_an_agent_that_never_stops_sounds_all_the_time() -> None:
    assert sounding_spans(sound((0, 4000)), RATE_HZ) == [Span(0, 4000)]


def face(opening: np.ndarray, shift: np.ndarray | None = None) -> np.ndarray:
    """Grey pictures with a mouth that is the darker the wider it is open; `shift` moves it sideways."""
    frames = np.full((len(opening), 48, 64, 3), 120, np.uint8)
    frames[:, 8:20, 20:44] = 60
    for index, share in enumerate(opening):
        left = 26 + (int(shift[index]) if shift is not None else 0)
        frames[index, 34:39, left : left + 12] = round(120 * (1 - 0.9 * share))
    return frames


def talking(seconds: int = 12, period: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Loudness in 0 to 1 per frame and the samples that have it."""
    frames = seconds * 25
    loud = np.repeat(NOISE.uniform(0, 1, frames // 5), 5) * (np.arange(frames) % period < 0.6 * period)
    noise = NOISE.standard_normal(frames * 640).astype(np.float32)
    return loud, (0.2 * np.repeat(loud, 640) * noise).astype(np.float32)


@pytest.mark.parametrize("delay", [0, 2, -3])
def test_the_mouth_that_follows_the_voice_and_how_late(delay: int) -> None:
    loud, samples = talking()
    frames = face(np.roll(loud, delay), shift=np.sin(np.arange(len(loud)) / 30) * 3)
    agreement = mouth_follows_voice(frames, samples, RATE_HZ)
    assert agreement is not None
    assert agreement[0] > 0.7 and agreement[1] == 40 * delay


def test_a_mouth_of_its_own_or_none() -> None:
    loud, samples = talking()
    own, _ = talking(period=37)
    agreement = mouth_follows_voice(face(own), samples, RATE_HZ)
    assert agreement is not None and abs(agreement[0]) < 0.5
    assert mouth_follows_voice(face(0 * loud), samples, RATE_HZ) is None  # frozen
    assert mouth_follows_voice(face(loud), 0 * samples, RATE_HZ) is None  # silent


def test_drift_of_loudness_motion_and_face() -> None:
    loud, samples = talking(24)
    still, moving = face(0 * loud), face(loud, shift=5 * (np.arange(len(loud)) % 2))
    same = observe_looks(moving, samples, RATE_HZ, start_ms=0, seconds=(10, 20, 60))
    assert same["identity_20s"][0, 0] > 0.95 and "identity_60s" not in same
    assert same["loudness_20s"][0, 0] == pytest.approx(same["loudness_10s"][0, 0], abs=2.5)
    late = np.arange(len(loud)) >= 14 * 25
    changed = np.where(late[:, None, None, None], 255 - moving, moving)
    softer = (samples * np.where(np.arange(len(samples)) >= 10 * RATE_HZ, 0.25, 1)).astype(np.float32)
    other = observe_looks(changed, softer, RATE_HZ, start_ms=0, seconds=(10, 20))
    assert other["identity_10s"][0, 0] > 0.95 and other["identity_20s"][0, 0] < 0
    assert other["loudness_20s"][0, 0] < other["loudness_10s"][0, 0] - 8
    frozen = observe_looks(still, 0 * samples, RATE_HZ, start_ms=0, seconds=(10,))
    assert frozen["motion_10s"][0, 0] == 0 and "loudness_10s" not in frozen and "mouth_r" not in frozen
    assert loudness_db(sound((0, 1000), level=-25), RATE_HZ) == pytest.approx(-25, abs=0.2)


def test_seconds_count_from_where_the_agent_runs_freely() -> None:
    loud, samples = talking(24)
    changed = face(loud)
    changed[14 * 25 :] = 255 - changed[14 * 25 :]
    looks = observe_looks(changed, samples, RATE_HZ, start_ms=10_000, seconds=(2, 10))
    assert looks["identity_2s"][0, 0] > 0.5 and looks["identity_10s"][0, 0] < 0
