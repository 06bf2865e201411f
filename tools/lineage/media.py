"""A unit of a track -> the frames and samples of its source: the way of ingest, followed backwards.

Frame n of a track shows the picture of the source that is nearest to 40 n ms (pipelines/media/ffmpeg.py); sample n is
sample `first + n` of the decoded sound, or lies between samples if the clock of a recorder was corrected. The times of
all pictures are read from the packets of the file; nothing is decoded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.engine.jobs import Rejected
from pipelines.ingest.clocks import FileClock
from pipelines.media.crop_path import CropPath, crop_path, in_shape
from pipelines.media.ffmpeg import HALF_FRAME_US
from pipelines.media.following import FRAME_US, path_us
from pipelines.media.probing import open_source, probe
from pipelines.media.retiming import TAPS
from pipelines.media.timelines import PacketTimes, packet_times
from wanstreamer.clock import FRAMES_PER_UNIT, Span, intersect_spans, samples_per_unit, unit_span

Row = Mapping[str, Any]


def picture_clock(origin: Row) -> FileClock:
    return FileClock(start_ms=origin["video_start_ms"], rate=origin["video_rate"])


def sound_clock(origin: Row) -> FileClock:
    return FileClock(start_ms=origin["audio_start_ms"], rate=origin["audio_rate"])


def picture_source(origin: Row, track: Row, person: Row | None, root: Path | None, unit: int) -> dict[str, Any] | None:
    """From where the frames of a unit come; None without video.

    Args:
        origin: The track's row of the table `sources`.
        track: Its row of `tracks`.
        person: Its row of `people`, if its crop moves.
        root: Folder of the sources; None: do not look into the file, and name no frames.
        unit: Index in the track.
    """
    if origin["video_uri"] is None:
        return None
    clock, span = picture_clock(origin), unit_span(unit)
    moves = origin["zoom"] is None
    described: dict[str, Any] = {
        **_file(origin, "video"),
        "from_ms": clock.media_ms(span.start_ms),
        "to_ms": clock.media_ms(span.end_ms),
        "rate": clock.rate,
        "picture": [origin["picture_width"], origin["picture_height"]],
        "crop": _rect(origin["crop"]),
        "crop_moves": moves,
        "fit": None if moves else {name: origin[name] for name in ("zoom", "cut_left", "cut_top")},
        "place_in_frame": _rect(track["picture"]),
        "held_ms": _within(origin["held"], span),
        "not_visible_ms": _outside(track["visible"], span),
        "frames": None,
    }
    if root is None:
        return described
    path = None
    if moves and person is not None:
        path = crop_path(person["crops"], [Span(**visible) for visible in person["visible"]])
    try:
        times = _times(root / origin["video_uri"], origin, track, "video")
    except Rejected as rejected:
        return described | {"cannot_tell": f"{rejected.reason}: {rejected.detail}"}
    frames = range(unit * FRAMES_PER_UNIT, (unit + 1) * FRAMES_PER_UNIT)
    size = origin["picture_width"], origin["picture_height"]
    return described | {"frames": frames_shown(times, clock, frames, path, size, (track["width"], track["height"]))}


def frames_shown(
    times: PacketTimes,
    clock: FileClock,
    frames: range,
    path: CropPath | None,
    size: tuple[int, int],
    frame_size: tuple[int, int],
) -> list[dict[str, Any]]:
    """For each of some frames of a track: the source's picture that it shows, counted from 0 in the order of time, its
    time in the file, its own timestamp, and the crop of a `path`."""
    time_us_N = np.round(times.media_s_N * 1e6)
    early_us_N = np.clip(np.diff(time_us_N, prepend=time_us_N[:1]) / 2, 0, HALF_FRAME_US)
    track_us_N = time_us_N - early_us_N + time_us_N * (clock.rate - 1) + round(clock.start_ms * 1000)
    stop = None
    if path is None:  # as ffmpeg's filters do: `setpts` cuts to whole microseconds, and `fps` ends where its input does
        track_us_N = np.trunc(track_us_N)
        end_us = float(time_us_N[-1]) + times.last_s * 1e6
        early_us = min(max(0.0, times.last_s * 1e6 / 2), HALF_FRAME_US)
        stop = ceil(int(end_us - early_us + end_us * (clock.rate - 1) + round(clock.start_ms * 1000)) / FRAME_US)
    shown = []
    for frame in frames:
        at_us = FRAME_US * (frame if stop is None else min(frame, stop - 1))
        place = max(0, int(np.searchsorted(track_us_N, at_us, side="right")) - 1)
        crop = None
        if path is not None:
            coming = float(time_us_N[place + 1] - early_us_N[place + 1]) if place + 1 < len(time_us_N) else None
            crop = path.crop(path_us(float(time_us_N[place]), float(early_us_N[place]), coming) / 1000)
        shown.append(
            {
                "track_frame": frame,
                "source_frame": place,
                "at_ms": round(float(times.media_s_N[place]) * 1000, 3),
                "timestamp_s": round(float(times.stamp_s_N[place]), 6),
                **({} if path is None else {"crop": None if crop is None else list(in_shape(crop, size, frame_size))}),
            }
        )
    return shown


def sound_source(origin: Row, track: Row, root: Path | None, unit: int) -> dict[str, Any] | None:
    """From where the samples of a unit come; None without audio. Arguments as for `picture_source`."""
    if origin["audio_uri"] is None:
        return None
    clock, span, rate_hz = sound_clock(origin), unit_span(unit), track["rate_hz"]
    own = origin["own_speech"]
    described: dict[str, Any] = {
        **_file(origin, "audio"),
        "channel": origin["channel"],
        "from_ms": clock.media_ms(span.start_ms),
        "to_ms": clock.media_ms(span.end_ms),
        "rate": clock.rate,
        "rate_hz": rate_hz,
        **decoded_samples(clock, unit, rate_hz),
        "filled_ms": _within(origin["filled"], span),
        "louder_channel_ms": _within(origin["cancelled"], span),
        "silenced_ms": [] if own is None else _outside(own, span),
        "mixed_ms": _within(track["mixed"], span),
        "source_rate_hz": None,
        "timestamps_s": None,
    }
    if root is None:
        return described
    try:
        path = root / origin["audio_uri"]
        times = _times(path, origin, track, "audio")
        with open_source(path) as container:
            stream: Any = container.streams[origin["audio_stream"]]
            source_hz = stream.codec_context.sample_rate
    except Rejected as rejected:
        return described | {"cannot_tell": f"{rejected.reason}: {rejected.detail}"}
    ends = [described["from_ms"], described["to_ms"]]
    return described | {
        "source_rate_hz": source_hz,
        "source_samples": [floor(ends[0] * source_hz / 1000), ceil(ends[1] * source_hz / 1000)],
        "timestamps_s": [_stamp(times, at_ms / 1000) for at_ms in ends],
    }


def decoded_samples(clock: FileClock, unit: int, rate_hz: int) -> dict[str, Any]:
    """Which samples of the sound, decoded from the start of the file at the rate of the tracks, make a unit.

    `samples`: first and end. `positions`: of the first and the last sample of the unit, which lie between them, if the
    clock was corrected; null: they are the samples themselves.
    """
    first, count = unit * samples_per_unit(rate_hz), samples_per_unit(rate_hz)
    if clock.rate == 1:
        skip = int(clock.media_ms(0) * rate_hz // 1000)
        return {"samples": [skip + first, skip + first + count], "positions": None}
    begin = clock.media_ms(0) * rate_hz / 1000
    ends = begin + first / clock.rate, begin + (first + count - 1) / clock.rate
    return {
        "samples": [floor(ends[0]) - TAPS // 2 + 1, floor(ends[1]) + TAPS // 2 + 1],
        "positions": [round(end, 4) for end in ends],
    }


def _times(path: Path, origin: Row, track: Row, kind: str) -> PacketTimes:
    """The times of the packets of the track's stream. Raises Rejected if the file cannot be read any more."""
    media = probe(path, language=track["language"]).source
    kinds = ("video", "audio") if origin["audio_uri"] == origin["video_uri"] else (kind,)
    media = replace(media, **{each: origin[f"{each}_stream"] for each in kinds})  # a file's clock is judged on both
    return packet_times(media, origin[f"{kind}_stream"])


def _stamp(times: PacketTimes, media_s: float) -> float:
    """The file's own timestamp of an instant."""
    place = max(0, int(np.searchsorted(times.media_s_N, media_s + 1e-9, side="right")) - 1)
    return round(float(times.stamp_s_N[place] + media_s - times.media_s_N[place]), 6)


def _file(origin: Row, kind: str) -> dict[str, Any]:
    return {"file": origin[f"{kind}_uri"], "hash": origin[f"{kind}_hash"], "stream": origin[f"{kind}_stream"]}


def _rect(rect: Row | None) -> list[int] | None:
    return None if rect is None else [rect[name] for name in ("x", "y", "width", "height")]


def _within(spans: Sequence[Row] | None, span: Span) -> list[list[int]]:
    """Those parts of spans of a track that lie in a unit."""
    return [list(part) for part in intersect_spans([span], [Span(s["start_ms"], s["end_ms"]) for s in spans or ()])]


def _outside(spans: Sequence[Row] | None, span: Span) -> list[list[int]]:
    """The parts of a unit that lie in none of some spans; none, if these are null."""
    if spans is None:
        return []
    outside, begin = [], span.start_ms
    for start, end in _within(spans, span):
        if start > begin:
            outside.append([begin, start])
        begin = end
    return [*outside, [begin, span.end_ms]] if begin < span.end_ms else outside
