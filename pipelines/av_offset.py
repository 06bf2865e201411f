"""Picture and sound of one track -> how much later the picture is, and how sure that is.

Lips, hands and clocks change light somewhere in the picture in time with the sound's energy. The brightness of each
block of the picture is correlated with the energy at every lag; the blocks that follow the sound best decide.
"""

import numpy as np

RATE_HZ = 100  # of the compared curves
SPAN_MS = 800  # lags looked at, on both sides
BLOCKS = (6, 8)  # rows, columns
SLOW_S = 0.35  # what changes more slowly is turns and lighting, not syllables
BEST_BLOCKS = 4


def av_offset(luma_THW: np.ndarray, frame_rate_hz: int, audio_T: np.ndarray, rate_hz: int) -> tuple[int, float] | None:
    """(offset in ms, positive: the picture comes later; the correlation there, 0 to 1), or None if nothing moves or
    sounds.

    Unrelated pictures and sounds stay below 0.3; a speaking face that fills the picture reaches 0.6 to 0.9.
    """
    energy = _energy(audio_T, rate_hz)
    light = _light(luma_THW, frame_rate_hz)
    length = min(len(energy), len(light))
    if length < 4 * SPAN_MS * RATE_HZ // 1000:
        return None
    sound, blocks = _quick(energy[:length, None])[:, 0], _quick(light[:length])
    moving = blocks.std(0) > 0
    if not moving.any() or not sound.std() > 0:
        return None
    size = 1 << (2 * length - 1).bit_length()
    spectrum = np.fft.rfft(blocks[:, moving], size, axis=0) * np.conj(np.fft.rfft(sound, size))[:, None]
    lags = np.arange(-SPAN_MS * RATE_HZ // 1000, SPAN_MS * RATE_HZ // 1000 + 1)
    strength = np.abs(np.fft.irfft(spectrum, size, axis=0)[lags % size]) / length
    best = np.argsort(strength.max(0))[::-1][:BEST_BLOCKS]
    lag = int(lags[int(np.argmax((strength[:, best] ** 2).sum(1)))])
    return lag * 1000 // RATE_HZ, round(float(min(1.0, strength.max())), 3)


def _energy(audio_T: np.ndarray, rate_hz: int) -> np.ndarray:
    """Log energy of the sound, (N,) at RATE_HZ."""
    hop = rate_hz // RATE_HZ
    frames = np.asarray(audio_T[: len(audio_T) // hop * hop], np.float32).reshape(-1, hop)
    return np.log(np.sqrt((frames**2).mean(1)) + 1e-3)


def _light(luma_THW: np.ndarray, frame_rate_hz: int) -> np.ndarray:
    """Mean brightness of each block, (N, blocks) at RATE_HZ."""
    rows, columns = BLOCKS
    length, height, width = luma_THW.shape
    cut = luma_THW[:, : height // rows * rows, : width // columns * columns]
    blocks = cut.reshape(length, rows, height // rows, columns, width // columns).mean((2, 4), dtype=np.float32)
    flat = blocks.reshape(length, -1)
    at = np.arange(length * RATE_HZ // frame_rate_hz) * frame_rate_hz / RATE_HZ
    return np.stack([np.interp(at, np.arange(length), flat[:, index]) for index in range(flat.shape[1])], axis=1)


def _quick(curves_NC: np.ndarray) -> np.ndarray:
    """Without their slow part, standard deviation 1 (0 where nothing is left)."""
    half = int(SLOW_S * RATE_HZ)
    padded = np.pad(curves_NC, ((half + 1, half), (0, 0)), mode="edge").cumsum(0, dtype=np.float64)
    quick = curves_NC - (padded[2 * half + 1 :] - padded[: -2 * half - 1]) / (2 * half + 1)
    deviation = quick.std(0)
    return np.where(deviation > 1e-3, quick / np.maximum(deviation, 1e-3), 0)
