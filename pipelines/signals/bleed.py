"""Tracks of one session -> how loud the others' voices are in each: what a room or a headset lets through.

The path from one microphone to another is estimated as an impulse response: the cross spectrum over the source's power
spectrum (Welch), back to time. Bleed stands out as a few taps near delay zero; the taps far from it show the noise
floor.
"""

from collections.abc import Sequence

import numpy as np

FRAME_S = 0.5  # window of the spectra: longer than a room's early response
NEAR_S = 0.1  # |delay| within which bleed arrives, both clocks being one
FAR_S = (0.12, 0.24)  # |delay| that nothing can arrive at: what chance makes of two voices
LOUDER_DB = 6.0  # frames in which the voice is this much louder than what is heard tell the direction of the bleed
MIN_FRAMES = 20  # about 2.5 s of them
MIN_PEAK = 3.0  # bleed stands out this many times over the highest tap that chance made


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
        others_db = [
            bleed_db(other, heard, rate_hz)
            for index, other in enumerate(tracks)
            if index != into and other is not None and heard is not None
        ]
        levels.append(max((level for level in others_db if level is not None), default=None))
    return levels


def bleed_db(voice_T: np.ndarray, heard_T: np.ndarray, rate_hz: int) -> float | None:
    """Level in dB at which `voice_T` is heard in `heard_T` (0: as loud), or None below what can be told from chance."""
    size = 1 << round(np.log2(FRAME_S * rate_hz))
    window = np.hanning(size)
    cross = np.zeros(size // 2 + 1, complex)
    power = np.zeros(size // 2 + 1)
    num_frames = 0
    for start in range(0, len(voice_T) - size + 1, size // 4):
        voice_F, heard_F = window * voice_T[start : start + size], window * heard_T[start : start + size]
        # Where the other is louder, their track's bleed of this voice would look like bleed the other way round.
        if np.sum(voice_F**2) < 10 ** (LOUDER_DB / 10) * np.sum(heard_F**2) or not voice_F.any():
            continue
        voice, heard = np.fft.rfft(voice_F), np.fft.rfft(heard_F)
        cross += np.conj(voice) * heard
        power += np.abs(voice) ** 2
        num_frames += 1
    if num_frames < MIN_FRAMES:
        return None
    # Where the voice has next to no power the quotient is noise: weigh those frequencies down.
    weight = power**2 / (power**2 + (1e-3 * power.max()) ** 2)
    response = np.fft.irfft(cross / np.maximum(power, 1e-12 * power.max()) * weight)
    delays_s = np.minimum(np.arange(size), size - np.arange(size)) / rate_hz
    chance = np.abs(response[(delays_s >= FAR_S[0]) & (delays_s < FAR_S[1])]).max()
    near = response[delays_s < NEAR_S]
    if np.abs(near).max() < MIN_PEAK * chance:
        return None
    taps = near[np.abs(near) > chance]
    # The weighting is a filter on the response; its own response to a unit path is the unit of level.
    unit = np.fft.irfft(weight)
    return round(float(10 * np.log10(np.sum(taps**2) / np.sum(unit**2))), 1)
