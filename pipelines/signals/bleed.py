"""Tracks of one session -> how loud the other participants' voices are in each track (bleed).

The path from one microphone to another is estimated as an impulse response: the cross spectrum divided by the power
spectrum of the source (Welch), transformed back to time. Bleed is visible as a few high taps near delay zero; the taps
far from zero show the noise floor.
"""

from collections.abc import Sequence

import numpy as np

FRAME_S = 0.5  # window of the spectra: longer than a room's early response
NEAR_S = 0.1  # bleed arrives within this |delay|, as both tracks have one clock
FAR_S = (0.12, 0.24)  # nothing can arrive at this |delay|: taps here are due to chance
LOUDER_DB = 6.0  # only frames in which the voice is this much louder than the other track show the direction of bleed
MIN_FRAMES = 20  # about 2.5 s
MIN_PEAK = 3.0  # bleed must be this many times the highest tap that is due to chance


def loudest_bleed_db(tracks: Sequence[np.ndarray | None], rate_hz: int) -> list[float | None]:
    """For each track, the level in dB of the loudest other voice, relative to that voice in its own track.

    Args:
        tracks: float32 (num_samples,) each, of equal length; None: the track has no own audio.
        rate_hz: Sample rate.

    Returns:
        A level per track; None if nothing is above the noise floor.
    """
    levels: list[float | None] = []
    for into, heard in enumerate(tracks):
        others_db = [
            bleed_db(other, heard, rate_hz)
            for index, other in enumerate(tracks)
            if index != into and other is not None and heard is not None
        ]
        levels.append(max((level for level in others_db if level is not None), default=None))
    return levels


def bleed_db(voice_T: np.ndarray, heard_T: np.ndarray, rate_hz: int) -> float | None:
    """Level in dB of `voice_T` in `heard_T` (0: equally loud), or None if it cannot be distinguished from chance."""
    size = 1 << round(np.log2(FRAME_S * rate_hz))
    window = np.hanning(size)
    cross = np.zeros(size // 2 + 1, complex)
    power = np.zeros(size // 2 + 1)
    num_frames = 0
    for start in range(0, len(voice_T) - size + 1, size // 4):
        voice_F, heard_F = window * voice_T[start : start + size], window * heard_T[start : start + size]
        # If the other person is louder, their voice bleeding into `voice_T` would look like bleed in this direction.
        if np.sum(voice_F**2) < 10 ** (LOUDER_DB / 10) * np.sum(heard_F**2) or not voice_F.any():
            continue
        voice, heard = np.fft.rfft(voice_F), np.fft.rfft(heard_F)
        cross += np.conj(voice) * heard
        power += np.abs(voice) ** 2
        num_frames += 1
    if num_frames < MIN_FRAMES:
        return None
    # At frequencies where the voice has almost no power the quotient is noise: give them little weight.
    weight = power**2 / (power**2 + (1e-3 * power.max()) ** 2)
    response = np.fft.irfft(cross / np.maximum(power, 1e-12 * power.max()) * weight)
    delays_s = np.minimum(np.arange(size), size - np.arange(size)) / rate_hz
    chance = np.abs(response[(delays_s >= FAR_S[0]) & (delays_s < FAR_S[1])]).max()
    near = response[delays_s < NEAR_S]
    if np.abs(near).max() < MIN_PEAK * chance:
        return None
    taps = near[np.abs(near) > chance]
    # The weighting is a filter on the response; its response to a path of gain 1 is the reference level.
    unit = np.fft.irfft(weight)
    return round(float(10 * np.log10(np.sum(taps**2) / np.sum(unit**2))), 1)
