"""Speech intervals and timed words of one session -> IPUs, turns, floor and events. Pure functions of intervals.

`annotate_session` applies all rules; the annotate stage, exchange files and model output use it alike.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wanstreamer.clock import Span
from wanstreamer.turns.candidates import mark_candidates
from wanstreamer.turns.lexical import Word
from wanstreamer.turns.rules import FloorChange, Ipu, Turn, TurnParams, floor_at, make_ipus, settle
from wanstreamer.turns.sounds import Sound, sound_events, without_sounds
from wanstreamer.turns.transitions import (
    Event,
    backchannel_events,
    interruptions_open,
    speaking_stretches,
    state_events,
    transition_events,
)

RULE_VERSION = "turns-4"  # changes whenever equal intervals can give different rows


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """The annotation of one session; every list is in order of participant (or onset) and time."""

    speech: dict[str, list[Span]]  # without the parts that are other sounds
    ipus: dict[str, list[Ipu]]
    turns: list[Turn]
    floor: list[FloorChange]
    events: list[Event]


def annotate_session(
    speech: Mapping[str, Iterable[Span]],
    words: Mapping[str, Sequence[Word] | None],
    params: TurnParams,
    *,
    sounds: Mapping[str, Sequence[Sound]] | None = None,
    lexical: bool = True,
) -> Annotation:
    """Apply the turn rules to one session.

    Args:
        speech: Voice activity per participant, in ms, half-open; overlapping or unordered spans are merged.
        words: Timed words per participant; None or absent: no transcript.
        params: Thresholds.
        sounds: Laughter, breath, noise and bleed per participant: they are not speech.
        lexical: Whether the transcript is in the language of the cue words (English).

    Returns:
        Speech and IPUs per participant, turns by onset, floor changes by time, events by onset.

    Examples:
        >>> annotation = annotate_session({"a": [Span(0, 900)], "b": [Span(1100, 2600)]}, {}, TurnParams())
        >>> [(e.participant, e.label, e.fto_ms) for e in annotation.events if e.kind == "transition"]
        [('a', 'initiation', None), ('b', 'smooth_shift', 200)]
    """
    sounds = sounds or {}
    voiced = {who: without_sounds(spans, sounds.get(who, ()), words.get(who), params) for who, spans in speech.items()}
    ipus = mark_candidates(make_ipus(voiced, words, params), params, lexical=lexical)
    turns, floor, backchannels = settle(ipus, params, lexical=lexical)
    responses = backchannel_events(backchannels, ipus)
    events = [
        *responses,
        *state_events(ipus, responses, params),
        *transition_events(turns, floor, ipus, params),
        *sound_events(sounds),
    ]
    events.sort(key=lambda event: (event.start_ms, event.end_ms, event.kind, event.participant, event.label))
    return Annotation(speech=voiced, ipus=ipus, turns=turns, floor=floor, events=events)


__all__ = [
    "RULE_VERSION",
    "Annotation",
    "Event",
    "FloorChange",
    "Ipu",
    "Sound",
    "Turn",
    "TurnParams",
    "Word",
    "annotate_session",
    "floor_at",
    "interruptions_open",
    "speaking_stretches",
]
