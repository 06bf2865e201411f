"""Turns and events of a session -> the labels of every 160 ms unit, shared by trainer and evaluator."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence

from pipelines.engine.tables import TableRow
from wanstreamer.clock import UNIT_MS, Span, covered_ms, merge_spans, unit_of_ms, unit_span, units_touched
from wanstreamer.turns import Annotation, floor_at
from wanstreamer.turns.nonspeech import BLEED
from wanstreamer.turns.transitions import interruptions_open


def unit_rows(
    session_id: str,
    track: TableRow,
    speech: Mapping[str, Sequence[Span]],
    annotation: Annotation,
    unknown: Sequence[Span] = (),
    bleed: Sequence[tuple[float | None, bool]] = (),
) -> list[TableRow]:
    """A row per unit of the track. `speech_ms` is null if no speech is known to be the participant's.

    Args:
        session_id: Of the row.
        track: Row of the table `tracks`.
        speech: Own speech by participant with an attributed track.
        annotation: Turns and events of the session.
        unknown: ms in which no one can tell whose voice the track holds.
        bleed: `bleed_db` and `bleed_heard` of each unit; empty: no other voice reaches the track.
    """
    who, num_units = track["participant"], track["num_units"]
    own = list(speech[who]) if who in speech else None
    primary = [turn for turn in annotation.turns if turn.participant == who and turn.is_primary]
    begins = [unit_of_ms(turn.start_ms) for turn in primary]
    ends = sorted(unit_of_ms(turn.end_ms - 1) for turn in primary)
    backchannel = _touched(
        Span(event.start_ms, event.end_ms)
        for event in annotation.events
        if event.kind == "backchannel" and event.participant == who
    )
    interruption_roles: dict[int, str] = {}
    for span, interruption_role in interruptions_open(annotation.events).get(who, ()):
        interruption_roles |= dict.fromkeys(units_touched(span), interruption_role)
    non_speech = _touched(
        Span(event.start_ms, event.end_ms)
        for event in annotation.events
        if event.kind == "non_speech" and event.label != BLEED and event.participant == who
    )
    unknown_units = _touched(unknown)
    mixed = _touched(Span(span["start_ms"], span["end_ms"]) for span in track["mixed"]) | unknown_units
    stops = [span.end_ms for span in own or ()]
    hidden = _not_visible(track)
    rows: list[TableRow] = []
    for unit in range(num_units):
        span = unit_span(unit)
        spoken_ms = silence_ms = None
        if own is not None:
            near = own[bisect_right(stops, span.start_ms) : bisect_left(own, Span(span.end_ms, 0))]
            spoken_ms = covered_ms(span, near)
            before = bisect_right(stops, span.end_ms)
            if near and near[-1].end_ms > span.end_ms:
                silence_ms = 0
            elif before:
                silence_ms = span.end_ms - stops[before - 1]
        if unit in unknown_units:
            spoken_ms = silence_ms = None
        rows.append(
            {
                "session_id": session_id,
                "participant": who,
                "unit": unit,
                "speech_ms": spoken_ms,
                "holds_floor": floor_at(annotation.floor, span.end_ms - 1) == who,
                "turn_begins_in": _units_until(begins, unit),
                "turn_ends_in": _units_until(ends, unit),
                "interruption_role": interruption_roles.get(unit),
                "backchannel": unit in backchannel,
                "silence_ms": silence_ms,
                "audio_mixed": unit in mixed,
                "non_speech": unit in non_speech,
                "bleed_db": bleed[unit][0] if bleed else None,
                "bleed_heard": bool(bleed and bleed[unit][1]),
                "video_visible": None if hidden is None else unit not in hidden,
            }
        )
    return rows


def _not_visible(track: TableRow) -> set[int] | None:
    """Units in which the video does not show the participant all the time; None without video."""
    if track.get("video_path") is None:
        return None
    if track.get("visible") is None:
        return set()
    whole = Span(0, track["num_units"] * UNIT_MS)
    shown = merge_spans(Span(span["start_ms"], span["end_ms"]) for span in track["visible"])
    edges = [whole.start_ms, *(edge for span in shown for edge in span), whole.end_ms]
    return _touched(Span(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True))


def _units_until(units: Sequence[int], unit: int) -> int | None:
    """Distance from `unit` to the first of the sorted `units` that is not before it."""
    at = bisect_left(units, unit)
    return units[at] - unit if at < len(units) else None


def _touched(spans: Iterable[Span]) -> set[int]:
    return {unit for span in spans for unit in units_touched(span)}
