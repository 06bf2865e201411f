"""Spans and units: the conversions every stage relies on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wanstreamer.clock import (
    UNIT_MS,
    Span,
    covered_ms,
    intersect_spans,
    merge_spans,
    ms_to_seconds,
    samples_per_unit,
    seconds_to_ms,
    unit_of_ms,
    unit_span,
    units_touched,
)

TIMES = st.integers(0, 5000)
SPANS = st.lists(st.tuples(TIMES, st.integers(0, 800)).map(lambda pair: Span(pair[0], pair[0] + pair[1])), max_size=8)


def instants(spans: list[Span]) -> set[int]:
    return {ms for span in spans for ms in range(span.start_ms, span.end_ms)}


@given(SPANS)
def test_a_union_covers_the_same_instants(spans: list[Span]) -> None:
    merged = merge_spans(spans)
    assert instants(merged) == instants(spans)
    assert all(span.end_ms < next_span.start_ms for span, next_span in zip(merged, merged[1:], strict=False))


@given(SPANS, SPANS)
def test_an_intersection_holds_what_both_hold(first: list[Span], second: list[Span]) -> None:
    shared = intersect_spans(merge_spans(first), merge_spans(second))
    assert instants(shared) == instants(first) & instants(second)
    assert sum(span.duration_ms for span in shared) == sum(
        covered_ms(span, merge_spans(second)) for span in merge_spans(first)
    )


@given(TIMES, st.integers(1, 2000))
def test_touched_units_are_those_that_share_time(start_ms: int, duration_ms: int) -> None:
    span = Span(start_ms, start_ms + duration_ms)
    assert set(units_touched(span)) == {unit_of_ms(ms) for ms in range(span.start_ms, span.end_ms)}


def test_units_tile_the_clock() -> None:
    assert unit_span(3) == Span(3 * UNIT_MS, 4 * UNIT_MS)
    assert list(units_touched(Span(5, 5))) == []
    assert samples_per_unit(16000) == 2560 and samples_per_unit(24000) == 3840
    with pytest.raises(ValueError, match="whole number"):
        samples_per_unit(8010)


@given(st.integers(0, 10**9))
def test_exchange_seconds_round_to_the_millisecond(ms: int) -> None:
    assert seconds_to_ms(ms_to_seconds(ms)) == ms
