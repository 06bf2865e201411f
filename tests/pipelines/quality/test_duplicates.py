"""Recordings given twice: copies are found however they were made, and nobody else is taken for one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.engine.run import RunParams
from pipelines.engine.tables import read_rows, to_table
from pipelines.ingest import stage as ingest
from pipelines.media.tracks import read_frames, read_wav, write_video
from pipelines.quality import stage as quality
from pipelines.quality import track_facts
from pipelines.quality.duplicates import find_duplicates
from pipelines.quality.hashes import MAX_HASHES, picture_hashes, sound_bands, sound_hashes
from pipelines.quality.stage import QualityParams
from pipelines.sample.stage import SampleParams
from pipelines.sample.stage import run as draw_sample
from pipelines.signals.av_offset import BLOCKS
from tests.helpers.small_corpus import keep_in_process

RATE_HZ = 16000
SESSIONS = ("talk-0000", "talk-0001")


@pytest.fixture(scope="module")
def in_process() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        keep_in_process(patch)
        yield


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory, in_process: None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """SESSION/PARTICIPANT -> frames and sound of four drawn and spoken people, 36 s each."""
    data = tmp_path_factory.mktemp("people") / "data"
    draw_sample(data, SampleParams(sessions=2, seconds=36, width=128, height=96), RunParams(workers=1))
    ingest.run(data, ingest.IngestParams(source=str(data / "sources"), width=128, height=96), RunParams(workers=1))
    return {
        f"{session}/{who}": (
            read_frames(data / f"tracks/{session}/{who}.mp4"),
            read_wav(data / f"tracks/{session}/{who}.wav")[0],
        )
        for session in SESSIONS
        for who in "ab"
    }


def record(
    people: dict[str, Any], path: Path, name: str, *, cut_frames: int = 0, gain: float = 1, crf: int = 18
) -> None:
    frames, sound = people[name]
    sound = sound[cut_frames * RATE_HZ // 25 + (133 if cut_frames else 0) :] * gain
    write_video(path, frames[cut_frames:], sound, crf=crf)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, people: dict[str, Any]) -> Path:
    """The two sessions, and the first once more: smaller files, quieter, begun 3.4 s later."""
    root = tmp_path_factory.mktemp("recordings")
    for who in "ab":
        record(people, root / f"one/{who}.mp4", f"talk-0000/{who}")
        record(people, root / f"two/{who}.mp4", f"talk-0001/{who}")
        record(people, root / f"zzz/{who}.mp4", f"talk-0000/{who}", cut_frames=85, gain=0.3, crf=32)
    return root


def measured(data: Path, source: Path, **params: Any) -> dict[str, dict[str, Any]]:
    ingest.run(data, ingest.IngestParams(source=str(source), width=64, height=48), RunParams(workers=1))
    quality.run(data, QualityParams(**params), RunParams(workers=1))
    return {f"{row['session_id']}/{row['participant']}": row for row in read_rows(data, "quality")}


def test_the_later_session_is_marked_and_only_while_the_earlier_is_there(
    tmp_path: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = measured(tmp_path / "data", recordings)
    assert {key: row["duplicate_of"] for key, row in rows.items() if row["duplicate_of"]} == {
        "zzz/a": "one/a", "zzz/b": "one/b"
    }  # fmt: skip
    assert {key for key, row in rows.items() if not row["usable"]} == {"zzz/a", "zzz/b"}
    rejected = (tmp_path / "data/tables/rejections/quality.parquet").read_bytes()
    # Thresholds are judged without a look at the tracks.
    monkeypatch.setattr(track_facts, "measure", None)
    assert all(row["usable"] for row in measured(tmp_path / "data", recordings, find_duplicates=False).values())
    strict = measured(tmp_path / "data", recordings, max_silent_share=0)
    assert not any(row["usable"] for row in strict.values())
    measured(tmp_path / "data", recordings)
    assert (tmp_path / "data/tables/rejections/quality.parquet").read_bytes() == rejected
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    for session in ("two", "zzz"):
        (fewer / session).symlink_to(recordings / session)
    rows = measured(tmp_path / "data", fewer)
    assert set(rows) == {"two/a", "two/b", "zzz/a", "zzz/b"} and all(row["usable"] for row in rows.values())


Streams = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
NOTHING = (np.empty(0, np.uint32), np.empty(0, np.int32))


def table(tracks: dict[str, Streams]) -> Any:
    rows = []
    for name, streams in tracks.items():
        row: dict[str, Any] = dict(zip(("session_id", "participant"), name.split("/"), strict=True))
        for stream, (hashes, frames) in zip(("sound", "picture"), streams, strict=True):
            row |= {f"{stream}_hashes": hashes.tolist(), f"{stream}_frames": frames.tolist()}
        rows.append(row)
    return to_table("hashes", rows)


def found(tracks: dict[str, Streams]) -> dict[str, str]:
    return {"/".join(copy): "/".join(first) for copy, first in find_duplicates(table(tracks)).items()}


def made_up(seed: int, count: int = 100) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (
        np.unique(rng.integers(0, 2**30, count)).astype(np.uint32)[rng.permutation(count)],
        np.sort(rng.choice(20 * count, count, replace=False)).astype(np.int32),
    )


def later(hashes: tuple[np.ndarray, np.ndarray], frames: int, keep: float = 1.0, seed: int = 0) -> Any:
    """A copy that begins `frames` earlier or later and of whose hashes a share survives."""
    kept = np.random.default_rng(seed).random(len(hashes[0])) < keep
    return hashes[0][kept], hashes[1][kept] + np.int32(frames)


def test_copies_of_copies_name_the_first_whatever_the_order() -> None:
    sound, picture = made_up(0), made_up(1)
    tracks = {
        f"{name}/a": (later(sound, shift, 0.6, shift + 100), later(picture, shift, 0.6, shift + 100))
        for name, shift in (("one", 0), ("two", 85), ("zzz", -40))
    }
    tracks |= {f"s{index}/a": (made_up(10 + index), made_up(40 + index)) for index in range(20)}
    assert found(tracks) == {"two/a": "one/a", "zzz/a": "one/a"}
    assert found(dict(reversed(tracks.items()))) == found(tracks)


def test_more_copies_than_a_hash_has_neighbours_are_all_found() -> None:
    sound = made_up(0)
    names = [f"s{index:02}/a" for index in range(40)]
    assert found(dict.fromkeys(names, (sound, NOTHING))) == dict.fromkeys(names[1:], names[0])


def test_one_session_may_share_its_sound_and_two_may_where_the_pictures_differ() -> None:
    sound = made_up(0)
    assert found({"one/a": (sound, made_up(1)), "one/b": (sound, made_up(2))}) == {}
    assert found({"one/a": (sound, made_up(1)), "two/b": (sound, made_up(2))}) == {}
    assert found({"one/a": (sound, NOTHING), "two/b": (sound, made_up(2))}) == {"two/b": "one/a"}
    few = later(made_up(1), 0, 0.06)  # hashes of the picture that would not do alone
    assert found({"one/a": (sound, made_up(1)), "two/b": (sound, few)}) == {"two/b": "one/a"}


def test_a_phrase_in_common_and_hashes_at_other_times_are_no_copy() -> None:
    one, two = made_up(0), made_up(1)
    two[0][40:60], two[1][40:60] = one[0][40:60], one[1][40:60] + 3000
    assert found({"one/a": (one, NOTHING), "two/a": (two, NOTHING)}) == {}
    shuffled = one[0], np.random.default_rng(0).permutation(one[1])
    assert found({"one/a": (one, NOTHING), "two/a": (shuffled, NOTHING)}) == {}


def test_silence_black_stillness_and_a_hum_make_no_hashes() -> None:
    rng = np.random.default_rng(0)
    silence = np.zeros(20 * RATE_HZ, np.float32)
    hum = 0.1 * np.sin(2 * np.pi * 400 * np.arange(20 * RATE_HZ) / RATE_HZ).astype(np.float32)
    whisper = rng.normal(0, 1e-5, 20 * RATE_HZ).astype(np.float32)
    for sound in (silence, hum, whisper, silence[:100]):
        bands = sound_bands(np.pad(sound, (1280, 0)), RATE_HZ)
        assert len(sound_hashes(bands)[0]) < 8
    still = np.full((500, 48), 90.0) + rng.normal(0, 0.05, (500, 48))
    for light in (np.zeros((500, 48)), still, still[:5]):
        assert len(picture_hashes(light, *BLOCKS)[0]) == 0


def test_hashes_of_an_hour_are_bounded_and_an_excerpt_keeps_its_own() -> None:
    rng = np.random.default_rng(0)
    light = np.cumsum(rng.normal(0, 1, (90_000, 48)), axis=0)
    hashes, frames = picture_hashes(light, *BLOCKS)
    assert len(hashes) == MAX_HASHES and (np.diff(frames) > 0).all()
    part = picture_hashes(light[30_000:60_000], *BLOCKS)
    assert found({"one/a": (NOTHING, (hashes, frames)), "two/a": (NOTHING, part)}) == {"two/a": "one/a"}
