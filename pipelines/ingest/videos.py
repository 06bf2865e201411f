"""The pictures of a session's participants -> the videos of their tracks; long ones in spans, on idle cores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipelines.engine.ray import spread
from pipelines.ingest.clocks import FileClock
from pipelines.ingest.framing import Fitted
from pipelines.ingest.long_videos import video_spans
from pipelines.media.crop_path import CropPath
from pipelines.media.ffmpeg import conform_video, join_videos
from pipelines.media.following import Followed, conform_following, narrowest
from pipelines.media.framing import CENTRE, Rect
from pipelines.media.timelines import Timeline
from wanstreamer.clock import FRAME_MS, FRAMES_PER_UNIT, UNIT_MS, Span

EARLIER_MS = 10_000  # a picture that stands in the first frame of a span may have begun this much before it


@dataclass(frozen=True, kw_only=True)
class Shown:
    """How the picture of one participant becomes a video."""

    participant: str
    picture: Timeline
    size: tuple[int, int]  # of the displayed picture
    clock: FileClock  # of its file, on the tracks' clock
    fitted: Fitted
    crop: tuple[int, int, int, int] | None  # that stays
    path: CropPath | None  # of a crop that moves


class Video(NamedTuple):
    """What was made of one participant's picture."""

    damages: list[str]  # ffmpeg's complaint, for each packet that could not be decoded
    visible: list[Span] | None  # ms of the track that show the person; None: all of it


def fitted_path(path: CropPath, frame: tuple[int, int]) -> Fitted:
    """The figures of a picture that follows a person: each crop has the shape of the frame, which it fills."""
    width, height = np.median(path.boxes_N4[:, 2:], axis=0)
    return Fitted(
        framing=CENTRE, shape=(round(float(width)), round(float(height))), picture=Rect(0, 0, *frame),
        kept_share=1.0, faces_kept_share=None,
    )  # fmt: skip


def make_videos(
    shown: Sequence[Shown], num_units: int, frame: tuple[int, int], qp: int, scratch: Path
) -> dict[str, Video]:
    """Make `PARTICIPANT.mp4` in `scratch` for each of `shown`; returns what was made, by participant."""
    calls: list[Callable[[], tuple[int, str] | Followed]] = []
    pieces: list[list[Path]] = []
    for each in shown:
        spans = list(video_spans(each.picture, each.clock.start_ms, num_units, each.clock.rate))
        pieces.append([scratch / f"{each.participant}.{number}.mp4" for number in range(len(spans))])
        least = narrowest(each.path, each.size, frame) if each.path else 0.0
        calls += [_call(each, least, name, *span, frame, qp) for name, span in zip(pieces[-1], spans, strict=True)]
    results = iter(spread(calls) if len(calls) > len(pieces) else [call() for call in calls])
    videos = {}
    for each, names in zip(shown, pieces, strict=True):
        own = [next(results) for _ in names]
        video = scratch / f"{each.participant}.mp4"
        if len(names) == 1:
            names[0].replace(video)
        else:
            join_videos(names, video)
        damages = [result[1] for result in own for _ in range(result[0])]
        followed = [result.visible_N for result in own if isinstance(result, Followed)]
        videos[each.participant] = Video(damages, frame_spans(np.concatenate(followed)) if followed else None)
    return videos


def _call(
    shown: Shown,
    narrowest_crop: float,
    target: Path,
    first_unit: int,
    last_unit: int,
    seek_ms: int | None,
    frame: tuple[int, int],
    qp: int,
) -> Callable[[], tuple[int, str] | Followed]:
    """The work on one span of a video. `narrowest_crop`: of a path, over the whole track."""
    clock = shown.clock
    place: dict[str, Any] = {
        "lead_ms": clock.start_ms,
        "rate": clock.rate,
        "first_frame": first_unit * FRAMES_PER_UNIT,
        "num_frames": (last_unit - first_unit) * FRAMES_PER_UNIT,
        "seek_ms": seek_ms,
        "width": frame[0],
        "height": frame[1],
        "qp": qp,
    }
    if shown.path is None:
        framing = shown.fitted.framing
        return partial(conform_video, shown.picture.source, target, crop=shown.crop, framing=framing, **place)
    begin_ms = clock.media_ms(first_unit * UNIT_MS) - EARLIER_MS if first_unit else 0
    near = shown.path.between(begin_ms, clock.media_ms(last_unit * UNIT_MS) + UNIT_MS)
    moving: dict[str, Any] = {"path": near, "size": shown.size, "narrowest_crop": narrowest_crop}
    return partial(conform_following, shown.picture.source, target, **moving, **place)


def frame_spans(visible_N: np.ndarray) -> list[Span]:
    """The frames of a track that are true, as spans.

    >>> frame_spans(np.array([False, True, True, False, True]))
    [Span(start_ms=40, end_ms=120), Span(start_ms=160, end_ms=200)]
    """
    edges = np.flatnonzero(np.diff(np.pad(visible_N, 1).astype(np.int8)))
    return [
        Span(int(start) * FRAME_MS, int(stop) * FRAME_MS)
        for start, stop in zip(edges[::2], edges[1::2], strict=True)
    ]  # fmt: skip
