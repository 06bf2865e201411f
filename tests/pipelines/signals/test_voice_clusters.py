"""Groups of vectors are counted and distinguished, also where one is much smaller."""

from collections.abc import Sequence

import numpy as np
import pytest

from pipelines.signals.voice_clusters import cut_in_two, voice_means
from tests.helpers.counts import seeds
from wanstreamer.clock import Span

WIDTH = 64


class Network:
    """Only its limits are used."""

    source, limits = "none", (0.8, 0.9)

    def __call__(self, audio_T: np.ndarray, spans: Sequence[Span]) -> np.ndarray:
        raise NotImplementedError


def voices(seed: int, sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors near a mean per voice, in random order of turns, and the voice of each; means have cosines near 0.6,
    pieces of one voice near 0.8."""
    rng = np.random.default_rng(seed)
    common_E = np.abs(rng.normal(size=WIDTH))
    means_KE = common_E / np.linalg.norm(common_E) + 0.8 * _unit(rng.normal(size=(len(sizes), WIDTH)))
    labels_N = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    vectors_NE = _unit(_unit(means_KE)[labels_N] + 0.5 * _unit(rng.normal(size=(len(labels_N), WIDTH))))
    return vectors_NE.astype(np.float32), labels_N


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize("sizes", [(40,), (30, 30), (90, 10), (300, 12), (30, 25, 20), (200, 60, 8), (20, 20, 20, 20)])
@pytest.mark.parametrize("seed", seeds(10, few=3))
def test_voices_are_counted_and_each_vector_is_nearest_to_its_own(sizes: tuple[int, ...], seed: int) -> None:
    vectors_NE, labels_N = voices(seed, sizes)
    means_KE = voice_means(vectors_NE, Network(), most=6, min_pieces=3)
    assert means_KE.shape == (len(sizes), WIDTH)
    assert np.linalg.norm(means_KE, axis=1) == pytest.approx(1)
    nearest_N = np.argmax(vectors_NE @ means_KE.T, axis=1)
    pairs = set(zip(labels_N.tolist(), nearest_N.tolist(), strict=True))
    assert len(pairs) == len(sizes)  # each true voice is one that was found


def test_the_voice_with_most_pieces_is_first_and_the_bound_holds() -> None:
    vectors_NE, labels_N = voices(0, (10, 60, 30, 20))
    means_KE = voice_means(vectors_NE, Network(), most=6, min_pieces=3)
    nearest_N = np.argmax(vectors_NE @ means_KE.T, axis=1)
    assert [int(labels_N[nearest_N == voice][0]) for voice in range(4)] == [1, 2, 3, 0]
    assert len(voice_means(vectors_NE, Network(), most=2, min_pieces=3)) == 2


def test_a_long_recording_is_as_its_parts() -> None:
    vectors_NE, labels_N = voices(1, (9_000, 4_000))
    means_KE = voice_means(vectors_NE, Network(), most=6, min_pieces=3)
    assert np.array_equal(np.argmax(vectors_NE @ means_KE.T, axis=1), labels_N)


@pytest.mark.parametrize("num", [1, 2, 5])
def test_few_pieces_are_one_voice(num: int) -> None:
    vectors_NE, _ = voices(0, (num,))
    assert len(voice_means(vectors_NE, Network(), most=6, min_pieces=3)) == 1
    assert cut_in_two(vectors_NE, 3) == []
