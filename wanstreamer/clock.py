"""The one clock: 160 ms units, their frames, samples and latents, and millisecond spans on them.

Annotation times are int64 milliseconds, half-open; media positions are frame, sample or unit indices.
All conversions between them, and from the float seconds of exchange formats, are here.
Wan-Streamer v0.1 (arXiv 2606.25041, section 3) states the unit of 160 ms = 4 frames at 25 fps;
25 audio latents/s is our choice.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

UNIT_MS = 160
FRAME_MS = 40
FRAMES_PER_UNIT = 4
FRAME_RATE_HZ = 25
AUDIO_LATENTS_PER_UNIT = 4
TICK_MS = 40  # RoPE's time step: one video frame, one audio latent


class Span(NamedTuple):
    """A half-open interval [start_ms, end_ms) in integer milliseconds."""

    start_ms: int
    end_ms: int

    @property
    def duration_ms(self) -> int:
        return self.end_ms - self.start_ms


def samples_per_unit(rate_hz: int) -> int:
    """Samples in one unit. Raises ValueError if the rate gives no whole number of samples per audio latent."""
    samples, rest = divmod(rate_hz * UNIT_MS, 1000)
    if rest or samples % AUDIO_LATENTS_PER_UNIT:
        raise ValueError(f"{rate_hz} Hz has no whole number of samples per {TICK_MS} ms; use a multiple of 25 Hz")
    return samples


def seconds_to_ms(seconds: float) -> int:
    """Seconds of an exchange format, rounded to the nearest millisecond."""
    return round(seconds * 1000)


def ms_to_seconds(ms: int) -> float:
    return ms / 1000


def unit_of_ms(ms: int) -> int:
    """The unit that contains the instant `ms`."""
    return ms // UNIT_MS


def unit_span(unit: int) -> Span:
    return Span(unit * UNIT_MS, (unit + 1) * UNIT_MS)


def whole_units_in_ms(duration_ms: int) -> int:
    """Number of whole units that fit into a duration."""
    return duration_ms // UNIT_MS


def units_touched(span: Span) -> range:
    """Indices of the units that share at least one millisecond with `span`."""
    if span.end_ms <= span.start_ms:
        return range(0)
    return range(span.start_ms // UNIT_MS, -(-span.end_ms // UNIT_MS))


def overlap_ms(span: Span, other: Span) -> int:
    """Milliseconds that two spans share; 0 if they do not meet."""
    return max(0, min(span.end_ms, other.end_ms) - max(span.start_ms, other.start_ms))


def merge_spans(spans: Iterable[Span], max_gap_ms: int = 0) -> list[Span]:
    """Sorted union of spans; neighbours at most `max_gap_ms` apart become one. Empty spans vanish."""
    merged: list[Span] = []
    for span in sorted(spans):
        if span.end_ms <= span.start_ms:
            continue
        if merged and span.start_ms - merged[-1].end_ms <= max_gap_ms:
            merged[-1] = Span(merged[-1].start_ms, max(merged[-1].end_ms, span.end_ms))
        else:
            merged.append(span)
    return merged


def intersect_spans(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """Intersection of two sorted lists of disjoint spans."""
    shared: list[Span] = []
    i = j = 0
    while i < len(spans) and j < len(others):
        start, end = max(spans[i].start_ms, others[j].start_ms), min(spans[i].end_ms, others[j].end_ms)
        if start < end:
            shared.append(Span(start, end))
        if spans[i].end_ms <= others[j].end_ms:
            i += 1
        else:
            j += 1
    return shared


def covered_ms(span: Span, spans: Iterable[Span]) -> int:
    """Milliseconds of `span` that disjoint `spans` cover."""
    return sum(overlap_ms(span, other) for other in spans)
