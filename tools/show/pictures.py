"""Frames of tracks, and small pictures of sessions, as JPEG. A frame costs the decoding of one unit."""

import hashlib
import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw

from pipelines.engine.files import replace_file
from tools.show.consent import Person
from tools.show.tables import NotThere, inside
from wanstreamer.clock import FRAME_MS, FRAME_RATE_HZ
from wanstreamer.errors import InputError

HEIGHT = 96  # of a small picture, in pixels
PLACEHOLDER = (72, 64)  # of the drawn head's canvas
GREY, LIGHT = (98, 104, 112), (150, 156, 164)
MAX_PEOPLE = 6  # in a small picture


def read_frame(path: Path, frame: int) -> np.ndarray:
    """Frame `frame` of one of our tracks (25 fps) as uint8 RGB (H, W, 3). Raises InputError, past the end NotThere."""
    try:
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            video = container.streams.video[0]
            video.codec_context.thread_count = 1
            time_base = video.time_base
            assert time_base is not None
            first = video.start_time or 0
            container.seek(first + round(frame / FRAME_RATE_HZ / time_base), stream=video)
            for picture in container.decode(video):
                if picture.pts is not None and round((picture.pts - first) * time_base * FRAME_RATE_HZ) >= frame:
                    return picture.to_ndarray(format="rgb24")
    except (av.error.FFmpegError, IndexError) as error:
        raise InputError(f"{path}: cannot be read ({type(error).__name__}); run the ingest stage again") from error
    raise NotThere(f"{path}: no frame {frame}")


def jpeg(picture_HWC: np.ndarray) -> bytes:
    return _jpeg(Image.fromarray(picture_HWC))


def thumbnail(
    data: Path, tracks: Sequence[Mapping[str, Any]], people: Mapping[str, Person], duration_ms: int, cache: Path
) -> bytes:
    """All people of a session side by side; of who is not shown or has no video, a drawn head. Made once."""
    parts = [[row["participant"], row["video_sha256"], people[row["participant"]].shown] for row in tracks]
    final = cache / f"{hashlib.sha256(repr([tracks[0]['session_id'], parts]).encode()).hexdigest()[:32]}.jpg"
    if final.is_file():
        return final.read_bytes()
    pictures = [_small(data, row, people[row["participant"]], duration_ms) for row in tracks[:MAX_PEOPLE]]
    whole = Image.new("RGB", (sum(picture.width for picture in pictures), HEIGHT), GREY)
    place = 0
    for picture in pictures:
        whole.paste(picture, (place, 0))
        place += picture.width
    content = _jpeg(whole)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=cache, prefix=".thumbnail-", delete=False) as file:
        file.write(content)
    replace_file(Path(file.name), final)
    return content


def placeholder() -> Image.Image:
    """A drawn head."""
    picture = Image.new("RGB", (round(HEIGHT * PLACEHOLDER[0] / PLACEHOLDER[1]), HEIGHT), GREY)
    draw = ImageDraw.Draw(picture)
    middle = picture.width // 2
    draw.ellipse((middle - 17, 18, middle + 17, 56), fill=LIGHT)
    draw.ellipse((middle - 34, 62, middle + 34, 130), fill=LIGHT)
    return picture


def _small(data: Path, track: Mapping[str, Any], person: Person, duration_ms: int) -> Image.Image:
    if not person.shown or not track["video_path"]:
        return placeholder()
    try:
        path = inside(data, track["video_path"], "video")
        picture = Image.fromarray(read_frame(path, _seen_ms(track, duration_ms) // FRAME_MS))
    except InputError:  # a damaged track is reported where the session is opened
        return placeholder()
    picture.thumbnail((4 * HEIGHT, HEIGHT))
    if picture.height < HEIGHT:
        picture = picture.resize((max(1, picture.width * HEIGHT // picture.height), HEIGHT))
    return picture


def _seen_ms(track: Mapping[str, Any], duration_ms: int) -> int:
    """A moment at which the video shows the person."""
    spans = track["visible"] or [{"start_ms": 0, "end_ms": duration_ms}]
    longest = max(spans, key=lambda span: span["end_ms"] - span["start_ms"])
    return (2 * longest["start_ms"] + longest["end_ms"]) // 3


def _jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=85)
    return file.getvalue()
