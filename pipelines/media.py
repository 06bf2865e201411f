"""Media files <-> arrays and tracks: the only code that touches ffmpeg, decord and PyAV.

Sources are probed with PyAV (the ffmpeg of imageio-ffmpeg has no ffprobe) and conformed with ffmpeg. Our own
tracks are read with decord, frame-exact on their closed GOPs of one unit without B-frames; PyAV stands in where decord
has no wheel.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import IO

import av
import ffmpeg
import imageio_ffmpeg
import numpy as np

from pipelines.stage import Rejected
from wanstreamer.clock import FRAME_RATE_HZ, FRAMES_PER_UNIT, Span

# Files that name other files or addresses. A recording is none of them, and opening one could read what is not ours.
PLAYLISTS = frozenset({"hls", "concat", "dash", "sdp", "rtsp", "imf", "webm_dash_manifest", "vapoursynth", "image2"})
WRITTEN_SAMPLES = 1 << 20  # at a time
GATE_LUFS = -70.0  # what ffmpeg reports where nothing is louder
SILENCE_EDGE_MS = 10  # fade at the edges of gated audio, so that gating makes no clicks


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a source file holds."""

    duration_ms: int
    has_video: bool
    width: int  # pixels as displayed, after rotation and pixel aspect; 0 without video
    height: int
    has_audio: bool
    channels: int  # of the first audio stream; 0 without audio


def _address(path: Path) -> str:
    """A path as ffmpeg's own libraries take it, whatever its name: `-y.mp4` is no option, `http:x` no protocol."""
    return f"file:{path}"


def _open(path: Path) -> "av.container.InputContainer":
    """A source, opened so that it can lead to no other file and no network."""
    container = av.open(_address(path), options={"protocol_whitelist": "file"})
    if PLAYLISTS & set(container.format.name.split(",")):
        container.close()
        raise Rejected("playlist", f"{path.name}: {container.format.name} names other files; give the recording itself")
    return container


def _input(path: Path):  # type: ignore[no-untyped-def]  # of ffmpeg-python
    # One decoder thread: sessions run in parallel, and threads of one decoder cost more than they give.
    return ffmpeg.input(_address(path), protocol_whitelist="file,pipe", threads=1)


@cache
def ffmpeg_path() -> str:
    return imageio_ffmpeg.get_ffmpeg_exe()


def check_file(path: Path) -> None:
    """Raises Rejected `missing_file`, or `not_a_file` for what could block for ever (a FIFO, a device) or a folder."""
    if not path.exists():
        raise Rejected("missing_file", str(path))
    if not path.is_file():
        raise Rejected("not_a_file", f"{path}: a folder, FIFO or device; give the recording itself")


def probe(path: Path) -> Probe:
    """Look into a source file. Raises Rejected `unreadable`, `playlist`, or as `check_file`."""
    check_file(path)
    try:
        with _open(path) as container:
            # A stream whose codec nobody knows is no stream to us; a cover picture is no film.
            video = next((one for one in container.streams.video if one.codec_context and not _is_cover(one)), None)
            audio = next((one for one in container.streams.audio if one.codec_context), None)
            ends = [
                float(stream.duration * stream.time_base)
                for stream in (video, audio)
                if stream is not None and stream.duration and stream.time_base
            ]
            if container.duration:
                ends.append(container.duration / av.time_base)
            width, height = _displayed_size(container, video) if video is not None else (0, 0)
            return Probe(
                duration_ms=round(1000 * max(ends, default=0)),
                has_video=video is not None,
                width=width,
                height=height,
                has_audio=audio is not None,
                channels=audio.codec_context.channels if audio is not None else 0,
            )
    except (av.error.FFmpegError, ValueError) as error:
        raise Rejected("unreadable", f"{path.name}: {type(error).__name__}, {path.stat().st_size} bytes") from error


def _is_cover(stream: "av.VideoStream") -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _displayed_size(container: "av.container.InputContainer", video: "av.VideoStream") -> tuple[int, int]:
    width, height = video.codec_context.width, video.codec_context.height
    aspect = video.sample_aspect_ratio
    if aspect:
        width = round(width * aspect)
    frame = next(iter(container.decode(video)), None)
    rotation = getattr(frame, "rotation", 0) or 0 if frame is not None else 0
    return (height, width) if rotation % 180 else (width, height)


def decode_audio(path: Path, rate_hz: int, channel: int | None, scratch: Path | None = None) -> np.ndarray:
    """The first audio stream as mono float32 (num_samples,) at `rate_hz`, from media time 0.

    The samples lie in a file of `scratch` that has no name any more: hours of them take no memory.

    `channel` picks one source channel; None averages all. Media time is kept: late-starting audio is padded, gaps in
    the timestamps are filled with silence (aresample async), so sample n is at n / rate_hz of the file's clock.
    Raises Rejected `unreadable` when ffmpeg fails or finds nothing.
    """
    stream = _input(path).audio
    if channel is not None:
        stream = stream.filter("pan", args=f"mono|c0=c{channel}")
    stream = stream.filter("aresample", rate_hz, **{"async": 1, "first_pts": 0})
    command = stream.output("pipe:", format="f32le", ac=1, ar=rate_hz).global_args("-v", "error", "-nostdin", "-xerror")
    with tempfile.TemporaryFile(dir=scratch) as held:
        with _running(command.compile(cmd=ffmpeg_path()), stdout=held) as process:
            _, errors = process.communicate()
        if process.returncode or not held.seek(0, os.SEEK_END):
            raise Rejected("unreadable", f"{path.name}: audio: {_last_line(errors)}")
        return np.memmap(held, np.float32, mode="r")


def conform_video(
    source: Path,
    target: Path,
    *,
    lead_ms: int,
    num_frames: int,
    width: int,
    height: int,
    crop: tuple[int, int, int, int] | None,
    crf: int,
) -> None:
    """The first video stream -> `num_frames` at constant 25 fps, H.264 without B-frames, a keyframe every unit.

    Frame n shows track time 40 n ms; the file's media time 0 lies at track time `lead_ms` (negative: its beginning is
    cut). Frames missing at either end repeat their neighbour. The picture is scaled to cover width x height and cut
    around its centre. One encoder thread: x264's output depends on their number.

    Raises:
        Rejected: `unreadable` when ffmpeg fails or delivers other than `num_frames` frames.
    """
    stream = _input(source).video
    if crop:
        x, y, crop_width, crop_height = crop
        stream = stream.filter("crop", crop_width, crop_height, x, y)
    stream = stream.filter("setpts", f"PTS+({lead_ms / 1000})/TB")
    # fps before scaling: dropped frames cost no scaling. start_time 0 repeats the first frame back to the start.
    stream = stream.filter("fps", fps=FRAME_RATE_HZ, start_time=0, round="near")
    stream = stream.filter("scale", width, height, force_original_aspect_ratio="increase", flags="area")
    stream = stream.filter("crop", width, height).filter("setsar", 1)
    stream = stream.filter("tpad", stop_mode="clone", stop=num_frames)
    command = stream.output(
        str(target),
        vframes=num_frames,
        vcodec="libx264",
        preset="veryfast",
        crf=crf,
        pix_fmt="yuv420p",
        g=FRAMES_PER_UNIT,
        keyint_min=FRAMES_PER_UNIT,
        sc_threshold=0,
        bf=0,
        threads=1,
        map_metadata=-1,
        fflags="+bitexact",
        **{"flags:v": "+bitexact+cgop"},
    ).global_args("-v", "error", "-nostdin", "-y", "-filter_threads", "1")
    with _running(command.compile(cmd=ffmpeg_path())) as process:
        _, errors = process.communicate()
    if process.returncode or not target.is_file():
        raise Rejected("unreadable", f"{source.name}: video: {_last_line(errors)}")
    with av.open(str(target)) as container:
        made = container.streams.video[0].frames
    if made != num_frames:
        raise Rejected("unreadable", f"{source.name}: video: {made} of {num_frames} frames")


def video_duration_ms(path: Path) -> int:
    """Media time at which the last frame of the first video stream ends, found by reading packets (no decoding).

    Containers lie about the duration of files that were cut short; their packets do not.
    Raises Rejected `truncated` when the container breaks off.
    """
    try:
        with _open(path) as container:
            video = container.streams.video[0]
            end = 0.0
            for packet in container.demux(video):
                if packet.pts is not None and packet.time_base:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            # ffmpeg counts from the container's first instant, whatever its timestamps say.
            return round((end - (container.start_time or 0) / av.time_base) * 1000)
    except (av.error.FFmpegError, ValueError) as error:
        raise Rejected("truncated", f"{path.name}: {type(error).__name__} while reading packets") from error


def gate_audio(audio_T: np.ndarray, spans: Sequence[Span], rate_hz: int) -> np.ndarray:
    """Keep the audio inside `spans` and silence the rest, with 10 ms linear fades inside the spans."""
    gate = np.zeros(len(audio_T), np.float32)
    fade = rate_hz * SILENCE_EDGE_MS // 1000
    for span in spans:
        start, stop = max(0, span.start_ms * rate_hz // 1000), min(len(gate), span.end_ms * rate_hz // 1000)
        if stop <= start:
            continue
        gate[start:stop] = 1
        edge = min(fade, (stop - start) // 2)
        ramp = np.arange(1, edge + 1, dtype=np.float32) / (edge + 1)
        gate[start : start + edge] = ramp
        gate[stop - edge : stop] = ramp[::-1]
    return audio_T * gate


def write_wav(path: Path, audio_T: np.ndarray, rate_hz: int) -> None:
    """float32 (num_samples,) in [-1, 1] -> 16-bit mono PCM; louder samples are clipped."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        for start in range(0, len(audio_T), WRITTEN_SAMPLES):
            piece = audio_T[start : start + WRITTEN_SAMPLES]
            file.writeframesraw(np.clip(np.round(piece * 32767), -32768, 32767).astype("<i2").tobytes())


def read_wav(path: Path) -> tuple[np.ndarray, int]:
    """Our own 16-bit mono WAV -> float32 (num_samples,) in [-1, 1) and its rate. Raises Rejected `unreadable`."""
    try:
        with wave.open(str(path), "rb") as file:
            if file.getnchannels() != 1 or file.getsampwidth() != 2:
                raise Rejected("unreadable", f"{path.name}: not 16-bit mono")
            content = file.readframes(file.getnframes())
            return np.frombuffer(content, "<i2").astype(np.float32) / 32768, file.getframerate()
    except (wave.Error, EOFError, FileNotFoundError) as error:
        raise Rejected("unreadable", f"{path.name}: {type(error).__name__}") from error


def wav_pieces(path: Path, piece_samples: int) -> Iterator[np.ndarray]:
    """The samples that `read_wav` gives, `piece_samples` at a time, so that hours take no memory."""
    try:
        with wave.open(str(path), "rb") as file:
            if file.getnchannels() != 1 or file.getsampwidth() != 2:
                raise Rejected("unreadable", f"{path.name}: not 16-bit mono")
            while content := file.readframes(piece_samples):
                yield np.frombuffer(content, "<i2").astype(np.float32) / 32768
    except (wave.Error, EOFError, FileNotFoundError) as error:
        raise Rejected("unreadable", f"{path.name}: {type(error).__name__}") from error


def loudness_lufs(path: Path) -> float | None:
    """Integrated loudness after EBU R128, to 0.1; None where no 400 ms are above its gate of -70 LUFS.

    A mono track counts as one loudspeaker: the same sound from two of them measures 3 more.
    """
    stream = _input(path).audio.filter("ebur128", framelog="quiet")
    command = stream.output("-", format="null").global_args("-v", "info", "-nostats", "-nostdin", "-hide_banner")
    with _running(command.compile(cmd=ffmpeg_path())) as process:
        _, errors = process.communicate()
    found = re.search(r"Integrated loudness:\s+I:\s+(\S+) LUFS", (errors or b"").decode(errors="replace"))
    if process.returncode or not found:
        raise Rejected("unreadable", f"{path.name}: audio: {_last_line(errors)}")
    loudness = float(found[1])
    return loudness if loudness > GATE_LUFS else None


def read_frames(path: Path, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Frames [start, stop) of one of our own tracks as uint8 (T, H, W, 3) RGB. Raises Rejected `unreadable`."""
    decord = _decord()
    if decord is None:
        return _read_frames_pyav(path, start, stop)
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        stop = len(reader) if stop is None else min(stop, len(reader))
        if start:
            reader.seek_accurate(start)
        # next() decodes in order, half the time of get_batch.
        frames = [reader.next().asnumpy() for _ in range(start, stop)]
        return np.stack(frames) if frames else np.empty((0, *reader[0].shape), np.uint8)
    except (decord.DECORDError, RuntimeError) as error:
        raise Rejected("unreadable", f"{path.name}: {type(error).__name__}") from error


def frame_pieces(path: Path, num_frames: int, piece_frames: int) -> Iterator[np.ndarray]:
    """The first `num_frames` frames as `read_frames` gives them, in pieces, so that hours take no memory.

    By PyAV: while pieces are worked on, decord decodes ahead without a bound.
    """
    held: list[np.ndarray] = []
    try:
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            video.codec_context.thread_count = 1
            for decoded in islice(container.decode(video), num_frames):
                held.append(decoded.to_ndarray(format="rgb24"))
                if len(held) == piece_frames:
                    yield np.stack(held)
                    held = []
    except (av.error.FFmpegError, IndexError) as error:
        raise Rejected("unreadable", f"{path.name}: {type(error).__name__}") from error
    if held:
        yield np.stack(held)


@cache
def _decord():  # type: ignore[no-untyped-def]
    """decord, or None where it has no wheel (macOS on arm64)."""
    try:
        import decord
    except ImportError:
        return None
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def _read_frames_pyav(path: Path, start: int, stop: int | None) -> np.ndarray:
    try:
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            frames = [
                frame.to_ndarray(format="rgb24")
                for index, frame in enumerate(container.decode(video))
                if index >= start and (stop is None or index < stop)
            ]
    except (av.error.FFmpegError, IndexError) as error:
        raise Rejected("unreadable", f"{path.name}: {type(error).__name__}") from error
    return np.stack(frames) if frames else np.empty((0, 0, 0, 3), np.uint8)


def write_video(
    path: Path, frames_THWC: np.ndarray, audio_T: np.ndarray | None = None, rate_hz: int = 16000, *, crf: int = 18
) -> None:
    """uint8 RGB frames at 25 fps (even width and height) and float32 audio -> an mp4 that plays anywhere.

    Equal input gives equal bytes.
    """
    num_frames, height, width, _ = frames_THWC.shape
    video = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", r=FRAME_RATE_HZ)
    streams, options = [video], {}
    sound = path.with_name(f".{path.stem}.wav")
    temporary = path.with_name(f".{path.stem}.tmp.mp4")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if audio_T is not None:
            write_wav(sound, audio_T, rate_hz)
            streams.append(ffmpeg.input(str(sound)))
            options = {"acodec": "aac", "audio_bitrate": "96k", "flags:a": "+bitexact"}
        command = ffmpeg.output(
            *streams,
            str(temporary),
            vcodec="libx264",
            preset="veryfast",
            crf=crf,
            pix_fmt="yuv420p",
            threads=1,
            movflags="+faststart",
            fflags="+bitexact",
            map_metadata=-1,
            **{"flags:v": "+bitexact"},
            **options,
        ).global_args("-v", "error", "-y")
        with _running(command.compile(cmd=ffmpeg_path()), stdin=subprocess.PIPE) as process:
            _, errors = process.communicate(np.ascontiguousarray(frames_THWC).tobytes())
        if process.returncode:
            raise RuntimeError(f"ffmpeg could not write {path}: {_last_line(errors)}")
        temporary.replace(path)
    finally:
        sound.unlink(missing_ok=True)
        temporary.unlink(missing_ok=True)


@contextmanager
def _running(
    command: list[str], *, stdin: int = subprocess.DEVNULL, stdout: "int | IO[bytes]" = subprocess.DEVNULL
) -> "Iterator[subprocess.Popen[bytes]]":
    """A child that ends with its parent: killed on any way out of the block, and by the kernel when a worker dies."""
    process = subprocess.Popen(
        command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, preexec_fn=_die_with_parent if _HAS_PRCTL else None
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


_HAS_PRCTL = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _last_line(errors: bytes | None) -> str:
    lines = (errors or b"").decode(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "ffmpeg said nothing"
