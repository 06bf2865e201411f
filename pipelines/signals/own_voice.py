"""Tracks of one session -> each track with the other voices taken out, and where its owner can be heard.

Each voice that reaches a track (bleed.py) is predicted from its own track and subtracted. What is left of a leak is
weaker than before, not gone: the owner is heard only in frames that are louder than such a rest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from pipelines.signals.bleed import (
    AUDIBLE_DB,
    FRAME_MS,
    LOUD_DB,
    RATE_HZ,
    Path,
    Stretch,
    background_db,
    decibels,
    find_paths,
    refine_paths,
    frame_powers,
    smoothed,
    speech_band,
)
from wanstreamer.clock import Span, merge_spans

AROUND = 5  # frames over which powers are compared,
HOLD = 6  # and frames around a syllable in which its peak counts
OWN_DB = 9.0  # the owner is this much louder than what is left of a leak
REST = 0.5  # share of a leak's power that is left, if it cannot be measured
MIN_FRAMES = 50  # to measure it
NO_OWNER = 0.3  # of the sound of a stretch: if so much belongs to no one, the paths are wrong
TWO_OWNERS = 0.7  # of the sound of a stretch: people do not speak at the same time for so long
UNKNOWN = 0.5  # of a session: if so much is unknown, the rest is too
ECHO_FRAMES = 40  # a leak may go on for so long after the voice


@dataclass(frozen=True, kw_only=True, eq=False)
class Leak:
    """Another participant's voice in a track; everything per 10 ms."""

    path_db: np.ndarray  # float32: level of the path; -inf: no path
    power: np.ndarray  # float32: mean square of the leak as predicted, 0 where that voice is silent
    masks: np.ndarray  # bool: nothing that is louder than the leak's rest is left


@dataclass(kw_only=True, eq=False)
class OwnVoice:
    """One track."""

    audio_T: np.ndarray  # float32 (num_samples,): the track without the other voices
    own: np.ndarray  # bool per 10 ms: the owner is heard
    power: float = 0.0  # mean square of the owner's voice while it is heard
    leaks: dict[str, Leak] = field(default_factory=dict)  # by the other participant
    unknown: list[Span] = field(default_factory=list)  # ms in which no one can tell whose voice it is


def separate(audio: Mapping[str, np.ndarray], ignored: Sequence[Span] = ()) -> tuple[dict[str, OwnVoice], dict]:
    """Every track of a session without the voices of the others.

    Args:
        audio: float32 (num_samples,) at 16 kHz by participant, of equal length.
        ignored: ms in which a track is known to hold several voices.

    Returns:
        What is known of each track, and the stretches of each pair of participants.
    """
    pairs: dict[tuple[str, str], list[Stretch]] = {}
    alone: dict[tuple[str, str], np.ndarray] = {}  # (voice, track)
    for first, second in combinations(sorted(audio), 2):
        stretches, (there, back) = find_paths(audio[first], audio[second], ignored)
        pairs[first, second] = stretches
        alone[first, second], alone[second, first] = there, back
    voices = _without_others(audio, pairs, alone)
    if any(path for stretches in pairs.values() for each in stretches for path in each.paths):
        for first, second in pairs:
            there, back = (
                alone[voice, track] & ~voices[track].own | voices[voice].own & voices[track].leaks[voice].masks
                for voice, track in ((first, second), (second, first))
            )
            pairs[first, second] = refine_paths(audio[first], audio[second], pairs[first, second], (there, back))
            alone[first, second], alone[second, first] = there, back
        voices = _without_others(audio, pairs, alone)
    for pair, stretches in pairs.items():
        pairs[pair] = _doubted(stretches, voices[pair[0]], voices[pair[1]])
    for track, voice in voices.items():
        voice.unknown = merge_spans(
            each.span for pair, stretches in pairs.items() if track in pair for each in stretches if not each.known
        )
        for span in voice.unknown:
            voice.own[span.start_ms // FRAME_MS : span.end_ms // FRAME_MS] = False
    return voices, pairs


def _without_others(
    audio: Mapping[str, np.ndarray], pairs: Mapping[tuple[str, str], Sequence[Stretch]],
    alone: Mapping[tuple[str, str], np.ndarray],
) -> dict[str, OwnVoice]:  # fmt: skip
    voices: dict[str, OwnVoice] = {}
    for track, audio_T in audio.items():
        rest_T = audio_T.copy()
        arriving: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for other in audio:
            if other != track:
                paths = _paths(pairs, other, track)
                heard_T = predicted(audio[other], paths)
                rest_T -= heard_T
                arriving[other] = smoothed(frame_powers(speech_band(heard_T)), AROUND), _levels(paths, len(audio_T))
        voices[track] = OwnVoice(audio_T=rest_T, own=np.zeros(0, bool))
        _find_owner(voices[track], arriving, {other: alone[other, track] for other in arriving})
    for voice in voices.values():
        for other, leak in voice.leaks.items():
            voice.leaks[other] = Leak(
                path_db=leak.path_db, masks=leak.masks,
                power=np.where(_after(voices[other].own, ECHO_FRAMES), leak.power, 0).astype(np.float32),
            )  # fmt: skip
    return voices


def _doubted(stretches: Sequence[Stretch], first: OwnVoice, second: OwnVoice) -> list[Stretch]:
    """The stretches, less those that contradict themselves: no owner for much of the sound, or two for most of it."""
    decided = []
    for each in stretches:
        here = slice(each.span.start_ms // FRAME_MS, each.span.end_ms // FRAME_MS)
        own, other = first.own[here], second.own[here]
        no_ones = sum(leak.masks[here] for leak in (*first.leaks.values(), *second.leaks.values())) >= 2
        sound, both = int((own | other | no_ones).sum()), int((own & other).sum())
        doubtful = no_ones.sum() > NO_OWNER * sound or (both >= MIN_FRAMES * 4 and both > TWO_OWNERS * sound)
        decided.append(replace(each, known=each.known and not doubtful))
    unknown_ms = sum(each.span.duration_ms for each in decided if not each.known)
    if unknown_ms > UNKNOWN * sum(each.span.duration_ms for each in decided):
        return [replace(each, known=False) for each in decided]
    return decided


def _paths(pairs: Mapping[tuple[str, str], Sequence[Stretch]], voice: str, track: str) -> list[tuple[Span, Path | None]]:
    if (voice, track) in pairs:
        return [(each.span, each.paths[0] if each.known else None) for each in pairs[voice, track]]
    return [(each.span, each.paths[1] if each.known else None) for each in pairs[track, voice]]


def predicted(voice_T: np.ndarray, paths: Sequence[tuple[Span, Path | None]]) -> np.ndarray:
    """float32 (num_samples,): the voice as it arrives over the path of each stretch; silence without a path."""
    heard_T = np.zeros_like(voice_T)
    for index, (span, path) in enumerate(paths):
        if path is None:
            continue
        start = span.start_ms * RATE_HZ // 1000
        end = len(voice_T) if index == len(paths) - 1 else span.end_ms * RATE_HZ // 1000
        # heard[t] = sum over k of response[k] * voice[t + lead - k]
        first, last = start + path.lead - len(path.response) + 1, end + path.lead
        part = voice_T[max(first, 0) : min(last, len(voice_T))]
        part = np.pad(part, (max(-first, 0), max(last - len(voice_T), 0)))
        size = 1 << (len(part) + len(path.response) - 2).bit_length()
        whole = np.fft.irfft(np.fft.rfft(part, size) * np.fft.rfft(path.response, size), size)
        heard_T[start:end] = whole[len(path.response) - 1 : len(path.response) - 1 + end - start]
    return heard_T


def _levels(paths: Sequence[tuple[Span, Path | None]], num_samples: int) -> np.ndarray:
    level_db = np.full(num_samples * 1000 // RATE_HZ // FRAME_MS, -np.inf, np.float32)
    for span, path in paths:
        if path is not None:
            level_db[span.start_ms // FRAME_MS : span.end_ms // FRAME_MS] = path.level_db
    return level_db


def _find_owner(
    voice: OwnVoice, raw: Mapping[str, tuple[np.ndarray, np.ndarray]], prevails: Mapping[str, np.ndarray]
) -> None:
    power = smoothed(frame_powers(speech_band(voice.audio_T)), AROUND)
    level_db = decibels(power)
    floor_db = background_db(level_db)
    floor = 10 ** (floor_db / 10)
    own = level_db > max(floor_db + AUDIBLE_DB, float(np.percentile(level_db, 95)) - LOUD_DB)
    loudest = _peaks(power)
    for other, (leak, path_db) in raw.items():
        heard = prevails[other] & (leak > floor)
        rest = REST
        if heard.sum() >= MIN_FRAMES:
            rest = min(1.0, float(np.median(np.maximum(power[heard] - floor, 0) / leak[heard])))
        voice.rests = {**getattr(voice, 'rests', {}), other: round(rest, 3)}
        masks = (leak > floor) & (loudest < 10 ** (OWN_DB / 10) * rest * _peaks(leak))
        own &= ~masks
        voice.leaks[other] = Leak(path_db=path_db, power=leak, masks=masks)
    voice.own = own
    voice.power = float(power[own].mean()) if own.any() else 0.0


def _peaks(powers: np.ndarray) -> np.ndarray:
    """The highest of the powers up to HOLD frames before and after."""
    windows = np.lib.stride_tricks.sliding_window_view
    return windows(np.pad(powers, HOLD), 2 * HOLD + 1).max(axis=1)


def _after(frames: np.ndarray, num_frames: int) -> np.ndarray:
    """Also True up to `num_frames` after a True, and `HOLD` before."""
    edges = np.diff(np.concatenate(([0], frames.astype(np.int8), [0])))
    starts, ends = np.flatnonzero(edges == 1) - HOLD, np.flatnonzero(edges == -1) + num_frames
    near = np.zeros(len(frames) + 1, np.int32)
    np.add.at(near, np.clip(starts, 0, len(frames)), 1)
    np.add.at(near, np.clip(ends, 0, len(frames)), -1)
    return np.cumsum(near[:-1]) > 0
