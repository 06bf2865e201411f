"""Tracks without the other voices: what is left, who is heard, and what contradicts itself."""

import numpy as np
import pytest

from pipelines.signals.bleed import RATE_HZ
from pipelines.signals.separation import heard_in, runs, separate
from wanstreamer.clock import Span, covered_ms


def bursts(spans_ms: list[tuple[int, int]], seconds: int, seed: int) -> np.ndarray:
    """Noise that sounds in these spans, each at a level of its own, with a quiet background."""
    rng = np.random.default_rng(seed)
    voice = rng.normal(0, 1e-4, seconds * RATE_HZ)
    for start_ms, end_ms in spans_ms:
        start, end = start_ms * RATE_HZ // 1000, end_ms * RATE_HZ // 1000
        voice[start:end] += rng.normal(0, 0.1 * 10 ** rng.uniform(-0.5, 0), end - start)
    return voice.astype(np.float32)


A_MS = [(at, at + 900) for at in range(500, 19_000, 3000)]
B_MS = [(at, at + 900) for at in range(1900, 19_000, 3000)]


@pytest.mark.parametrize("level", [0.9, 0.3, 0.05])
def test_a_leak_is_taken_out_and_each_owner_is_heard_where_they_speak(level: float) -> None:
    a, b = bursts(A_MS, 20, 1), bursts(B_MS, 20, 2)
    leaky = {"a": a, "b": b + np.float32(level) * np.roll(a, 100)}
    voices, _ = separate(leaky)
    assert np.mean((voices["b"].audio_T - b) ** 2) < 0.02 * np.mean((leaky["b"] - b) ** 2)
    assert np.array_equal(voices["a"].audio_T, a)
    for who, spoken in (("a", A_MS), ("b", B_MS)):
        own = runs(voices[who].own)
        assert sum(covered_ms(Span(*span), own) for span in spoken) > 0.95 * 900 * len(spoken)
        assert sum(span.duration_ms for span in own) < 1.1 * 900 * len(spoken)
    heard = runs(heard_in(voices["b"].leaks["a"], voices["a"]))
    assert all(covered_ms(Span(start, end), heard) > 0.95 * 900 for start, end in A_MS)
    assert not heard_in(voices["a"].leaks["b"], voices["b"]).any()


def test_tracks_that_sound_at_the_same_times_at_the_same_levels_are_the_same_sound_even_with_other_waveforms() -> None:
    """Two cameras far from both people: the echoes of the room hide that the waveforms are alike."""
    rng = np.random.default_rng(5)
    mix = bursts(A_MS + B_MS, 20, 1)
    flip = np.sign(rng.normal(size=(2, len(mix)))).astype(np.float32)
    _, pairs = separate({"a": mix * flip[0], "b": mix * flip[1]})
    assert {stretch.doubt for stretch in pairs["a", "b"]} == {"same_sound"}


def test_two_who_are_active_for_longer_than_people_speak_together_are_doubted() -> None:
    always = [(at, at + 850) for at in range(0, 29_000, 1000)]
    other = [(at, at + 850) for at in range(60, 29_000, 1000)]
    _, pairs = separate({"a": bursts(always, 30, 1), "b": bursts(other, 30, 2)})
    assert {stretch.doubt for stretch in pairs["a", "b"]} == {"both_active"}


def test_three_people_are_measured_pair_by_pair() -> None:
    a, b, c = (bursts([(at, at + 900) for at in range(first, 29_000, 3000)], 30, first) for first in (0, 1000, 2000))
    _, pairs = separate({"a": a, "b": b + 0.3 * a, "c": c})
    heard = {pair: [tuple(path is not None for path in each.paths) for each in pairs[pair]] for pair in pairs}
    assert set(heard["a", "b"]) == {(True, False)}
    assert set(heard["a", "c"]) == set(heard["b", "c"]) == {(False, False)}
