"""Where the frames and samples of a track come from: its row of the table `sources`, which tools.lineage reads."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.ingest.clocks import FileClock, RowClocks
from pipelines.ingest.recorders import sound_file
from pipelines.ingest.videos import Shown
from pipelines.media.framing import Rect
from pipelines.media.timelines import Timeline
from pipelines.sources.row import SourceRow
from wanstreamer.clock import UNIT_MS, Span, intersect_spans, merge_spans

PICTURE = (
    "video_uri", "video_hash", "video_stream", "video_start_ms", "video_rate", "picture_width", "picture_height",
    "crop", "zoom", "cut_left", "cut_top", "held",
)  # fmt: skip
SOUND = (
    "audio_uri", "audio_hash", "audio_stream", "audio_start_ms", "audio_rate", "channel", "filled", "cancelled",
    "own_speech",
)  # fmt: skip


def picture_origin(
    row: SourceRow, shown: Shown | None, stream: int | None, hashes: Mapping[str, str], num_units: int
) -> dict[str, Any]:
    """The columns of `sources` about the picture. `shown`: None without video; `hashes`: of files, by their names."""
    if shown is None:
        return dict.fromkeys(PICTURE)
    framing = shown.fitted.framing if shown.path is None else None
    return {
        "video_uri": row.uri,
        "video_hash": hashes[row.uri],
        "video_stream": stream,
        "video_start_ms": float(shown.clock.start_ms),
        "video_rate": float(shown.clock.rate),
        "picture_width": shown.size[0],
        "picture_height": shown.size[1],
        "crop": Rect(*row.crop)._asdict() if row.crop and framing else None,
        "zoom": framing.zoom if framing else None,
        "cut_left": framing.x if framing else None,
        "cut_top": framing.y if framing else None,
        "held": [span._asdict() for span in spans_within(shown.picture.video_holds, shown.clock, num_units)],
    }


def sound_origin(
    row: SourceRow,
    sound: Timeline | None,
    stream: int | None,
    clocks: RowClocks,
    cancelled: Sequence[Span],
    own_speech: Sequence[Span] | None,
    hashes: Mapping[str, str],
    num_units: int,
) -> dict[str, Any]:
    """The columns of `sources` about the sound. `sound`: None without audio; `own_speech`: on the tracks' clock."""
    if sound is None:
        return dict.fromkeys(SOUND)
    whole = [Span(0, num_units * UNIT_MS)]
    own = None if own_speech is None else intersect_spans(whole, merge_spans(own_speech))
    return {
        "audio_uri": sound_file(row),
        "audio_hash": hashes[sound_file(row)],
        "audio_stream": stream,
        "audio_start_ms": float(clocks.sound.start_ms),
        "audio_rate": float(clocks.sound.rate),
        "channel": row.channel,
        "filled": [span._asdict() for span in spans_within(sound.audio_gaps, clocks.sound, num_units)],
        "cancelled": [span._asdict() for span in spans_within(cancelled, clocks.sound, num_units)],
        "own_speech": None if own is None else [span._asdict() for span in own],
    }


def spans_within(spans: Sequence[Span], clock: FileClock, num_units: int) -> list[Span]:
    """A file's spans within the tracks, on the tracks' clock."""
    return intersect_spans([Span(0, num_units * UNIT_MS)], clock.spans(spans))
