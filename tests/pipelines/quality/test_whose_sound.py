"""Picture and sound are compared only where the sound is that of the person in the picture."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.engine.jobs import Job
from pipelines.media.tracks import write_video, write_wav
from pipelines.quality import track_facts
from pipelines.quality.params import QualityParams
from pipelines.quality.stage import judge
from pipelines.quality.track_facts import measure_session
from tests.helpers.recorders import RATE_HZ, noisy, talk

SECONDS = 32
LATE_MS = 280


@pytest.fixture(scope="module")
def voices() -> tuple[np.ndarray, np.ndarray]:
    return talk(SECONDS, 1), talk(SECONDS, 2, pitch_hz=200)


def write_track(data: Path, name: str, sound: np.ndarray, moves_with: np.ndarray, late_ms: int, **known: Any) -> Any:
    """A track in whose picture something becomes brighter with the loudness of `moves_with`, `late_ms` later."""
    loud = np.sqrt((moves_with[: SECONDS * RATE_HZ].reshape(-1, RATE_HZ // 25) ** 2).mean(1))
    light = np.roll(np.minimum(1, loud / 0.1), late_ms // 40)
    frames = np.full((SECONDS * 25, 48, 64, 3), 90, np.uint8)
    frames[:, 20:30, 20:40] = (60 + 150 * light).astype(np.uint8)[:, None, None, None]
    if known.get("visible") is not None:
        frames[~track_facts.visible_frames(known, len(frames))] = 128
    write_video(data / f"{name}.mp4", frames)
    write_wav(data / f"{name}.wav", noisy(sound, 40, ord(name)), RATE_HZ)
    facts = {"participant": name, "num_units": SECONDS * 1000 // 160, "rate_hz": RATE_HZ, "width": 64, "height": 48}
    files = {"audio_path": f"{name}.wav", "video_path": f"{name}.mp4", "audio_sha256": None, "video_sha256": None}
    ours = {"picture": None, "camera_clock": None, "mixed": [], "attributed": True}
    return {**facts, **files, **ours, **known}


def broken(data: Path, tracks: list[Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    monkeypatch.setattr(track_facts, "check_files", lambda *which: None)
    monkeypatch.setattr(track_facts, "shows_face", lambda frame: True)  # which takes most of the time
    result = measure_session(Job(key="s", spec={"tracks": tracks}), data, data)
    rows = result.tables["quality"]
    return {row["participant"]: [why for why in judge(row, QualityParams()) if why == "out_of_sync"] for row in rows}


@pytest.mark.parametrize("ear_db", [0, -10, -25, 12])
def test_a_listener_is_not_judged_by_the_voice_of_another(
    tmp_path: Path, voices: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch, ear_db: float
) -> None:
    """The listener nods after each word, and the microphone has the speaker's voice at `ear_db`."""
    anna, _ = voices
    heard = np.roll(anna, 100) * np.float32(10 ** (ear_db / 20))
    tracks = [write_track(tmp_path, "a", anna, anna, 0), write_track(tmp_path, "b", heard, anna, LATE_MS)]
    assert broken(tmp_path, tracks, monkeypatch) == {"a": [], "b": []}


@pytest.mark.parametrize("bleed_db", [-12, -25, -200])
def test_who_speaks_is_judged_by_the_own_voice(
    tmp_path: Path, voices: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch, bleed_db: float
) -> None:
    """Ben is out of sync, Anna is not; each is in the other's microphone. Ben's gain is 10 dB lower."""
    anna, ben = voices
    gain = np.float32(10 ** (bleed_db / 20))
    tracks = [
        write_track(tmp_path, "a", anna + gain * ben, anna, 0),
        write_track(tmp_path, "b", (ben + gain * anna) * np.float32(0.3), ben, LATE_MS),
    ]
    assert broken(tmp_path, tracks, monkeypatch) == {"a": [], "b": ["out_of_sync"]}


def test_sound_that_is_mixed_or_not_attributed_judges_no_one(
    tmp_path: Path, voices: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, _ = voices
    cases: dict[str, dict[str, Any]] = {
        "a": {}, "b": {"attributed": False}, "c": {"mixed": [{"start_ms": 0, "end_ms": 1000 * SECONDS}]},
    }  # fmt: skip
    for name, known in cases.items():
        track = write_track(tmp_path, name, anna, anna, LATE_MS, **known)
        assert broken(tmp_path, [track], monkeypatch) == {name: [] if known else ["out_of_sync"]}


@pytest.mark.parametrize(("late_ms", "expected"), [(0, []), (LATE_MS, ["out_of_sync"])])
def test_a_picture_that_comes_and_goes_is_judged_where_it_shows_the_person(
    tmp_path: Path,
    voices: tuple[np.ndarray, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    late_ms: int,
    expected: list[str],
) -> None:
    """It is grey for a second of every three."""
    anna, _ = voices
    visible = [{"start_ms": 3000 * n, "end_ms": 3000 * n + 2000} for n in range(SECONDS // 3)]
    track = write_track(tmp_path, "a", anna, anna, late_ms, visible=visible)
    assert broken(tmp_path, [track], monkeypatch) == {"a": expected}


@pytest.mark.parametrize(("apart_ms", "found"), [(-3700.0, True), (900.0, True), (3.0, False), (None, False)])
def test_a_recorder_that_lies_apart_is_out_of_sync(
    tmp_path: Path, voices: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch, apart_ms: float, found: bool
) -> None:
    """Farther than lips could show."""
    anna, _ = voices
    track = write_track(tmp_path, "a", anna, anna, 0, camera_clock={"apart_ms": apart_ms})
    assert broken(tmp_path, [track], monkeypatch) == {"a": ["out_of_sync"] if found else []}
