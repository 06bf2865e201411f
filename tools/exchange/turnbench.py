"""TurnBench: its labels and our tiers, in both directions; and our events as its `predictions.json`.

TurnBench (SesameAILabs/turnbench, arXiv 2608.25218) labels the speech of two people with the kinds in `OURS`. On a tier
of kind `turnbench`, the text of an interval is one of these labels; `turnbench@a` is the tier of `a`.

Predictions are commit times: the times at which a system that listens would have decided. Our rules read a whole
recording, so that each time here is that of the event plus the silence or speech that the rules wait for
(`EOT_WAIT_MS`, `INTERRUPTION_WAIT_MS`); what a rule looks at beyond this is not counted.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tools.exchange.intervals import NON_SPEECH, Interval, Losses, Read, Written, in_order
from wanstreamer.clock import ms_to_seconds
from wanstreamer.errors import InputError
from wanstreamer.turns import TurnParams

TIER = "turnbench"
PREDICTIONS = "turnbench-predictions"  # the name of the output; no format, as it cannot be read back
TURNS, TRANSITION, BACKCHANNEL, STATE = "turns", "transition", "backchannel", "state"
SCHEMA_VERSION = 1
EOT_WAIT_MS = TurnParams().turn_pause_ms  # a shorter pause does not end a turn
INTERRUPTION_WAIT_MS = TurnParams().backchannel_max_ms  # shorter speech may be a backchannel

# Their label -> our kind, our label, and what is lost on the way to us.
OURS: dict[str, tuple[str, str, str]] = {
    "Normal Turn": (TURNS, "primary", ""),
    "Strong Floor Hold": (TURNS, "primary", "Strong Floor Hold, read as a turn"),
    "Bounded Response": (TURNS, "primary", "Bounded Response, read as a turn"),
    "Filler": (TURNS, "primary", "Filler, read as a turn"),
    "Overlap": (TURNS, "primary", "Overlap, read as a turn"),
    "Floor-taking Competitive Interruption": (TRANSITION, "interruption floor_taking", "competitive or cooperative"),
    "Floor-taking Cooperative Interruption": (TRANSITION, "interruption floor_taking", "competitive or cooperative"),
    "Non-floor-taking Competitive Interruption": (TRANSITION, "interruption failed", "competitive or cooperative"),
    "Non-floor-taking Cooperative Interruption": (TRANSITION, "interruption failed", "competitive or cooperative"),
    "Acknowledgement Backchannel": (BACKCHANNEL, "lexical", "acknowledgement, continuer or reaction"),
    "Continuer Backchannel": (BACKCHANNEL, "lexical", "acknowledgement, continuer or reaction"),
    "Reaction Backchannel": (BACKCHANNEL, "lexical", "acknowledgement, continuer or reaction"),
    "Laughter": (NON_SPEECH, "laughter", ""),
    "Non-Speech Noise": (NON_SPEECH, "noise", ""),
    "Channel Bleed": (NON_SPEECH, "bleed", ""),
    "Non-Linguistic Speech": (NON_SPEECH, "vocal_noise", ""),
}
UNKNOWN = ("Awkward Silence",)  # a judgement; our pauses and gaps are computed from speech
# Our rules do not find out the rest of these names; it is counted as a loss.
FLOOR_TAKING, FAILED, MHM = "Floor-taking Interruption", "Non-floor-taking Interruption", "Backchannel"
SHORT = {
    FLOOR_TAKING: (TRANSITION, "interruption floor_taking", ""),
    FAILED: (TRANSITION, "interruption failed", ""),
    MHM: (BACKCHANNEL, "lexical", ""),
    "Turn": (TURNS, "primary", ""),
}
SOUNDS = {
    "laughter": "Laughter",
    "noise": "Non-Speech Noise",
    "bleed": "Channel Bleed",
    "vocal_noise": "Non-Linguistic Speech",
}
_PLAIN = {re.sub(r"[^a-z]", "", name.lower()): meaning for name, meaning in (OURS | SHORT).items()}


def read_labels(intervals: Iterable[Interval]) -> Read:
    """Intervals of the tier `turnbench` become our turns, transitions, backchannels and sounds; others stay.

    Capitals, blanks and hyphens of a label do not matter. One that has no counterpart is left out and counted by name.
    """
    losses, ours = Losses(), []
    for interval in intervals:
        if interval.kind != TIER:
            ours.append(interval)
            continue
        meaning = _PLAIN.get(re.sub(r"[^a-z]", "", interval.text.lower()))
        if meaning is None:
            losses[f"TurnBench's label {interval.text.strip() or '(empty)'}, which we do not have, left out"] += 1
            continue
        kind, text, lost = meaning
        losses[f"TurnBench's distinction: {lost}"] += bool(lost)
        ours.append(_as(interval, kind, text))
        if kind == TRANSITION:  # a turn begins with it
            inside = "primary" if text.endswith("floor_taking") else "inside another's"
            ours.append(_as(interval, TURNS, inside))
    return in_order(ours), +losses


def labels_of(intervals: Iterable[Interval]) -> Read:
    """Our turns, interruptions, backchannels and sounds as one tier `turnbench`; what it cannot hold is counted."""
    losses, theirs = Losses(), []
    own = list(intervals)
    begins = {
        (one.session_id, one.participant, one.start_ms): one.text.partition(" ")[2]
        for one in own
        if _is_interruption(one)
    }
    with_turns = {one.session_id for one in own if one.kind == TURNS}
    for interval in own:
        label = ""
        if interval.kind == TURNS:
            outcome = begins.get((interval.session_id, interval.participant, interval.start_ms))
            label = "Normal Turn" if outcome is None else FLOOR_TAKING if outcome == "floor_taking" else FAILED
            losses["outcome both_stop, written as Non-floor-taking"] += outcome == "both_stop"
        elif _is_interruption(interval):
            if interval.session_id in with_turns:
                continue  # its turn has the label
            label = FLOOR_TAKING if interval.text.endswith("floor_taking") else FAILED
        elif interval.kind == BACKCHANNEL:
            label = MHM
        elif interval.kind == NON_SPEECH:
            label = SOUNDS.get(interval.text.strip().lower(), "")
        if not label:
            named = f" {interval.text}" if interval.kind in (TRANSITION, STATE, NON_SPEECH) and interval.text else ""
            losses[f"tier {interval.kind}{named}, which TurnBench does not label"] += 1
            continue
        losses["whether an interruption is competitive or cooperative: not known"] += label in (FLOOR_TAKING, FAILED)
        losses["whether a backchannel is an acknowledgement, continuer or reaction: not known"] += label == MHM
        theirs.append(_as(interval, TIER, label))
    return in_order(theirs), +losses


class Conversation(NamedTuple):
    """What a data folder knows of a session."""

    duration_ms: int
    participants: list[str]


def write_predictions(
    intervals: Sequence[Interval], conversations: Mapping[str, Conversation] | None = None
) -> Written:
    """`predictions.json`: of each session, the ends of turns (`eot`) and the interruptions of both people.

    `conversations`: the sessions, those without any interval too; without it, a session ends with its last interval.
    Turns within another person's turn are no `eot`. Participants become speaker_1 and speaker_2 in alphabetical order.

    Raises InputError for a session that has not two participants.
    """
    losses, predictions = Losses(), []
    known = dict(conversations or {})
    for session in sorted(known.keys() | {interval.session_id for interval in intervals}):
        own = [interval for interval in intervals if interval.session_id == session]
        if session not in known:
            known[session] = Conversation(max(one.end_ms for one in own), sorted({one.participant for one in own}))
        duration_ms, people = known[session]
        if len(people) != 2:
            raise InputError(
                f"session {session}: {len(people)} participants ({', '.join(people)}); TurnBench's conversations have "
                "two: choose sessions with --session"
            )
        prediction: dict[str, Any] = {"conversation_id": session}
        for number, person in enumerate(sorted(people), start=1):
            turns = [one for one in own if one.participant == person and one.kind == TURNS]
            onsets = [one for one in own if one.participant == person and _is_interruption(one)]
            ends_ms = [turn.end_ms + EOT_WAIT_MS for turn in turns if "inside" not in turn.text]
            losses["turns inside another's, left out"] += len(turns) - len(ends_ms)
            begins_ms = [onset.start_ms + INTERRUPTION_WAIT_MS for onset in onsets]
            prediction[f"speaker_{number}"] = {
                "eot": _times(ends_ms, duration_ms, "ends of turns", losses),
                "interruption": _times(begins_ms, duration_ms, "interruptions", losses),
            }
        predictions.append(prediction)
    losses.update(f"tier {one.kind}, left out" for one in intervals if one.kind != TURNS and not _is_interruption(one))
    return json.dumps({"schema_version": SCHEMA_VERSION, "predictions": predictions}, indent=1) + "\n", +losses


def _is_interruption(interval: Interval) -> bool:
    return interval.kind == TRANSITION and interval.text.startswith("interruption")


def _times(commit_ms: Iterable[int], duration_ms: int, what: str, losses: Losses) -> list[float]:
    """Seconds, strictly increasing and inside the audio."""
    everything = sorted(commit_ms)
    inside = sorted({time for time in everything if 0 <= time < duration_ms})
    losses[f"{what} that are decided only after the audio ends, left out"] += sum(t >= duration_ms for t in everything)
    losses[f"{what} at the same time as another, left out"] += sum(0 <= t < duration_ms for t in everything) - len(
        inside
    )
    return [ms_to_seconds(time) for time in inside]


def _as(interval: Interval, kind: str, text: str) -> Interval:
    return Interval(
        session_id=interval.session_id, participant=interval.participant, kind=kind, start_ms=interval.start_ms,
        end_ms=interval.end_ms, text=text, confidence=interval.confidence,
    )  # fmt: skip
