"""Recordings whose frames show their own number and whose sound is noise, so that every frame and sample is known.

And a data folder that was made of them by the real ingest and pack; what lies between is given.
"""

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.engine.run import RunParams
from pipelines.engine.tables import read_rows
from pipelines.ingest import stage as ingest
from pipelines.ingest.params import IngestParams
from pipelines.media.tracks import write_wav
from pipelines.pack import stage as pack
from pipelines.pack.params import PackParams
from tests.helpers.chirps import ffmpeg
from tests.helpers.found_people import write_scene
from tests.helpers.small_corpus import Person, keep_in_process, write_corpus

BITS, BAR = 8, 16  # a frame has a bar per bit of its number
SIZE = (BITS * BAR, 96)


def numbered(num_frames: int, left: int = 0) -> np.ndarray:
    """uint8 (T, H, W, 3): white bars are the bits of the frame's number; `left`: width of a grey part on the left."""
    frames = np.full((num_frames, SIZE[1], left + SIZE[0], 3), 100, np.uint8)
    bits = (np.arange(num_frames)[:, None] >> np.arange(BITS)) & 1
    frames[:, :, left:] = np.repeat(255 * bits, BAR, axis=1)[:, None, :, None].astype(np.uint8)
    return frames


def number_of(frame_HWC: np.ndarray) -> int:
    """The number that a frame shows."""
    bars = np.array_split(frame_HWC.mean(axis=(0, 2)), BITS)
    return sum(1 << bit for bit, bar in enumerate(bars) if bar[len(bar) // 4 : -len(bar) // 4].mean() > 128)


def noise(seconds: float, rate_hz: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate_hz)).astype(np.float32)


def write_recording(
    path: Path,
    *,
    rate: str = "25",
    num_frames: int = 150,
    sound_s: float = 6.0,
    sound_hz: int = 48000,
    left: int = 0,
    seed: int = 1,
    late: Sequence[str | float] = (),
) -> None:
    """A Matroska file with numbered frames and PCM noise. `late`: options of ffmpeg before the picture."""
    picture, sound = path.with_suffix(".picture.mkv"), path.with_suffix(".wav")
    write_scene(picture, numbered(num_frames, left), rate)
    write_wav(sound, noise(sound_s, sound_hz, seed), sound_hz)
    ffmpeg(*late, "-i", picture, "-i", sound, "-map", "0:v", "-map", "1:a", "-c", "copy", path)
    picture.unlink()
    sound.unlink()


def numbered_folder(home: Path) -> Path:
    """A data folder with one session. `a` is one file, `b` the right half of a picture, with a recorder; both begin
    apart. `a` agreed to everything, `b` to training alone; `b` bleeds into the track of `a`."""
    recordings, data = home / "recordings", home / "data"
    recordings.mkdir(parents=True)
    write_recording(recordings / "a.mkv")
    write_recording(recordings / "b.mkv", rate="30000/1001", num_frames=170, left=SIZE[0], sound_s=5.6)
    write_wav(recordings / "b-recorder.wav", noise(5.5, 16000, 7), 16000)
    (recordings / "a.words.json").write_text('{"words": [{"word": "red", "start_ms": 730, "end_ms": 870}]}')
    rows: list[dict[str, Any]] = [
        {"participant": "a", "uri": "a.mkv", "words_uri": "a.words.json", "consent": "train;share;show",
         "speaker_id": "p1"},
        {"participant": "b", "uri": "b.mkv", "audio_uri": "b-recorder.wav", "crop": f"{SIZE[0]}:0:{SIZE[0]}:{SIZE[1]}",
         "start_offset_ms": 400, "audio_offset_ms": 120, "consent": "train", "speaker_id": "p2"},
    ]  # fmt: skip
    names = ["session_id", *dict.fromkeys(name for row in rows for name in row)]
    with (recordings / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows({"session_id": "talk-1", **row} for row in rows)
    with pytest.MonkeyPatch.context() as patch:
        keep_in_process(patch)
        params = IngestParams(source=str(recordings), width=64, height=48, valid_fraction=0, test_fraction=0)
        ingest.run(data, params, RunParams(workers=1))
        _give_annotations(home / "raw", data)
        pack.run(data, PackParams(window_units=8, stride_units=4, vocab_size=300), RunParams(workers=1))
    return data


def _give_annotations(raw: Path, data: Path) -> None:
    [session] = read_rows(data, "sessions")
    people = {
        "a": Person(words=[("red", 330, 470)], speech_units={2, 3}, bleed_db=-10.0),
        "b": Person(words=[("blue", 1000, 1300)], speech_units={6, 7}),
    }
    write_corpus(raw, {session["session_id"]: ("train", session["num_units"], people)})
    shutil.copytree(raw / "latents", data / "latents")
    for table in ("words", "units", "latents"):
        shutil.copytree(raw / "tables" / table, data / "tables" / table)
