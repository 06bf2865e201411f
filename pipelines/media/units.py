"""Any recording -> units of 160 ms, and units -> an mp4. Neither holds more than some units in memory.

for frames, samples in read_units(Path("me.mp4"), width=64, height=48, rate_hz=16000):
    ...                                            # uint8 (4, 48, 64, 3) and float32 (2560,)
write_units(Path("answer.mp4"), units, rate_hz=16000)
"""

import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import IO, NamedTuple

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from pipelines.engine.jobs import Rejected
from pipelines.media.ffmpeg import COUNTING, Source, conformed, decode_audio, source_input
from pipelines.media.framing import CENTRE, Framing
from pipelines.media.probing import probe
from pipelines.media.process import address, complaint, ffmpeg_path, running
from pipelines.media.tracks import PLAYABLE_CRF, PLAYABLE_SOUND, PLAYABLE_VIDEO, write_wav
from wanstreamer.clock import FRAME_RATE_HZ, FRAMES_PER_UNIT, samples_per_unit


class MediaUnit(NamedTuple):
    """160 ms of a recording. A stream is None before it begins and after it has ended, and where it does not exist."""

    frames: NDArray[np.uint8] | None  # (4, H, W, 3) RGB
    samples: NDArray[np.float32] | None  # (samples per unit,), in [-1, 1]


def read_units(
    path: Path, *, width: int, height: int, rate_hz: int, framing: Framing = CENTRE, scratch: Path | None = None
) -> Iterator[MediaUnit]:
    """The units of a recording that ffmpeg reads, from its beginning to the end of its longer stream.

    Pictures and sound are made as `ingest` makes a track: 25 frames a second, each the nearest in time; mono sound on
    the same clock. The last unit of a stream that ends within it is filled with its last frame, or with silence.

    Raises:
        Rejected: The file cannot be read (`unreadable`, `missing_file`, ...), or has neither picture nor sound
            (`no_streams`).
    """
    found = probe(path)
    if not (found.has_video or found.has_audio):
        raise Rejected("no_streams", f"{path.name}: neither picture nor sound")
    pictures: Iterable[NDArray[np.uint8]] = ()
    if found.has_video:
        pictures = _unit_frames(found.source, width, height, framing)
    sounds: Iterable[NDArray[np.float32]] = ()
    if found.has_audio:
        sounds = _unit_samples(decode_audio(found.source, rate_hz, None, scratch), samples_per_unit(rate_hz))
    for frames, samples in zip_longest(pictures, sounds):
        yield MediaUnit(frames, samples)


def _unit_frames(source: Source, width: int, height: int, framing: Framing) -> Iterator[NDArray[np.uint8]]:
    stream = source_input(source)[str(source.video)]
    stream = conformed(stream, source, lead_ms=0, width=width, height=height, framing=framing)
    command = stream.output("pipe:", format="rawvideo", pix_fmt="rgb24").global_args(*COUNTING, "-filter_threads", "1")
    frame_bytes, is_empty = width * height * 3, True
    with (
        tempfile.TemporaryFile() as errors,
        running(command.compile(cmd=ffmpeg_path()), stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdout is not None
        while content := process.stdout.read(frame_bytes * FRAMES_PER_UNIT):
            whole = content[: len(content) // frame_bytes * frame_bytes]
            frames = np.frombuffer(bytearray(whole), np.uint8).reshape(-1, height, width, 3)
            if len(frames):
                is_empty = False
                missing = FRAMES_PER_UNIT - len(frames)
                yield np.concatenate([frames, frames[-1:].repeat(missing, axis=0)]) if missing else frames
        if process.wait() or is_empty:
            errors.seek(0)
            raise Rejected("unreadable", f"{source.path.name}: video: {complaint(errors.read())}")


def _unit_samples(samples_T: NDArray[np.float32], num_samples: int) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(samples_T), num_samples):
        samples = np.asarray(samples_T[start : start + num_samples])
        yield np.pad(samples, (0, num_samples - len(samples)))


def write_units(path: Path, units: Iterable[MediaUnit], *, rate_hz: int) -> int:
    """Write units as an mp4 (H.264 and AAC) that common players play, as they come; returns their number.

    Every unit has frames of the same even width and height, and samples at `rate_hz`. The file appears when it is
    whole. Equal units give equal bytes.

    Raises ValueError without units, or RuntimeError if ffmpeg cannot write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        pictures, sound, joined = (Path(folder) / name for name in ("picture.mp4", "sound.f32", "joined.mp4"))
        count = _write_streams(iter(units), pictures, sound, path)
        wav = Path(folder) / "sound.wav"
        write_wav(wav, np.memmap(sound, np.float32, mode="r"), rate_hz)
        command = ffmpeg.output(
            ffmpeg.input(address(pictures)).video,
            ffmpeg.input(address(wav)).audio,
            address(joined),
            vcodec="copy",
            movflags="+faststart",
            fflags="+bitexact",
            map_metadata=-1,
            **PLAYABLE_SOUND,
        ).global_args("-v", "error", "-y")
        with running(command.compile(cmd=ffmpeg_path())) as process:
            _, errors = process.communicate()
        if process.returncode:
            raise RuntimeError(f"ffmpeg could not write {path}: {complaint(errors)}")
        joined.replace(path)
    return count


def _write_streams(units: Iterator[MediaUnit], pictures: Path, sound: Path, path: Path) -> int:
    """The frames as H.264, and the samples as they are."""
    first = next(units, None)
    if first is None:
        raise ValueError(f"{path}: no units")
    assert first.frames is not None
    _, height, width, _ = first.frames.shape
    command = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", r=FRAME_RATE_HZ).output(
        address(pictures), crf=PLAYABLE_CRF, **PLAYABLE_VIDEO
    )
    command = command.global_args("-v", "error", "-y")
    count = 0
    with (
        sound.open("wb") as samples_file,
        tempfile.TemporaryFile() as errors,
        running(command.compile(cmd=ffmpeg_path()), stdin=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdin is not None
        unit: MediaUnit | None = first
        try:
            while unit is not None:
                _write_unit(unit, process.stdin, samples_file)
                count += 1
                unit = next(units, None)
            process.stdin.close()
        except BrokenPipeError:
            pass  # ffmpeg has ended: what it says is below
        if process.wait():
            errors.seek(0)
            raise RuntimeError(f"ffmpeg could not write {path}: {complaint(errors.read())}")
    return count


def _write_unit(unit: MediaUnit, frames_file: IO[bytes], samples_file: IO[bytes]) -> None:
    assert unit.frames is not None and unit.samples is not None
    frames_file.write(np.ascontiguousarray(unit.frames).tobytes())
    samples_file.write(unit.samples.astype(np.float32).tobytes())
