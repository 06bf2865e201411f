"""Filters that sum the power of frequencies into bands of equal width to the ear."""

from functools import cache

import numpy as np


@cache
def mel_filters(size: int, num_bands: int, rate_hz: int) -> np.ndarray:
    """Triangular filters of equal area, float64 (bands, size // 2 + 1), as librosa's defaults.

    They stand on Slaney's scale: linear below 1 kHz, then logarithmic. `size` is that of the spectrum's window.
    """

    def hz(mel: np.ndarray) -> np.ndarray:
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))

    top_mel = 15 + 27 * np.log(rate_hz / 2 / 1000) / np.log(6.4)
    edges_hz = hz(np.linspace(0, top_mel, num_bands + 2))
    bins_hz = np.fft.rfftfreq(size, 1 / rate_hz)
    rising = (bins_hz - edges_hz[:-2, None]) / np.diff(edges_hz)[:-1, None]
    falling = (edges_hz[2:, None] - bins_hz) / np.diff(edges_hz)[1:, None]
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
