"""A long recording -> the spans in which the video of its track is made, so that several workers can share it."""

from bisect import bisect_left
from collections.abc import Iterator

from pipelines.ingest.clocks import FileClock
from pipelines.media.timelines import Timeline
from wanstreamer.clock import UNIT_MS

SPAN_UNITS = 1875  # 5 minutes; longer recordings are made in spans of this, in parallel


def video_spans(
    picture: Timeline, shift_ms: float, num_units: int, rate: float = 1.0
) -> Iterator[tuple[int, int, int | None]]:
    """Spans in which a track's video is made: first unit, last unit, and the media time to seek to (None: the start).

    A span begins where the source has new frames, and is decoded from the last but one keyframe before it. From there
    on, the decoded frames equal those of a decoder that read the whole file.
    """
    clock = FileClock(start_ms=shift_ms, rate=rate)
    holds = clock.spans(picture.video_holds)
    keys_ms = sorted(picture.video_keys_ms)
    first, seek_ms = 0, None
    for unit in range(SPAN_UNITS, num_units - SPAN_UNITS // 2, SPAN_UNITS):
        begin_ms = unit * UNIT_MS
        before = bisect_left(keys_ms, clock.media_ms(begin_ms) - UNIT_MS)
        if before < 2 or any(start - UNIT_MS <= begin_ms <= end + UNIT_MS for start, end in holds):
            continue
        yield first, unit, seek_ms
        first, seek_ms = unit, keys_ms[before - 2] + 1
    yield first, num_units, seek_ms
