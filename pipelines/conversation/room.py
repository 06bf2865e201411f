"""Voices in a room: how walls answer, and music that plays in the background."""

import numpy as np
from scipy.signal import oaconvolve

from pipelines.conversation.voice import RATE_HZ

EARLIEST_ECHO_MS = 2
CHORDS = ((0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14))  # semitones above the key: I, vi, IV, V


def room_response(reverberation_s: float, direct_db: float, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """An impulse response: the direct sound, then noise that falls by 60 dB in `reverberation_s`; energy 1.

    Args:
        direct_db: Level of the direct sound, relative to all echoes.
    """
    time_s = np.arange(round(reverberation_s * rate_hz)) / rate_hz
    echoes = rng.standard_normal(len(time_s)) * 10 ** (-3 * time_s / reverberation_s)
    echoes[: rate_hz * EARLIEST_ECHO_MS // 1000] = 0
    echoes *= 10 ** (-direct_db / 20) / np.sqrt(np.sum(echoes**2))
    echoes[0] = 1.0
    return echoes / np.sqrt(np.sum(echoes**2))


def through(voice_T: np.ndarray, response: np.ndarray) -> np.ndarray:
    """The voice as it arrives through an impulse response, of the same length."""
    return oaconvolve(voice_T, response)[: len(voice_T)]


def music(length: int, rng: np.random.Generator) -> np.ndarray:
    """Instruments without a singer, (length,) at RATE_HZ, RMS 1: plucked chords, a bass and a drum, without an end."""
    beat = round(RATE_HZ * 60 / float(rng.uniform(80, 125)))
    key = int(rng.integers(-5, 7))
    track = np.zeros(length + 8 * beat)
    snare = rng.standard_normal(RATE_HZ // 10) * np.exp(-np.arange(RATE_HZ // 10) / (0.02 * RATE_HZ))
    for number, first in enumerate(range(0, length, beat)):
        chord = CHORDS[number // 4 % len(CHORDS)]
        note = chord[int(rng.integers(3))] + 12 * int(rng.integers(0, 2))
        tones = [(note, 0.5, 1.2)] + [(semitone, 0.25, 2.0) for semitone in chord] * (number % 4 == 0)
        tones += [(chord[0] - 24, 0.7, 0.9)] * (number % 2 == 0)
        for semitone, level, decay_s in tones:
            pluck = _pluck(220 * 2 ** ((key + semitone) / 12), decay_s)
            track[first : first + len(pluck)] += level * pluck[: len(track) - first]
        if number % 2:
            track[first : first + len(snare)] += 0.3 * snare
    track = track[:length]
    return track / np.sqrt(np.mean(track**2))


def _pluck(frequency_hz: float, decay_s: float) -> np.ndarray:
    """A string that is plucked: harmonics, the higher ones shorter."""
    time_s = np.arange(round(2.5 * decay_s * RATE_HZ)) / RATE_HZ
    harmonics = [
        np.sin(2 * np.pi * k * frequency_hz * time_s) / k * np.exp(-k * time_s * 2 / decay_s) for k in (1, 2, 3, 4)
    ]
    return np.sum(harmonics, axis=0)
