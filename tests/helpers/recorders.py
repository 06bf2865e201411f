"""Speech-like sound, and two recorders of it: begun apart, with clocks that run differently, each with its noise."""

from functools import cache
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from pipelines.media.tracks import write_wav
from tests.helpers.chirps import ffmpeg

RATE_HZ = 16000
TRUE_HZ, FAST_HZ = 12500, 12501  # the same samples at both rates: clocks that are 80 ppm apart
FAST_PPM = 80.0
MARK_S = 0.1  # of a mark: a chirp in the sound and a flash in the picture


@cache
def talk(seconds: float, seed: int, *, rate_hz: int = RATE_HZ, pitch_hz: float = 120.0) -> np.ndarray:
    """Turns of syllables and pauses, float32 with an RMS of 0.05. A syllable is a vowel with formants, or a hiss."""
    rng = np.random.default_rng(seed)
    syllables = [_syllable(rng, rate_hz, pitch_hz) for _ in range(120)]
    sound = np.zeros(int(seconds * rate_hz), np.float32)
    at = 0.0
    while at < seconds:
        end = at + rng.uniform(1, 6)
        speaks = rng.random() < 0.5
        while at < end:
            syllable = (
                syllables[rng.integers(len(syllables))] * rng.uniform(0.3, 1) if speaks else np.zeros(rate_hz // 5)
            )
            start = int(at * rate_hz)
            sound[start : start + len(syllable)] += syllable[: max(0, len(sound) - start)].astype(np.float32)
            at += len(syllable) / rate_hz + rng.uniform(0, 0.1)
    sound *= 0.05 / np.float32(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))
    sound.flags.writeable = False
    return sound


def _syllable(rng: np.random.Generator, rate_hz: int, pitch_hz: float) -> np.ndarray:
    length = int(rng.uniform(0.08, 0.3) * rate_hz)
    base = pitch_hz * 2 ** rng.uniform(-0.3, 0.3)
    phase = 2 * np.pi * np.cumsum(base * (1 + np.linspace(0, rng.uniform(-0.2, 0.2), length))) / rate_hz
    formants = rng.uniform([300, 900, 2200], [900, 2200, 3400])
    vowel = sum(
        (np.exp(-(((number * base - formants) / 250) ** 2)).sum() + 0.02) * np.sin(number * phase + rng.uniform(0, 6))
        for number in range(1, int(0.4 * rate_hz / base))
    )
    if rng.random() < 0.4:
        vowel[: length // 3] = 1.5 * rng.standard_normal(length // 3)
    return vowel * np.hanning(length)


def noisy(sound: np.ndarray, snr_db: float, seed: int) -> np.ndarray:
    """The sound with white noise of its own, this much below its RMS."""
    power = np.mean(np.square(sound, dtype=np.float64)) * 10 ** (-snr_db / 10)
    return (sound + np.random.default_rng(seed).normal(0, power**0.5, len(sound))).astype(np.float32)


def recorded(sound: np.ndarray, *, late_s: float = 0.0, ppm: float = 0.0) -> np.ndarray:
    """What a recorder stores that begins `late_s` late, and whose clock runs fast by a multiple of 80 ppm."""
    times = round(abs(ppm) / FAST_PPM)
    rates = (FAST_HZ, TRUE_HZ) if ppm > 0 else (TRUE_HZ, FAST_HZ)
    for _ in range(times):
        sound = resample_poly(sound, *rates).astype(np.float32)
    skip = round(late_s * RATE_HZ * (1 + ppm * 1e-6))
    return sound[skip:] if skip >= 0 else np.concatenate([np.zeros(-skip, np.float32), sound])


def write_camera_and_recorder(folder: Path, seconds: int, late_s: float, snr_db: float, marks_s: list[float]) -> None:
    """`camera.mov`, with sound of its own, and `recorder.wav`, which began `late_s` later and runs 80 ppm fast.

    Both have chirps at `marks_s`, of the camera's clock, and the picture has flashes there.
    """
    sound = talk(seconds, 1, rate_hz=FAST_HZ).copy()
    times = np.arange(round(MARK_S * FAST_HZ)) / FAST_HZ
    for mark_s in marks_s:
        start = round(mark_s * FAST_HZ)
        sound[start : start + len(times)] += 0.6 * np.sin(2 * np.pi * (500 * times + 10000 * times**2)).astype(
            np.float32
        )
    write_wav(folder / "camera.wav", noisy(sound, snr_db, 2), FAST_HZ)
    # A clock that runs fast takes 12501 samples in what it calls 12500 samples' time.
    write_wav(folder / "recorder.wav", noisy(sound[round(late_s * FAST_HZ) :], snr_db, 3), TRUE_HZ)
    flashes = "+".join(f"between(t,{mark_s},{mark_s + 0.19})" for mark_s in marks_s) or "0"
    picture = f"color=black:s=64x48:r=5:d={seconds},drawbox=t=fill:color=white:enable='{flashes}'"
    ffmpeg(
        "-f", "lavfi", "-i", picture, "-i", folder / "camera.wav", "-c:v", "libx264", "-preset", "ultrafast",
        "-pix_fmt", "yuv420p", "-g", "25", "-c:a", "pcm_s16le", folder / "camera.mov",
    )  # fmt: skip
    (folder / "camera.wav").unlink()


def mark_places_s(audio: np.ndarray, rate_hz: int, marks_s: list[float]) -> list[float]:
    """When the chirps begin that are expected near `marks_s`."""
    times = np.arange(round(MARK_S * rate_hz)) / rate_hz
    call = np.sin(2 * np.pi * (500 * times + 10000 * times**2))
    found = []
    for mark_s in marks_s:
        first = max(0, round((mark_s - 1) * rate_hz))
        near = audio[first : round((mark_s + 1 + MARK_S) * rate_hz)]
        found.append((first + int(np.argmax(np.abs(np.correlate(near, call, "valid"))))) / rate_hz)
    return found
