"""Embeddings of pieces of speech -> how many voices there are, and the mean of each.

A group of pieces is cut in two where the normalised cut of their similarities is least (spectral clustering, Shi and
Malik 2000), and each half again, as long as the halves differ more than two halves of one voice do. The affinity is a
high power of the cosine, because only close neighbours say something. Nothing is random.
"""

import numpy as np

from pipelines.signals.voice_embedding import Embedder

POWER = 8  # of the cosine
MOST_PIECES = 800  # that are compared with each other; the others of a long recording go to the nearest voice
ROUNDS = 20  # of moving pieces to the nearest mean
FEW_PIECES, MANY_PIECES = 8, 30  # in the smaller of two groups: the means of few are uncertain, and less alike
LARGE_SHARE = 0.2  # of all pieces; a small share of one voice may be what it says in an unusual way
THIRD_VOICE = 0.05  # a third or further voice must differ more, by this in the cosine: most conversations are of two


def voice_means(vectors_NE: np.ndarray, embedder: Embedder, *, most: int, min_pieces: int) -> np.ndarray:
    """The mean vector of each voice: float64 unit vectors (num_voices, width); the voice with most pieces first.

    Args:
        vectors_NE: From `embedder`, one or more.
        most: There are at most this many voices.
        min_pieces: A voice has at least this many pieces.
    """
    chosen = np.unique(np.linspace(0, len(vectors_NE) - 1, min(len(vectors_NE), MOST_PIECES)).astype(np.int64))
    points_NE = vectors_NE[chosen].astype(np.float64)
    waiting, voices = [np.arange(len(chosen))], list[np.ndarray]()
    while waiting:
        group = waiting.pop(0)
        own_NE = points_NE[group]
        cut = cut_in_two(own_NE, min_pieces) if len(voices) + len(waiting) + 2 <= most else []
        halves = _settled(own_NE, cut) if cut else []
        margin = THIRD_VOICE if voices or waiting else 0.0
        if len(halves) == 2 and are_two_voices(own_NE, halves[0], halves[1], embedder, margin):
            waiting += [group[half] for half in halves]
        else:
            voices.append(group)
    voices = _settled(points_NE, voices)
    while pair := _same_voice(points_NE, voices, embedder):
        first, second = pair
        voices[first] = np.sort(np.concatenate([voices[first], voices.pop(second)]))
        voices = _settled(points_NE, voices)
    voices.sort(key=lambda group: (-len(group), group[0]))
    return np.stack([unit_mean(points_NE[group]) for group in voices])


def cut_in_two(points_NE: np.ndarray, min_pieces: int) -> list[np.ndarray]:
    """The indices of both halves where the normalised cut is least; none if a half would have too few."""
    num = len(points_NE)
    if num < 2 * min_pieces:
        return []
    affinity_NN = np.maximum(points_NE @ points_NE.T, 0) ** POWER
    np.fill_diagonal(affinity_NN, 0)
    degree_N = affinity_NN.sum(axis=1) + 1e-12
    scale_N = 1 / np.sqrt(degree_N)
    _, eigenvectors = np.linalg.eigh(scale_N[:, None] * affinity_NN * scale_N)
    order = np.argsort(eigenvectors[:, -2] * scale_N, kind="stable")
    # The cut after each place in the order: affinity between both sides, relative to all affinity of each.
    sorted_NN = affinity_NN[np.ix_(order, order)]
    volume_N = np.cumsum(degree_N[order])
    inside_N = np.cumsum(2 * np.tril(sorted_NN).sum(axis=1))
    between_N = volume_N - inside_N
    cut_N = between_N / volume_N + between_N / np.maximum(volume_N[-1] - volume_N, 1e-12)
    place = min_pieces + int(np.argmin(cut_N[min_pieces - 1 : num - min_pieces]))
    return [np.sort(order[:place]), np.sort(order[place:])]


def are_two_voices(
    points_NE: np.ndarray, first: np.ndarray, second: np.ndarray, embedder: Embedder, margin: float = 0.0
) -> bool:
    """Whether two groups of pieces (their indices) are of two voices, by the cosine of their means.

    Any group can be cut in two, but the halves of one voice are more alike than two voices are. The limit was set with
    halves of real and synthetic voices; `margin` is subtracted.
    """
    cosine = float(unit_mean(points_NE[first]) @ unit_mean(points_NE[second]))
    smaller = min(len(first), len(second))
    certainty = min((smaller - FEW_PIECES) / (MANY_PIECES - FEW_PIECES), smaller / (len(points_NE) * LARGE_SHARE), 1.0)
    low, high = embedder.limits
    return cosine <= low + (high - low) * max(certainty, 0.0) - margin


def _settled(points_NE: np.ndarray, voices: list[np.ndarray]) -> list[np.ndarray]:
    """Each piece in the group whose mean is nearest; groups that become empty vanish."""
    for _ in range(ROUNDS):
        means_KE = np.stack([unit_mean(points_NE[group]) for group in voices])
        nearest_N = np.argmax(points_NE @ means_KE.T, axis=1)
        settled = [group for voice in range(len(voices)) if len(group := np.flatnonzero(nearest_N == voice))]
        if len(settled) == len(voices) and all(map(np.array_equal, settled, voices)):
            break
        voices = settled
    return voices


def _same_voice(points_NE: np.ndarray, voices: list[np.ndarray], embedder: Embedder) -> tuple[int, int] | None:
    """The two most similar groups, if they are one voice."""
    if len(voices) < 2:
        return None
    means_KE = np.stack([unit_mean(points_NE[group]) for group in voices])
    cosine_KK = np.triu(means_KE @ means_KE.T, 1) - np.tril(np.full((len(voices), len(voices)), 2.0))
    first, second = map(int, np.unravel_index(np.argmax(cosine_KK), cosine_KK.shape))
    is_two = are_two_voices(points_NE, voices[first], voices[second], embedder)
    return None if is_two else (first, second)


def unit_mean(vectors_NE: np.ndarray) -> np.ndarray:
    """The mean of vectors, of length 1."""
    mean_E = vectors_NE.mean(axis=0, dtype=np.float64)
    return mean_E / max(float(np.linalg.norm(mean_E)), 1e-12)
