"""A picture that follows a person: each frame of a track shows the part of the source in which the person is.

    ffmpeg: decoded pictures, upright, in the colours of tracks, each with its time
      -> here: the picture nearest to each frame of the track, the part with the person, in the size of the track
      -> ffmpeg: H.264, as for all tracks

A picture and its time stay together all the way, so that after a cut in the source no frame is cropped as before it.
"""

import subprocess
import tempfile
from collections.abc import Generator, Iterator
from math import ceil
from pathlib import Path
from typing import IO, NamedTuple

import av
import cv2
import ffmpeg
import numpy as np

from pipelines.engine.jobs import Rejected
from pipelines.media.crop_path import CropPath, in_shape
from pipelines.media.ffmpeg import (
    COUNTING,
    HALF_FRAME_US,
    SCALING,
    Source,
    check_frames,
    damaged_packets,
    deinterlaced,
    scaled_to,
    source_input,
    track_video,
    with_track_tags,
)
from pipelines.media.process import complaint, ffmpeg_path, running
from wanstreamer.clock import FRAME_MS, FRAME_RATE_HZ

FRAME_US = 1000 * FRAME_MS
GREY_YUV = (126, 128, 128)  # mid-grey, as the border of pictures: neither black nor white, and 0 for a model
OVERSAMPLING = 2.0  # pixels of the source per pixel of the track that are kept, in either direction
SHIFT_US = 60_000_000  # added to all times between the two processes: none may be below zero
MORE_US = 200_000  # that is decoded behind the last frame: one picture more, so that it is known which is nearest


class Followed(NamedTuple):
    """What `conform_following` has made."""

    num_damaged: int  # packets that could not be decoded
    complaint: str  # of ffmpeg about the first of them
    visible_N: np.ndarray  # bool: frames that show the person; the others are grey


class _Picture(NamedTuple):
    time_us: int  # on the clock of the file
    early_us: float  # from this much before its time on, it is the nearest
    planes: list[np.ndarray]  # Y, U and V, uint8 (H, W)


def narrowest(path: CropPath, size: tuple[int, int], frame: tuple[int, int]) -> float:
    """Width of the narrowest crop of a path, in the shape of the track's frame."""
    widths = [in_shape(tuple(box), size, frame)[2] for box in path.boxes_N4.tolist()]
    return max(1.0, min(widths, default=float(size[0])))


def conform_following(
    source: Source,
    target: Path,
    *,
    path: CropPath,
    size: tuple[int, int],
    narrowest_crop: float,
    lead_ms: float,
    rate: float = 1.0,
    first_frame: int = 0,
    num_frames: int,
    seek_ms: int | None = None,
    width: int,
    height: int,
    qp: int,
) -> Followed:
    """As `ffmpeg.conform_video`, with a crop that moves, and mid-grey frames where the person is not seen.

    Args:
        source: With a picture.
        target: The video to write.
        path: The crops, on the clock of the file.
        size: Width and height of the displayed picture.
        narrowest_crop: Of `narrowest`, for the path of the whole track: a picture that is larger than the track needs
            is made smaller on the way, and the frames must not depend on the spans that the track is made in.
        lead_ms: As the following: of `conform_video`.

    Raises:
        Rejected: As `conform_video`.
    """
    scale = min(1.0, OVERSAMPLING * width / narrowest_crop)
    shown = max(2, round(size[0] * scale)), max(2, round(size[1] * scale))
    clock = _Clock(source, lead_ms, rate)
    visible_N = np.zeros(num_frames, bool)
    grey_3HW = np.empty((3, height, width), np.uint8)
    grey_3HW[:] = np.array(GREY_YUV, np.uint8)[:, None, None]
    decoder = _decoder(source, seek_ms, shown, clock.file_us((first_frame + num_frames) * FRAME_US) + MORE_US)
    encoder = _encoder(target, width, height, num_frames, qp)
    with (
        tempfile.TemporaryFile() as decoder_errors,
        tempfile.TemporaryFile() as encoder_errors,
        running(decoder, stdout=subprocess.PIPE, stderr=decoder_errors) as decoding,
        running(encoder, stdin=subprocess.PIPE, stderr=encoder_errors) as encoding,
    ):
        assert decoding.stdout is not None and encoding.stdin is not None
        pictures = _pictures(decoding.stdout.fileno())
        try:
            for number, (picture, at_us) in enumerate(_nearest(pictures, clock, first_frame, num_frames)):
                crop = path.crop(at_us / 1000)
                visible_N[number] = crop is not None
                frame_3HW = grey_3HW if crop is None else _part(picture.planes, crop, size, (width, height))
                encoding.stdin.write(frame_3HW.tobytes())
            encoding.stdin.close()
        except (av.error.FFmpegError, BrokenPipeError):
            pass  # what the two processes report says why
        pictures.close()
        decoding.stdout.close()
        if not encoding.stdin.closed:
            encoding.kill()
        encoder_code, decoder_code = encoding.wait(), decoding.wait()
        problems = _text(encoder_errors), _text(decoder_errors)
    if encoder_code > 0:  # below 0: it was killed, as there are no frames for it
        raise Rejected("unreadable", f"{source.path.name}: video: {complaint(problems[0])}")
    num_damaged, reported = damaged_packets(problems[1])
    if encoder_code or decoder_code or not target.is_file():
        raise Rejected("unreadable", f"{source.path.name}: video: {reported}")
    check_frames(source, target, num_frames)
    return Followed(num_damaged, reported if num_damaged else "", visible_N)


class _Clock:
    """The clock of a file's picture on that of a track, in microseconds."""

    def __init__(self, source: Source, lead_ms: float, rate: float) -> None:
        self.start_us = round(source.start_s * 1e6)  # timestamp at the start of the file
        self.lead_us, self.rate = round(lead_ms * 1000), rate

    def track_us(self, file_us: float) -> float:
        return file_us * self.rate + self.lead_us

    def file_us(self, track_us: float) -> int:
        return round((track_us - self.lead_us) / self.rate)


def _decoder(source: Source, seek_ms: int | None, shown: tuple[int, int], end_us: int) -> list[str]:
    """The command that writes the whole pictures up to a time of the file, with their times."""
    stream = deinterlaced(source_input(source, seek_ms)[str(source.video)], source)
    start_us = round(source.start_s * 1e6)
    stream = stream.filter("settb", "AVTB").filter("setpts", f"PTS{SHIFT_US - start_us:+d}")
    stream = stream.filter("trim", end_pts=end_us + SHIFT_US)
    stream = scaled_to(stream, source, *shown)
    command = stream.output(
        "pipe:", format="nut", vcodec="rawvideo", fps_mode="passthrough", enc_time_base="1:1000000", write_index=0
    )
    compiled: list[str] = command.global_args(*COUNTING, "-filter_threads", "1").compile(cmd=ffmpeg_path())
    return compiled


def _encoder(target: Path, width: int, height: int, num_frames: int, qp: int) -> list[str]:
    """The command that makes the video of a track from its frames."""
    frames = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="yuv444p", s=f"{width}x{height}", r=FRAME_RATE_HZ)
    stream = with_track_tags(frames).filter("scale", flags=SCALING).filter("format", "yuv420p")
    stream = with_track_tags(stream.filter("setsar", 1))
    compiled: list[str] = track_video(stream, target, num_frames=num_frames, qp=qp).compile(cmd=ffmpeg_path())
    return compiled


def _pictures(pipe: int) -> Generator[_Picture, None, None]:
    """The pictures that a decoder writes, in the order of time."""
    before_us = None
    with av.open(f"pipe:{pipe}", format="nut") as container:
        video = container.streams.video[0]
        video.codec_context.thread_count = 1
        for frame in container.decode(video):
            if frame.pts is None or frame.time_base is None:
                continue
            time_us = round(frame.pts * frame.time_base * 1_000_000) - SHIFT_US
            early_us = 0.0 if before_us is None else min(max(0, (time_us - before_us) / 2), HALF_FRAME_US)
            before_us = time_us
            yield _Picture(time_us, early_us, _planes(frame))


def path_us(time_us: float, early_us: float, next_begin_us: float | None) -> float:
    """When a path has the crop of a picture, on the clock of the file.

    `early_us`: from this much before its time on, the picture is the nearest. `next_begin_us`: from when on the next
    one is; None: it is the last.

    A path may have been made from all pictures, at their own times, or from 25 of them a second, each at the multiple
    of 40 ms to which it is the nearest: that may be later than the picture. A picture that is not among those 25 has
    its own time. In both kinds of paths, no picture has the crop of another shot.
    """
    grid_us = ceil((time_us - early_us) / FRAME_US) * FRAME_US
    if next_begin_us is None or grid_us < next_begin_us:
        return max(time_us, grid_us)
    return time_us


def _planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """Views of Y, U and V, uint8 (H, W)."""
    return [
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in frame.planes
    ]


def _nearest(
    pictures: Iterator[_Picture], clock: _Clock, first_frame: int, num_frames: int
) -> Iterator[tuple[_Picture, float]]:
    """For each frame of a track the last picture that has begun (the first one for frames before it), and the time on
    the clock of the file at which a path of crops has its crop."""
    current = next(pictures, None)
    if current is None:
        raise av.error.EOFError(0, "no picture")
    coming = next(pictures, None)
    for number in range(first_frame, first_frame + num_frames):
        while coming is not None and clock.track_us(coming.time_us) - coming.early_us <= number * FRAME_US:
            current, coming = coming, next(pictures, None)
        yield current, path_us(current.time_us, current.early_us, coming.time_us - coming.early_us if coming else None)
    for _ in pictures:  # so that the decoder ends by itself, and says what it could not decode
        pass


def _part(
    planes: list[np.ndarray], crop: tuple[float, float, float, float], size: tuple[int, int], frame: tuple[int, int]
) -> np.ndarray:
    """A part of a picture in the size of a frame, uint8 (3, height, width). `crop` is in pixels of `size`."""
    cv2.setNumThreads(1)
    rows, columns = planes[0].shape
    across, down = columns / size[0], rows / size[1]
    x, y, width, height = in_shape(crop, size, frame)
    x, y, width, height = x * across, y * down, width * across, height * down
    if width <= frame[0] and height <= frame[1]:  # enlarged: between pixels, so that slow movements are smooth
        step_x, step_y = width / frame[0], height / frame[1]
        to_source = np.array([[step_x, 0, x + step_x / 2 - 0.5], [0, step_y, y + step_y / 2 - 0.5]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.stack(
            [cv2.warpAffine(plane, to_source, frame, flags=flags, borderMode=cv2.BORDER_REPLICATE) for plane in planes]
        )  # fmt: skip
    left, top = min(round(x), columns - 1), min(round(y), rows - 1)
    right, bottom = max(left + 1, round(x + width)), max(top + 1, round(y + height))
    return np.stack(
        [cv2.resize(plane[top:bottom, left:right], frame, interpolation=cv2.INTER_AREA) for plane in planes]
    )


def _text(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
