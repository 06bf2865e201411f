"""Media files <-> arrays and tracks: the only code that touches ffmpeg, decord and PyAV.

Sources are looked into by probing.py and conformed here, with ffmpeg. Our own tracks are read with decord, frame-exact
on their closed GOPs of one unit without B-frames; PyAV stands in where decord has no wheel.
"""

import errno
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
from fractions import Fraction
from functools import cache
from itertools import islice
from pathlib import Path
from typing import IO

import av
import ffmpeg
import imageio_ffmpeg
import numpy as np
from av.video.reformatter import VideoReformatter

from pipelines.parts import Rejected
from wanstreamer.clock import FRAME_RATE_HZ, FRAMES_PER_UNIT, Span

WRITTEN_SAMPLES = 1 << 20  # at a time
GATE_LUFS = -70.0  # what ffmpeg reports where nothing is louder
SILENCE_EDGE_MS = 10  # fade at the edges of gated audio, so that gating makes no clicks
GAP_S = 0.018  # sound this far from its timestamp is moved there; less than a packet of any common codec (20 ms)
# BT.2408: diffuse white of HDR lies at 203 cd/m2. It becomes 1, what is below 0.3 of it stays, what is above is bent
# so that 1000 cd/m2 still fits.
HDR_WHITE_CD_M2 = 203
HDR_PEAK_CD_M2 = 1000
HDR_KEPT = 0.3


@dataclass(frozen=True, kw_only=True)
class Picture:
    """How the pixels of a source are coded."""

    matrix: str  # of YUV, as ffmpeg's scale names it
    curve: str  # sdr, pq or hlg
    wide_gamut: bool  # BT.2020 primaries
    is_rgb: bool


@dataclass(frozen=True, kw_only=True)
class Source:
    """A media file, and what of it is taken."""

    path: Path
    video: int | None  # index among all streams of the file
    audio: int | None
    start_s: float  # the timestamp of the file's first instant
    picture: Picture | None  # None without video
    audio_weights: tuple[float, ...]  # of each channel in the mono sound


def address(path: Path) -> str:
    """A path as ffmpeg's own libraries take it, whatever its name: `-y.mp4` is no option, `http:x` no protocol."""
    return f"file:{path}"


def _input(source: Source, seek_ms: int | None = None):  # type: ignore[no-untyped-def]  # of ffmpeg-python
    # One decoder thread: sessions run in parallel, and threads of one decoder cost more than they give. ffmpeg's own
    # mending of timestamps (no copyts) looks at one stream at a time, and would move sound against picture.
    seek = {} if seek_ms is None else {"ss": seek_ms / 1000, "noaccurate_seek": None}
    return ffmpeg.input(address(source.path), protocol_whitelist="file,pipe", threads=1, copyts=None, **seek)


@cache
def ffmpeg_path() -> str:
    return imageio_ffmpeg.get_ffmpeg_exe()


def decode_audio(
    source: Source, rate_hz: int, channel: int | None, scratch: Path | None = None, *, end_ms: int | None = None
) -> np.ndarray:
    """The chosen audio stream as mono float32 (num_samples,) at `rate_hz`, from media time 0 to its end or `end_ms`.

    The samples lie in a file of `scratch` that has no name any more: hours of them take no memory.

    `channel` picks one source channel; None adds them up by `source.audio_weights`. Media time is kept: late-starting
    audio is padded, gaps in the timestamps are filled with silence and overlaps cut (aresample async), so sample n is
    at n / rate_hz of the file's clock. Raises Rejected `unreadable` when ffmpeg fails or finds nothing.
    """
    weights = source.audio_weights if channel is None else [float(one == channel) for one in range(channel + 1)]
    mix = "+".join(f"{weight:.6f}*c{one}" for one, weight in enumerate(weights) if weight)
    stream = _input(source)[str(source.audio)].filter("pan", args=f"mono|c0={mix}")
    stream = stream.filter("asetpts", f"PTS-({source.start_s:.6f})/TB")
    stream = stream.filter("aresample", rate_hz, **{"async": 1, "first_pts": 0, "min_hard_comp": GAP_S})
    limit = {} if end_ms is None else {"t": end_ms / 1000}
    command = stream.output("pipe:", format="f32le", ac=1, ar=rate_hz, **limit)
    command = command.global_args("-v", "error", "-nostdin", "-xerror")
    with tempfile.TemporaryFile(dir=scratch) as held:
        with running(command.compile(cmd=ffmpeg_path()), stdout=held) as process:
            _, errors = process.communicate()
        if process.returncode or not held.seek(0, os.SEEK_END):
            raise Rejected("unreadable", f"{source.path.name}: audio: {_complaint(errors)}")
        return np.memmap(held, np.float32, mode="r")


def conform_video(
    source: Source,
    target: Path,
    *,
    lead_ms: int,
    first_frame: int = 0,
    num_frames: int,
    seek_ms: int | None = None,
    width: int,
    height: int,
    crop: tuple[int, int, int, int] | None,
    qp: int,
) -> None:
    """The chosen video stream -> frames of a track, 25 fps, H.264 without B-frames, a keyframe every unit.

    `num_frames` of them from `first_frame` on; with `seek_ms`, decoding begins at the last keyframe before that media
    time. A track's frames do not depend on the spans it is made in: nothing that x264 does with a constant quantiser
    reaches over a keyframe.

    Frame n shows the source frame nearest to track time 40 n ms; over a gap the frame before it stands, until 20 ms
    before the next. The file's media time 0 lies at track time `lead_ms` (negative: its beginning is cut). Frames
    missing at either end of the track repeat their neighbour. The picture is scaled to cover width x height and cut
    around its centre. Colours are BT.601, limited range, BT.709 curve and primaries, and tagged so. One encoder thread:
    x264's output depends on their number.

    Raises:
        Rejected: `unreadable` when ffmpeg fails or delivers other than `num_frames` frames.
    """
    assert source.picture is not None
    command = (
        _conform(
            _input(source, seek_ms)[str(source.video)], source, lead_ms, first_frame, num_frames, width, height, crop
        )
        .output(
            str(target),
            vframes=num_frames,
            vcodec="libx264",
            preset="veryfast",
            qp=qp,
            pix_fmt="yuv420p",
            g=FRAMES_PER_UNIT,
            keyint_min=FRAMES_PER_UNIT,
            sc_threshold=0,
            bf=0,
            threads=1,
            map_metadata=-1,
            fflags="+bitexact",
            **{"flags:v": "+bitexact+cgop"},
        )
        .global_args("-v", "error", "-nostdin", "-y", "-filter_threads", "1")
    )
    with running(command.compile(cmd=ffmpeg_path())) as process:
        _, errors = process.communicate()
    if process.returncode or not target.is_file():
        raise Rejected("unreadable", f"{source.path.name}: video: {_complaint(errors)}")
    with av.open(str(target)) as container:
        made = container.streams.video[0].frames
    if made != num_frames:
        raise Rejected("unreadable", f"{source.path.name}: video: {made} of {num_frames} frames")


def join_videos(pieces: Sequence[Path], target: Path) -> None:
    """Tracks of `conform_video` end to end, packet by packet."""
    with av.open(str(target), "w", format="mp4", options={"fflags": "+bitexact"}) as joined:
        stream, frame = None, 0
        for piece in pieces:
            with av.open(str(piece)) as container:
                video = container.streams.video[0]
                stream = stream or joined.add_stream_from_template(video)
                for packet in container.demux(video):
                    if packet.size:
                        packet.pts = packet.dts = frame
                        packet.duration, packet.time_base, packet.stream = 1, Fraction(1, FRAME_RATE_HZ), stream
                        joined.mux(packet)
                        frame += 1


def _conform(stream, source, lead_ms, first_frame, num_frames, width, height, crop):  # type: ignore[no-untyped-def]
    """The filters of `conform_video`."""
    picture = source.picture
    if not picture.is_rgb:  # Frame by frame, by their flags: next to no cost where none is interlaced.
        stream = stream.filter("bwdif", mode="send_frame", deint="interlaced")
    if crop:  # displayed pixels; coded ones may be wider or narrower
        x, y, crop_width, crop_height = crop
        stream = stream.filter("crop", f"{crop_width}/sar", crop_height, f"{x}/sar", y)
    # Every frame begins half way from the one before it, at most half a frame of ours early; with round=up, the last
    # that has begun at 40 n ms is the nearest. fps before scaling: dropped frames cost no scaling. start_time repeats
    # the first frame back to the start, and drops what was decoded before it.
    half_us = 500_000 // FRAME_RATE_HZ
    begins = f"PTS-if(isnan(PREV_INPTS),0,clip((PTS-PREV_INPTS)/2,0,{half_us}))"
    stream = stream.filter("settb", "AVTB").filter("setpts", f"{begins}+{lead_ms * 1000 - round(source.start_s * 1e6)}")
    stream = stream.filter("fps", fps=FRAME_RATE_HZ, start_time=first_frame / FRAME_RATE_HZ, round="up")
    stream = stream.filter("setpts", f"PTS-{first_frame}")
    colours = {"in_color_matrix": picture.matrix, "out_color_matrix": "bt601", "out_range": "tv"}
    if picture.curve != "sdr" or picture.wide_gamut:
        colours = {}
    cover = f"max({width},round({height}*dar))", f"max({height},round({width}/dar))"
    stream = stream.filter("scale", *cover, flags="area+accurate_rnd+full_chroma_int", **colours)
    stream = stream.filter("crop", width, height).filter("setsar", 1)
    if not colours:
        stream = _to_standard_colours(stream, picture)
    stream = stream.filter("format", "yuv420p")
    stream = stream.filter(
        "setparams", colorspace="smpte170m", color_primaries="bt709", color_trc="bt709", range="limited"
    )
    return stream.filter("tpad", stop_mode="clone", stop=num_frames)


def _to_standard_colours(stream, picture):  # type: ignore[no-untyped-def]
    """HDR and wide gamut -> BT.601, limited range, after scaling, where pixels are few."""
    if picture.curve != "sdr":
        stream = stream.filter("zscale", transfer="linear", npl=HDR_WHITE_CD_M2).filter("format", "gbrpf32le")
        stream = stream.filter("zscale", primaries="bt709")
        peak = HDR_PEAK_CD_M2 / HDR_WHITE_CD_M2
        stream = stream.filter("tonemap", "mobius", param=HDR_KEPT, peak=f"{peak:.4f}", desat=0)
    return stream.filter("zscale", matrix="170m", primaries="bt709", transfer="bt709", range="limited")


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
    with _our_wav(path) as file:
        return _samples(file.readframes(file.getnframes())), file.getframerate()


def wav_pieces(path: Path, piece_samples: int, rate_hz: int | None = None) -> Iterator[np.ndarray]:
    """The samples that `read_wav` gives, `piece_samples` at a time, so that hours take no memory.

    Raises Rejected `unreadable`, also where the file is not of the rate named.
    """
    with _our_wav(path) as file:
        if rate_hz not in (None, file.getframerate()):
            raise Rejected("unreadable", f"{path.name}: {file.getframerate()} Hz instead of {rate_hz}")
        while content := file.readframes(piece_samples):
            yield _samples(content)


@contextmanager
def _our_wav(path: Path) -> Iterator[wave.Wave_read]:
    try:
        with wave.open(str(path), "rb") as file:
            if file.getnchannels() != 1 or file.getsampwidth() != 2:
                raise Rejected("unreadable", f"{path.name}: not 16-bit mono")
            yield file
    except (wave.Error, EOFError, FileNotFoundError) as error:
        raise Rejected("unreadable", f"{path.name}: {type(error).__name__}") from error


def _samples(content: bytes) -> np.ndarray:
    return np.frombuffer(content, "<i2").astype(np.float32) / 32768


def loudness_lufs(path: Path) -> float | None:
    """Integrated loudness after EBU R128, to 0.1; None where no 400 ms are above its gate of -70 LUFS.

    A mono track counts as one loudspeaker: the same sound from two of them measures 3 more.
    """
    stream = ffmpeg.input(address(path), protocol_whitelist="file,pipe").audio.filter("ebur128", framelog="quiet")
    command = stream.output("-", format="null").global_args("-v", "info", "-nostats", "-nostdin", "-hide_banner")
    with running(command.compile(cmd=ffmpeg_path())) as process:
        _, errors = process.communicate()
    found = re.search(r"Integrated loudness:\s+I:\s+(\S+) LUFS", (errors or b"").decode(errors="replace"))
    if process.returncode or not found:
        raise Rejected("unreadable", f"{path.name}: audio: {_complaint(errors)}")
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

    By PyAV: while pieces are worked on, decord decodes ahead without a bound, and it first indexes the whole file.
    ffmpeg stacks the frames of a piece into one tall picture: converting each alone costs four times the decoding. No
    row of ours takes its colour from the row above it, so the pixels are the same.
    """
    try:
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            video.codec_context.thread_count = 1
            to_rgb, stack = VideoReformatter(), None
            held = 0
            for frame in islice(container.decode(video), num_frames):
                height = frame.height
                stack = stack or _stacker(frame, piece_frames)
                stack.push(frame)
                held += 1
                if held == piece_frames:
                    yield _unstacked(stack, to_rgb, height)
                    held = 0
            if stack and held:
                stack.push(None)  # the end: the rest of the picture stays empty
                yield _unstacked(stack, to_rgb, height)[:held]
    except (av.error.FFmpegError, IndexError) as error:
        raise Rejected("unreadable", f"{path.name}: {type(error).__name__}") from error


def _stacker(like: av.VideoFrame, num_frames: int) -> av.filter.Graph:
    """Takes frames, gives pictures of `num_frames` of them, one below the other."""
    graph = av.filter.Graph()
    graph.threads = 1
    graph.link_nodes(
        graph.add_buffer(width=like.width, height=like.height, format=like.format, time_base=like.time_base),
        graph.add("tile", layout=f"1x{num_frames}"),
        graph.add("buffersink"),
    ).configure()
    return graph


def _unstacked(stack: av.filter.Graph, to_rgb: VideoReformatter, height: int) -> np.ndarray:
    """uint8 RGB (T, H, W, 3)."""
    picture = stack.vpull()
    return to_rgb.reformat(picture, format="rgb24").to_ndarray().reshape(-1, height, picture.width, 3)


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
    frames = list(_decoded(path, start, stop))
    return np.stack(frames) if frames else np.empty((0, 0, 0, 3), np.uint8)


def _decoded(path: Path, start: int, stop: int | None) -> Iterator[np.ndarray]:
    """Frames [start, stop) as uint8 RGB (H, W, 3), one by one, by PyAV. Raises Rejected `unreadable`."""
    try:
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            video.codec_context.thread_count = 1
            to_rgb = (
                VideoReformatter()
            )  # one for all: to_ndarray would set up another for each frame, at thrice the time
            for frame in islice(container.decode(video), start, stop):
                yield to_rgb.reformat(frame, format="rgb24").to_ndarray()
    except (av.error.FFmpegError, IndexError) as error:
        raise Rejected("unreadable", f"{path.name}: {type(error).__name__}") from error


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
        with running(command.compile(cmd=ffmpeg_path()), stdin=subprocess.PIPE) as process:
            _, errors = process.communicate(np.ascontiguousarray(frames_THWC).tobytes())
        if process.returncode:
            raise RuntimeError(f"ffmpeg could not write {path}: {_complaint(errors)}")
        temporary.replace(path)
    finally:
        sound.unlink(missing_ok=True)
        temporary.unlink(missing_ok=True)


@contextmanager
def running(
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


def _complaint(errors: bytes | None) -> str:
    """The last thing ffmpeg said. Raises OSError where it could not write: that is no fault of the source."""
    text = (errors or b"").decode(errors="replace")
    for number in (errno.ENOSPC, errno.EDQUOT):
        if os.strerror(number) in text:
            raise OSError(number, os.strerror(number))
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "ffmpeg said nothing"
