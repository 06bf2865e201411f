"""Where the files of a session lie on its clock: the picture and the sound of a participant may be in two files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pipelines.sources.row import SourceRow
from wanstreamer.clock import Span


@dataclass(frozen=True, kw_only=True)
class FileClock:
    """The clock of a file on another clock: that of the session, or that of its tracks.

    >>> recorder = FileClock(start_ms=3700, rate=0.9999)
    >>> recorder.time_ms(10_000), recorder.media_ms(13_699)
    (13699.0, 10000.0)
    """

    start_ms: float  # time at the start of the file
    rate: float = 1.0  # time that passes in 1 ms of the file

    def time_ms(self, media_ms: float) -> float:
        """The time of an instant of the file."""
        return self.start_ms + media_ms * self.rate

    def media_ms(self, time_ms: float) -> float:
        """The instant of the file at a time."""
        return (time_ms - self.start_ms) / self.rate

    def since(self, origin_ms: float) -> "FileClock":
        """The same clock, with time counted from `origin_ms`."""
        return replace(self, start_ms=self.start_ms - origin_ms)

    def spans(self, spans: Iterable[Span]) -> list[Span]:
        """Spans of the file as spans of time, without what is before time 0."""
        return [Span(*(max(0, round(self.time_ms(at))) for at in span)) for span in spans]


@dataclass(frozen=True, kw_only=True)
class RowClocks:
    """The clocks of a row's files: equal, if one file has both."""

    picture: FileClock
    sound: FileClock

    def since(self, origin_ms: float) -> "RowClocks":
        return RowClocks(picture=self.picture.since(origin_ms), sound=self.sound.since(origin_ms))


def stated_clocks(row: SourceRow) -> RowClocks:
    """The clocks of a row's files on the clock of the session, as the manifest states them."""
    return RowClocks(picture=FileClock(start_ms=row.start_offset_ms), sound=FileClock(start_ms=sound_start_ms(row)))


def sound_start_ms(row: SourceRow) -> int:
    """Session time at the start of the file with the sound, as the manifest states it."""
    return row.start_offset_ms if row.audio_offset_ms is None else row.audio_offset_ms


def common_span(streams: Sequence[tuple[FileClock, int]]) -> Span:
    """When all streams run: from the start of the last file to the end of the stream that ends first.

    `streams`: for each, the clock of its file, and the media time of its end in ms.
    """
    start_ms = max(clock.start_ms for clock, _ in streams)
    end_ms = min(clock.time_ms(length_ms) for clock, length_ms in streams)
    return Span(-int(-start_ms // 1), int(end_ms // 1))  # whole milliseconds within
