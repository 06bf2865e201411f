"""Sound or picture of one track -> a few hundred hashes with their times, to recognise a copy of the recording.

A hash encodes which of 16 curves changes most, and in which direction, at six instants within 1.2 s. The curves of the
sound are level differences of neighbouring frequency bands; those of the picture are coarse brightness patterns. Such a
hash does not change with codec, size, loudness or start. Hashes are taken where they are most certain, not at fixed
times, so that copies have the same hashes. Still, silent or black parts, and parts that repeat within the track, give
no hashes.

Differences of neighbouring bands: Haitsma and Kalker 2002, "A highly robust audio fingerprinting system". The index of
the largest change instead of all signs: Yagnik et al. 2011, "The power of comparative reasoning".
"""

import numpy as np

RATE_HZ = 25  # rate of all curves, equal to the frame rate
CURVES = 16
INSTANTS = (0, 6, 12, 18, 24, 30)  # frames after the start of a hash; 5 bits for each
NEAR = 3  # a hash is the most certain one within this many frames
MAX_HASHES = 512  # per stream; of more, those with the lowest scrambled values are used: the same in every copy

LOWEST_HZ, HIGHEST_HZ = 250, 3400  # the band of a telephone
WINDOW = 3  # frames of sound in one spectrum
SOUND_SMOOTH, SOUND_STEP = 13, 6  # frames: width of the smoothing box, and half width of a change
LOUD_DB = 35.0  # no hash is taken where the level is this far below the loud parts
QUIETEST_DB = -75.0
FLOOR = 0.01  # share of the loud parts added to every band, as a codec or a room does

PICTURE_SMOOTH, PICTURE_STEP = 9, 8
MOVING = 0.12  # of 255: below this root mean square change of the patterns, noise of the encoder dominates


def sound_bands(audio_T: np.ndarray, rate_hz: int) -> np.ndarray:
    """Energy of 17 bands around each 40 ms, except the first and the last, (N, 17) float32."""
    hop = rate_hz // RATE_HZ
    if len(audio_T) < WINDOW * hop:
        return np.empty((0, CURVES + 1), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(audio_T, WINDOW * hop)[::hop]
    power = (
        np.abs(np.fft.rfft(windows * np.hanning(WINDOW * hop).astype(np.float32), axis=1)) ** 2 / (WINDOW * hop) ** 2
    )
    edges_hz = LOWEST_HZ * (HIGHEST_HZ / LOWEST_HZ) ** (np.arange(CURVES + 2) / (CURVES + 1))
    edges = np.round(edges_hz * WINDOW / RATE_HZ).astype(int)
    return np.add.reduceat(power, edges, axis=1)[:, :-1].astype(np.float32)


def sound_hashes(bands_NB: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `picture_hashes`, for the bands of a whole track."""
    if not len(bands_NB):
        return _hashes(np.empty((0, CURVES)), np.empty(0, bool))
    smooth = _box(bands_NB, SOUND_SMOOTH)
    total = smooth.sum(1)
    loudest = np.percentile(total, 95)
    log = np.log(smooth + FLOOR * loudest / bands_NB.shape[1] + 1e-12)
    least = max(10 ** (QUIETEST_DB / 10), loudest * 10 ** (-LOUD_DB / 10))
    return _hashes(_change(log[:, 1:] - log[:, :-1], SOUND_STEP), total > least)


def picture_hashes(blocks_NB: np.ndarray, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """(hashes uint32, frames int32), both (N,) and ascending in time; a frame is 40 ms.

    blocks_NB: mean brightness of `rows` x `columns` blocks, in 0 to 255, at 25 Hz.
    """
    y, x = (np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns
    orders = sorted(((u, v) for u in range(rows) for v in range(columns) if u + v), key=lambda o: (o[0] + o[1], o))
    patterns = [np.outer(np.cos(np.pi * u * y), np.cos(np.pi * v * x)).ravel() for u, v in orders[:CURVES]]
    if not len(blocks_NB):
        return _hashes(np.empty((0, CURVES)), np.empty(0, bool))
    change = _change(_box(blocks_NB, PICTURE_SMOOTH) @ np.stack(patterns, axis=1) / (rows * columns), PICTURE_STEP)
    return _hashes(change, np.sqrt((change**2).mean(1)) > MOVING)


def _box(curves_NC: np.ndarray, width: int) -> np.ndarray:
    """Mean of `width` frames (odd) around each."""
    padded = np.pad(curves_NC, ((width // 2 + 1, width // 2), (0, 0)), mode="edge").cumsum(0, dtype=np.float64)
    return (padded[width:] - padded[:-width]) / width


def _change(curves_NC: np.ndarray, half: int) -> np.ndarray:
    """Difference around each instant: later minus earlier."""
    padded = np.pad(curves_NC, ((half, half), (0, 0)), mode="edge")
    return padded[2 * half :] - padded[: -2 * half]


def _hashes(change_NC: np.ndarray, usable_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    length = len(change_NC) - INSTANTS[-1]
    if length < 1:
        return np.empty(0, np.uint32), np.empty(0, np.int32)
    largest = np.argmax(np.abs(change_NC), axis=1)
    letters = (2 * largest + (change_NC[np.arange(len(largest)), largest] > 0)).astype(np.uint32)
    sorted_NC = np.sort(np.abs(change_NC), axis=1)
    lead = (sorted_NC[:, -1] - sorted_NC[:, -2]) / (np.sqrt((change_NC**2).mean(1)) + 1e-9)
    lead = np.where(usable_N, lead, 0)
    sure = np.min([lead[instant : instant + length] for instant in INSTANTS], axis=0)
    hashes = np.zeros(length, np.uint32)
    for place, instant in enumerate(INSTANTS):
        hashes |= letters[instant : instant + length] << np.uint32(5 * place)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(sure, NEAR), 2 * NEAR + 1).max(1)
    frames = np.flatnonzero((sure == around) & (sure > 0)).astype(np.int32)
    _, first, times = np.unique(hashes[frames], return_index=True, return_counts=True)
    frames = frames[np.sort(first[times == 1])]
    frames = frames[np.sort(np.argsort(scrambled(hashes[frames]), kind="stable")[:MAX_HASHES])]
    return hashes[frames], frames


def scrambled(hashes: np.ndarray) -> np.ndarray:
    """uint32 -> uint32, a scrambling bijection: decides which hashes of long tracks are used (Wellons, "lowbias32")."""
    mixed = hashes.astype(np.uint32)
    mixed = (mixed ^ (mixed >> np.uint32(16))) * np.uint32(0x7FEB352D)
    mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(0x846CA68B)
    return mixed ^ (mixed >> np.uint32(16))
