"""Recordings of people who were found: rows of the table `people`, scenes with known truth, their way into tracks."""

import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.engine.jobs import Job
from pipelines.engine.tables import to_table, write_table
from pipelines.ingest.conform import Conform
from pipelines.media import tracks as media
from pipelines.media.tracks import read_frames
from pipelines.sources.row import row_from_json
from pipelines.sources.session_files import files_of
from tests.helpers.blank_rows import blank_row
from tests.helpers.paths import track_path

Box = tuple[float, float, float, float]  # x, y, width, height
SQUARE = 24  # pixels


def spans(*pairs: tuple[int, int]) -> list[dict[str, int]]:
    return [{"start_ms": start, "end_ms": end} for start, end in pairs]


def crop_row(start_ms: int, box: Sequence[float], *, cut: bool = False) -> dict[str, Any]:
    return {"start_ms": start_ms, **dict(zip(("x", "y", "width", "height"), map(float, box), strict=True)), "cut": cut}


def person(session_id: str, participant: str, **known: Any) -> dict[str, Any]:
    """A row of the table `people`: a voice off screen, unless there are crops."""
    row = blank_row("people", session_id=session_id, participant=participant)
    row |= {"num_voices": 2, "voice_confidence": 1.0, **known}
    seen = {"face_confidence": 0.8, "face_certainty": 0.9, "asd": "motion", "num_faces": 2}
    return row | seen if row["crops"] else row


def write_people(data: Path, rows: Iterable[dict[str, Any]]) -> None:
    write_table(data, "people", to_table("people", rows))


def ingest_found(folder: Path, uri: str, people: list[dict[str, Any]], **row: Any) -> tuple[Any, Path]:
    """One recording with these people straight through the worker of ingest, files at their final places."""
    scratch, data = folder / "scratch", folder / "data"
    scratch.mkdir(exist_ok=True)
    write_people(data, people)
    record = {"session_id": "s", "participant": "a", "uri": uri, "audio_kind": "shared", **row}
    files = files_of([row_from_json(record)])
    job = Job(key="s", spec={"rows": [record], "split": "train", "found": True}, inputs=(*files, "people"))
    result = Conform(root=str(folder), width=64, height=48, rate_hz=16000, qp=10, fit="cut")(job, data, scratch)
    for name, written in result.files.items():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(written, data / name)
    return result, data


def frames_of(data: Path, participant: str = "a") -> np.ndarray:
    return read_frames(data / track_path("s", participant, "mp4")).astype(int)


def scene(
    num_frames: int,
    place: Callable[[int], tuple[float, float]],
    shots: Callable[[int], int],
    size: tuple[int, int] = (320, 180),
) -> np.ndarray:
    """A white square with its centre at `place(frame)`; the colour around it says the shot: uint8 (T, H, W, 3)."""
    backgrounds = ((0, 0, 120), (120, 0, 0), (0, 90, 0))
    frames = np.zeros((num_frames, size[1], size[0], 3), np.uint8)
    for number in range(num_frames):
        frames[number] = backgrounds[shots(number)]
        x, y = (round(value - SQUARE / 2) for value in place(number))
        frames[number, max(0, y) : y + SQUARE, max(0, x) : x + SQUARE] = 255
    return frames


def shot_of(frame_HWC: np.ndarray) -> int:
    """Which background a frame of a track has, by its edge."""
    edge = np.concatenate([frame_HWC[0], frame_HWC[-1], frame_HWC[:, 0], frame_HWC[:, -1]]).mean(0)
    return {2: 0, 0: 1, 1: 2}[int(np.argmax(edge))]


def centre_of(frame_HWC: np.ndarray) -> tuple[float, float] | None:
    """The centre of what is white; None if hardly anything is."""
    white = frame_HWC.min(axis=-1) > 170
    if white.sum() < 20:
        return None
    rows, columns = np.nonzero(white)
    return float(columns.mean()), float(rows.mean())


def write_scene(path: Path, frames_THWC: np.ndarray, rate: str, *coding: str) -> None:
    """Write frames as a video, lossless unless `coding` says otherwise."""
    _, height, width, _ = frames_THWC.shape
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", rate, "-i", "pipe:"]
    options = coding or ("-c:v", "ffv1")
    command = [media.ffmpeg_path(), "-v", "error", "-y", *raw, *options, "-threads", "1", str(path)]
    subprocess.run(command, input=frames_THWC.tobytes(), check=True, timeout=60)
