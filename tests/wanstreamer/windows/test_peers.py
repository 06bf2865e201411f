"""Our states and transitions beside those of others on the same intervals: every difference is a case with a name.

pympi-ling's `get_gaps_and_overlaps2` runs as it is. Shift and hold of Voice Activity Projection (Ekstedt and Skantze
2022) are written down here from its definition, as its package is in no package registry: a silence of at least 250 ms
between two stretches of at least 1 s in which one participant alone is active, own pauses filled.
"""

import random
from collections import Counter
from itertools import pairwise

import pytest

from wanstreamer.clock import Span, merge_spans
from wanstreamer.turns import Annotation, TurnParams, annotate_session

DYADS = 200
VAP_SILENCE_MS, VAP_ACTIVE_MS = 250, 1000
Dyad = dict[str, list[Span]]


def dyad(seed: int) -> Dyad:
    """Two participants' speech on a grid of 20 ms (VAP's frames), coarse so that edges often coincide."""
    draw = random.Random(seed)
    speech: Dyad = {}
    for participant in "ab":
        spans, at = [], 20 * draw.randrange(50)
        for _ in range(draw.randint(3, 30)):
            end = at + 20 * draw.choice((3, 10, 25, 50, 60, 100, 200))
            spans.append(Span(at, end))
            at = end + 20 * draw.choice((11, 15, 20, 30, 60, 100, 150, 200))  # own silences that an IPU does not join
        speech[participant] = spans
    return speech


def annotate(speech: Dyad) -> Annotation:
    return annotate_session(speech, {}, TurnParams())


def pympi_states(speech: Dyad) -> set[tuple[str, int, int]]:
    pympi = pytest.importorskip("pympi", reason="the exchange extra installs pympi-ling")
    eaf = pympi.Elan.Eaf()
    for participant, spans in speech.items():
        eaf.add_tier(participant)
        for span in spans:
            eaf.add_annotation(participant, span.start_ms, span.end_ms)
    kinds = {"P": "pause", "G": "gap", "O": "overlap_between", "W": "overlap_within"}
    return {(kinds[kind[0]], start, end) for start, end, kind in eaf.get_gaps_and_overlaps2("a", "b")}


def why_states_differ(state: tuple[str, int, int], speech: Dyad) -> str:
    label, start_ms, end_ms = state
    edges = Counter(ms for spans in speech.values() for span in spans for ms in span)
    if label == "latch" and start_ms == end_ms:
        return "a latch of 0 ms, which pympi drops"
    if edges[start_ms] > 1 or edges[end_ms] > 1:
        return "both begin or end at once, so nobody is alone before or after"
    return "unexplained"


def test_states_are_those_of_pympi_but_for_named_cases() -> None:
    seen: Counter[str] = Counter()
    for seed in range(DYADS):
        speech = dyad(seed)
        theirs = pympi_states(speech)
        ours = set()
        for event in annotate(speech).events:
            if event.kind != "state" or event.label == "boundary_ambiguous":
                continue
            label = event.label
            if label == "latch" and event.start_ms < event.end_ms:  # a short gap or overlap: pympi has no such name
                both = all(any(s.start_ms <= event.start_ms < s.end_ms for s in own) for own in speech.values())
                label = "overlap_between" if both else "gap"
                seen["latch"] += 1
            ours.add((label, event.start_ms, event.end_ms))
        seen["same"] += len(ours & theirs)
        for state in ours ^ theirs:
            seen[why_states_differ(state, speech)] += 1
    assert not seen["unexplained"], seen
    assert seen["same"] > 5000 and len(seen) == 4, seen


def vap_events(speech: Dyad) -> list[tuple[str, int, int, str, str]]:
    """(shift or hold, silence's start and end in ms, who spoke, who speaks next)."""
    everyone = merge_spans(span for spans in speech.values() for span in spans)
    filled = {}
    for participant, spans in speech.items():
        (other,) = set(speech) - {participant}
        own = list(spans)
        for earlier, later in pairwise(spans):
            if not any(span.start_ms < later.start_ms and span.end_ms > earlier.end_ms for span in speech[other]):
                own.append(Span(earlier.end_ms, later.start_ms))
        filled[participant] = merge_spans(own)
    events = []
    for earlier, later in pairwise(everyone):
        start_ms, end_ms = earlier.end_ms, later.start_ms
        if end_ms - start_ms < VAP_SILENCE_MS:
            continue
        before = alone(filled, Span(start_ms - VAP_ACTIVE_MS, start_ms))
        after = alone(filled, Span(end_ms, end_ms + VAP_ACTIVE_MS))
        if before and after:
            events.append(("hold" if before == after else "shift", start_ms, end_ms, before, after))
    return events


def alone(speech: Dyad, span: Span) -> str | None:
    """Who is active through the whole of the span, if nobody else is in any of it."""
    within = {
        p: [s for s in spans if s.start_ms < span.end_ms and s.end_ms > span.start_ms] for p, spans in speech.items()
    }
    active = [p for p, spans in within.items() if spans]
    if len(active) != 1:
        return None
    (only,) = within[active[0]][:1]
    return active[0] if only.start_ms <= span.start_ms and only.end_ms >= span.end_ms else None


def why_turns_differ(kind: str, silence_ms: int, label: str | None, backchannel: bool) -> str:
    if silence_ms >= TurnParams().floor_silence_ms:
        return "after 3 s nobody holds the floor: an initiation" if label == "initiation" else "unexplained"
    if kind == "hold":
        return "same" if label in (None, "hold") else "unexplained"
    if label == "hold":
        return "who spoke in between had not taken the floor, so its holder resumes"
    if label is None and backchannel:
        return "just 1 s of speech: active for VAP's shift, short enough for its backchannel and ours"
    return "same" if label == "smooth_shift" else "unexplained"


def test_shifts_and_holds_of_vap_are_ours_but_for_named_cases() -> None:
    seen: Counter[str] = Counter()
    for seed in range(DYADS):
        speech = dyad(seed)
        events = annotate(speech).events
        states = {(e.start_ms, e.end_ms): e for e in events if e.kind == "state"}
        onsets = {(e.participant, e.start_ms): e for e in events if e.kind == "transition"}
        backchannels = {(e.participant, e.start_ms) for e in events if e.kind == "backchannel"}
        for kind, start_ms, end_ms, before, after in vap_events(speech):
            state, onset = states[start_ms, end_ms], onsets.get((after, end_ms))
            assert (state.label, state.participant, state.other or before) == (
                "gap" if kind == "shift" else "pause", before, after
            )  # fmt: skip
            label = onset.label if onset else None
            seen[why_turns_differ(kind, end_ms - start_ms, label, (after, end_ms) in backchannels)] += 1
    assert not seen["unexplained"], seen
    assert seen["same"] > 1000 and len(seen) == 4, seen
