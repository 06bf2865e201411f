"""IPUs, turns and the floor -> two-party states and floor transitions: steps 7 to 9 of the rules, and the event rows.

States use speech alone (Heldner & Edlund 2010, doi 10.1016/j.wocn.2010.08.002: who speaks alone before and after a
silence or an overlap). Transitions use turns: each onset of a turn gets one label, the first that fits.
"""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from wanstreamer.clock import Span, merge_spans
from wanstreamer.turns.rules import (
    FloorChange,
    Ipu,
    Ipus,
    Turn,
    TurnParams,
    floor_at,
    group_turns,
    incumbent_of,
    overlap_label,
    simultaneous_groups,
    who_goes_on,
)

# Confidences: the share of such rows that are right. They were counted on half of the sample's conversations, and the
# other half agreed within .01 on average (`tools.bench annotate`). For backchannels with words, they were counted on
# 32 Map Task dialogues with labels by people (.73 on the half with which the rules were chosen, .62 on the other).
# Real talk is less clear than the sample: read the numbers as an order.
STATE = 0.99
BACKCHANNEL_BY_WORDS = 0.68
BACKCHANNEL_WHILE_OTHER_SPEAKS = 0.68  # without words
BACKCHANNEL_IN_SILENCE = 0.42  # without words, an answer looks the same
ONSET_BY_WORDS = {
    "simultaneous_start": 0.93, "initiation": 0.97, "hold": 0.96, "smooth_shift": 0.98, "terminal_overlap": 0.98,
    "interruption": 0.98, "pause_interruption": 0.8,
}  # fmt: skip
ONSET_WITHOUT_WORDS = {
    "simultaneous_start": 0.8, "initiation": 0.97, "hold": 0.35, "smooth_shift": 0.98, "terminal_overlap": 0.61,
    "interruption": 0.75,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One annotated interval. The columns are those of the `events` table."""

    participant: str
    start_ms: int
    end_ms: int
    kind: str
    label: str
    source: str
    confidence: float
    outcome: str | None = None
    other: str | None = None
    yield_ms: int | None = None
    fto_ms: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """A stretch in which the same participants speak."""

    start_ms: int
    end_ms: int
    speaking: frozenset[str]

    def without(self, listeners: Collection[str]) -> "Stretch":
        return replace(self, speaking=self.speaking.difference(listeners))


def speaking_stretches(ipus: Ipus) -> list[Stretch]:
    """Cut the time from the first onset to the last end wherever someone begins or stops. Nothing is left out."""
    edges: dict[int, list[tuple[str, bool]]] = {}
    for participant, own in ipus.items():
        for ipu in own:
            edges.setdefault(ipu.start_ms, []).append((participant, True))
            edges.setdefault(ipu.end_ms, []).append((participant, False))
    stretches: list[Stretch] = []
    speaking: set[str] = set()
    since = 0
    for ms in sorted(edges):
        if stretches or speaking:
            stretches.append(Stretch(start_ms=since, end_ms=ms, speaking=frozenset(speaking)))
        for participant, begins in edges[ms]:
            (speaking.add if begins else speaking.discard)(participant)
        since = ms
    return stretches


def state_events(ipus: Ipus, backchannels: Sequence[Event], params: TurnParams) -> list[Event]:
    """Silences and overlaps between the stretches in which one participant speaks alone.

    `participant` spoke alone before; `other` speaks alone after, or speaks along. A floor change without any gap is a
    latch of length 0. If two edges fall on the same millisecond, no one speaks before or after, and the state is
    `boundary_ambiguous`: it is attributed to the last one who spoke alone.

    A backchannel leaves the floor where it is, so it is no speech before or after a state: the silences around it are
    pauses if the same person goes on, and its overlap with that person is `overlap_within`. A state next to a
    backchannel is only as sure as the backchannel. This needs words: without them, most short speech that borders on
    silence is an answer, and an answer has gaps.
    """
    stretches = speaking_stretches(ipus)
    responses = _responses(stretches, [event for event in backchannels if event.source == "words"])
    turns = [stretch.without(own) for stretch, own in zip(stretches, responses, strict=True)]
    earlier, later = _last_spoken(turns), _last_spoken(turns[::-1])[::-1]
    events: list[Event] = []
    alone_last: str | None = None
    for i, stretch in enumerate(stretches):
        left, right = (turns[j] if 0 <= j < len(turns) else None for j in (i - 1, i + 1))
        if len(stretch.speaking) == 1:
            for alone in turns[i].speaking:
                if left is not None and len(stretches[i - 1].speaking) == len(left.speaking) == 1:
                    events.append(_state(min(left.speaking), stretch.start_ms, stretch.start_ms, "latch", alone))
                alone_last = alone
            continue
        borders: tuple[Stretch | None, Stretch | None] = (left, right)  # of an overlap of turns
        if len(turns[i].speaking) == 1:  # a turn with a backchannel along with it
            borders = (turns[i], turns[i])
        elif not turns[i].speaking:  # if no one goes on after the last backchannel of a session, it follows a gap
            borders = (earlier[i], later[i] or next(iter(stretches[i + 1 : i + 2]), None))
        before, after = borders
        if before and after and len(before.speaking) == len(after.speaking) == 1:
            (owner,), (goes_on,) = before.speaking, after.speaking
            label, other = _label(owner, goes_on, stretch, after.start_ms - before.end_ms, params)
        else:
            owner = alone_last or min(stretch.speaking or stretches[i + 1].speaking)
            label, other = "boundary_ambiguous", None
        beside = responses[i].values() or [near for own in responses[max(0, i - 1) : i + 2] for near in own.values()]
        doubt = next(iter(beside), None)
        events.append(_state(owner, stretch.start_ms, stretch.end_ms, label, other, doubt))
    return events


def _label(owner: str, goes_on: str, stretch: Stretch, silent_ms: int, params: TurnParams) -> tuple[str, str | None]:
    """(label, other) of a silence or overlap between two who speak alone."""
    if owner == goes_on:
        along = min(stretch.speaking - {owner}, default=None)
        return ("overlap_within" if stretch.speaking else "pause"), along
    if (stretch.end_ms - stretch.start_ms if stretch.speaking else silent_ms) <= params.latch_ms:
        return "latch", goes_on
    return ("overlap_between" if stretch.speaking else "gap"), goes_on


def _responses(stretches: Sequence[Stretch], backchannels: Sequence[Event]) -> list[dict[str, Event]]:
    """Per stretch: the backchannels in it, by participant."""
    begins = {(event.participant, event.start_ms): event for event in backchannels}
    found: list[dict[str, Event]] = []
    going_on: dict[str, Event] = {}
    for stretch in stretches:
        starting = ((who, begins.get((who, stretch.start_ms))) for who in stretch.speaking)
        going_on = {who: event for who, event in going_on.items() if who in stretch.speaking}
        going_on |= {who: event for who, event in starting if event is not None}
        found.append(going_on)
    return found


def _last_spoken(turns: Sequence[Stretch]) -> list[Stretch | None]:
    """Per stretch: the nearest one ahead of it in the list in which someone speaks."""
    nearest: list[Stretch | None] = [None]
    for turn in turns:
        nearest.append(turn if turn.speaking else nearest[-1])
    return nearest[:-1]


def _state(
    participant: str, start_ms: int, end_ms: int, label: str, other: str | None, doubt: Event | None = None
) -> Event:
    """`doubt`: a backchannel without which the label would be another."""
    return Event(
        participant=participant,
        start_ms=start_ms,
        end_ms=end_ms,
        kind="state",
        label=label,
        other=other,
        source=doubt.source if doubt else "timing",
        confidence=min(STATE, doubt.confidence) if doubt else STATE,
    )


def backchannel_events(confirmed: Sequence[tuple[Ipu, str]], ipus: Ipus) -> list[Event]:
    """One row per backchannel IPU; `other` holds the floor."""
    starts = {p: [ipu.start_ms for ipu in own] for p, own in ipus.items()}
    events: list[Event] = []
    for ipu, holder in confirmed:
        if ipu.candidate == "lexical":
            confidence = BACKCHANNEL_BY_WORDS
        else:
            at = bisect_left(starts[holder], ipu.end_ms) - 1
            during = at >= 0 and ipus[holder][at].end_ms > ipu.start_ms
            confidence = BACKCHANNEL_WHILE_OTHER_SPEAKS if during else BACKCHANNEL_IN_SILENCE
        events.append(
            Event(
                participant=ipu.participant,
                start_ms=ipu.start_ms,
                end_ms=ipu.end_ms,
                kind="backchannel",
                label=ipu.candidate,
                other=holder,
                source="words" if ipu.candidate == "lexical" else "timing",
                confidence=confidence,
            )
        )
    return events


def transition_events(
    turns: Sequence[Turn], changes: Sequence[FloorChange], ipus: Ipus, params: TurnParams
) -> list[Event]:
    """One row per turn: how it began. It spans the overlap with the turn it met, or is an instant."""
    speech = merge_spans(Span(ipu.start_ms, ipu.end_ms) for own in ipus.values() for ipu in own)
    by_participant = group_turns(turns)
    primary = group_turns(turn for turn in turns if turn.is_primary)
    at_once = {turn: group for group in simultaneous_groups(turns, speech, params) for turn in group}
    ended = sorted(turns, key=lambda turn: turn.end_ms)
    end_times = [turn.end_ms for turn in ended]
    stopped: frozenset[str] = frozenset()  # who stopped together at the last simultaneous start that no one won
    events: list[Event] = []
    for turn in turns:
        holder = floor_at(changes, turn.start_ms - 1)
        if turn in at_once:
            group = at_once[turn]
            winner = who_goes_on(group, params)
            stopped = frozenset() if winner else frozenset(member.participant for member in group)
            before = floor_at(changes, group[0].start_ms - 1)
            prior = _latest_before(primary.get(before or "", ()), group[0].start_ms)
            events.append(_simultaneous(turn, group, winner, prior if turn is winner else None, params))
            continue
        incumbent = incumbent_of(turn, by_participant, holder)
        silent_ms = _silence_before(speech, turn.start_ms)
        at = bisect_left(end_times, turn.start_ms + 1) - 1
        last = _last_ended(ended[bisect_left(end_times, end_times[at]) : at + 1], turn) if at >= 0 else None
        pending = last if last is not None and last.asks and last.participant != turn.participant else None
        if silent_ms is None or (silent_ms >= params.floor_silence_ms and pending is None):
            events.append(_transition(turn, "initiation", None, params))
        elif holder == turn.participant or (holder is None and turn.participant in stopped):
            events.append(_transition(turn, "hold", None, params))
        elif incumbent is not None:
            events.append(_overlapping(turn, incumbent, params))
        else:
            prior = _latest_before(primary[holder], turn.start_ms) if holder is not None else pending or last
            label = "pause_interruption" if prior is not None and prior.complete is False else "smooth_shift"
            events.append(_transition(turn, label, prior, params))
        stopped = frozenset() if turn.is_primary else stopped
    return events


def _last_ended(together: Sequence[Turn], turn: Turn) -> Turn:
    """The one of several turns with the same end that `turn` follows: preferably another's, then one that asks."""
    return max(together, key=lambda ended: (ended.participant != turn.participant, ended.asks, ended.start_ms))


def _simultaneous(
    turn: Turn, group: Sequence[Turn], winner: Turn | None, prior: Turn | None, params: TurnParams
) -> Event:
    partners = [member for member in group if member.participant != turn.participant]
    met = min(partners, key=lambda p: (abs(p.start_ms - turn.start_ms), p.start_ms, p.end_ms, p.participant))
    return Event(
        participant=turn.participant,
        start_ms=turn.start_ms,
        end_ms=max(turn.start_ms, min(turn.end_ms, met.end_ms)),
        kind="transition",
        label="simultaneous_start",
        outcome="both_stop" if winner is None else "goes_on" if turn is winner else "gives_way",
        other=met.participant,
        fto_ms=_offset(turn, prior, params) if prior and prior.participant != turn.participant else None,
        source="timing",
        confidence=_confidence("simultaneous_start", turn.complete is not None),
    )


def _overlapping(turn: Turn, incumbent: Turn, params: TurnParams) -> Event:
    label, outcome = overlap_label(turn, incumbent, params)
    by_words = incumbent.complete is not None
    needs_words = turn.is_primary and incumbent.end_ms - turn.start_ms <= params.terminal_overlap_ms
    changed = label == "terminal_overlap" or outcome == "floor_taking"
    return Event(
        participant=turn.participant,
        start_ms=turn.start_ms,
        end_ms=min(turn.end_ms, incumbent.end_ms),
        kind="transition",
        label=label,
        outcome=outcome,
        other=incumbent.participant,
        yield_ms=incumbent.end_ms - turn.start_ms if label == "interruption" else None,
        fto_ms=_offset(turn, incumbent, params) if changed else None,
        source="words" if needs_words and by_words else "timing",
        confidence=_confidence(label, by_words),
    )


def _transition(turn: Turn, label: str, prior: Turn | None, params: TurnParams) -> Event:
    shifts = label in ("smooth_shift", "pause_interruption")
    by_words = prior is not None and prior.complete is not None
    return Event(
        participant=turn.participant,
        start_ms=turn.start_ms,
        end_ms=turn.start_ms,
        kind="transition",
        label=label,
        other=prior.participant if prior else None,
        fto_ms=_offset(turn, prior, params) if prior else None,
        source="words" if shifts and by_words else "timing",
        confidence=_confidence(label, by_words if shifts else turn.complete is not None),
    )


def _confidence(label: str, by_words: bool) -> float:
    return (ONSET_BY_WORDS if by_words else ONSET_WITHOUT_WORDS)[label]


def _offset(turn: Turn, prior: Turn, params: TurnParams) -> int | None:
    """Floor transfer offset in ms, or None if it does not count: the prior turn is too young or too long ago."""
    offset_ms = turn.start_ms - prior.end_ms
    young = turn.start_ms - prior.start_ms < params.fto_min_prior_ms
    return None if young or abs(offset_ms) > params.fto_window_ms else offset_ms


def _latest_before(turns: Sequence[Turn], ms: int) -> Turn | None:
    at = bisect_left(turns, ms, key=lambda turn: turn.start_ms) - 1
    return turns[at] if at >= 0 else None


def _silence_before(speech: Sequence[Span], ms: int) -> int | None:
    """How long all had been silent at `ms`; None: no one has spoken before, 0: someone speaks."""
    at = bisect_left(speech, ms, key=lambda span: span.start_ms) - 1
    return None if at < 0 else max(0, ms - speech[at].end_ms)


def interruptions_open(events: Sequence[Event]) -> Mapping[str, list[tuple[Span, str]]]:
    """Per participant: the spans of open interruptions (both speak), and the participant's role in each."""
    open_spans: dict[str, list[tuple[Span, str]]] = {}
    for event in events:
        if event.kind == "transition" and event.label == "interruption" and event.other is not None:
            span = Span(event.start_ms, event.end_ms)
            open_spans.setdefault(event.participant, []).append((span, "challenger"))
            open_spans.setdefault(event.other, []).append((span, "incumbent"))
    return open_spans
