"""A data folder as it lies after ingest, made directly: short tracks with sound and moving pictures."""

from pathlib import Path
from typing import Any

import numpy as np

from pipelines.engine.files import file_sha256
from pipelines.engine.tables import read_rows, to_table, write_table
from pipelines.media.tracks import write_video, write_wav
from tests.helpers.blank_rows import blank_row
from tests.helpers.paths import track_path
from wanstreamer.clock import UNIT_MS

RATE_HZ, WIDTH, HEIGHT = 16000, 32, 32


def write_tracks(data: Path, sessions: dict[str, tuple[str, str, int]]) -> None:
    """sessions: id -> (split, what, units), `what` of the letters a (audio) and v (video); two people each."""
    rows: dict[str, list[dict[str, Any]]] = {"sessions": [], "tracks": []}
    for key, (split, what, units) in sessions.items():
        rows["sessions"].append(
            {
                "session_id": key,
                "split": split,
                "layout": "per_participant",
                "language": "en",
                "licence": "CC0-1.0",
                "num_participants": 2,
                "num_units": units,
                "origin_ms": 0,
                "duration_ms": units * UNIT_MS,
                "source_sha256": "0" * 64,
            }
        )
        for who in ("a", "b"):
            rows["tracks"].append(_track(data, key, who, split, what, units))
    for name, table_rows in rows.items():
        write_table(data, name, to_table(name, table_rows))


def hash_again(data: Path) -> None:
    """Record the hashes that the media files have now, as if ingest had written them as they are."""
    rows = [{name: row[name] for name in row if name != "schema_version"} for row in read_rows(data, "tracks")]
    for row in rows:
        for kind in ("audio", "video"):
            if row[f"{kind}_path"]:
                row[f"{kind}_sha256"] = file_sha256(data / row[f"{kind}_path"])
    write_table(data, "tracks", to_table("tracks", rows))


def _track(data: Path, key: str, who: str, split: str, what: str, units: int) -> dict[str, Any]:
    audio_path, video_path = (track_path(key, who, suffix) for suffix in ("wav", "mp4"))
    audio, video = data / audio_path, data / video_path
    audio.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng([*f"{key}/{who}".encode()])
    if "a" in what:
        time_s = np.arange(units * 2560) / RATE_HZ
        tone = np.sin(2 * np.pi * generator.uniform(100, 300) * time_s) * np.sin(2 * np.pi * 1.5 * time_s)
        write_wav(audio, (0.3 * tone + 0.01 * generator.standard_normal(len(time_s))).astype(np.float32), RATE_HZ)
    if "v" in what:
        colour = generator.integers(40, 215, 3)
        frames = np.full((units * 4, HEIGHT, WIDTH, 3), colour, np.uint8)
        for index, frame in enumerate(frames):
            frame[8:24, (index * 2) % 24 : (index * 2) % 24 + 8] = 255 - colour
        write_video(video, frames, crf=10)
    paths = {"video_path": video_path, "video_sha256": file_sha256(video)} if "v" in what else {}
    paths |= {"audio_path": audio_path, "audio_sha256": file_sha256(audio)} if "a" in what else {}
    return blank_row(
        "tracks",
        session_id=key,
        participant=who,
        speaker_id=f"{key}-{who}",
        split=split,
        licence="CC0-1.0",
        consent=["train", "show"],
        language="en",
        num_units=units,
        width=WIDTH if "v" in what else None,
        height=HEIGHT if "v" in what else None,
        rate_hz=RATE_HZ if "a" in what else None,
        attributed=True,
        **paths,
    )
