"""Recordings with flashes and beeps, and the way of one session through ingest's worker."""

import shutil
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np

from pipelines.engine.jobs import Job
from pipelines.ingest.conform import Conform
from pipelines.media import tracks as media
from pipelines.media.tracks import read_frames, read_wav, write_wav
from pipelines.sources.row import row_from_json
from pipelines.sources.session_files import files_of

RATE_HZ = 16000


FLASHES_S = (0.6, 2.2, 4.4)  # in session time


def make_clip(
    path: Path,
    *,
    rate: str = "25",
    sound_hz: int = 48000,
    start_s: float = 0.0,
    seconds: float = 5.0,
    size: str = "128x96",
    lossless: bool = False,
) -> None:
    """A file whose media time 0 is session time `start_s`: black, with 200 ms white flashes that beep."""
    near = "+".join(f"between(t+{start_s},{at},{at + 0.2})" for at in FLASHES_S)
    video = ffmpeg.input(f"color=black:s={size}:r={rate}:d={seconds}", f="lavfi")
    video = video.filter("drawbox", t="fill", color="white", enable=near)
    times = np.arange(round(seconds * sound_hz)) / sound_hz
    beeping = sum((times + start_s >= at) & (times + start_s < at + 0.2) for at in FLASHES_S)
    write_wav(path.with_suffix(".beeps"), (0.5 * np.sin(2000 * np.pi * times) * beeping).astype(np.float32), sound_hz)
    audio = ffmpeg.input(str(path.with_suffix(".beeps")), f="wav")
    codec = {".mp4": "aac", ".mov": "aac", ".mkv": "libopus"}[path.suffix]
    codecs = {"vcodec": "libx264", "preset": "ultrafast", "acodec": codec}
    if lossless:  # and without the delay of audio codecs
        codecs = {"vcodec": "ffv1", "acodec": "pcm_s16le"}
    command = ffmpeg.output(video, audio, str(path), threads=1, **codecs)
    command.global_args("-v", "error", "-y").run(cmd=media.ffmpeg_path())


def onsets_ms(track: Path) -> tuple[list[int], list[int]]:
    """Times of the flashes in the frames and of the beeps in the samples. `track`: a path without suffix."""
    bright = read_frames(track.with_name(f"{track.name}.mp4")).mean(axis=(1, 2, 3)) > 128
    flashes = [int(i) * 40 for i in np.flatnonzero(bright[1:] & ~bright[:-1]) + 1]
    audio, rate_hz = read_wav(track.with_name(f"{track.name}.wav"))
    loud = np.abs(audio).reshape(-1, rate_hz // 200).max(axis=1) > 0.1
    starts = np.flatnonzero(loud[1:] & ~loud[:-1]) + 1
    beeps = [int(starts[0]) * 5] + [int(b) * 5 for a, b in zip(starts, starts[1:], strict=False) if (b - a) * 5 > 300]
    return flashes, beeps


def ingest_rows(folder: Path, rows: list[dict[str, Any]], session_id: str = "s", **params: Any) -> tuple[Any, Path]:
    """One session straight through the worker, files at their final places."""
    records = [{"session_id": session_id, **row} for row in rows]
    files = files_of([row_from_json(record) for record in records])
    job = Job(
        key=session_id, spec={"rows": records, "split": "train"}, inputs=tuple(f"hash of {name}" for name in files)
    )
    scratch, data = folder / "scratch", folder / "data"
    scratch.mkdir(exist_ok=True)
    looks = {"width": 64, "height": 48, "rate_hz": RATE_HZ, "qp": 22, "fit": "cut"}
    result = Conform(root=str(folder), **{**looks, **params})(job, data, scratch)
    for name, written in result.files.items():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(written, data / name)
    return result, data
