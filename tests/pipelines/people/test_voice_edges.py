"""A change of voice within continuous speech is found to the frame."""

import numpy as np
import pytest

from pipelines.people.voice_edges import cepstra, sharpen
from pipelines.people.voice_timeline import Run
from wanstreamer.clock import Span

RATE_HZ = 16_000


def coloured(seed: int, tilt: float, seconds: float) -> np.ndarray:
    """Noise whose neighbouring samples are alike (tilt above 0) or opposite (below 0)."""
    noise = np.random.default_rng(seed).normal(0, 0.05, round(seconds * RATE_HZ))
    return (noise[1:] + tilt * noise[:-1]).astype(np.float32)


@pytest.mark.parametrize("guess_ms", [3_750, 4_000, 4_250])
def test_a_change_moves_to_where_the_sound_changes(guess_ms: int) -> None:
    audio_T = np.concatenate([coloured(0, 0.8, 4), coloured(1, -0.8, 4)])
    runs = [Run(Span(0, guess_ms), 0, 1.0), Run(Span(guess_ms, 8_000), 1, 1.0)]
    pure = [[Span(0, 3_000)], [Span(5_000, 8_000)]]
    first, second = sharpen(runs, cepstra(audio_T), pure)
    assert (first.span.start_ms, second.span.end_ms) == (0, 8_000)
    assert first.span.end_ms == second.span.start_ms
    assert abs(first.span.end_ms - 4_000) <= 20


def test_edges_at_pauses_and_of_two_at_once_stay() -> None:
    audio_T = np.concatenate([coloured(0, 0.8, 4), coloured(1, -0.8, 4)])
    pure = [[Span(0, 3_000)], [Span(5_000, 8_000)]]
    for runs in (
        [Run(Span(0, 3_900), 0, 1.0), Run(Span(3_950, 8_000), 1, 1.0)],
        [Run(Span(0, 3_900), 0, 1.0), Run(Span(3_900, 8_000), 2, 1.0)],
        [Run(Span(0, 3_900), 0, 1.0)],
    ):
        assert sharpen(runs, cepstra(audio_T), pure) == runs


def test_a_voice_with_little_speech_has_no_spectrum_of_its_own() -> None:
    audio_T = coloured(0, 0.8, 4)
    runs = [Run(Span(0, 2_000), 0, 1.0), Run(Span(2_000, 3_000), 1, 1.0)]
    assert sharpen(runs, cepstra(audio_T), [[Span(0, 2_000)], [Span(2_000, 2_400)]]) == runs
