"""Sound of a recorder whose clock runs too fast or too slow -> the same sound on another clock."""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

TAPS = 32  # of the interpolation: a sinc under a Kaiser window
PHASES = 512  # of the table of taps; between them, taps are interpolated: an error of -115 dB
SHAPE = 8.0  # of the Kaiser window: stop band of 80 dB
PIECE_SAMPLES = 1 << 14


def retimed(sound_T: np.ndarray, first: float, step: float, num_samples: int, scratch: Path | None) -> np.ndarray:
    """Samples of a sound at the places `first + n * step`, float32 (num_samples,); silence outside of the sound.

    `step` is near 1: nothing is filtered away before the samples are thinned. The samples are in a deleted file of
    `scratch` that is still open, so that hours of sound need no memory.
    """
    table = _taps()
    half = TAPS // 2
    with tempfile.TemporaryFile(dir=scratch) as file:
        for start in range(0, num_samples, PIECE_SAMPLES):
            places = first + step * np.arange(start, min(num_samples, start + PIECE_SAMPLES), dtype=np.float64)
            whole = np.floor(places).astype(np.int64)
            low, high = int(whole[0]) - half + 1, int(whole[-1]) + half + 1
            piece = np.zeros(high - low, np.float32)
            inside = slice(max(0, low), min(len(sound_T), high))
            if inside.stop > inside.start:
                piece[inside.start - low : inside.stop - low] = sound_T[inside]
            phase = (places - whole) * PHASES
            row = phase.astype(np.int64)
            share = (phase - row).astype(np.float32)[:, None]
            taps = table[row] + share * (table[row + 1] - table[row])
            windows = sliding_window_view(piece, TAPS)[whole - whole[0]]
            np.einsum("nk,nk->n", windows, taps, optimize=False).astype(np.float32).tofile(file)
        file.flush()
        return np.memmap(file, np.float32, mode="r")


@cache
def _taps() -> np.ndarray:
    """Taps for each phase, float32 (PHASES + 2, TAPS); the sum of each row is 1."""
    phase = np.arange(PHASES + 2)[:, None] / PHASES
    distance = np.arange(TAPS)[None, :] - (TAPS // 2 - 1) - phase
    inside = np.clip(1 - (distance / (TAPS / 2)) ** 2, 0, None)
    taps = np.sinc(distance) * np.i0(SHAPE * np.sqrt(inside)) / np.i0(SHAPE)
    return (taps / taps.sum(1, keepdims=True)).astype(np.float32)
