"""When both parties speak, and what the user did -> one conversation's observations, from which all figures are made.

Everything is decided by speech activity alone, with the turn rules' constants where they exist. Takeovers follow
Full-Duplex-Bench (Lin et al. 2025, arXiv 2503.04721) as far as sound allows: an agent takes the floor if its speech
lasts a second or longer; shorter speech is nothing, or a backchannel. (Its second criterion, three words, needs a
transcript.)

An *utterance* of the agent is its speech joined over silences up to SHORT_SILENCE_MS. It is also joined over silences
up to MAX_PAUSE_MS if the user says nothing but "mhm" in them: a speaker who pauses has not stopped, but a speaker who
pauses because the other has begun has stopped. A *user turn* is the user's speech without backchannels, joined in the
same way, unless a turn ends there.

Times are ms on the conversation's clock, on which the agent's unit k lies on the user's unit k. A live listener hears
it one unit plus the system's latency later: `figures` adds that.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.conversation.stimuli import Kind, Stimulus
from pipelines.signals.voice_activity import subtract
from wanstreamer.clock import UNIT_MS, Span, covered_ms, intersect_spans, merge_spans, unit_of_ms, unit_span

IPU_GAP_MS = 200  # silence within an inter-pausal unit (TURNS: dGSLM's)
MAX_PAUSE_MS = 1500  # of a pause inside a turn
SHORT_SILENCE_MS = 500  # a speaker who goes on this soon has not stopped, even if the other speaks meanwhile
SPOKEN_IN_PAUSE_MS = 100  # of the user's speech in a pause of the agent: less is an error of the detector
BACKCHANNEL_MS = 1000  # longest backchannel, and least own silence around it (Voice Activity Projection's rule)
TAKEOVER_MS = 1000  # least length of a takeover (Full-Duplex-Bench)
ANSWER_MS = 3000  # after a turn's end or a shown object: later speech answers something else
EARLY_MS = 1000  # an answer may begin this long before the turn ends: the longest terminal overlap
STOP_UNITS = 4
MIN_PAUSE_MS = 2 * UNIT_MS  # an agent that hears whole units cannot cut into a shorter pause
AT_ONCE_MS = 200  # "was silent when ...": was not active for this long before
BREAK_MS = 40  # before the unit in which the user begins: a sound that ends there was cut at the unit's border
NEAREST_MS = 3000  # a backchannel further from every end of a phrase counts as this far

# Name -> rows, one per thing observed: 0 or 1, ms, or (part, whole) of a share. See `observe`.
Observed = dict[str, NDArray[np.float64]]
KEYS = {
    "answered": 1, "takeover": 1, "offset_ms": 1, "stop_ms": 1, "stopped": 1, "stopped_by_backchannel": 1,
    "gave_up_at_backchannel": 1, "cut_into_pause": 1, "backchannels": 2, "backchannel_ms": 1, "talking_over": 2,
    "sound_where_silent": 2, "sounding": 2, "initiated": 1, "initiation_ms": 1,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """The scored part of one conversation: everything in [start_ms, end_ms)."""

    start_ms: int
    end_ms: int
    user: Sequence[Span]  # when the user is active; sorted, disjoint
    agent: Sequence[Span]
    stimuli: Sequence[Stimulus]

    def of(self, kind: Kind) -> Iterator[Stimulus]:
        """Stimuli of a kind that begin in the scored part; turn ends count if they end there."""
        for stimulus in sorted(self.stimuli):
            at_ms = stimulus.end_ms if kind == "turn_end" else stimulus.start_ms
            if stimulus.kind == kind and self.start_ms <= at_ms < self.end_ms:
                yield stimulus


def observe(conversation: Conversation) -> Observed:
    """All observations of one conversation that the figures of speech timing count.

    Returns:
        For each name of KEYS, a row per

        answered, takeover       turn end: whether the agent begins to speak before the user goes on, from EARLY_MS
                                 before the turn end to ANSWER_MS after it; and whether that lasts TAKEOVER_MS
        offset_ms                answered turn end: onset minus turn end; negative is overlap (floor transfer offset)
        stop_ms, stopped         interruption while the agent was speaking: how long it spoke on; whether at most
                                 STOP_UNITS
        stopped_by_backchannel   backchannel of the user while the agent was speaking: whether it fell silent within
                                 STOP_UNITS, even for a pause only; a pause after "mhm" is common: compare the truth
        gave_up_at_backchannel   the same: whether that was the end of its turn
        cut_into_pause           pause of the user in which the agent was silent: whether the agent begins to say more
                                 than a backchannel there
        backchannels             (count, minutes of user turns)
        backchannel_ms           backchannel: its onset minus the nearest end of a phrase of the user
        talking_over             (ms both are active, ms the user is active), without backchannels
        sound_where_silent       (ms of sound, ms) inside user turns, a second from their edges; without backchannels
        sounding                 (ms of sound, ms)
        initiated, initiation_ms thing shown while the agent was silent: whether it speaks within ANSWER_MS; how late
    """
    scored = Span(conversation.start_ms, conversation.end_ms)
    heard = turn_speech(conversation)
    turns = user_turns(conversation, heard)
    ipus = merge_spans(conversation.agent, IPU_GAP_MS)
    spoken = utterances(conversation.agent, heard)
    mhms = agent_backchannels(ipus, turns, heard)
    rows = (
        _answers(conversation, heard, ipus, spoken)
        | _stops(conversation, spoken)
        | {"cut_into_pause": _cuts(conversation, ipus, mhms)}
        | _initiations(conversation, ipus)
        | _backchannels(heard, turns, mhms, scored)
        | _shares(conversation, heard, turns, mhms, scored)
    )
    return {key: np.array(rows[key], dtype=np.float64).reshape(-1, columns) for key, columns in KEYS.items()}


def _answers(
    conversation: Conversation, heard: Sequence[Span], ipus: Sequence[Span], spoken: Sequence[Span]
) -> dict[str, list[float]]:
    answered, takeover, offset_ms = [], [], []
    for stimulus in conversation.of("turn_end"):
        if stimulus.end_ms + ANSWER_MS > conversation.end_ms:
            continue  # the answer may lie beyond the recording
        answer = find_answer(stimulus, ipus, heard)
        answered.append(float(answer is not None))
        lasts_ms = _utterance_at(answer.start_ms, spoken).end_ms - answer.start_ms if answer else 0
        takeover.append(float(lasts_ms >= TAKEOVER_MS))
        if answer:
            offset_ms.append(float(answer.start_ms - stimulus.end_ms))
    return {"answered": answered, "takeover": takeover, "offset_ms": offset_ms}


def _stops(conversation: Conversation, spoken: Sequence[Span]) -> dict[str, list[float]]:
    limit_ms = STOP_UNITS * UNIT_MS
    spoke_on_ms: dict[Kind, list[float]] = {"interruption": [], "backchannel": []}
    gave_up = []
    bursts = merge_spans(conversation.agent, SHORT_SILENCE_MS)
    for kind, lasts_ms in spoke_on_ms.items():
        for stimulus in conversation.of(kind):
            at_ms = _unit_start(stimulus.start_ms)
            if (
                not _sounds_before(at_ms, conversation.agent, BREAK_MS)
                or stimulus.start_ms + limit_ms > conversation.end_ms
            ):
                continue
            lasts_ms.append(max(0.0, float(_utterance_at(at_ms - 1, bursts).end_ms - stimulus.start_ms)))
            if kind == "backchannel":
                turn_ms = _utterance_at(at_ms - 1, spoken).end_ms - stimulus.start_ms
                gave_up.append(float(turn_ms <= limit_ms))
    within = {kind: [float(ms <= limit_ms) for ms in lasts_ms] for kind, lasts_ms in spoke_on_ms.items()}
    return {
        "stop_ms": spoke_on_ms["interruption"],
        "stopped": within["interruption"],
        "stopped_by_backchannel": within["backchannel"],
        "gave_up_at_backchannel": gave_up,
    }


def _cuts(conversation: Conversation, ipus: Sequence[Span], mhms: Sequence[Span]) -> list[float]:
    cuts = []
    for stimulus in conversation.of("pause"):
        pause = Span(_unit_start(stimulus.start_ms), stimulus.end_ms)
        if stimulus.end_ms - stimulus.start_ms >= MIN_PAUSE_MS and not _sounds_before(
            pause.start_ms, conversation.agent
        ):
            cuts.append(float(any(not _within(ipu, mhms) for ipu in spans_begun(ipus, pause))))
    return cuts


def _initiations(conversation: Conversation, ipus: Sequence[Span]) -> dict[str, list[float]]:
    initiated, initiation_ms = [], []
    for stimulus in conversation.of("shown"):
        at_ms = _unit_start(stimulus.start_ms)
        if _sounds_before(at_ms, conversation.agent) or at_ms + ANSWER_MS > conversation.end_ms:
            continue
        begun = spans_begun(ipus, Span(at_ms, at_ms + ANSWER_MS))
        initiated.append(float(bool(begun)))
        initiation_ms += [float(ipu.start_ms - stimulus.start_ms) for ipu in begun[:1]]
    return {"initiated": initiated, "initiation_ms": initiation_ms}


def _backchannels(
    heard: Sequence[Span], turns: Sequence[Span], mhms: Sequence[Span], scored: Span
) -> dict[str, list[Any]]:
    own = spans_begun(mhms, scored)
    minutes = _total(intersect_spans(turns, [scored])) / 60_000
    phrases = merge_spans(heard, IPU_GAP_MS)
    return {
        "backchannels": [(len(own), minutes)],
        "backchannel_ms": [_from_nearest_end(mhm.start_ms, phrases) for mhm in own],
    }


def _shares(
    conversation: Conversation, heard: Sequence[Span], turns: Sequence[Span], mhms: Sequence[Span], scored: Span
) -> dict[str, list[Any]]:
    user, agent = intersect_spans(heard, [scored]), intersect_spans(conversation.agent, [scored])
    more = subtract(agent, mhms, 1)
    inner = [Span(t.start_ms + EARLY_MS, t.end_ms - EARLY_MS) for t in turns if t.duration_ms > 2 * EARLY_MS]
    inner = intersect_spans(inner, [scored])
    return {
        "talking_over": [(_total(intersect_spans(more, user)), _total(user))],
        "sound_where_silent": [(_total(intersect_spans(more, inner)), _total(inner))],
        "sounding": [(_total(agent), scored.duration_ms)],
    }


def turn_speech(conversation: Conversation) -> list[Span]:
    """The user's speech without backchannels."""
    mhms = [Span(p.start_ms, p.end_ms) for p in sorted(conversation.stimuli) if p.kind == "backchannel"]
    # The edges of detector and stimulus differ by some tens of milliseconds.
    wide = merge_spans(Span(span.start_ms - AT_ONCE_MS // 2, span.end_ms + AT_ONCE_MS // 2) for span in mhms)
    return subtract(conversation.user, wide, 1)


def user_turns(conversation: Conversation, heard: Sequence[Span]) -> list[Span]:
    """The user's speech `heard`, joined over pauses; a turn with a known end is not joined to the next."""
    ends = [stimulus.end_ms for stimulus in conversation.stimuli if stimulus.kind == "turn_end"]
    turns: list[Span] = []
    for span in heard:
        before = turns[-1].end_ms if turns else None
        over = before is None or any(before - AT_ONCE_MS <= end < span.start_ms for end in ends)
        if over or span.start_ms - turns[-1].end_ms >= MAX_PAUSE_MS:
            turns.append(span)
        else:
            turns[-1] = Span(turns[-1].start_ms, span.end_ms)
    return turns


def utterances(agent: Sequence[Span], heard: Sequence[Span]) -> list[Span]:
    """The agent's speech, joined over pauses in which the user does not begin to speak (see the module)."""
    spoken: list[Span] = []
    for span in agent:
        gap = Span(spoken[-1].end_ms, span.start_ms) if spoken else None
        if gap is not None and (
            gap.duration_ms < SHORT_SILENCE_MS
            or (gap.duration_ms < MAX_PAUSE_MS and covered_ms(gap, heard) < SPOKEN_IN_PAUSE_MS)
        ):
            spoken[-1] = Span(spoken[-1].start_ms, span.end_ms)
        else:
            spoken.append(span)
    return spoken


def agent_backchannels(ipus: Sequence[Span], turns: Sequence[Span], heard: Sequence[Span]) -> list[Span]:
    """Clusters of IPUs at most BACKCHANNEL_MS long, with as much own silence around, that lie inside a user turn.

    A cluster that begins while the user is silent and breaks off when the user goes on was meant to be longer.
    """
    clusters = merge_spans(ipus, BACKCHANNEL_MS - 1)
    short = [c for c in clusters if c.duration_ms <= BACKCHANNEL_MS and _within(c, turns)]
    return [c for c in short if not _broken_off(c, heard)]


def _broken_off(span: Span, heard: Sequence[Span]) -> bool:
    resumed = next((speech for speech in heard if speech.start_ms > span.start_ms), None)
    if resumed is None or any(speech.start_ms <= span.start_ms < speech.end_ms for speech in heard):
        return False
    early_ms, late_ms = _unit_start(resumed.start_ms) - BREAK_MS, resumed.start_ms + STOP_UNITS * UNIT_MS
    return early_ms <= span.end_ms <= late_ms


def find_answer(stimulus: Stimulus, ipus: Sequence[Span], heard: Sequence[Span]) -> Span | None:
    """The agent's IPU that answers the turn ending at `stimulus.end_ms`; None if none begins in time."""
    next_ms = min((span.start_ms for span in heard if span.start_ms > stimulus.end_ms + AT_ONCE_MS), default=None)
    until_ms = stimulus.end_ms + ANSWER_MS if next_ms is None else min(next_ms, stimulus.end_ms + ANSWER_MS)
    first = next((ipu for ipu in ipus if ipu.end_ms > stimulus.end_ms), None)
    if first is None or not stimulus.end_ms - EARLY_MS <= first.start_ms < until_ms:
        return None
    return first


def spans_begun(spans: Sequence[Span], within: Span) -> list[Span]:
    """The spans that begin in `within`."""
    return [span for span in spans if within.start_ms <= span.start_ms < within.end_ms]


def _unit_start(ms: int) -> int:
    """The earliest time at which an agent that hears whole units can react to something at `ms`."""
    return unit_span(unit_of_ms(ms)).start_ms


def _sounds_before(at_ms: int, agent: Sequence[Span], within_ms: int = AT_ONCE_MS) -> bool:
    return covered_ms(Span(at_ms - within_ms, at_ms), agent) > 0


def _utterance_at(ms: int, spoken: Sequence[Span]) -> Span:
    """The last utterance that begins at `ms` or before."""
    return [utterance for utterance in spoken if utterance.start_ms <= ms][-1]


def _within(span: Span, spans: Sequence[Span]) -> bool:
    return any(outer.start_ms <= span.start_ms and span.end_ms <= outer.end_ms for outer in spans)


def _from_nearest_end(ms: int, phrases: Sequence[Span]) -> float:
    distance = min((ms - phrase.end_ms for phrase in phrases), key=abs, default=NEAREST_MS)
    return float(np.clip(distance, -NEAREST_MS, NEAREST_MS))


def _total(spans: Sequence[Span]) -> int:
    return sum(span.duration_ms for span in spans)
