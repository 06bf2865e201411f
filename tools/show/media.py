"""Answers in bytes: video in ranges, samples, waveforms, pictures. Of a person who is not shown, there are none."""

import asyncio
import io
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
from aiohttp import web

from pipelines.engine.buckets import bucket_of
from tools.show.answers import check_run_shown
from tools.show.asked import VIEWER, Viewer, number, text
from tools.show.decoded import decoded_frame, decoded_sound
from tools.show.peaks import read_peaks
from tools.show.pictures import jpeg, read_frame, thumbnail
from tools.show.runs import read_run, run_file
from tools.show.sessions import Session
from tools.show.sound import mute, read_samples
from tools.show.tables import NotThere, inside
from wanstreamer.clock import UNIT_MS, Span


async def video(request: web.Request) -> web.StreamResponse:
    """The video of a track, in ranges: nothing is read that the browser does not ask for."""
    path = await asyncio.to_thread(_media_path, request.app[VIEWER], request, "video")
    return web.FileResponse(path, headers={"Content-Type": "video/mp4"})


def samples(viewer: Viewer, request: web.Request) -> web.Response:
    start_ms, end_ms = number(request, "start_ms"), number(request, "end_ms")
    piece, rate_hz, spans = _sound(viewer, request, start_ms, end_ms)
    body = mute(piece, rate_hz, start_ms, spans).astype("<i2").tobytes()
    return web.Response(body=body, content_type="application/octet-stream", headers={"X-Rate-Hz": str(rate_hz)})


def peaks(viewer: Viewer, request: web.Request) -> web.Response:
    own, track = viewer.shown(request)
    path = _media_path(viewer, request, "audio")
    bucket_ms, first, count = number(request, "bucket_ms"), number(request, "first"), number(request, "count")
    pairs = read_peaks(path, _duration_ms(own, request), viewer.cache / "peaks" / _folder(own.session_id),
                       bucket_ms=bucket_ms, first=first, count=count)  # fmt: skip
    if "run" not in request.query:
        for span in own.muted(track["participant"]):
            pairs[max(0, span.start_ms // bucket_ms - first) : max(0, -(-span.end_ms // bucket_ms) - first)] = 0
    return web.Response(body=pairs.tobytes(), content_type="application/octet-stream")


def small_picture(viewer: Viewer, request: web.Request) -> web.Response:
    own = viewer.session(request)
    folder = viewer.cache / "thumbnails" / _folder(own.session_id)
    return web.Response(
        body=thumbnail(own.data, own.tracks, own.people, own.duration_ms, folder), content_type="image/jpeg"
    )


def frame(viewer: Viewer, request: web.Request) -> web.Response:
    own, track = viewer.shown(request)
    wanted = number(request, "frame")
    if wanted < 0:
        raise NotThere(f"frame {wanted}: expected 0 or more")
    if number(request, "decoded", 0):
        picture = decoded_frame(own, track["participant"], wanted)
    else:
        picture = read_frame(_media_path(viewer, request, "video"), wanted)
    return web.Response(body=jpeg(picture), content_type="image/jpeg")


def unit_sound(viewer: Viewer, request: web.Request) -> web.Response:
    own, track = viewer.shown(request)
    wanted = number(request, "unit")
    if number(request, "decoded", 0):
        piece, rate_hz = decoded_sound(own, track["participant"], wanted)
        spans = own.muted(track["participant"])
    else:
        piece, rate_hz, spans = _sound(viewer, request, wanted * UNIT_MS, (wanted + 1) * UNIT_MS)
    return web.Response(body=_wav(mute(piece, rate_hz, wanted * UNIT_MS, spans), rate_hz), content_type="audio/wav")


def _media_path(viewer: Viewer, request: web.Request, kind: str) -> Path:
    """The file of a participant's video or sound, or that of a run. Raises NotShown, NotThere or InputError."""
    own, track = viewer.shown(request)
    name = track[f"{kind}_path"]
    if "run" in request.query:
        check_run_shown(own, text(request, "run"))
        name = run_file(own.data, own.session_id, text(request, "run"), kind)
    return inside(own.data, name, kind)


def _sound(viewer: Viewer, request: web.Request, start_ms: int, end_ms: int) -> tuple[np.ndarray, int, list[Span]]:
    own, track = viewer.shown(request)
    piece, rate_hz = read_samples(_media_path(viewer, request, "audio"), start_ms, end_ms)
    return piece, rate_hz, [] if "run" in request.query else own.muted(track["participant"])


def _duration_ms(own: Session, request: web.Request) -> int:
    if "run" in request.query:
        return int(read_run(own.data, own.session_id, text(request, "run"))["duration_ms"])
    return own.duration_ms


def _wav(piece: np.ndarray, rate_hz: int) -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(piece.astype("<i2").tobytes())
    return content.getvalue()


def _folder(session_id: str) -> str:
    """A folder of the cache, so that none has a file per session of a large corpus."""
    return f"{bucket_of(session_id, 256):02x}"


READS: dict[str, Callable[[Viewer, web.Request], web.Response]] = {
    "/media/samples": samples, "/media/peaks": peaks, "/media/thumbnail": small_picture, "/media/frame": frame,
    "/media/unit.wav": unit_sound,
}  # fmt: skip
