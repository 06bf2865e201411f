"""Clocks of two recorders: offset and drift from what both recorded, and `cannot tell` where nothing shows them."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pipelines.signals.alignment import compare_people, compare_scene
from pipelines.signals.clock_fit import ClockFit
from tests.helpers.counts import seeds
from tests.helpers.recorders import RATE_HZ, noisy, recorded, talk

SECONDS = 80


def two_people(bleed_db: float, path_ms: float, seconds: float = SECONDS) -> tuple[np.ndarray, np.ndarray]:
    """Their own recorders, each with the other's voice, later by `path_ms`."""
    anna, ben = talk(seconds, 1), talk(seconds, 2, pitch_hz=200)
    later, gain = round(path_ms * RATE_HZ / 1000), np.float32(10 ** (bleed_db / 20))
    pair = anna + gain * np.roll(ben, later), ben + gain * np.roll(anna, later)
    return noisy(pair[0], 30, 3), noisy(pair[1], 30, 4)


def check(fit: ClockFit, late_s: float, ppm: float) -> None:
    assert fit.finding == "measured"
    assert fit.offset_ms == pytest.approx(1000 * late_s, abs=10) and fit.drift_ppm == pytest.approx(ppm, abs=2)
    assert fit.drift_error_ppm is not None and fit.drift_error_ppm < 2 and fit.confidence > 0.3


@pytest.mark.parametrize(("late_s", "ppm"), [(3.7, 80), (-8.1, -160), (0.0, 0), (0.25, 480), (41.3, 80)])
def test_offset_and_drift_are_found_in_noise(late_s: float, ppm: float) -> None:
    voice = talk(SECONDS, 1)
    reference, sound = noisy(voice, 10, 3), 0.1 * noisy(recorded(voice, late_s=late_s, ppm=ppm), 10, 4)
    check(compare_scene(reference, -sound, RATE_HZ), late_s, ppm)
    check(compare_scene(reference, sound, RATE_HZ, stated_lag_s=-late_s), 0.0, ppm)
    if 1 < abs(late_s) < 10:
        check(compare_people(reference, sound, RATE_HZ), late_s, ppm)


@pytest.mark.parametrize(("bleed_db", "path_ms", "late_s"), [(-10, 9, 3.7), (-20, 3, 0.12), (-30, 30, -0.4)])
def test_recorders_in_one_room_are_measured_by_what_leaks(bleed_db: float, path_ms: float, late_s: float) -> None:
    """The way from a mouth to the other microphone is not taken for an offset."""
    anna, ben = two_people(bleed_db, path_ms)
    fit = compare_people(anna, recorded(ben, late_s=late_s, ppm=80), RATE_HZ)
    check(fit, late_s, 80)
    assert fit.offset_ms == pytest.approx(1000 * late_s, abs=1)


def test_the_delay_of_a_call_is_no_offset() -> None:
    anna, ben = two_people(-20, path_ms=180)
    both = compare_people(anna, ben, RATE_HZ)
    check(both, 0.0, 0)
    headphones = noisy(talk(SECONDS, 1), 30, 3)  # Anna's; Ben has loudspeakers
    one = compare_people(headphones, ben, RATE_HZ)
    assert one.finding == "one_way" and one.offset_ms is None and one.drift_ppm == pytest.approx(0, abs=2)
    late = compare_people(headphones, recorded(ben, late_s=3.7, ppm=80), RATE_HZ)  # no call takes so long
    assert late.finding == "measured" and late.offset_ms == pytest.approx(3700 - 180, abs=10)


@pytest.mark.parametrize("seed", seeds(60, 3))
def test_unrelated_sounds_cannot_be_compared(seed: int) -> None:
    one, other = talk(60, 100 + seed), talk(60, 200 + seed, pitch_hz=130)
    for compare in (compare_scene, compare_people):
        assert compare(noisy(one, 30, 3), noisy(other, 30, 4), RATE_HZ).finding == "unrelated"


def test_hum_that_both_have_is_no_common_sound() -> None:
    times = np.arange(SECONDS * RATE_HZ) / RATE_HZ
    hum = sum(0.02 / number * np.sin(2 * np.pi * 50 * number * times) for number in range(1, 20)).astype(np.float32)
    one, other = talk(SECONDS, 1), talk(SECONDS, 2)
    for compare in (compare_scene, compare_people):
        assert compare(noisy(one + hum, 20, 3), noisy(other + hum, 20, 4), RATE_HZ).finding == "unrelated"


def test_a_sound_that_both_play_once_is_not_enough() -> None:
    """The same ten seconds at different times: a jingle, or a file that both play."""
    one, other = talk(SECONDS, 1).copy(), talk(SECONDS, 2, pitch_hz=200).copy()
    jingle = talk(10, 3)
    one[20 * RATE_HZ : 30 * RATE_HZ] = other[22 * RATE_HZ : 32 * RATE_HZ] = jingle
    for compare in (compare_scene, compare_people):
        assert compare(noisy(one, 30, 3), noisy(other, 30, 4), RATE_HZ).finding == "unrelated"


def test_a_recording_may_repeat_itself() -> None:
    """Music in a loop: every place resembles others, but only one offset fits all of them."""
    voice = np.tile(talk(40, 1), 4)
    reference, sound = noisy(voice, 10, 3), noisy(recorded(voice, late_s=3.7, ppm=80), 10, 4)
    check(compare_scene(reference, sound, RATE_HZ), 3.7, 80)


def test_silence_noise_and_short_sounds_cannot_be_compared() -> None:
    voice = talk(SECONDS, 1)
    hiss = np.random.default_rng(0).normal(0, 0.01, len(voice)).astype(np.float32)
    for compare in (compare_scene, compare_people):
        assert compare(voice, np.zeros_like(voice), RATE_HZ).finding == "silent"
        assert compare(np.zeros_like(voice), voice, RATE_HZ).finding == "silent"
        assert compare(voice, hiss, RATE_HZ).finding == "unrelated"
        assert compare(voice, voice[: 5 * RATE_HZ], RATE_HZ).finding == "too_short"
        tone = np.sin(np.arange(len(voice)) * 0.2).astype(np.float32)
        assert compare(np.full_like(tone, 0.5), tone, RATE_HZ).finding == "unrelated"
        assert compare(np.full_like(tone, np.nan), voice, RATE_HZ).finding in ("unrelated", "silent")


@pytest.mark.parametrize("steps_ms", [[-20], [-340], [60], [-1500, 100]])
def test_a_clock_that_jumps_is_found(steps_ms: list[int]) -> None:
    """Buffers that a recorder lost, or repeated."""
    voice = talk(SECONDS, 1)
    sound = noisy(recorded(voice, late_s=3.7, ppm=80), 10, 4)
    for place, step_ms in zip((25, 55), steps_ms, strict=False):
        at, size = place * RATE_HZ, abs(step_ms) * RATE_HZ // 1000
        sound = np.delete(sound, slice(at, at + size)) if step_ms < 0 else np.insert(sound, at, sound[at - size : at])
    fit = compare_scene(noisy(voice, 10, 3), sound, RATE_HZ)
    assert fit.finding == "clock_jumps" and fit.drift_ppm == pytest.approx(80, abs=2)
    assert fit.offset_ms == pytest.approx(3700, abs=10)
    assert [step for _, step in fit.jumps] == pytest.approx(steps_ms, abs=1)
    assert [at / 1000 for at, _ in fit.jumps] == pytest.approx([28.7, 58.7][: len(steps_ms)], abs=12)


def test_a_camera_in_a_room_and_a_lavalier() -> None:
    """Echoes, two voices at their distances, a camera that hears more room than voice."""
    anna, ben = talk(SECONDS, 1), talk(SECONDS, 2, pitch_hz=200)

    def in_room(voice: np.ndarray, metres: float, seed: int) -> np.ndarray:
        decay = np.random.default_rng(seed).normal(0, 1, RATE_HZ // 2) * np.exp(-np.arange(RATE_HZ // 2) / RATE_HZ * 14)
        direct = round(metres / 343 * RATE_HZ)
        decay[: direct + 1] = 0
        decay *= 2 / np.sqrt(np.square(decay).sum())  # 6 dB more than the direct sound
        decay[direct] = 1
        size = 1 << (len(voice) + len(decay)).bit_length()
        echoed = np.fft.irfft(np.fft.rfft(voice, size) * np.fft.rfft(decay, size), size)
        return echoed[: len(voice)].astype(np.float32)

    camera = in_room(anna, 2.0, 1) + in_room(ben, 2.5, 2)
    lavalier = recorded(anna + 0.15 * in_room(ben, 1.5, 3), late_s=3.7, ppm=80)
    fit = compare_scene(noisy(camera, 15, 3), noisy(lavalier, 20, 4), RATE_HZ)
    check(fit, 3.7, 80)
    assert fit.drift_ppm == pytest.approx(80, abs=0.5)  # two voices at two distances do not disturb it


@pytest.mark.long
def test_an_hour_needs_little_memory(tmp_path: Path) -> None:
    """Two recorders 80 ppm apart, one 3.7 s late, noise at 10 dB. The sounds are memory maps, as ingest has them."""
    voice = talk(3600, 1)
    sounds = []
    for name, sound in (("a", noisy(voice, 10, 3)), ("b", noisy(recorded(voice, late_s=3.7, ppm=80), 10, 4))):
        sound.tofile(tmp_path / name)
        sounds.append(np.memmap(tmp_path / name, np.float32, mode="r"))
    del voice, sound
    for compare in (compare_scene, compare_people):
        tracemalloc.start()
        fit = compare(*sounds, RATE_HZ)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        check(fit, 3.7, 80)
        print(f"{compare.__name__}: {fit.offset_ms} ms, {fit.drift_ppm} ppm, {peak_bytes / 1e6:.0f} MB")
        assert fit.drift_ppm == pytest.approx(80, abs=0.5) and peak_bytes < 100e6
