"""DNSMOS and AECMOS with their real weights, where the extra `mos` is installed.

The expected scores are those of the package itself (speechmos 0.0.1.1 with librosa 0.11) for the same sounds.
"""

import importlib.util

import numpy as np
import pytest

from pipelines.signals import opinion_scores
from pipelines.signals.opinion_scores import ECHO_SAMPLES, RATE_HZ, VOICE_SAMPLES, echo_score, log_mel, voice_scores

needs_weights = pytest.mark.skipif(opinion_scores.installed() is None, reason="the extra `mos` is not installed")


def hummed(seed: int, samples: int) -> np.ndarray:
    """Syllables of a buzzing voice with formants and pauses; no noise."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(samples) / RATE_HZ
    pitch_hz = 110 * 2 ** (0.2 * np.sin(2 * np.pi * 0.4 * time_s + seed) + 0.4 * seed)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    formants = (500 + 250 * np.sin(2 * np.pi * 1.1 * time_s + seed), 1500 + 500 * np.sin(2 * np.pi * 0.7 * time_s))
    voice = np.zeros(samples)
    for harmonic in range(1, 30):
        gain = sum(np.exp(-(((harmonic * pitch_hz - formant) / 150) ** 2)) for formant in formants)
        voice += gain * np.sin(harmonic * phase) / harmonic**0.5
    syllables = np.repeat(rng.random(samples // 3200 + 1) < 0.7, 3200)[:samples]
    shape = np.convolve(syllables, np.hanning(800) / np.hanning(800).sum(), mode="same")
    return (0.3 * voice * shape / np.abs(voice).max()).astype(np.float32)


def noisy(clean_T: np.ndarray, level: float) -> np.ndarray:
    return np.clip(clean_T + level * np.random.default_rng(9).standard_normal(len(clean_T)), -1, 1).astype(np.float32)


EXPECTED = {  # by level of the noise
    0.0: (2.9040, 3.6360, 2.5145, 2.6393),
    0.003: (2.9438, 2.7469, 2.2452, 2.4130),
    0.03: (3.0766, 1.6471, 1.7288, 2.3150),
}
EXPECTED_ECHO = {0.0: 4.2617, 0.1: 2.0488, 0.3: 2.0973}  # by level of the echo


@needs_weights
@pytest.mark.parametrize("level", EXPECTED)
def test_scores_are_those_of_the_package(level: float) -> None:
    assert voice_scores(noisy(hummed(0, VOICE_SAMPLES), level)) == pytest.approx(EXPECTED[level], abs=0.02)


@needs_weights
@pytest.mark.parametrize("gain", EXPECTED_ECHO)
def test_echo_is_that_of_the_package(gain: float) -> None:
    other_T, own_T = hummed(0, ECHO_SAMPLES), hummed(1, ECHO_SAMPLES)
    late_T = np.concatenate([np.zeros(1600, np.float32), other_T[:-1600]])
    assert echo_score(other_T, own_T + np.float32(gain) * late_T) == pytest.approx(EXPECTED_ECHO[gain], abs=0.02)


def test_the_level_of_bands_is_relative_to_the_loudest() -> None:
    tone_T = np.sin(2 * np.pi * 1000 * np.arange(RATE_HZ) / RATE_HZ)
    mel_FM = log_mel(tone_T, size=321, hop=160, num_bands=120)
    assert mel_FM.shape == (100, 120) and mel_FM.max() == 1 and mel_FM.min() >= -1
    # 1 kHz is 15 mel on Slaney's scale, of 45.245 at 8 kHz: band 40 of 120.
    assert abs(int(mel_FM[50].argmax()) - 15 / 45.245 * 121 + 1) <= 1
    louder = log_mel(3 * tone_T, size=321, hop=160, num_bands=120)
    assert np.abs(louder - mel_FM)[mel_FM > -0.9].max() < 1e-6
    assert log_mel(np.zeros(5000), size=513, hop=256, num_bands=160).max() == 1


def test_a_missing_package_is_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    for missing in ("speechmos", "onnxruntime"):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, missing=missing: None if name == missing else real(name)
        )
        assert opinion_scores.installed() is None
