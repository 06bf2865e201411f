"""Tracks of one session -> how loud the others' voices are in each: what a room or a headset lets through.

The path from one microphone to another is estimated as an impulse response: the cross spectrum over the source's power
spectrum (Welch), back to time. Bleed stands out as a few taps near lag zero; the taps far from it show the noise floor.
"""

from collections.abc import Sequence

import numpy as np

FRAME_S = 1.0  # window of the spectra: longer than any room's early response
NEAR_S = 0.1  # |lag| within which bleed arrives, both clocks being one
FAR_S = (0.15, 0.45)  # |lag| that nothing can arrive at: the noise floor
MIN_PEAK = 6.0  # a peak this many times the floor's standard deviation is bleed
TAP_FLOOR = 3.0  # taps below this many standard deviations do not count towards the level


def loudest_bleed_db(tracks: Sequence[np.ndarray | None], rate_hz: int) -> list[float | None]:
    """For each track, the level in dB of the loudest other participant's voice relative to their own track.

    Args:
        tracks: float32 (num_samples,) each, equally long; None: no audio of its own.
        rate_hz: Sample rate.

    Returns:
        A level per track, None where nothing stands out of the noise floor.
    """
    levels: list[float | None] = []
    for into, heard in enumerate(tracks):
        found = [
            bleed_db(other, heard, rate_hz)
            for index, other in enumerate(tracks)
            if index != into and other is not None and heard is not None
        ]
        levels.append(max((level for level in found if level is not None), default=None))
    return levels


def bleed_db(voice_T: np.ndarray, heard_T: np.ndarray, rate_hz: int) -> float | None:
    """Level in dB at which `voice_T` is heard in `heard_T` (0: as loud), or None below what can be told from chance."""
    size = 1 << round(np.log2(FRAME_S * rate_hz))
    if len(voice_T) < 4 * size:
        return None
    window = np.hanning(size)
    cross = np.zeros(size // 2 + 1, complex)
    power = np.zeros(size // 2 + 1)
    for start in range(0, len(voice_T) - size + 1, size // 2):
        voice = np.fft.rfft(window * voice_T[start : start + size])
        heard = np.fft.rfft(window * heard_T[start : start + size])
        cross += np.conj(voice) * heard
        power += np.abs(voice) ** 2
    if power.max() <= 0:
        return None
    # Where the voice has next to no power the quotient is noise: weigh those frequencies down.
    response = np.fft.irfft(cross * power / (power**2 + (1e-3 * power.max()) ** 2))
    lags = np.minimum(np.arange(size), size - np.arange(size)) / rate_hz
    floor = response[(lags >= FAR_S[0]) & (lags < FAR_S[1])].std()
    near = response[lags < NEAR_S]
    if floor <= 0 or np.abs(near).max() < MIN_PEAK * floor:
        return None
    taps = near[np.abs(near) >= TAP_FLOOR * floor]
    # The weighting acts as a filter on the response; its own response at lag zero is the unit of level.
    unit = np.fft.irfft(power**2 / (power**2 + (1e-3 * power.max()) ** 2))
    return round(float(10 * np.log10(np.sum(taps**2) / np.sum(unit**2))), 1)
