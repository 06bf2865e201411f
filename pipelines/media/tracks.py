"""Our own tracks <-> arrays.

decord reads the video; it is frame-exact on closed GOPs of one unit without B-frames. Where decord has no wheel, PyAV
reads it.
"""

import re
import subprocess
import tempfile
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path

import av
import ffmpeg
import numpy as np
from av.video.reformatter import VideoReformatter

from pipelines.engine.jobs import Rejected
from pipelines.media.process import address, complaint, ffmpeg_path, running
from wanstreamer.clock import FRAME_RATE_HZ, Span

WRITTEN_SAMPLES = 1 << 20  # per write
GATE_LUFS = -70.0  # what ffmpeg reports if nothing is louder
SILENCE_EDGE_MS = 10  # fade at the edges of gated audio, to avoid clicks


def gate_audio(audio_T: np.ndarray, spans: Sequence[Span], rate_hz: int, scratch: Path | None = None) -> np.ndarray:
    """Keep the audio inside `spans` and silence the rest, with 10 ms linear fades inside the spans.

    The samples are in a deleted file of `scratch`, if it is given, so that hours of audio need no memory.
    """
    with tempfile.TemporaryFile(dir=scratch) as file:
        file.truncate(len(audio_T) * np.dtype(np.float32).itemsize)
        gated_T = np.memmap(file, np.float32) if scratch and len(audio_T) else np.zeros(len(audio_T), np.float32)
    fade = rate_hz * SILENCE_EDGE_MS // 1000
    for span in spans:
        start, stop = max(0, span.start_ms * rate_hz // 1000), min(len(audio_T), span.end_ms * rate_hz // 1000)
        if stop <= start:
            continue
        gated_T[start:stop] = audio_T[start:stop]
        edge = min(fade, (stop - start) // 2)
        ramp = np.arange(1, edge + 1, dtype=np.float32) / (edge + 1)
        gated_T[start : start + edge] *= ramp
        gated_T[stop - edge : stop] *= ramp[::-1]
    return gated_T


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
    """The samples of `read_wav`, in pieces of `piece_samples`, so that hours of audio need no memory.

    Raises Rejected `unreadable`, also if the file has another rate than `rate_hz`.
    """
    with _our_wav(path) as file:
        if rate_hz not in (None, file.getframerate()):
            raise Rejected("unreadable", f"{path.name}: {file.getframerate()} Hz instead of {rate_hz}")
        while content := file.readframes(piece_samples):
            yield _samples(content)


def wav_part(path: Path, start: int, num_samples: int) -> np.ndarray:
    """Up to `num_samples` samples of `read_wav` from `start` on. Raises Rejected `unreadable`."""
    with _our_wav(path) as file:
        file.setpos(min(start, file.getnframes()))
        return _samples(file.readframes(num_samples))


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
    """Integrated loudness by EBU R128, to 0.1; None if no 400 ms are above its gate of -70 LUFS.

    A mono track counts as one loudspeaker: the same sound on two of them would measure 3 more.
    """
    stream = ffmpeg.input(address(path), protocol_whitelist="file,pipe").audio.filter("ebur128", framelog="quiet")
    command = stream.output("-", format="null").global_args("-v", "info", "-nostats", "-nostdin", "-hide_banner")
    with running(command.compile(cmd=ffmpeg_path())) as process:
        _, errors = process.communicate()
    match = re.search(r"Integrated loudness:\s+I:\s+(\S+) LUFS", (errors or b"").decode(errors="replace"))
    if process.returncode or not match:
        raise Rejected("unreadable", f"{path.name}: audio: {complaint(errors)}")
    loudness = float(match[1])
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
        # next() decodes in order, in half the time of get_batch.
        frames = [reader.next().asnumpy() for _ in range(start, stop)]
        return np.stack(frames) if frames else np.empty((0, *reader[0].shape), np.uint8)
    except (decord.DECORDError, RuntimeError) as error:
        raise Rejected("unreadable", f"{path.name}: {type(error).__name__}") from error


def frame_pieces(path: Path, num_frames: int, piece_frames: int) -> Iterator[np.ndarray]:
    """The first `num_frames` frames of `read_frames`, in pieces, so that hours of video need no memory.

    Uses PyAV: decord decodes ahead without a limit while the caller works, and first indexes the whole file. ffmpeg
    stacks the frames of a piece into one tall picture, because converting each frame alone takes four times as long as
    decoding it. The pixels are the same: the conversion uses no colour from the row above.
    """
    try:
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            video.codec_context.thread_count = 1
            to_rgb, stack = VideoReformatter(), None
            num_stacked = 0
            for frame in islice(container.decode(video), num_frames):
                height = frame.height
                stack = stack or _stacker(frame, piece_frames)
                stack.push(frame)
                num_stacked += 1
                if num_stacked == piece_frames:
                    yield _unstacked(stack, to_rgb, height)
                    num_stacked = 0
            if stack and num_stacked:
                stack.push(None)  # end of input: the rest of the picture stays empty
                yield _unstacked(stack, to_rgb, height)[:num_stacked]
    except (av.error.FFmpegError, IndexError) as error:
        raise Rejected("unreadable", f"{path.name}: {type(error).__name__}") from error


def _stacker(like: av.VideoFrame, num_frames: int) -> av.filter.Graph:
    """A filter graph: frames in, pictures of `num_frames` frames below each other out."""
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
    """decord, or None on platforms without a wheel (macOS on arm64)."""
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
            # One for all frames: to_ndarray would make one per frame, which takes three times as long.
            to_rgb = VideoReformatter()
            for frame in islice(container.decode(video), start, stop):
                yield to_rgb.reformat(frame, format="rgb24").to_ndarray()
    except (av.error.FFmpegError, IndexError) as error:
        raise Rejected("unreadable", f"{path.name}: {type(error).__name__}") from error


# H.264 and AAC that common players play; equal input gives equal bytes.
PLAYABLE_VIDEO = {
    "vcodec": "libx264", "preset": "veryfast", "pix_fmt": "yuv420p", "threads": 1, "fflags": "+bitexact",
    "map_metadata": -1, "flags:v": "+bitexact",
}  # fmt: skip
PLAYABLE_SOUND = {"acodec": "aac", "audio_bitrate": "96k", "flags:a": "+bitexact"}
PLAYABLE_CRF = 18


def write_video(
    path: Path,
    frames_THWC: np.ndarray,
    audio_T: np.ndarray | None = None,
    rate_hz: int = 16000,
    *,
    crf: int = PLAYABLE_CRF,
) -> None:
    """uint8 RGB frames at 25 fps (even width and height) and float32 audio -> an mp4 that common players can play.

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
            options = PLAYABLE_SOUND
        command = ffmpeg.output(
            *streams,
            str(temporary),
            crf=crf,
            movflags="+faststart",
            **PLAYABLE_VIDEO,
            **options,
        ).global_args("-v", "error", "-y")
        with running(command.compile(cmd=ffmpeg_path()), stdin=subprocess.PIPE) as process:
            _, errors = process.communicate(np.ascontiguousarray(frames_THWC).tobytes())
        if process.returncode:
            raise RuntimeError(f"ffmpeg could not write {path}: {complaint(errors)}")
        temporary.replace(path)
    finally:
        sound.unlink(missing_ok=True)
        temporary.unlink(missing_ok=True)
