"""Two recordings of one conversation -> how far apart their clocks begin, and how much faster one runs.

Two recorders that are started by hand begin apart, and their quartzes differ by up to 100 ppm: 360 ms in an hour. Where
both recorded the same sound, it shows how the clocks differ. The measurement has three steps:

1. Search. For two recordings of one scene (a camera and a recorder), pieces of the envelope of one are looked for in
   all of the other. For the recorders of two people the envelopes differ, as each is dominated by another voice: there,
   if nothing is found where the manifest places them, pieces of the waveforms are compared, within SEARCH_MS of it.
2. Tracking. In a window every few seconds, the waveforms are correlated around the expected lag. The spectra are
   whitened, each by its own power (SCOT: Carter, Nuttall & Cable 1973, "The smoothed coherence transform"), so that the
   peak of a path is as sharp as its bandwidth allows. A window counts if its peak is far above chance.
3. Fit. Lags that lie on a line give offset and drift. Steps of the lag are jumps of a clock: lost or repeated buffers.

A voice arrives later in the other person's microphone. Between two people's recorders, the lags in the speech of the
one and of the other therefore lie on both sides of the difference of the clocks, which is their mean (as in NTP, RFC
5905). Where only one voice is in both recordings, its way looks like a difference of the clocks.

"Cannot tell" is an answer: `finding` gives the reason. Sounds are read in pieces; memory grows by 200 bytes per second
of recording (the envelope), and time with its length.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

FRAME_S = 0.5  # of the spectra
BAND_HZ = (200, 3600)  # above hum and wind, below what lossy codecs cut off
GRID_HZ = 16000  # rate of the lags that are compared, before interpolation
WINDOW_FRAMES = 16  # of half overlapping frames per window: 4.25 s
SHORT_FRAMES = 5  # while the drift is unknown; 1.5 s
REACH_S = 0.2  # lags up to this from the expected one are tried
PEAK = 8.0  # a peak counts if it is this many times the standard deviation of the other lags; chance reaches 5.5
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

MAX_DRIFT_PPM = 2000  # NTSC's pull-down is 1000
MIN_WINDOWS = 5  # that agree
MIN_SHARE = 0.03  # of the windows with sound in both
MIN_APART = 3  # windows that do not overlap
MIN_SPREAD = 0.4  # of the recording, from the first to the last that agree: one sound that both have is not enough
EVEN_SHARE = 0.6  # of the windows with a clear lag; with fewer, the lags are those of other sounds that resemble
MIN_COMMON_S = 15.0
HOP_S = 10.0  # between windows of long recordings
MIN_NUM_WINDOWS = 24  # of short ones
INLIER_S = 0.006  # from the line; two people before one camera differ by their distances to it, 3 ms/m
VOICE_S = 0.0015  # lags of one voice differ by less
STEP_MS = 8.0  # a smaller step is no jump: a lost buffer of 512 samples at 48 kHz is 11 ms
STEP_WINDOWS = 3  # on both sides of a jump
MAX_ERROR_PPM = 20.0  # a drift with a larger error is not known; it is 2 ms in 100 s
ROOM_S = 0.03  # sound takes no longer from one person to the other's microphone: 10 m
CALL_S = 1.0  # nor from a loudspeaker, if it went through a call
OWN_DB = 6.0  # if levels differ less along a recording, they do not show who speaks
NEAR_MS = 1.0  # sound takes longer from one person to the other's microphone: 34 cm


# measured; or why not: silent, too_short, unrelated, clock_jumps (fitted, with steps), one_way (only one person's voice
# is in both: the drift is measured, but the time that the voice takes looks like an offset of the clocks)
Finding = Literal["measured", "silent", "too_short", "unrelated", "clock_jumps", "one_way"]


@dataclass(frozen=True, kw_only=True)
class ClockFit:
    """How the clock of a sound differs from that of its reference."""

    finding: Finding
    confidence: float = 0.0  # share of the windows with sound in both whose waveforms agree with the fit
    offset_ms: float | None = None  # the sound's file began this much later than stated
    drift_ppm: float | None = None  # its clock runs this much faster; None: cannot tell, the error is too large
    drift_error_ppm: float | None = None  # standard error of the drift
    residual_ms: float | None = None  # the farthest that lags lie from the fit, as a median of five windows
    span_ms: tuple[float, float] = (0.0, 0.0)  # of the reference, in which both record
    jumps: tuple[tuple[float, float], ...] = ()  # (time in the reference in ms, step of the lag in ms)


@dataclass(frozen=True)
class _Point:
    """One window: the sound has what the reference has at `time_s`, at `time_s + lag_s` of its own clock."""

    time_s: float
    lag_s: float
    peak: float  # in standard deviations
    level_db: float  # of the sound relative to the reference


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
    return _fit(windows, len(reference) / rate_hz, len(sound) / rate_hz, stated_lag_s, two_people)


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
) -> list[_Point]:
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
) -> _Point | None:
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
    return _Point(middle_s, lag_s, peak / float(np.sqrt(np.mean(chance**2)) + 1e-12), levels_db[1] - levels_db[0])


def _frames(samples: np.ndarray, starts_K: np.ndarray, size: int) -> np.ndarray:
    return np.stack([samples[start : start + size] for start in starts_K.tolist()])


# Step 3: fit


def _fit(
    windows: Sequence[_Point], reference_s: float, sound_s: float, stated_lag_s: float, two_people: bool
) -> ClockFit:
    points = [window for window in windows if window.peak > PEAK]
    time, lag, level_db = (np.array([getattr(p, name) for p in points]) for name in ("time_s", "lag_s", "level_db"))
    side = _louder_sides(level_db) if two_people else np.ones(len(time))
    slope = _robust_slope(time, lag, side)
    side = _checked_sides(lag - slope * time, side)
    side_lag = _side_lag(lag - slope * time, side)
    level = lag - slope * (time - time.mean()) - side_lag * side
    starts = _jumps(level)
    segment = np.searchsorted(starts, np.arange(len(time)), side="right")
    segments = range(len(starts) + 1)
    design = np.stack([*(segment == each for each in segments), time - time.mean(), side], axis=1).astype(np.float64)
    values = np.array([*(np.median(level[segment == each]) for each in segments), slope, side_lag])
    if not side.any():
        design, values = design[:, :-1], values[:-1]
    for _ in range(5):
        inliers = np.abs(lag - design @ values) < INLIER_S
        if inliers.sum() < MIN_WINDOWS or len(np.unique(segment[inliers])) <= len(starts):
            break
        values = np.linalg.lstsq(design[inliers], lag[inliers], rcond=None)[0]
    values, fitted = _refined(design, lag, values)
    residual = lag - design @ values
    inliers = np.abs(residual) < INLIER_S
    agreed = int(inliers.sum())
    confidence = round(agreed / len(windows), 3)
    times_s = np.array([window.time_s for window in windows])
    if not _is_common(time[inliers], times_s) or agreed < EVEN_SHARE * len(points):
        return ClockFit(finding="unrelated", confidence=confidence)
    slope = float(values[len(starts) + 1])
    if abs(slope) > MAX_DRIFT_PPM * 1e-6:
        return ClockFit(finding="unrelated", confidence=confidence)
    fitted = fitted if fitted.any() else inliers
    error_ppm = 1e6 * float(residual[fitted].std() / fitted.sum() ** 0.5 / max(time[fitted].std(), 1e-9))
    if knows_drift := error_ppm < MAX_ERROR_PPM:
        values[: len(starts) + 1] -= slope * time.mean()  # the lag of each segment's line at time 0
    else:
        residual += slope * (time - time.mean())
        slope = 0.0
    first = values[: len(starts) + 1].tolist()
    finding: Finding = "measured"
    if starts:
        finding = "clock_jumps"
    elif two_people and not side.any() and abs(first[0] - stated_lag_s) < CALL_S:
        finding = "one_way"
    near = residual[inliers]
    smooth = [abs(float(np.median(near[max(0, at - 2) : at + 3]))) for at in range(agreed)]
    return ClockFit(
        finding=finding,
        confidence=confidence,
        offset_ms=None if finding == "one_way" else round(1000 * (stated_lag_s - first[0] / (1 + slope)), 2),
        drift_ppm=round(1e6 * slope, 2) if knows_drift else None,
        drift_error_ppm=round(error_ppm, 2),
        residual_ms=round(1000 * max(smooth), 1),
        span_ms=(1000 * max(0.0, -first[0]), 1000 * min(reference_s, sound_s - first[-1])),
        jumps=tuple(
            (round(500 * float(time[start - 1] + time[start])), round(1000 * (first[place + 1] - first[place]), 1))
            for place, start in enumerate(starts)
        ),
    )


def _refined(design: np.ndarray, lag: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The fit to the lags of one voice, the most frequent, and which these are.

    Two people differ by their distances to a camera: a fit to all lags would follow who speaks when.
    """
    fitted = np.zeros(len(lag), bool)
    for _ in range(3):
        residual = lag - design @ values
        order = np.sort(residual)
        counts = np.searchsorted(order, order + VOICE_S, side="right") - np.arange(len(order))
        first = order[np.argmax(counts)]
        close = (residual >= first) & (residual <= first + VOICE_S)
        if close.sum() < max(MIN_WINDOWS, len(lag) / 3) or not design[close].any(0).all():
            break
        values, fitted = np.linalg.lstsq(design[close], lag[close], rcond=None)[0], close
    return values, fitted


def _is_common(agreed_s: np.ndarray, windows_s: np.ndarray) -> bool:
    """Whether windows that agree are many, and along the whole recording."""
    if len(agreed_s) < max(MIN_WINDOWS, MIN_SHARE * len(windows_s)):
        return False
    apart, last_s = 0, -np.inf
    for time_s in agreed_s:
        if time_s - last_s > FRAME_S * (WINDOW_FRAMES + 1) / 2:
            apart, last_s = apart + 1, time_s
    spread_s = float(agreed_s[-1] - agreed_s[0])
    return apart >= MIN_APART and spread_s >= MIN_SPREAD * (windows_s[-1] - windows_s[0])


def _robust_slope(time: np.ndarray, lag: np.ndarray, side: np.ndarray) -> float:
    """The median slope between two windows of one side, weighted by their distance.

    They are a third of the recording apart or less, so that jumps are in few of these pairs.
    """
    slopes, weights = [np.zeros(1)], [np.full(1, 1e-9)]
    for apart in range(1, max(2, len(time) // 3)):
        alike = (side[apart:] == side[:-apart]) & (side[apart:] != 0)
        distance = np.maximum(time[apart:] - time[:-apart], 1e-3)[alike]
        slopes.append((lag[apart:] - lag[:-apart])[alike] / distance)
        weights.append(distance)
    slope, weight = np.concatenate(slopes), np.concatenate(weights)
    order = np.argsort(slope, kind="stable")
    return float(slope[order][np.searchsorted(weight[order].cumsum(), weight.sum() / 2)])


def _jumps(lag: np.ndarray) -> list[int]:
    """Indices at which the lags take another level for good."""
    found: list[int] = []
    queue = [(0, len(lag))]
    while queue:
        first, last = queue.pop()
        part = lag[first:last]
        best, gain = 0, 0.0
        whole = np.abs(part - np.median(part)).sum()
        for at in range(STEP_WINDOWS, len(part) - STEP_WINDOWS + 1):
            left, right = part[:at], part[at:]
            cost = np.abs(left - np.median(left)).sum() + np.abs(right - np.median(right)).sum()
            if whole - cost > gain:
                best, gain = at, whole - cost
        if not best:
            continue
        near = np.median(part[max(0, best - 5) : best]), np.median(part[best : best + 5])
        far = np.median(part[:best]), np.median(part[best:])
        steps = near[1] - near[0], far[1] - far[0]
        if min(map(abs, steps)) > STEP_MS / 1000 and steps[0] * steps[1] > 0:
            found.append(first + best)
            queue += [(first, first + best), (first + best, last)]
    return sorted(found)


def _louder_sides(level_db: np.ndarray) -> np.ndarray:
    """Who is louder in each window: 1 the sound's owner, -1 the reference's, 0 neither; all 1 if levels are equal."""
    low, high = np.percentile(level_db, [10, 90])  # the gains of the recorders are unknown
    if high - low < OWN_DB:
        return np.ones(len(level_db))
    return np.where(level_db > high - (high - low) / 3, 1.0, np.where(level_db < low + (high - low) / 3, -1.0, 0.0))


def _checked_sides(lag: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Who speaks in each window, by the lags; all 0 if only one person's voice is in both recordings."""
    apart = _side_lag(lag, side)
    if apart > -NEAR_MS / 1000:
        return np.zeros(len(lag))
    middle = (np.median(lag[side > 0]) + np.median(lag[side < 0])) / 2
    side = np.where(lag < middle, 1.0, -1.0)  # where both speak, levels do not show whose voice was found
    return side if min((side > 0).sum(), (side < 0).sum()) >= STEP_WINDOWS else np.zeros(len(lag))


def _side_lag(lag: np.ndarray, side: np.ndarray) -> float:
    """Half of the difference between the lags of both sides: minus the time from a mouth to the other microphone."""
    if not ((side > 0).any() and (side < 0).any()):
        return 0.0
    return float(np.median(lag[side > 0]) - np.median(lag[side < 0])) / 2
