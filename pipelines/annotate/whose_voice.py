"""The tracks of a session -> each participant's own speech, and what the tables say about whose voice it is.

A leak is no speech of the track's owner. Where no one can tell whose voice it is, no one's speech is annotated, and the
unit counts as mixed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.annotate.params import AnnotateParams
from pipelines.engine.tables import TableRow
from pipelines.signals.bleed import FRAME_MS, Stretch
from pipelines.signals.separation import OwnVoice, Pairs, heard_in, mark_unknown, paths_into, runs, separate
from pipelines.signals.voice_activity import Activity, remove_bleed, speech_spans, subtract
from wanstreamer.clock import UNIT_MS, Span, intersect_spans, merge_spans
from wanstreamer.turns import Sound, nonspeech

BOTH_SPEAK, BOTH_SPEAK_MS = 0.5, 10_000  # of the time in which someone speaks; people overlap for a tenth of it
MIN_LEAK_MS = 60  # shorter leaks are no event


@dataclass(frozen=True, kw_only=True, eq=False)
class Heard:
    """Whose voice is where in a session, by participant with an attributed track."""

    voices: dict[str, OwnVoice]
    pairs: Pairs
    activity: dict[str, Activity]
    speech: dict[str, list[Span]]  # own speech, ms


def hear(
    audio: Mapping[str, np.ndarray],
    detect: Callable[[np.ndarray], Activity],
    params: AnnotateParams,
    mixed: Sequence[Span],
) -> Heard:
    """Each participant's speech, without the voices of others.

    Args:
        audio: float32 (num_samples,) at 16 kHz by participant, of equal length.
        detect: The speech detector.
        params: `vad_*`, `edge_*`, `crosstalk_*`.
        mixed: Where a track is known to hold several voices, ms.
    """
    voices, pairs = separate(audio, mixed)
    activity = {who: detect(voice.audio_T) for who, voice in voices.items()}
    speech: dict[str, list[Span]] = {}
    for who, voice in voices.items():
        detected = speech_spans(activity[who], voice.audio_T, params)
        leaks = {other: runs(leak.alone) for other, leak in voice.leaks.items()}
        speech[who] = remove_bleed(detected, leaks, voice.audio_T, params)
    for (first, second), stretches in pairs.items():
        left_out = merge_spans([*mixed, *voices[first].unknown, *voices[second].unknown])
        if _overlap(subtract(speech[first], left_out, 1), subtract(speech[second], left_out, 1)) > BOTH_SPEAK:
            pairs[first, second] = [replace(each, doubt=each.doubt or "both_active") for each in stretches]
    mark_unknown(voices, pairs)
    speech = {who: subtract(spans, voices[who].unknown, params.vad_min_speech_ms) for who, spans in speech.items()}
    return Heard(voices=voices, pairs=pairs, activity=activity, speech=speech)


def _overlap(first: Sequence[Span], second: Sequence[Span]) -> float:
    """The share of the speech in which both speak; 0 for a little speech."""
    both = sum(span.duration_ms for span in intersect_spans(first, second))
    all_ms = sum(span.duration_ms for span in merge_spans([*first, *second]))
    return both / all_ms if all_ms >= BOTH_SPEAK_MS else 0.0


def doubts(heard: Heard, who: str) -> list[tuple[str, str]]:
    """(reason, detail) for what no one can tell of a track, by the other participant."""
    found: list[tuple[str, str]] = []
    for pair, stretches in sorted(heard.pairs.items()):
        if who not in pair:
            continue
        (other,) = set(pair) - {who}
        total_s = sum(each.span.duration_ms for each in stretches) / 1000
        for reason in sorted({each.doubt for each in stretches if each.doubt}):
            unknown = [each for each in stretches if each.doubt == reason]
            seconds = sum(each.span.duration_ms for each in unknown) / 1000
            found.append((reason, f"{seconds:g} of {total_s:g} s, {_figures(heard, unknown, who, other)}"))
    return found


def _figures(heard: Heard, unknown: Sequence[Stretch], who: str, other: str) -> str:
    place = 0 if other < who else 1  # of the other's voice in this track
    paths = [path for each in unknown if (path := each.paths[place])]
    if paths:
        level_db, delay_ms = (float(np.median([getattr(p, name) for p in paths])) for name in ("level_db", "delay_ms"))
        return f"the sound of {other} is in it at {level_db:.1f} dB, {delay_ms:.1f} ms later"
    return f"as {other} seems to speak at the same times"


def bleed_rows(session_id: str, heard: Heard) -> list[TableRow]:
    rows: list[TableRow] = []
    for track in sorted(heard.voices):
        for voice in sorted(heard.voices):
            if voice == track:
                continue
            for stretch, path in paths_into(heard.pairs, voice, track):
                shown = path if stretch.known else None
                rows.append(
                    {
                        "session_id": session_id,
                        "participant": track,
                        "other": voice,
                        "start_ms": stretch.span.start_ms,
                        "end_ms": stretch.span.end_ms,
                        "verdict": stretch.doubt or ("heard" if path else "none"),
                        "level_db": round(shown.level_db, 1) if shown else None,
                        "delay_ms": round(shown.delay_ms, 1) if shown else None,
                    }
                )
    return rows


def bleed_sounds(heard: Heard) -> dict[str, list[Sound]]:
    """Where another voice alone is heard in a track, as sounds that are not speech."""
    sounds: dict[str, list[Sound]] = {}
    for track, voice in heard.voices.items():
        sounds[track] = [
            Sound(
                start_ms=span.start_ms, end_ms=span.end_ms, label=nonspeech.BLEED, source="audio",
                confidence=round(1 - leak.rest, 3), other=other,
            )
            for other, leak in sorted(voice.leaks.items())
            for span in intersect_spans(heard.speech[other], merge_spans(runs(leak.alone), MIN_LEAK_MS))
            if span.duration_ms >= MIN_LEAK_MS
        ]  # fmt: skip
    return sounds


def bleed_units(heard: Heard, track: str, num_units: int) -> list[tuple[float | None, bool]]:
    """(level of the loudest path, whether a voice is heard over it) for each unit of a track."""
    frames = UNIT_MS // FRAME_MS
    level_db = np.full(num_units * frames, -np.inf)
    is_heard = np.zeros(num_units * frames, dtype=bool)
    for other, leak in heard.voices[track].leaks.items():
        own = heard_in(leak, heard.voices[other])
        for span in heard.speech[other]:
            own[span.start_ms // FRAME_MS : -(-span.end_ms // FRAME_MS)] = True
        number = min(len(own), len(level_db))
        level_db[:number] = np.maximum(level_db[:number], leak.path_db[:number])
        is_heard[:number] |= own[:number] & np.isfinite(leak.path_db[:number])
    return [
        (round(float(unit_db.max()), 1) if np.isfinite(unit_db).any() else None, bool(unit_heard.any()))
        for unit_db, unit_heard in zip(np.split(level_db, num_units), np.split(is_heard, num_units), strict=True)
    ]
