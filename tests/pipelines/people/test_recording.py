"""Sound and pictures of a recording on one clock."""

import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest

from pipelines.engine.jobs import Rejected
from pipelines.media.process import ffmpeg_path
from pipelines.people.recording import open_recording
from pipelines.signals.voice_activity import RATE_HZ
from pipelines.sources.row import SourceRow
from tests.helpers.found_people import scene, write_scene


def row(uri: str, **known: object) -> SourceRow:
    return SourceRow(session_id="s", participant="a", uri=uri, **known)  # type: ignore[arg-type]


def write_click(path: Path, at_ms: int, length_ms: int = 2000) -> None:
    samples = np.zeros(RATE_HZ * length_ms // 1000, np.int16)
    samples[at_ms * RATE_HZ // 1000 :][:80] = 20_000
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(samples.tobytes())


def write_video(path: Path, num_frames: int = 50) -> None:
    write_scene(path, scene(num_frames, lambda _: (50, 50), lambda _: 0), "25", "-c:v", "libx264", "-qp", "30")


def click_ms(audio_T: np.ndarray) -> int:
    return int(np.abs(audio_T).argmax()) * 1000 // RATE_HZ


@pytest.mark.parametrize(
    ("offsets", "expected_ms"),
    [({}, 700), ({"audio_offset_ms": 500}, 1200), ({"audio_offset_ms": -300, "start_offset_ms": 100}, 300)],
)
def test_sound_of_another_file_is_put_on_the_clock_of_the_pictures(
    tmp_path: Path, offsets: dict[str, int], expected_ms: int
) -> None:
    write_video(tmp_path / "talk.mp4")
    write_click(tmp_path / "talk.wav", 700)
    recording = open_recording(tmp_path, row("talk.mp4", audio_uri="talk.wav", **offsets), tmp_path)
    assert recording.size == (320, 180) and recording.num_frames == 50 and recording.duration_ms == 2000
    assert click_ms(recording.audio_T) == 700 and abs(click_ms(recording.on_picture_clock()) - expected_ms) <= 1


def test_a_sound_alone_has_no_pictures(tmp_path: Path) -> None:
    write_click(tmp_path / "talk.wav", 100)
    recording = open_recording(tmp_path, row("talk.wav"), tmp_path)
    assert recording.pictures is None and recording.num_frames == 0 and recording.duration_ms == 2000


def test_a_mute_video_and_one_whose_sound_is_missing_are_rejected(tmp_path: Path) -> None:
    write_video(tmp_path / "mute.mp4", 10)
    with pytest.raises(Rejected) as mute:
        open_recording(tmp_path, row("mute.mp4"), tmp_path)
    assert mute.value.reason == "no_audio" and "mute.mp4" in mute.value.detail
    empty = ["-f", "lavfi", "-i", "anullsrc=r=16000", "-t", "0", "-c:a", "aac", "-c:v", "copy"]
    command = [
        ffmpeg_path(),
        "-v",
        "error",
        "-y",
        "-i",
        str(tmp_path / "mute.mp4"),
        *empty,
        str(tmp_path / "empty.mkv"),
    ]
    subprocess.run(command, check=True, timeout=60)
    with pytest.raises(Rejected) as nothing:
        open_recording(tmp_path, row("empty.mkv"), tmp_path)
    assert nothing.value.reason in ("no_audio", "no_streams")
