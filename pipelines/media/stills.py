"""A source -> some of its pictures, small, as they are displayed: to find faces before its video is made.

Only keyframes are decoded, and the file is read only around them.
"""

from collections.abc import Iterator, Sequence

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import VideoReformatter

from pipelines.media.ffmpeg import Source
from pipelines.media.framing import Rect
from pipelines.media.process import address

FEW = 4  # with fewer keyframes, pictures in between are decoded too
DECODED_S = 60.0  # of those, from the start of the file


def stills(
    source: Source, times_ms: Sequence[int], size: tuple[int, int], crop: Rect, longer_side: int
) -> Iterator[np.ndarray]:
    """The pictures of `timed_stills`."""
    return (picture for _, picture in timed_stills(source, times_ms, size, crop, longer_side))


def timed_stills(
    source: Source, times_ms: Sequence[int], size: tuple[int, int], crop: Rect, longer_side: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Pictures from about these times of the file, each with its time in ms and as uint8 RGB (H, W, 3); fewer where it
    has no keyframes or is damaged.

    `size` is that of the displayed picture. `crop` is the part that is returned, in its pixels. Its longer side becomes
    `longer_side` pixels, if it has more.
    """
    scale = min(1.0, longer_side / max(crop.width, crop.height))
    seen: set[int | None] = set()
    try:
        with av.open(address(source.path), "r", options={"protocol_whitelist": "file"}) as container:
            video = container.streams[source.video or 0]
            video.codec_context.thread_count = 1
            to_rgb = VideoReformatter()
            for time_ms in times_ms:
                container.seek(round((source.start_s + time_ms / 1000) * av.time_base))
                frame = next(container.decode(video), None)
                if frame is not None and frame.pts not in seen:
                    seen.add(frame.pts)
                    yield _time_ms(source, frame), _displayed(to_rgb, frame, video, size, crop, scale)
            if len(seen) < min(FEW, len(times_ms)):
                container.seek(round(source.start_s * av.time_base))
                for frame in _spread(container, video, len(times_ms)):
                    yield _time_ms(source, frame), _displayed(to_rgb, frame, video, size, crop, scale)
    except (av.error.FFmpegError, ValueError):
        return  # what is wrong with the file is found when its video is made


def _time_ms(source: Source, frame) -> int:  # type: ignore[no-untyped-def]  # of PyAV
    return max(0, round(1000 * ((frame.time or 0.0) - source.start_s)))


def _spread(container, video, count: int):  # type: ignore[no-untyped-def]  # of PyAV
    """Frames at equal distances in the first DECODED_S, without the first."""
    begin_s, step_s = None, DECODED_S / (count + 1)
    for frame in container.decode(video):
        if frame.time is None:
            continue
        begin_s = frame.time if begin_s is None else begin_s
        if frame.time - begin_s > DECODED_S:
            return
        if frame.time - begin_s >= step_s:
            step_s += DECODED_S / (count + 1)
            yield frame


def _displayed(to_rgb, frame, video, size: tuple[int, int], crop: Rect, scale: float) -> np.ndarray:  # type: ignore[no-untyped-def]
    """A part of a frame, stretched to square pixels and turned as the file says."""
    transposed, flipped, mirrored = _orientation(frame)
    across, down = (max(1, round(side * scale)) for side in (reversed(size) if transposed else size))
    picture = to_rgb.reformat(frame, width=across, height=down, format="rgb24").to_ndarray()
    if transposed:
        picture = picture.transpose(1, 0, 2)
    picture = picture[:: -1 if flipped else 1, :: -1 if mirrored else 1]
    y, x = round(crop.y * scale), round(crop.x * scale)
    part = picture[y : y + max(1, round(crop.height * scale)), x : x + max(1, round(crop.width * scale))]
    return np.ascontiguousarray(part)


def _orientation(frame) -> tuple[bool, bool, bool]:  # type: ignore[no-untyped-def]
    """From the display matrix: whether rows and columns are exchanged, and then up and down, left and right."""
    matrix = next((data for data in frame.side_data or () if data.type == Type.DISPLAYMATRIX), None)
    if matrix is None:
        return False, False, False
    right_x, right_y, _, down_x, down_y = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    transposed = abs(right_y) > abs(right_x)
    if transposed:
        return True, bool(right_y < 0), bool(down_x < 0)
    return False, bool(down_y < 0), bool(right_x < 0)
