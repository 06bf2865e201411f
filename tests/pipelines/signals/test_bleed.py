"""The paths from one microphone to another: how loud one voice is in the other track, and what no one can tell."""

import numpy as np
import pytest

from pipelines.signals.bleed import RATE_HZ, Stretch, find_paths

Tracks = tuple[np.ndarray, np.ndarray]


def voices(seconds: int = 30, seed: int = 1) -> Tracks:
    """Noise in the place of two voices that take turns every half second."""
    rng = np.random.default_rng(seed)
    steps = np.repeat(rng.random(2 * seconds) > 0.5, RATE_HZ // 2)
    return rng.normal(0, 0.1, len(steps)) * steps, rng.normal(0, 0.1, len(steps)) * ~steps


def stretches(first: np.ndarray, second: np.ndarray) -> list[Stretch]:
    return find_paths(first.astype(np.float32), second.astype(np.float32))[0]


@pytest.mark.parametrize("level_db", [-3.0, -15.0, -20.0, -30.0])
def test_bleed_is_measured(level_db: float) -> None:
    voice, own = voices()
    heard = own + np.roll(voice, 40) * 10 ** (level_db / 20)
    for stretch in stretches(voice, heard):
        there, back = stretch.paths
        assert stretch.known and there is not None and abs(there.level_db - level_db) < 1.5 and back is None
        assert abs(there.delay_ms - 2.5) < 0.1
    assert all(stretch.paths == (None, None) and stretch.known for stretch in stretches(voice, own))


@pytest.mark.parametrize("gain_db", [0.0, -9.0, 12.0])
def test_bleed_is_measured_in_both_directions_whatever_the_gain_of_a_track(gain_db: float) -> None:
    a, b = voices()
    first = a + 0.5 * np.roll(b, 80)
    second = (b + 0.3 * np.roll(a, 160)) * 10 ** (gain_db / 20)
    for stretch in stretches(first, second):
        there, back = stretch.paths
        assert stretch.known and there is not None and back is not None
        assert abs(there.level_db - 20 * np.log10(0.3) - gain_db) < 1.5 and abs(there.delay_ms - 10) < 0.1
        assert abs(back.level_db - 20 * np.log10(0.5) + gain_db) < 1.5 and abs(back.delay_ms - 5) < 0.1


@pytest.mark.parametrize("gain_db", [0.0, -12.0])
@pytest.mark.parametrize("delay", [0, 320])
def test_the_same_sound_in_both_tracks_is_no_ones(gain_db: float, delay: int) -> None:
    mix, noise = sum(voices()), np.random.default_rng(2).normal(0, 1e-3, (2, 30 * RATE_HZ))
    copy = np.roll(mix, delay) * 10 ** (gain_db / 20)
    found = stretches(mix + noise[0], copy + noise[1])
    assert [stretch.doubt for stretch in found] == ["same_sound"] * 3


@pytest.mark.parametrize("late_s", [0.3, 4.0])
def test_the_same_sound_by_two_recorders_that_are_not_aligned_is_no_ones(late_s: float) -> None:
    rng = np.random.default_rng(4)
    loud = np.repeat(10 ** rng.uniform(-2, 0, 120), RATE_HZ // 4)
    mix = rng.normal(0, 0.1, len(loud)) * loud
    found = stretches(mix, np.roll(mix, round(late_s * RATE_HZ)))
    assert {stretch.doubt for stretch in found} == {"same_sound"}
    assert all(stretch.known for stretch in stretches(mix, np.roll(mix[::-1], 8000)))


def test_what_cannot_be_told_is_said_of_its_stretch_only() -> None:
    a, b = voices(60)
    half = len(a) // 2
    first, second = a.copy(), b.copy()
    first[half:] = second[half:] = (a + b)[half:]
    assert [stretch.doubt for stretch in stretches(first, second)] == [""] * 3 + ["same_sound"] * 3


def test_one_who_speaks_alone_for_long_and_leaks_is_known_from_when_both_speak() -> None:
    a, b = voices(60)
    quiet = slice(20 * RATE_HZ, 40 * RATE_HZ)
    a[quiet] = np.random.default_rng(3).normal(0, 0.1, 20 * RATE_HZ)
    b[quiet] = 0
    noise = np.random.default_rng(2).normal(0, 1e-4, (2, len(a)))
    found = stretches(a + noise[0], b + 0.3 * np.roll(a, 80) + noise[1])
    assert all(stretch.known for stretch in found)
    assert all(path is not None and abs(path.level_db + 10.5) < 1.5 for path, _ in (each.paths for each in found))


def syllables(seconds: int, seed: int) -> np.ndarray:
    """Noise in bursts of 100 ms, of different levels, and pauses."""
    rng = np.random.default_rng(seed)
    gain = np.where(rng.random(10 * seconds) > 0.4, 10 ** (rng.uniform(-20, 0, 10 * seconds) / 20), 0.0)
    return rng.normal(0, 0.1, seconds * RATE_HZ) * np.repeat(gain, RATE_HZ // 10)


def turns(seconds: int) -> Tracks:
    """Two voices of syllables that take turns every second, one of them for a fifth of the time."""
    first = np.repeat(np.arange(seconds) % 5 > 0, RATE_HZ)
    return syllables(seconds, 5) * first, syllables(seconds, 6) * ~first


@pytest.mark.parametrize("level_db", [-7.0, -15.0])
def test_a_late_leak_of_short_syllables_is_not_measured_too_weak(level_db: float) -> None:
    (a, b), gain = turns(60), 10 ** (level_db / 20)
    noise = np.random.default_rng(2).normal(0, 1e-3, (2, len(a)))
    found = stretches(a + gain * np.roll(b, 390) + noise[0], b + gain * np.roll(a, 370) + noise[1])
    for stretch in found:
        assert stretch.known and all(path and abs(path.level_db - level_db) < 1.5 for path in stretch.paths)


@pytest.mark.parametrize("noise", [1e-3, 2e-2])
def test_two_voices_that_leak_almost_as_loud_as_they_are_cannot_be_told_apart(noise: float) -> None:
    (a, b), gain = turns(60), 10 ** (-3 / 20)
    hiss = np.random.default_rng(2).normal(0, noise, (2, len(a)))
    found = stretches(a + gain * np.roll(b, 390) + hiss[0], b + gain * np.roll(a, 370) + hiss[1])
    assert {stretch.doubt for stretch in found} == {"same_sound"}
