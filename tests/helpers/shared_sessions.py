"""A data folder with annotated sessions and their media, of which some may be shared: for exports."""

import shutil
import tempfile
import wave
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.engine.files import file_sha256
from pipelines.engine.tables import read_rows, to_table, write_table
from pipelines.media.tracks import write_video
from tests.helpers.annotated_sessions import TALK, write_annotated
from tests.helpers.paths import track_path
from wanstreamer.clock import UNIT_MS

NUM_UNITS, RATE_HZ = 176, 16000  # 28.16 s
SHE, BOTH = "p4242anna", ["train", "share", "show"]
MIXED = (2000, 3000)  # ms: units 12 to 18 of `b` in `loud`

# anna: with SHE; quiet: everyone shares; loud: b has mixed sound, no words and no picture; refused: b does not share;
# unknown: nothing is known of b; broken: the sound of b is not what ingest wrote.
SESSIONS = ("anna", "broken", "loud", "quiet", "refused", "unknown")
SHARED = ("anna", "loud", "quiet")


def write_shared_sessions(data: Path, sessions: tuple[str, ...] = SESSIONS) -> Path:
    """Tables and media of some of SESSIONS under `data`; returns it."""
    return Path(shutil.copytree(_made(sessions).name, data, dirs_exist_ok=True))


@cache
def _made(sessions: tuple[str, ...]) -> "tempfile.TemporaryDirectory[str]":
    """Made once per process, as encoding takes a second."""
    folder = tempfile.TemporaryDirectory()
    _write(Path(folder.name), sessions)
    return folder


def _write(data: Path, sessions: tuple[str, ...]) -> None:
    silent = {"a": TALK["a"], "b": [(start, end, None) for start, end, _ in TALK["b"]]}
    talks: dict[str, Any] = {name: silent if name == "loud" else TALK for name in sessions}
    write_annotated(data, talks, consent={"a": BOTH, "b": BOTH}, num_units=NUM_UNITS)
    tracks = _rows(data, "tracks")
    for row in tracks:
        session, who = row["session_id"], row["participant"]
        row |= {
            "speaker_id": SHE if (session, who) == ("anna", "a") else f"{session}-{who}",
            "split": "valid" if session == "quiet" else "train",
            "language": "en",
            "licence": "CC-BY-4.0",
        }
        if who == "b" and session in ("refused", "unknown"):
            row["consent"] = ["train", "show"] if session == "refused" else None
        if (session, who) == ("loud", "b"):
            row["mixed"] = [{"start_ms": MIXED[0], "end_ms": MIXED[1]}]
        _write_media(data, row, has_video=(session, who) != ("loud", "b"))
        if (session, who) == ("broken", "b"):
            path = data / row["audio_path"]
            path.write_bytes(path.read_bytes()[:-1000] + bytes(1000))
    write_table(data, "tracks", to_table("tracks", tracks))
    about = _rows(data, "sessions")
    for row in about:
        row["split"] = "valid" if row["session_id"] == "quiet" else "train"
    write_table(data, "sessions", to_table("sessions", about))


def _rows(data: Path, table: str) -> list[dict[str, Any]]:
    return [{name: row[name] for name in row if name != "schema_version"} for row in read_rows(data, table)]


def _write_media(data: Path, row: dict[str, Any], *, has_video: bool) -> None:
    session, who = row["session_id"], row["participant"]
    generator = np.random.default_rng(zlib.crc32(f"{session}/{who}".encode()))
    audio = data / track_path(session, who, "wav")
    audio.parent.mkdir(parents=True, exist_ok=True)
    write_samples(audio, generator.integers(-8000, 8000, NUM_UNITS * RATE_HZ * UNIT_MS // 1000, np.int16))
    row |= {"audio_path": track_path(session, who, "wav"), "audio_sha256": file_sha256(audio), "rate_hz": RATE_HZ}
    if has_video:
        video = data / track_path(session, who, "mp4")
        write_video(video, np.full((NUM_UNITS * 4, 32, 32, 3), generator.integers(40, 215, 3), np.uint8), crf=30)
        row |= {"video_path": track_path(session, who, "mp4"), "video_sha256": file_sha256(video)}
        row |= {"width": 32, "height": 32}


def write_samples(path: Path, samples_T: np.ndarray) -> None:
    """int16 mono samples -> a WAV, bit by bit."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(samples_T.astype("<i2").tobytes())


def samples_of(data: Path, session: str, who: str) -> np.ndarray:
    """int16 samples of a track, as it lies in the data folder."""
    with wave.open(str(data / track_path(session, who, "wav")), "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def muted(samples_T: np.ndarray, first_unit: int, last_unit: int) -> np.ndarray:
    """The samples with units `first_unit` to `last_unit` at zero."""
    per_unit = RATE_HZ * UNIT_MS // 1000
    samples_T = samples_T.copy()
    samples_T[first_unit * per_unit : (last_unit + 1) * per_unit] = 0
    return samples_T
