"""Tracks of one session -> each track with the other voices taken out, and where its owner can be heard.

Each voice that reaches a track (bleed.py) is predicted from its own track and subtracted. What is left of a leak is
weaker than before, not gone: the owner is heard only in frames that are louder than such a rest.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from pipelines.signals.bleed import (
    AUDIBLE_DB,
    FRAME_MS,
    LOUD_DB,
    RATE_HZ,
    Doubt,
    Path,
    Stretch,
    background_db,
    band_powers,
    decibels,
    find_paths,
    refine_paths,
    smoothed,
)
from wanstreamer.clock import Span, merge_spans

Pairs = dict[tuple[str, str], list[Stretch]]  # of two participants, in the order of their names

SMOOTH = 5  # frames over which powers are compared,
HOLD = 6  # and frames around a syllable in which its peak counts
OWN_DB = 9.0  # the owner is this much louder than what is left of a leak
REST = 0.5  # share of a leak's power that is left, if it cannot be measured
MIN_FRAMES = 50  # to measure it
ECHO_FRAMES = 40  # a leak may go on for so long after the voice
AUDIBLE_LEAK_DB = -36.0  # relative to that voice in its own track: a weaker leak is not heard
USELESS = 0.8  # share of a leak's power that is left
NO_OWNER = 0.3  # of the sound of a stretch: if so much belongs to no one, the paths are wrong
BOTH_ACTIVE, BOTH_ACTIVE_FRAMES = 0.7, 200  # of the sound of a stretch: people do not speak together for so long
UNKNOWN = 0.5  # of a session: if so much is unknown, the rest is too


@dataclass(frozen=True, kw_only=True, eq=False)
class Leak:
    """Another participant's voice in a track; everything per 10 ms."""

    path_db: np.ndarray  # float32: level of the path; -inf: no path
    power: np.ndarray  # float32: mean square of the leak as predicted
    rest: float  # share of that power that is left after subtraction
    alone: np.ndarray  # bool: the leak is audible, and nothing louder than its rest is left


@dataclass(kw_only=True, eq=False)
class OwnVoice:
    """One track."""

    audio_T: np.ndarray  # float32 (num_samples,): the track without the other voices
    own: np.ndarray  # bool per 10 ms: the owner is heard
    power: float  # mean square of the owner's voice while it is heard
    leaks: dict[str, Leak]  # by the other participant
    unknown: list[Span] = field(default_factory=list)  # ms in which no one can tell whose voice it is


def separate(audio: Mapping[str, np.ndarray], ignored: Sequence[Span] = ()) -> tuple[dict[str, OwnVoice], Pairs]:
    """Every track of a session without the voices of the others.

    The paths are found twice: at first from the levels of the tracks, then from the frames in which, after that, one
    voice is alone.

    Args:
        audio: float32 (num_samples,) at 16 kHz by participant, of equal length.
        ignored: ms in which a track is known to hold several voices.

    Returns:
        What is known of each track, and the stretches of each pair of participants.
    """
    pairs: Pairs = {}
    alone: dict[tuple[str, str], np.ndarray] = {}  # (voice, track)
    for first, second in combinations(sorted(audio), 2):
        pairs[first, second], (there, back) = find_paths(audio[first], audio[second], ignored)
        alone[first, second], alone[second, first] = there, back
    voices = _without_others(audio, pairs, alone)
    if any(path for stretches in pairs.values() for each in stretches for path in each.paths):
        for first, second in pairs:
            there, back = (
                alone[voice, track] & ~voices[track].own | voices[voice].own & voices[track].leaks[voice].alone
                for voice, track in ((first, second), (second, first))
            )
            pairs[first, second] = refine_paths(audio[first], audio[second], pairs[first, second], (there, back))
            alone[first, second], alone[second, first] = there, back
        voices = _without_others(audio, pairs, alone)
    for pair, stretches in pairs.items():
        pairs[pair] = _doubted(stretches, pair, voices)
    mark_unknown(voices, pairs)
    return voices, pairs


def mark_unknown(voices: Mapping[str, OwnVoice], pairs: Pairs) -> None:
    """Set `unknown` of each track from the stretches that have a doubt; no owner is heard there."""
    for track, voice in voices.items():
        voice.unknown = merge_spans(
            each.span for pair, stretches in pairs.items() if track in pair for each in stretches if not each.known
        )
        for span in voice.unknown:
            voice.own[span.start_ms // FRAME_MS : span.end_ms // FRAME_MS] = False


def paths_into(pairs: Pairs, voice: str, track: str) -> list[tuple[Stretch, Path | None]]:
    """The stretches of two participants, with the path of `voice` to `track`."""
    place = 0 if (voice, track) in pairs else 1
    return [(each, each.paths[place]) for each in pairs[min(voice, track), max(voice, track)]]


def _without_others(
    audio: Mapping[str, np.ndarray], pairs: Pairs, alone: Mapping[tuple[str, str], np.ndarray]
) -> dict[str, OwnVoice]:
    voices: dict[str, OwnVoice] = {}
    for track, audio_T in audio.items():
        rest_T = audio_T
        arriving: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for other in audio:
            if other == track:
                continue
            paths = paths_into(pairs, other, track)
            level_db = np.full(len(alone[other, track]), -np.inf, np.float32)
            power = np.zeros(len(level_db))
            for stretch, path, start, heard_T in _arrivals(audio[other], paths):
                rest_T = rest_T.copy() if rest_T is audio_T else rest_T
                rest_T[start : start + len(heard_T)] -= heard_T
                here = slice(stretch.span.start_ms // FRAME_MS, stretch.span.end_ms // FRAME_MS)
                power[here] = band_powers(heard_T)[: here.stop - here.start]
                level_db[here] = path.level_db
            arriving[other] = smoothed(power, SMOOTH), level_db
        voices[track] = _owner(rest_T, arriving, {other: alone[other, track] for other in arriving})
    return voices


def _arrivals(
    voice_T: np.ndarray, paths: Sequence[tuple[Stretch, Path | None]]
) -> Iterator[tuple[Stretch, Path, int, np.ndarray]]:
    """(stretch, path, first sample, float32 samples): the voice as it arrives, for each stretch with a path."""
    for index, (stretch, path) in enumerate(paths):
        if path is None or not stretch.known:
            continue
        num_taps = len(path.response)
        start = stretch.span.start_ms * RATE_HZ // 1000
        end = len(voice_T) if index == len(paths) - 1 else stretch.span.end_ms * RATE_HZ // 1000
        # arriving[t] = sum over k of response[k] * voice[t + lead - k]
        first, last = start + path.lead - num_taps + 1, end + path.lead
        part = voice_T[max(first, 0) : min(last, len(voice_T))]
        part = np.pad(part, (max(-first, 0), max(last - len(voice_T), 0)))
        size = 1 << (len(part) + num_taps - 2).bit_length()
        whole = np.fft.irfft(np.fft.rfft(part, size) * np.fft.rfft(path.response, size), size)
        yield stretch, path, start, whole[num_taps - 1 : num_taps - 1 + end - start].astype(np.float32)


def _owner(
    rest_T: np.ndarray, arriving: Mapping[str, tuple[np.ndarray, np.ndarray]], alone: Mapping[str, np.ndarray]
) -> OwnVoice:
    """Where the owner is heard in a track without the others.

    Args:
        rest_T: The track after subtraction.
        arriving: Power and path level of each other voice, per 10 ms.
        alone: Frames in which each other voice is alone.
    """
    power = smoothed(band_powers(rest_T), SMOOTH)
    level_db = decibels(power)
    floor_db = background_db(level_db)
    floor = 10 ** (floor_db / 10)
    own = level_db > max(floor_db + AUDIBLE_DB, float(np.percentile(level_db, 95)) - LOUD_DB)
    highest = _peaks(power)
    leaks: dict[str, Leak] = {}
    for other, (leak, path_db) in arriving.items():
        audible = leak > floor
        heard = alone[other] & audible
        rest = REST
        if heard.sum() >= MIN_FRAMES:
            rest = min(1.0, float(np.median(np.maximum(power[heard] - floor, 0) / leak[heard])))
        only = audible & (highest < 10 ** (OWN_DB / 10) * rest * _peaks(leak))
        own &= ~only
        leaks[other] = Leak(path_db=path_db, power=leak.astype(np.float32), rest=rest, alone=only)
    return OwnVoice(audio_T=rest_T, own=own, power=float(power[own].mean()) if own.any() else 0.0, leaks=leaks)


def heard_in(leak: Leak, voice: OwnVoice) -> np.ndarray:
    """bool (num_frames,): `voice` is heard over this leak, while it speaks or as an echo."""
    loud = leak.power > 10 ** (AUDIBLE_LEAK_DB / 10) * voice.power
    return np.isfinite(leak.path_db) & (voice.own | loud & _near(voice.own, HOLD, ECHO_FRAMES))


def runs(frames: np.ndarray) -> list[Span]:
    """bool per 10 ms -> the intervals that are True, ms."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], frames.astype(np.int8), [0]))))
    return [Span(int(a) * FRAME_MS, int(b) * FRAME_MS) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _doubted(stretches: Sequence[Stretch], pair: tuple[str, str], voices: Mapping[str, OwnVoice]) -> list[Stretch]:
    """The stretches; those that contradict themselves get a doubt, and all of them if most have one."""
    first, second = (voices[who] for who in pair)
    neither = first.leaks[pair[1]].alone & second.leaks[pair[0]].alone
    # Paths that take nothing out, in both directions, are not the paths of two voices.
    useless = min(first.leaks[pair[1]].rest, second.leaks[pair[0]].rest) > USELESS
    decided: list[Stretch] = []
    for each in stretches:
        here = slice(each.span.start_ms // FRAME_MS, each.span.end_ms // FRAME_MS)
        no_owner, both = int(neither[here].sum()), int((first.own & second.own)[here].sum())
        sound = int((first.own | second.own | neither)[here].sum())
        doubt: Doubt = ""
        if no_owner > NO_OWNER * sound or (useless and None not in each.paths):
            doubt = "no_owner"
        elif both >= BOTH_ACTIVE_FRAMES and both > BOTH_ACTIVE * sound:
            doubt = "both_active"
        decided.append(replace(each, doubt=each.doubt or doubt))
    unknown_ms: Counter[Doubt] = Counter()
    for each in decided:
        unknown_ms[each.doubt] += each.span.duration_ms if each.doubt else 0
    if unknown_ms.total() > UNKNOWN * sum(each.span.duration_ms for each in decided):
        usual = unknown_ms.most_common(1)[0][0]
        decided = [replace(each, doubt=each.doubt or usual) for each in decided]
    # One sound that begins or ends within a stretch may be too short there to be seen: its neighbour shares the doubt.
    one_sound: list[Doubt] = [each.doubt if each.doubt in ("same_sound", "no_owner") else "" for each in decided]
    return [
        replace(each, doubt=each.doubt or next(filter(None, one_sound[max(index - 1, 0) : index + 2]), ""))
        for index, each in enumerate(decided)
    ]


def _peaks(powers: np.ndarray) -> np.ndarray:
    """The highest of the powers up to HOLD frames before and after."""
    return np.lib.stride_tricks.sliding_window_view(np.pad(powers, HOLD), 2 * HOLD + 1).max(axis=1)


def _near(frames: np.ndarray, before: int, after: int) -> np.ndarray:
    """Also True up to so many frames before and after a True."""
    edges = np.diff(np.concatenate(([0], frames.astype(np.int8), [0])))
    near = np.zeros(len(frames) + 1, np.int32)
    np.add.at(near, np.clip(np.flatnonzero(edges == 1) - before, 0, len(frames)), 1)
    np.add.at(near, np.clip(np.flatnonzero(edges == -1) + after, 0, len(frames)), -1)
    return np.cumsum(near[:-1]) > 0
