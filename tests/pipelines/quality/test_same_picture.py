"""Whether two tracks of a session show the same picture, whatever was done to one of them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipelines.engine.jobs import Job
from pipelines.engine.run import RunParams
from pipelines.engine.tables import read_rows
from pipelines.ingest import stage as ingest
from pipelines.ingest.stage import IngestParams
from pipelines.media.tracks import write_video, write_wav
from pipelines.quality import stage as quality
from pipelines.quality.params import QualityParams
from pipelines.quality.same_picture import same_pictures, same_share
from pipelines.quality.track_facts import measure_session
from pipelines.signals.av_offset import block_light
from tests.helpers.clips import ingest_rows
from tests.helpers.pictures import talking_face
from tests.helpers.small_corpus import keep_in_process

SECONDS = 12


def light(frames_THWC: np.ndarray) -> np.ndarray:
    return block_light(frames_THWC.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32))


def smaller(frames_THWC: np.ndarray) -> np.ndarray:
    """Resized there and back, darker, with noise: what a re-encoded export looks like."""
    noise = np.random.default_rng(0).normal(0, 2, frames_THWC.shape)
    sized = [cv2.resize(cv2.resize(frame, (40, 30)), frame.shape[1::-1]) for frame in frames_THWC]
    return np.clip(0.85 * np.stack(sized) + 5 + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def people() -> list[np.ndarray]:
    return [talking_face(seed, 64, 48, 25 * SECONDS) for seed in range(4)]


@pytest.mark.parametrize(
    "change",
    [
        lambda frames: frames,
        smaller,
        lambda frames: frames[:, :, ::-1],
        lambda frames: frames[10:],
        lambda frames: np.concatenate([frames[:1]] * 10 + [frames])[: len(frames)],
        lambda frames: np.stack([cv2.resize(frame[1:-1, 2:-2], (64, 48)) for frame in frames]),
    ],
    ids=["equal", "re-encoded", "mirrored", "early", "late", "edges lost"],
)
def test_a_copy_is_the_same_and_another_person_is_not(people: list[np.ndarray], change) -> None:
    copied = light(change(people[0]))
    assert same_share(light(people[0]), copied) == same_share(copied, light(people[0])) == 1.0
    assert [same_share(light(other), copied) for other in people[1:]] == [0.0] * 3


def test_the_share_is_of_the_time(people: list[np.ndarray]) -> None:
    half = np.concatenate([people[0][: 25 * 8], people[1][25 * 8 :]])
    assert same_share(light(people[0]), light(half)) == pytest.approx(2 / 3, abs=1e-3)


def test_still_pictures_are_compared_and_flat_ones_prove_nothing(people: list[np.ndarray]) -> None:
    one, other = (light(np.repeat(frames[:1], 100, axis=0)) for frames in people[:2])
    flat = light(np.full((100, 48, 64, 3), 16, np.uint8))
    assert same_share(one, one) == 1.0 and same_share(one, other) == 0.0
    assert same_share(flat, flat) is None and same_share(flat, one) is None
    moving = light(people[0])
    assert same_share(moving[:100], one) == 0.0, "one moves, the other does not"
    assert same_pictures([flat, None, flat], ["x", None, "x"]) == [None, None, None]
    assert same_pictures([one, None, other, one], ["x", None, "y", "z"]) == [(1.0, 3), None, (0.0, 0), (1.0, 0)]
    flash = light(np.concatenate([np.full((50, 48, 64, 3), grey, np.uint8) for grey in (16, 235, 16)]))
    assert same_pictures([flash, flash], ["x", "x"]) == [(1.0, 1), (1.0, 0)], "one file and crop"
    assert same_pictures([flash, flash], ["x", "y"]) == [None, None], "a lamp lights two rooms"


def test_rows_with_one_picture_are_named(
    tmp_path: Path, people: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One video for two rows without a crop, and the same with a crop for each."""
    monkeypatch.setattr("pipelines.quality.track_facts.shows_face", lambda frame: True)  # which takes most of the time
    write_video(tmp_path / "table.mp4", np.concatenate(people[:2], axis=2))
    facts = {}
    for name, crops in {"whole": (None, None), "tiles": ((0, 0, 64, 48), (64, 0, 64, 48))}.items():
        home = tmp_path / name
        home.mkdir()
        (home / "table.mp4").symlink_to(tmp_path / "table.mp4")
        rows = [
            {"participant": who, "uri": "table.mp4", "crop": crop}
            for who, crop in zip(("anna", "ben"), crops, strict=True)
        ]
        result, data = ingest_rows(home, rows)
        job = Job(key="s", spec={"tracks": result.tables["tracks"]})
        rows = measure_session(job, data, tmp_path).tables["quality"]
        facts[name] = [(row["same_picture_share"], row["same_picture_as"]) for row in rows]
    assert facts == {"whole": [(1.0, "ben"), (1.0, "anna")], "tiles": [(0.0, None), (0.0, None)]}


def test_a_session_with_one_picture_or_without_sound_is_named(
    tmp_path: Path, people: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through both stages: what the two say, and which tracks may be used."""
    keep_in_process(monkeypatch)
    source, data = tmp_path / "source", tmp_path / "data"
    hum = 0.1 * np.sin(np.arange(16000 * SECONDS) / 9).astype(np.float32)
    for number in range(2):
        write_video(source / f"{number}.mp4", people[number], hum)
    write_wav(source / "silent.wav", 0 * hum, 16000)
    lines = ["session_id,participant,uri,audio_uri", "one,anna,0.mp4,", "one,ben,0.mp4,", "two,anna,0.mp4,"]
    (source / "manifest.csv").write_text("\n".join([*lines, "two,ben,1.mp4,silent.wav", ""]))
    ingest.run(data, IngestParams(source=str(source)), RunParams(workers=1))
    said = capsys.readouterr().err
    assert "  one: anna and ben have 0.mp4\n" in said and "two:" not in said
    quality.run(data, QualityParams(find_duplicates=False), RunParams(workers=1))
    rejected = {(row["key"], row["reason"]) for row in read_rows(data, "rejections/quality")}
    assert rejected == {("one/anna", "same_picture"), ("one/ben", "same_picture"), ("two/ben", "digital_silence")}
    usable = {(row["session_id"], row["participant"]): row["usable"] for row in read_rows(data, "quality")}
    assert [key for key, value in usable.items() if value] == [("two", "anna")]
