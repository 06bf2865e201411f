"""Video and audio of one track -> how much later the video is, and how certain this is.

Lips and hands change the brightness somewhere in the picture in time with the energy of the sound. The brightness of
each block of the picture is correlated with the energy at every offset; the blocks that follow the sound best decide.
"""

import numpy as np

RATE_HZ = 100  # rate of the compared curves
SPAN_MS = 800  # offsets up to this are tried, in both directions
BLOCKS = (6, 8)  # rows, columns
SLOW_S = 0.35  # slower changes come from turns and lighting, not from syllables
BEST_BLOCKS = 4


def av_offset(
    light_NB: np.ndarray, frame_rate_hz: int, energy_N: np.ndarray, own_N: np.ndarray | None = None
) -> tuple[int, float] | None:
    """(offset in ms, positive if the video is later; the correlation at this offset, 0 to 1), or None if nothing moves
    or there is no sound.

    Unrelated video and audio stay below 0.3; a speaking face that fills the picture reaches 0.6 to 0.9.

    Args:
        light_NB: `block_light` of all frames.
        frame_rate_hz: Rate of the frames.
        energy_N: `sound_energy` of the whole audio.
        own_N: bool, whether the sound is that of the person in the picture; other sound counts as silence.
    """
    frames = len(light_NB)
    at = np.arange(frames * RATE_HZ // frame_rate_hz) * frame_rate_hz / RATE_HZ
    length = min(len(energy_N), len(at))
    if length < 4 * SPAN_MS * RATE_HZ // 1000:
        return None
    sound = _quick(energy_N[:length])
    if own_N is not None and not own_N[:length].all():
        sound = sound * own_N[:length]
        sound = sound / max(float(sound.std()), 1e-9)
    if not sound.std() > 0:
        return None
    size = 1 << (2 * length - 1).bit_length()
    heard = np.conj(np.fft.rfft(sound, size))
    offsets = np.arange(-SPAN_MS * RATE_HZ // 1000, SPAN_MS * RATE_HZ // 1000 + 1)
    strengths = []
    for block in light_NB.T:  # one block at a time: the spectra of an hour are large
        seen = _quick(np.interp(at, np.arange(frames), block)[:length])
        if seen.std() > 0:
            strengths.append(np.abs(np.fft.irfft(np.fft.rfft(seen, size) * heard, size)[offsets % size]) / length)
    if not strengths:
        return None
    strength = np.stack(strengths, axis=1)
    best = np.argsort(strength.max(0))[::-1][:BEST_BLOCKS]
    offset = int(offsets[int(np.argmax((strength[:, best] ** 2).sum(1)))])
    return offset * 1000 // RATE_HZ, round(float(min(1.0, strength.max())), 3)


def sound_energy(audio_T: np.ndarray, rate_hz: int) -> np.ndarray:
    """Log energy of the audio, (N,) at RATE_HZ. Results of pieces can be concatenated if each has whole 10 ms."""
    hop = rate_hz // RATE_HZ
    frames = np.asarray(audio_T[: len(audio_T) // hop * hop], np.float32).reshape(-1, hop)
    return np.log(np.sqrt((frames**2).mean(1)) + 1e-3)


def block_light(luma_THW: np.ndarray) -> np.ndarray:
    """Mean brightness of each block of each frame, float32 (T, rows * columns)."""
    rows, columns = BLOCKS
    length, height, width = luma_THW.shape
    cut = luma_THW[:, : height // rows * rows, : width // columns * columns]
    blocks = cut.reshape(length, rows, height // rows, columns, width // columns).mean((2, 4), dtype=np.float32)
    return blocks.reshape(length, -1)


def _quick(curve_N: np.ndarray) -> np.ndarray:
    """The curve without its slow part, with standard deviation 1 (0 if nothing is left)."""
    half = int(SLOW_S * RATE_HZ)
    padded = np.pad(curve_N, (half + 1, half), mode="edge").cumsum(dtype=np.float64)
    quick = curve_N - (padded[2 * half + 1 :] - padded[: -2 * half - 1]) / (2 * half + 1)
    deviation = quick.std()
    return quick / deviation if deviation > 1e-3 else np.zeros_like(quick)
