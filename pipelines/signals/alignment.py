"""Two recordings of one conversation -> how far apart their clocks begin, and how much faster one runs.

Two recorders that are started by hand begin apart, and their quartzes differ by up to 100 ppm: 360 ms in an hour. Where
both recorded the same sound, it shows how the clocks differ. The measurement has three steps:

1. Search. For two recordings of one scene (a camera and a recorder), pieces of the envelope of one are looked for in
   all of the other. For the recorders of two people the envelopes differ, as each is dominated by another voice: there,
   if nothing is found where the manifest places them, pieces of the waveforms are compared, within SEARCH_MS of it.
2. Tracking. In a window every few seconds, the waveforms are correlated around the expected lag. The spectra are
   whitened, each by its own power (SCOT: Carter, Nuttall & Cable 1973, "The smoothed coherence transform"), so that the
   peak of a path is as sharp as its bandwidth allows. A window counts if its peak is far above chance.
3. Fit (clock_fit.py). Lags that lie on a line give offset and drift. Steps of the lag are jumps of a clock: lost or
   repeated buffers.

A voice arrives later in the other person's microphone. Between two people's recorders, the lags in the speech of the
one and of the other therefore lie on both sides of the difference of the clocks, which is their mean (as in NTP, RFC
5905). Where only one voice is in both recordings, its way looks like a difference of the clocks.

"Cannot tell" is an answer: `finding` gives the reason. Sounds are read in pieces; memory grows by 200 bytes per second
of recording (the envelope), and time with its length.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.signals.clock_fit import (
    FRAME_S,
    INLIER_S,
    MAX_DRIFT_PPM,
    MIN_WINDOWS,
    PEAK,
    ROOM_S,
    STEP_WINDOWS,
    WINDOW_FRAMES,
    ClockFit,
    Window,
    fit_clock,
)

BAND_HZ = (200, 3600)  # above hum and wind, below what lossy codecs cut off
GRID_HZ = 16000  # rate of the lags that are compared, before interpolation
SHORT_FRAMES = 5  # while the drift is unknown; 1.5 s
REACH_S = 0.2  # lags up to this from the expected one are tried
FAINT = 1e-7  # relative to the strongest frequency: less power is leakage of the window, and not whitened
SILENT_DB = -80.0  # a window below this level, relative to full scale, has no sound

ENVELOPE_HZ = 50
PIECE_S = 40.0  # of an envelope that is looked for
MAX_PIECES = 24
NUM_MATCHES = 4  # of a piece, in recordings that repeat themselves
ALIKE = 0.7  # of the likeness of the best match
SLOW_S = 2.0  # slower changes of the envelope are those of distance and automatic gain
SEARCH_MS = 10_000  # between two people's recorders
COARSE_HZ = 4000
COARSE_S = 4.0
COARSE_EVERY_S = 8.0
MAX_COARSE = 16
MAX_SHORT = 48

MIN_COMMON_S = 15.0
HOP_S = 10.0  # between windows of long recordings
MIN_NUM_WINDOWS = 24  # of short ones


@dataclass(frozen=True)
class _Guess:
    """Where the sound may have what the reference has: on a line, and at single places that may be off it."""

    lag_s: float  # of the line at time 0
    slope: float
    places: tuple[tuple[float, float], ...]  # (time in the reference, lag) in s, sorted

    def lags_s(self, time_s: float) -> list[float]:
        """Lags to try at a time: that of the line, and that of the nearest place off the line, if there is one."""
        on_line = self.lag_s + self.slope * time_s
        others = [(abs(place_s - time_s), lag_s + self.slope * (time_s - place_s)) for place_s, lag_s in self.places]
        off_line = min((other for other in others if abs(other[1] - on_line) > REACH_S / 4), default=None)
        return [on_line] if off_line is None else [on_line, off_line[1]]

    def num_near(self, tolerance_s: float) -> int:
        """How many places are on the line."""
        return sum(abs(lag_s - self.lag_s - self.slope * time_s) < tolerance_s for time_s, lag_s in self.places)


Samples = np.ndarray  # float32 (num_samples,); may be a memory map of a file


def compare_scene(reference: Samples, sound: Samples, rate_hz: int, stated_lag_s: float = 0.0) -> ClockFit:
    """Two recordings of one scene, at any offset: a camera's sound and a separate recorder.

    `stated_lag_s`: how much later an instant is in the sound's file than in the reference's, as the manifest states it.
    """
    return _compare(reference, sound, rate_hz, stated_lag_s, (_search_envelopes,), two_people=False)


def compare_people(reference: Samples, sound: Samples, rate_hz: int, stated_lag_s: float = 0.0) -> ClockFit:
    """The recorders of two people who may be heard in each other's, within SEARCH_MS of `stated_lag_s`."""
    return _compare(reference, sound, rate_hz, stated_lag_s, (_stated, _search_waveforms), two_people=True)


_Search = Callable[[Samples, Samples, int, float], _Guess | None]


def _compare(
    reference: Samples,
    sound: Samples,
    rate_hz: int,
    stated_lag_s: float,
    searches: Sequence[_Search],
    *,
    two_people: bool,
) -> ClockFit:
    if min(len(reference), len(sound)) < MIN_COMMON_S * rate_hz:
        return ClockFit(finding="too_short")
    if not (_has_sound(reference, rate_hz) and _has_sound(sound, rate_hz)):
        return ClockFit(finding="silent")
    for search in searches:
        guess = search(reference, sound, rate_hz, stated_lag_s)
        windows = _track(reference, sound, rate_hz, guess, SHORT_FRAMES, MAX_SHORT) if guess else []
        guess = _line([(window.time_s, window.lag_s, 1.0) for window in windows if window.peak > PEAK], INLIER_S)
        if guess and guess.num_near(INLIER_S) >= MIN_WINDOWS:
            break
    windows = _track(reference, sound, rate_hz, guess, WINDOW_FRAMES) if guess else []
    if sum(window.peak > PEAK for window in windows) < MIN_WINDOWS:
        return ClockFit(finding="unrelated")
    return fit_clock(windows, len(reference) / rate_hz, len(sound) / rate_hz, stated_lag_s, two_people)


def _has_sound(sound: Samples, rate_hz: int) -> bool:
    """Whether some of 100 pieces along the recording are not silent."""
    size = rate_hz // 4
    starts = np.linspace(0, max(0, len(sound) - size), 100).astype(int)
    loud = sum(_level_db(np.asarray(sound[start : start + size])) > SILENT_DB for start in starts.tolist())
    return loud >= STEP_WINDOWS


def _level_db(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-20)) if samples.size else -200.0


# Step 1: search


def envelope(sound: Samples, rate_hz: int) -> np.ndarray:
    """Log level of the sound without its slow changes, float32 (N,) at ENVELOPE_HZ."""
    hop = rate_hz // ENVELOPE_HZ
    size = hop * ENVELOPE_HZ * 60
    power = []
    for start in range(0, len(sound) // hop * hop, size):
        piece = np.asarray(sound[start : start + size], np.float32)
        piece = np.diff(piece[: len(piece) // hop * hop], prepend=piece[:1])  # without hum and rumble
        power.append(np.square(piece).reshape(-1, hop).mean(1))
    level = np.sqrt(np.concatenate(power))
    level = np.log(level + max(float(np.percentile(level, 10)), 1e-5))
    half = int(SLOW_S * ENVELOPE_HZ / 2)
    sums = np.pad(level, (half + 1, half), mode="edge").cumsum(dtype=np.float64)
    return (level - (sums[2 * half + 1 :] - sums[: -2 * half - 1]) / (2 * half + 1)).astype(np.float32)


def _stated(reference: Samples, sound: Samples, rate_hz: int, stated_lag_s: float) -> _Guess:
    del reference, sound, rate_hz
    return _Guess(stated_lag_s, 0.0, ((0.0, stated_lag_s),))


def _search_envelopes(reference: Samples, sound: Samples, rate_hz: int, stated_lag_s: float) -> _Guess | None:
    del stated_lag_s
    reference_N, sound_N = envelope(reference, rate_hz), envelope(sound, rate_hz)
    length = int(min(PIECE_S * ENVELOPE_HZ, len(sound_N) / 3, len(reference_N) / 2))
    size = 1 << (len(reference_N) + length - 1).bit_length()
    spectrum = np.fft.rfft(reference_N, size)
    sums = np.concatenate([[0.0], np.cumsum(np.square(reference_N, dtype=np.float64))])
    places: list[tuple[float, float, float]] = []
    others: list[tuple[float, float, float]] = []
    for start in np.linspace(0, len(sound_N) - length, MAX_PIECES).astype(int).tolist():
        piece = sound_N[start : start + length]
        energy = float(np.square(piece, dtype=np.float64).sum())
        if energy < 1e-3 * length:  # nothing moves
            continue
        likeness = np.fft.irfft(spectrum * np.conj(np.fft.rfft(piece, size)), size)[: len(reference_N) - length + 1]
        likeness = likeness / np.sqrt(np.maximum(sums[length:] - sums[:-length], 1e-3 * length) * energy)
        best = float(likeness.max())
        for rank in range(NUM_MATCHES):
            place = int(np.argmax(likeness))
            if likeness[place] < ALIKE * best:
                break
            match = ((place + length / 2) / ENVELOPE_HZ, (start - place) / ENVELOPE_HZ, float(likeness[place]))
            (others if rank else places).append(match)
            likeness[max(0, place - ENVELOPE_HZ // 2) : place + ENVELOPE_HZ // 2] = -1
    return _line(places, tolerance_s=3 / ENVELOPE_HZ, others=others)


def _search_waveforms(reference: Samples, sound: Samples, rate_hz: int, stated_lag_s: float) -> _Guess | None:
    step = max(1, rate_hz // COARSE_HZ)
    rate = rate_hz / step
    width, reach = int(COARSE_S * rate), int(SEARCH_MS / 1000 * rate)
    size = _good_size(width + 2 * reach)
    frequencies = np.fft.rfftfreq(size, 1 / rate)
    band = ((frequencies >= BAND_HZ[0]) & (frequencies <= 0.45 * rate)).astype(np.float32)
    first_s = max(0.0, -stated_lag_s)
    span_s = min(len(reference) / rate_hz, len(sound) / rate_hz - stated_lag_s) - first_s - COARSE_S
    places = []
    number = min(MAX_COARSE, max(4, int(span_s / COARSE_EVERY_S)))
    for time_s in (first_s + np.linspace(0, max(0, span_s), number)).tolist() if span_s > 0 else ():
        near = _thinned(reference, round(time_s * rate_hz), width, step)
        far = _thinned(sound, round((time_s + stated_lag_s) * rate_hz) - reach * step, width + 2 * reach, step)
        if min(_level_db(near), _level_db(far)) < SILENT_DB:
            continue
        cross = np.fft.rfft(far, size) * np.conj(np.fft.rfft(near, size))
        cross *= band / np.maximum(np.abs(cross), 1e-20)
        likeness = np.abs(np.fft.irfft(cross, size)[: 2 * reach + 1])
        place = int(np.argmax(likeness))
        if likeness[place] > PEAK * np.sqrt(np.mean(np.square(likeness))):
            places.append((time_s + COARSE_S / 2, stated_lag_s + (place - reach) / rate, 1.0))
    return _line(places, tolerance_s=2 * ROOM_S)


def _good_size(length: int) -> int:
    """The next length whose Fourier transform is fast: 2^n or 3 * 2^n."""
    power = 1 << (length - 1).bit_length()
    return power * 3 // 4 if power * 3 // 4 >= length else power


def _thinned(sound: Samples, start: int, length: int, step: int) -> np.ndarray:
    """`length` means of `step` samples from `start` on; zeros outside of the recording."""
    first, last = max(0, start), min(len(sound), start + length * step)
    piece = np.zeros(length * step, np.float32)
    if last > first:
        piece[first - start : last - start] = sound[first:last]
    return piece.reshape(length, step).mean(1)


def _line(
    places: Sequence[tuple[float, float, float]],
    tolerance_s: float,
    others: Sequence[tuple[float, float, float]] = (),
) -> _Guess | None:
    """The line through two of the places (time, lag, weight) that most of the weight lies on, also that of `others`."""
    if not places:
        return None
    time, lag, weight = (np.array(column) for column in zip(*sorted([*places, *others]), strict=True))
    some = np.unique(np.linspace(0, len(time) - 1, 2 * MAX_PIECES).astype(int))
    best, best_score = (0.0, 0.0), -1.0
    for i in some:
        for j in some[some >= i]:
            slope = float((lag[j] - lag[i]) / (time[j] - time[i])) if time[j] - time[i] > 1 else 0.0
            if abs(slope) > MAX_DRIFT_PPM * 1e-6 or (i < j and slope == 0.0):
                continue
            distance = np.abs(lag - lag[i] - slope * (time - time[i])) / tolerance_s
            score = float((weight * np.maximum(0, 1 - distance**2)).sum())
            if score > best_score:
                best, best_score = (float(lag[i] - slope * time[i]), slope), score
    return _Guess(*best, tuple((time_s, lag_s) for time_s, lag_s, _ in sorted(places)))


# Step 2: tracking


def _track(
    reference: Samples, sound: Samples, rate_hz: int, guess: _Guess, num_frames: int, max_windows: int = 0
) -> list[Window]:
    """Windows along the recording with sound in both, each with its most likely lag. `max_windows` 0: no limit."""
    window_s = FRAME_S * (num_frames + 1) / 2
    first_s = max(0.0, -guess.lag_s)
    last_s = min(len(reference) / rate_hz, len(sound) / rate_hz - guess.lag_s) - window_s
    if last_s <= first_s:
        return []
    number = max(MIN_NUM_WINDOWS, int((last_s - first_s) / HOP_S))
    windows = []
    for time_s in np.linspace(first_s, last_s, min(number, max_windows or number)).tolist():
        tries = [
            point
            for lag_s in guess.lags_s(time_s)
            if (point := _window(reference, sound, rate_hz, time_s, lag_s, guess.slope, num_frames)) is not None
        ]
        clear = [point for point in tries if point.peak > PEAK]  # the line comes first: a recording may repeat itself
        if tries:
            windows.append(clear[0] if clear else max(tries, key=lambda point: point.peak))
    return windows


def _window(
    reference: Samples, sound: Samples, rate_hz: int, time_s: float, lag_s: float, slope: float, num_frames: int
) -> Window | None:
    """The lag in a window that begins at `time_s`, near `lag_s`; None without sound, or outside of the recordings."""
    size, hop = int(FRAME_S * rate_hz), int(FRAME_S * rate_hz) // 2
    ours_K = round(time_s * rate_hz) + hop * np.arange(num_frames)
    exact_K = ours_K + (lag_s + slope * (ours_K / rate_hz - time_s)) * rate_hz
    theirs_K = np.round(exact_K).astype(int)
    if ours_K[0] < 0 or theirs_K[0] < 0 or ours_K[-1] + size > len(reference) or theirs_K[-1] + size > len(sound):
        return None
    ours = np.asarray(reference[ours_K[0] : ours_K[-1] + size], np.float32)
    theirs = np.asarray(sound[theirs_K[0] : theirs_K[-1] + size], np.float32)
    levels_db = _level_db(ours), _level_db(theirs)
    if min(levels_db) < SILENT_DB:
        return None
    shape = np.hanning(size).astype(np.float32)
    band = slice(round(BAND_HZ[0] * FRAME_S), 1 + min(round(BAND_HZ[1] * FRAME_S), size // 2 - 1))
    ours_KF = np.fft.rfft(shape * _frames(ours, ours_K - ours_K[0], size))[:, band]
    theirs_KF = np.fft.rfft(shape * _frames(theirs, theirs_K - theirs_K[0], size))[:, band]
    late_K = (theirs_K - exact_K) / size  # frames begin on whole samples, this much late
    theirs_KF *= np.exp(-2j * np.pi * late_K[:, None] * np.arange(band.start, band.stop)).astype(np.complex64)
    cross = (np.conj(ours_KF) * theirs_KF).sum(0)
    power = np.float32(1)
    for each_KF in (ours_KF, theirs_KF):
        each = (np.abs(each_KF) ** 2).sum(0)
        power = power * (each + FAINT * each.max())
    spectrum = np.zeros(int(FRAME_S * GRID_HZ) // 2 + 1, np.complex64)
    spectrum[band] = cross / np.sqrt(np.maximum(power, 1e-30))
    likeness = np.abs(np.fft.irfft(spectrum))
    reach = int(REACH_S * GRID_HZ)
    near = np.concatenate([likeness[-reach:], likeness[: reach + 1]])
    place = int(np.argmax(near[1:-1])) + 1
    before, peak, after = (float(value) for value in near[place - 1 : place + 2])
    chance = np.delete(near, slice(max(0, place - GRID_HZ // 200), place + GRID_HZ // 200))
    bend = before - 2 * peak + after
    offset = place - reach + (0.5 * (before - after) / bend if bend < 0 else 0.0)
    middle_s = (ours_K[0] + ours_K[-1] + size) / 2 / rate_hz
    lag_s += slope * (middle_s - time_s) + offset / GRID_HZ
    return Window(middle_s, lag_s, peak / float(np.sqrt(np.mean(chance**2)) + 1e-12), levels_db[1] - levels_db[0])


def _frames(samples: np.ndarray, starts_K: np.ndarray, size: int) -> np.ndarray:
    return np.stack([samples[start : start + size] for start in starts_K.tolist()])
