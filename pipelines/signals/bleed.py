"""Tracks of one session -> whose voice is in which track: the paths from one microphone to another, stretch by stretch.

A voice that reaches another microphone is the same waveform, later and weaker. The path is estimated as an impulse
response (cross spectrum divided by power spectrum, Welch) from the frames in which that voice prevails: those in which
its own track is loudest compared with the other. No fixed difference in level is needed, so tracks with different
gains, and voices that leak in both directions, are measured alike.

Two people who speak give two kinds of frames, and the ratio of the two tracks changes from one kind to the other. If
everything in both tracks comes over one path, forwards and backwards, either one person speaks and leaks, or the
tracks hold the same sound. The first is known from stretches in which the other person speaks too. A direction that is
measured badly may be as loud as chance allows. What is not known is an answer of its own: the stretch has a `doubt`,
which is not the same as a path of None.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from wanstreamer.clock import Span

RATE_HZ = 16_000
PIECE_S = 60  # tracks are read in pieces of this length
STRETCH_S = 10  # paths are found for so much at a time
FRAME_MS = 10  # of energies,
LATE_FRAMES = 4  # a leak is looked for up to so many frames before and after the voice
SMOOTH = 11  # each the mean of so many
SIZE = 8192  # window of the spectra, 0.5 s: longer than a room's early echoes
NEAR_S = 0.1  # a voice arrives within this |delay|, as both tracks have one clock
FAR_S = (0.12, 0.24)  # what arrives this much too early is due to chance,
EARLY_S = (0.1, 0.01)  # and what arrives between these times before the voice
ECHOES_DB = 7.0  # a path with all its echoes is at most so much stronger than its highest tap
ECHOES_S = (0.003, 0.15)  # of a response, used before and after its highest tap
TAP_NOISE = 2.5  # taps of a response count if they are so many times the RMS of those that are due to chance
MIN_PEAK = 3.0  # a path is this many times the highest tap that is due to chance
LIMIT_DB = 15.5  # a path that is so much above that tap would have been found
MIN_S = 0.5  # frames of a voice, needed for a path
APART_S, APART_ALIKE = (NEAR_S, 10.0), 0.85  # two curves of level that are alike so much apart: one sound
STEADY_SHARE = 0.02  # of the frames: with fewer active ones, all count
AUDIBLE_DB, LOUD_DB = 6.0, 35.0  # a frame is active: so much above the background, so little under the loud ones
PREVAIL_DB = 4.0  # a voice prevails: within this of the highest ratio of the two tracks,
CLEAR_DB = 15.0  # or above this ratio
ONE_SOUND_DB = -8.0  # levels forwards and backwards add up to more: one path, not two voices that leak,
MIRRORED_DB = -11.0  # or to more than this, and the delays add up to nothing
BACKWARDS_DB = -15.0  # a path backwards in time and louder than this is no leak
MIRRORED_MS, AT_ONCE_MS = 0.3, 0.5
SAME_PATH_DB, SAME_PATH_MS = 3.0, 2.0  # two paths are one if levels and delays differ by less
TOGETHER_DB, TOGETHER_SHARE = 6.0, 0.7  # one sound: the ratio stays within this, in this share of the active frames
AROUND = 3  # stretches
RELIABLE_DB = 10.0  # a level that is so much above what would just be found is reliable in a single stretch
STEADY_S = 2.0  # with less of a voice, the path of the whole session is more reliable
FAINT_DB = 25.0  # a copy that is so much weaker is a leak in any case
EMPHASIS = np.float32(0.95)  # y[t] = x[t] - EMPHASIS x[t - 1]: speech with a flatter spectrum, without hum
BAND_LAG = 4  # y[t] = mean(x[t - 3 : t + 1]) - EMPHASIS mean(x[t - 7 : t - 3]): 200 to 3000 Hz


Doubt = Literal["", "same_sound", "no_owner", "both_active"]  # why no one can tell whose voice it is; "": known


@dataclass(frozen=True, kw_only=True, eq=False)
class Path:
    """How one voice reaches another track."""

    level_db: float  # of the speech as it arrives, relative to the speech in its own track
    delay_ms: float
    response: np.ndarray  # float32 taps
    lead: int  # the first tap lies this many samples before delay 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Stretch:
    """What is known about two tracks in `span`."""

    span: Span
    paths: tuple[Path | None, Path | None]  # of the first's voice in the second's track, and back; None: not heard
    doubt: Doubt = ""

    @property
    def known(self) -> bool:
        return not self.doubt


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sums:
    """Welch spectra of the frames in which a voice prevails."""

    cross: np.ndarray
    power: np.ndarray  # of the voice in its own track
    heard: np.ndarray  # of the other track
    seconds: float

    def __add__(self, more: "_Sums") -> "_Sums":
        return _Sums(
            cross=self.cross + more.cross, power=self.power + more.power, heard=self.heard + more.heard,
            seconds=self.seconds + more.seconds,
        )  # fmt: skip


def emphasised(audio_T: np.ndarray) -> np.ndarray:
    """float32 (num_samples,) -> the same with a flatter spectrum."""
    flat = audio_T.astype(np.float32)
    flat[1:] -= EMPHASIS * audio_T[:-1]
    return flat


def band_powers(audio_T: np.ndarray) -> np.ndarray:
    """Mean square of each 10 ms, float64 (num_samples // 160,), from 200 to 3000 Hz."""
    frame = RATE_HZ * FRAME_MS // 1000
    piece = PIECE_S * RATE_HZ
    powers = []
    for start in range(0, len(audio_T) // frame * frame, piece):
        samples = audio_T[max(start - 2 * BAND_LAG, 0) : start + piece]
        sums = np.cumsum(np.pad(samples, (2 * BAND_LAG + 1 - min(start, 2 * BAND_LAG), 0)), dtype=np.float64)
        mean = ((sums[BAND_LAG:] - sums[:-BAND_LAG]) / BAND_LAG).astype(np.float32)
        band = mean[BAND_LAG:] - EMPHASIS * mean[:-BAND_LAG]
        band = band[-min(piece, len(audio_T) - start) :]
        frames = band[: len(band) // frame * frame].reshape(-1, frame)
        powers.append(np.einsum("ft,ft->f", frames, frames).astype(np.float64) / frame)
    return np.concatenate(powers) if powers else np.zeros(0)


def smoothed(powers: np.ndarray, num_frames: int = SMOOTH) -> np.ndarray:
    """The mean over `num_frames` (odd) around each frame."""
    sums = np.concatenate(([0.0], np.cumsum(powers)))
    at = np.arange(len(powers))
    low, high = np.maximum(at - num_frames // 2, 0), np.minimum(at + num_frames // 2 + 1, len(powers))
    return (sums[high] - sums[low]) / np.maximum(high - low, 1)


def decibels(powers: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.maximum(powers, 1e-12))


def background_db(level_db: np.ndarray) -> float:
    """The level of a track in which no one speaks."""
    return float(np.percentile(level_db, 10))


def active(level_db: np.ndarray) -> np.ndarray:
    """bool (num_frames,): frames with a voice, own or not."""
    return level_db > max(background_db(level_db) + AUDIBLE_DB, float(np.percentile(level_db, 95)) - LOUD_DB)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Estimate:
    """Both directions, measured in one stretch or in all."""

    paths: tuple[Path | None, Path | None]
    limits_db: tuple[float, float]  # a path above this level would have been found
    seconds: tuple[float, float]  # frames in which each voice prevails
    together_db: float | None  # the level of the first track less the second's, if they rise and fall together

    @property
    def one_path(self) -> bool:
        """Everything in both tracks comes over one path."""
        there, back = self.paths
        if self.together_db is not None:
            return True
        # No voice arrives in another track before its own: such a path is another one, backwards.
        late_ms = sum(path.delay_ms for path in (there, back) if path)
        strong = any(path is not None and path.level_db > BACKWARDS_DB for path in (there, back))
        if there is None or back is None:
            return strong and late_ms < -AT_ONCE_MS
        if abs(there.level_db - back.level_db) > 2 * FAINT_DB:
            return False
        mirrored = abs(late_ms) < MIRRORED_MS
        if (mirrored and abs(there.delay_ms) > AT_ONCE_MS) or (strong and late_ms < -AT_ONCE_MS):
            return True
        return there.level_db + back.level_db > (MIRRORED_DB if mirrored else ONE_SOUND_DB)

    @property
    def open(self) -> bool:
        """Everything could come over one path: levels may be higher by what is found by chance, or up to the limits."""
        found_db = [path.level_db for path in self.paths if path]
        if self.one_path or not found_db or min(found_db) < -FAINT_DB:
            return self.one_path
        highest_db = [
            20 * float(np.log10(10 ** (path.level_db / 20) + 10 ** ((limit_db - LIMIT_DB) / 20))) if path else limit_db
            for path, limit_db in zip(self.paths, self.limits_db, strict=True)
        ]
        return sum(highest_db) > ONE_SOUND_DB

    @property
    def reliable(self) -> bool:
        """Each path that is found is far above chance."""
        return all(
            path is None or limit_db <= path.level_db - RELIABLE_DB
            for path, limit_db in zip(self.paths, self.limits_db, strict=True)
        )

    def like(self, other: "_Estimate") -> bool:
        """Both directions are those of `other`."""
        pairs = zip(self.paths, other.paths, strict=True)
        return all(own and usual and _same(own.level_db, own, usual) for own, usual in pairs)


def find_paths(
    first_T: np.ndarray, second_T: np.ndarray, ignored: Sequence[Span] = ()
) -> tuple[list[Stretch], tuple[np.ndarray, np.ndarray]]:
    """The paths between two tracks.

    Args:
        first_T, second_T: float32 (num_samples,) at 16 kHz, of equal length.
        ignored: ms that are known to hold several voices.

    Returns:
        Stretches in order, which cover the tracks; and bool (num_frames,) for each track: its voice prevails.
    """
    tracks = first_T, second_T
    powers = [smoothed(band_powers(track_T)) for track_T in tracks]
    num_frames = len(powers[0])
    if not num_frames:
        return [], (np.zeros(0, bool), np.zeros(0, bool))
    levels = [decibels(power) for power in powers]
    speak = [active(level_db) for level_db in levels]
    steady = [frames.mean() < STEADY_SHARE for frames in speak]  # no speech, or a sound without pauses
    speak = [np.ones_like(frames) if always else frames for frames, always in zip(speak, steady, strict=True)]
    for span in ignored:
        for frames in speak:
            frames[span.start_ms // FRAME_MS : -(-span.end_ms // FRAME_MS)] = False
    ratio_db = levels[0] - levels[1]
    loud = [float(np.percentile(db[own], 90)) if own.any() else 0.0 for db, own in zip(levels, speak, strict=True)]
    edges = stretch_edges(num_frames)
    whole = _prevailing(ratio_db, speak, loud[0] - loud[1])
    local = (np.zeros(num_frames, bool), np.zeros(num_frames, bool))
    estimates: list[_Estimate] = []
    total: list[_Sums] = []
    for start, end in edges:
        here = slice(start, end)
        spoken = [frames[here] for frames in speak]
        own = _prevailing(ratio_db[here], spoken, loud[0] - loud[1])
        for frames, some in zip(local, own, strict=True):
            frames[here] = some
        sums = _spectra(*tracks, own[0], start), _spectra(*tracks[::-1], own[1], start)
        estimates.append(_estimate(*sums, None if any(steady) else _together_db(ratio_db[here], spoken)))
        everywhere = _spectra(*tracks, whole[0][here], start), _spectra(*tracks[::-1], whole[1][here], start)
        total = [old + new for old, new in zip(total, everywhere, strict=True)] if total else list(everywhere)
    apart = not any(steady) and _same_apart(*levels)
    session = _estimate(total[0], total[1], None if any(steady) else _together_db(ratio_db, speak))
    stretches = []
    for (start, end), estimate in zip(edges, estimates, strict=True):
        known, paths, whose = _decide(estimate, session, estimates)
        span = Span(start * FRAME_MS, end * FRAME_MS)
        stretches.append(Stretch(span=span, paths=paths, doubt="same_sound" if apart or not known else ""))
        for place in (0, 1):
            local[place][start:end] &= place in whose
    return stretches, local


def refine_paths(
    first_T: np.ndarray, second_T: np.ndarray, stretches: Sequence[Stretch], alone: tuple[np.ndarray, np.ndarray]
) -> list[Stretch]:
    """The same stretches, with paths measured again where one voice is known to be alone.

    A path that does not change is measured over AROUND stretches before and after, too. `alone`: bool (num_frames,) of
    each voice.
    """
    columns: list[list[Path | None]] = []
    for place, (voice_T, heard_T) in enumerate(((first_T, second_T), (second_T, first_T))):
        usual = [each.paths[place] for each in stretches]
        sums = [
            _spectra(
                voice_T, heard_T, alone[place][span.start_ms // FRAME_MS : span.end_ms // FRAME_MS],
                span.start_ms // FRAME_MS,
            )
            if path is not None and known else None
            for span, path, known in ((each.span, each.paths[place], each.known) for each in stretches)
        ]  # fmt: skip
        columns.append([_steadied(index, usual, sums) for index in range(len(stretches))])
    return [replace(each, paths=paths) for each, paths in zip(stretches, zip(*columns, strict=True), strict=True)]


def _steadied(index: int, usual: Sequence[Path | None], sums: Sequence[_Sums | None]) -> Path | None:
    path = usual[index]
    if path is None or sums[index] is None:
        return path
    near = range(max(0, index - AROUND), min(len(usual), index + AROUND + 1))
    alike = [sums[i] for i in near if (other := usual[i]) is not None and _same(path.level_db, path, other)]
    total = None
    for some in alike:
        if some is not None:
            total = some if total is None else total + some
    measured = _path(total)[0] if total is not None and total.seconds >= STEADY_S else None
    return path if measured is None or not _same(path.level_db, path, measured) else measured


def stretch_edges(num_frames: int) -> list[tuple[int, int]]:
    """(first, last + 1) frame of each stretch; a short rest belongs to the one before."""
    step = STRETCH_S * 1000 // FRAME_MS
    starts = list(range(0, max(num_frames - step // 2, 1), step))
    return list(zip(starts, [*starts[1:], num_frames], strict=True))


def _prevailing(ratio_db: np.ndarray, speak: Sequence[np.ndarray], gain_db: float) -> tuple[np.ndarray, np.ndarray]:
    """Frames in which the first's voice prevails, and the second's. `gain_db`: by which the first track is louder."""
    first, second = speak
    highest = float(np.percentile(ratio_db[first], 95)) if first.any() else 0.0
    lowest = float(np.percentile(ratio_db[second], 5)) if second.any() else 0.0
    quarter_db = max(highest - lowest, 0.0) / 4
    return (
        first & (ratio_db >= min(highest - max(PREVAIL_DB, quarter_db), gain_db + CLEAR_DB)),
        second & (ratio_db <= max(lowest + max(PREVAIL_DB, quarter_db), gain_db - CLEAR_DB)),
    )


def _spectra(voice_T: np.ndarray, heard_T: np.ndarray, prevails: np.ndarray, first_frame: int) -> _Sums:
    """Cross spectrum and power of the frames from `first_frame` on in which the voice prevails."""
    frame = RATE_HZ * FRAME_MS // 1000
    start, stop = first_frame * frame, (first_frame + len(prevails)) * frame
    window = np.hanning(SIZE).astype(np.float32)
    cross, power, noise = np.zeros(SIZE // 2 + 1, complex), np.zeros(SIZE // 2 + 1), np.zeros(SIZE // 2 + 1)
    # A leak arrives later than the voice: cut at the same times it would seem too weak.
    length = 2 * LATE_FRAMES + 1
    near = np.minimum(smoothed(prevails.astype(float), length) * length, 1.0)
    voice, heard = emphasised(voice_T[start:stop]), emphasised(heard_T[start:stop])
    narrow, wide = (
        np.repeat(smoothed(frames, 3).astype(np.float32), frame)[: len(voice)] for frames in (prevails * 1.0, near)
    )
    voice, around, heard = voice * narrow, voice * wide, heard * wide
    if stop - start < SIZE:
        voice, around, heard = (np.pad(part, (0, SIZE - len(part))) for part in (voice, around, heard))
    for at in range(0, len(voice) - SIZE + 1, SIZE // 2):
        part = voice[at : at + SIZE]
        if part.any():
            there, here = np.fft.rfft(window * part), np.fft.rfft(window * heard[at : at + SIZE])
            cross += np.conj(there) * here
            power += np.maximum((np.conj(there) * np.fft.rfft(window * around[at : at + SIZE])).real, 0.0)
            noise += np.abs(here) ** 2
    return _Sums(cross=cross, power=power, heard=noise, seconds=float(prevails.sum()) * FRAME_MS / 1000)


def _together_db(ratio_db: np.ndarray, speak: Sequence[np.ndarray]) -> float | None:
    """The usual ratio of two tracks that sound at the same times with the same changes of level; None for others."""
    both = speak[0] & speak[1]
    if both.sum() * FRAME_MS < MIN_S * 1000 or both.sum() < TOGETHER_SHARE * (speak[0] | speak[1]).sum():
        return None
    low, middle, high = np.percentile(ratio_db[both], [10, 50, 90])
    return float(middle) if high - low < TOGETHER_DB else None


def _same_apart(first_db: np.ndarray, second_db: np.ndarray) -> bool:
    """Whether two tracks rise and fall alike, one later than the other by more than any path: recorders not aligned."""
    if len(first_db) * FRAME_MS < APART_S[1] * 1000:
        return False
    curves = []
    for level_db in (first_db, second_db):
        curve = np.clip(level_db - background_db(level_db), AUDIBLE_DB, LOUD_DB)
        curve -= curve.mean()
        curves.append(curve / (np.sqrt(np.sum(curve**2)) + 1e-9))
    size = 1 << (2 * len(first_db) - 1).bit_length()
    alike = np.fft.irfft(np.fft.rfft(curves[0], size) * np.conj(np.fft.rfft(curves[1], size)), size)
    near, far = (round(seconds * 1000 / FRAME_MS) for seconds in APART_S)
    apart = float(max(alike[near:far].max(), alike[-far:-near].max()))
    return apart > max(APART_ALIKE, float(alike[:near].max()), float(alike[-near:].max()))


def _estimate(there: _Sums, back: _Sums, together_db: float | None) -> _Estimate:
    (first, first_limit), (second, second_limit) = _path(there), _path(back)
    return _Estimate(
        paths=(first, second), limits_db=(first_limit, second_limit), seconds=(there.seconds, back.seconds),
        together_db=together_db,
    )  # fmt: skip


def _path(sums: _Sums) -> tuple[Path | None, float]:
    """The path, or None if nothing is above chance; and the level from which on it would have been found."""
    if sums.seconds < MIN_S or not sums.power.any():
        return None, np.inf
    delay_s = np.arange(-SIZE // 2, SIZE // 2) / RATE_HZ
    # Is there a path? Each frequency counts by how much it stands out of what else is in the other track.
    similar = np.roll(np.fft.irfft(sums.cross / (sums.heard + 1e-4 * sums.heard.max() + 1e-20)), SIZE // 2)
    near = np.flatnonzero(np.abs(delay_s) < NEAR_S)
    peak = int(near[np.argmax(np.abs(similar[near]))])
    since_s = delay_s - delay_s[peak]
    by_chance = (delay_s >= -FAR_S[1]) & (delay_s < -FAR_S[0]) | (since_s >= -EARLY_S[0]) & (since_s < -EARLY_S[1])
    prominence = abs(similar[peak]) / float(np.abs(similar[by_chance]).max() + 1e-20)
    # What is it? At frequencies where the voice has almost no power the quotient is noise: give them little weight.
    weight = sums.power**2 / (sums.power**2 + (1e-3 * sums.power.max()) ** 2)
    response = np.fft.irfft(sums.cross / np.maximum(sums.power, 1e-12 * sums.power.max()) * weight)
    response = np.roll(response, SIZE // 2)
    noise = float(np.sqrt(np.mean(response[by_chance] ** 2)))
    highest = float(np.abs(response[by_chance]).max())
    limit_db = 20 * np.log10(highest + 1e-9) + LIMIT_DB
    if prominence < MIN_PEAK:
        return None, float(limit_db)
    taps = np.flatnonzero((since_s >= -ECHOES_S[0]) & (since_s < ECHOES_S[1]))
    kept = response[taps]
    kept = np.where(np.abs(kept) > TAP_NOISE * noise, kept, 0.0)  # taps that may be chance would add noise
    spectrum = np.abs(np.fft.rfft(kept, SIZE)) ** 2
    level_db = 10 * np.log10(np.sum(spectrum * sums.power) / np.sum(sums.power) + 1e-12)
    # Where the other track is noisy, low frequencies add much by chance, but not to the highest tap.
    level_db = min(float(level_db), 20 * float(np.log10(abs(response[peak]) + 1e-9)) + ECHOES_DB)
    path = Path(
        level_db=float(level_db), delay_ms=float(delay_s[peak] * 1000), response=kept.astype(np.float32),
        lead=int(SIZE // 2 - taps[0]),
    )  # fmt: skip
    return path, float(limit_db)


def _decide(
    estimate: _Estimate, session: _Estimate, estimates: Sequence[_Estimate]
) -> tuple[bool, tuple[Path | None, Path | None], tuple[int, ...]]:
    """(known, paths, whose voices) of a stretch, from its own estimate and those of the other stretches."""
    usual: tuple[Path | None, Path | None] = (None, None) if session.open else session.paths
    there, back = (
        _steady(*each) for each in zip(estimate.paths, usual, estimate.limits_db, estimate.seconds, strict=True)
    )
    if _two_voices(estimate, session):
        return True, (there, back), (0, 1)
    if session.open and not estimate.one_path:
        return False, estimate.paths, ()
    # One voice, if it is known from elsewhere, where both are heard, that its path is this one.
    others = [each.paths for each in estimates if _two_voices(each, session)]
    others += [] if session.open else [session.paths]
    for place, path in enumerate(estimate.paths):
        level_db = path.level_db if path else None
        if level_db is None and estimate.together_db is not None:
            level_db = estimate.together_db * (-1, 1)[place]
        if level_db is None:
            continue
        same = any((other := paths[place]) is not None and _same(level_db, path, other) for paths in others)
        if same or level_db < -FAINT_DB:
            return True, (path or there, usual[1]) if place == 0 else (usual[0], path or back), (place,)
    return False, estimate.paths, ()


def _two_voices(estimate: _Estimate, session: _Estimate) -> bool:
    """Whether these are surely two voices; in a session that could be one sound, a stretch must differ from it, too."""
    if estimate.one_path or not session.open:
        return not estimate.one_path
    return estimate.reliable and not estimate.open and not estimate.like(session)


def _steady(path: Path | None, usual: Path | None, limit_db: float, seconds: float) -> Path | None:
    """The path of a stretch: its own, or that of the session if the stretch shows too little of the voice."""
    if path is None:
        return None if usual is None or limit_db < usual.level_db - SAME_PATH_DB else usual
    unreliable = seconds < STEADY_S or limit_db > path.level_db - RELIABLE_DB
    alike = usual is not None and abs(path.delay_ms - usual.delay_ms) < SAME_PATH_MS
    return usual if unreliable and alike else path


def _same(level_db: float, path: Path | None, other: Path) -> bool:
    if path is None:
        return abs(level_db - other.level_db) < SAME_PATH_DB
    within_db = SAME_PATH_DB if abs(path.delay_ms) < AT_ONCE_MS else 2 * SAME_PATH_DB  # a delay is evidence, too
    return abs(level_db - other.level_db) < within_db and abs(path.delay_ms - other.delay_ms) < SAME_PATH_MS
