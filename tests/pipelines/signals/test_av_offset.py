"""The offset of picture and sound: recovered for faces and clocks at any shift, and not believed for strangers."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.engine.run import RunParams
from pipelines.media.tracks import read_frames, read_wav
from pipelines.sample.stage import SampleParams, run
from pipelines.signals import av_offset as measured
from tests.helpers.clips import ingest_rows, make_clip

RATE_HZ = 16000
CONFIDENT = 0.4


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[np.ndarray, np.ndarray]]:
    """Luma and sound of the tracks of four drawn and spoken people, 20 s each."""
    folder = tmp_path_factory.mktemp("faces")
    run(folder / "data", SampleParams(sessions=2, seconds=20, width=128, height=96), RunParams(workers=2))
    found = []
    for path in sorted((folder / "data/sources").rglob("[ab].m*")):
        home = folder / path.parent.name / path.stem
        home.mkdir(parents=True)
        path.rename(home / path.name)
        _, data = ingest_rows(home, [{"participant": "a", "uri": path.name}])
        found.append((luma(data / "tracks/04/s.a.mp4"), read_wav(data / "tracks/04/s.a.wav")[0]))
    return found


def av_offset(luma_THW: np.ndarray, frame_rate_hz: int, audio_T: np.ndarray, rate_hz: int) -> tuple[int, float] | None:
    return measured.av_offset(measured.block_light(luma_THW), frame_rate_hz, measured.sound_energy(audio_T, rate_hz))


def luma(path: Path) -> np.ndarray:
    return read_frames(path).astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


@pytest.mark.parametrize("shift_ms", [-400, -120, 0, 200, 400])
def test_a_speaking_face_gives_its_offset(faces: list[tuple[np.ndarray, np.ndarray]], shift_ms: int) -> None:
    assert len(faces) == 4
    for light, sound in faces:
        found = av_offset(light, 25, np.roll(sound, -shift_ms * RATE_HZ // 1000), RATE_HZ)
        assert found is not None and found[1] > CONFIDENT
        assert abs(found[0] - shift_ms) <= 40


def test_the_sound_of_a_stranger_is_not_believed(faces: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for place, (light, _) in enumerate(faces):
        found = av_offset(light, 25, faces[(place + 2) % 4][1], RATE_HZ)  # of the other session
        assert found is not None and found[1] < CONFIDENT


@pytest.mark.parametrize("shift_ms", [-200, 0, 320])
def test_flashes_and_beeps_give_theirs(tmp_path: Path, shift_ms: int) -> None:
    make_clip(tmp_path / "a.mov", seconds=6)
    _, data = ingest_rows(tmp_path, [{"participant": "a", "uri": "a.mov"}])
    sound, _ = read_wav(data / "tracks/04/s.a.wav")
    found = av_offset(luma(data / "tracks/04/s.a.mp4"), 25, np.roll(sound, -shift_ms * RATE_HZ // 1000), RATE_HZ)
    assert found is not None and abs(found[0] - shift_ms) <= 40 and found[1] > CONFIDENT


def test_a_still_picture_silence_and_a_moment_have_none() -> None:
    rng = np.random.default_rng(0)
    still, moving = np.full((500, 48, 64), 7, np.float32), rng.random((500, 48, 64), np.float32)
    noise = rng.normal(0, 0.1, 20 * RATE_HZ).astype(np.float32)
    assert av_offset(still, 25, noise, RATE_HZ) is None
    assert av_offset(moving, 25, np.zeros(20 * RATE_HZ, np.float32), RATE_HZ) is None
    assert av_offset(moving[:25], 25, noise[:RATE_HZ], RATE_HZ) is None
    chance = av_offset(moving, 25, noise, RATE_HZ)
    assert chance is not None and chance[1] < CONFIDENT
