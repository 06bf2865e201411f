"""A participant's picture and sound end apart: the stream that ends first is filled up to the end of the other.

A camera is switched off, a microphone is muted, a screen is recorded only when it changes: in every container alike,
the last picture stands still and missing sound is silence. Both count as filled in the participant's row of `tracks`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.clocks import FileClock
from pipelines.media.timelines import HELD_MS, Timeline
from wanstreamer.clock import Span

FILLED_MS = 1000  # tracks that are filled by more are reported


def filled_lengths(streams: Sequence[tuple[FileClock, int]]) -> list[tuple[FileClock, int]]:
    """The streams of one participant, each as long as the longest.

    `streams`: the clock of each one's file, and the media time of its end in ms. If they end at most HELD_MS
    apart, nothing is filled: the end of the first counts.

    >>> camera, microphone = FileClock(start_ms=0), FileClock(start_ms=100)
    >>> [length_ms for _, length_ms in filled_lengths([(camera, 5000), (microphone, 8000)])]
    [8100, 8000]
    """
    ends_ms = [clock.time_ms(length_ms) for clock, length_ms in streams]
    if max(ends_ms) - min(ends_ms) <= HELD_MS:
        return list(streams)
    return [(clock, max(length_ms, round(clock.media_ms(max(ends_ms))))) for clock, length_ms in streams]


def with_held_end(picture: Timeline, length_ms: int) -> Timeline:
    """The clock of a picture whose last frame stands until `length_ms` of its file."""
    if length_ms - picture.video_last_ms <= HELD_MS:
        return picture
    return replace(picture, video_holds=(*picture.video_holds, Span(picture.video_last_ms, length_ms)))


def with_silent_end(sound: Timeline, heard_ms: int, length_ms: int) -> Timeline:
    """The clock of a sound that ends at `heard_ms` of its file and is silent until `length_ms`."""
    if length_ms - heard_ms <= HELD_MS:
        return sound
    return replace(sound, audio_gaps=(*sound.audio_gaps, Span(heard_ms, length_ms)))


@dataclass
class Filled:
    """How much of the tracks is filled, counted piece by piece."""

    num_tracks: int = 0
    num_filled: int = 0  # by more than FILLED_MS
    held_ms: int = 0  # pictures that stand still in these
    silent_ms: int = 0
    longest_ms: int = -1
    example: str = ""  # the track that is filled most

    def add(self, tracks: pa.Table) -> None:
        """Count rows of `tracks`."""
        self.num_tracks += len(tracks)
        longer_ms = pc.max_element_wise(tracks["audio_filled_ms"], tracks["video_held_ms"])
        for row in tracks.filter(pc.greater(longer_ms, FILLED_MS)).to_pylist():
            held_ms, silent_ms = row["video_held_ms"] or 0, row["audio_filled_ms"] or 0
            self.num_filled += 1
            self.held_ms += held_ms
            self.silent_ms += silent_ms
            if held_ms + silent_ms > self.longest_ms:
                self.longest_ms, self.example = held_ms + silent_ms, f"{row['session_id']}/{row['participant']}"

    def warning(self) -> str:
        """What to know and to do; empty if nothing is filled by more than FILLED_MS."""
        if not self.num_filled:
            return ""
        held, silent = (f"{filled_ms / 1000:.1f} s" for filled_ms in (self.held_ms, self.silent_ms))
        return (
            f"ingest: warning: {self.num_filled} of {self.num_tracks} tracks are filled by more than "
            f"{FILLED_MS / 1000:.0f} s: pictures stand still for {held} in all, sound is silent for {silent}; most in "
            f"{self.example}. Their picture or sound begins late, ends early or has gaps; "
            '`python -m tools.query "FROM clock_repairs"` lists them. If there is more of the recording, name its '
            "file or stream in a manifest.csv; if not, cut the files to where both run"
        )
