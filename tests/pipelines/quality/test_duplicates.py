"""Recordings given twice: copies are found however they were made, and nobody else is taken for one."""

import multiprocessing
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.engine.run import RunParams
from pipelines.engine.tables import read_rows, to_table
from pipelines.ingest import stage as ingest
from pipelines.media.tracks import read_frames, read_wav, write_video
from pipelines.quality import duplicates, matching, track_facts
from pipelines.quality import stage as quality
from pipelines.quality.duplicates import find_duplicates
from pipelines.quality.hashes import MAX_HASHES, picture_hashes, sound_bands, sound_hashes
from pipelines.quality.stage import QualityParams
from pipelines.sample.stage import SampleParams
from pipelines.sample.stage import run as draw_sample
from pipelines.signals.av_offset import BLOCKS
from tests.helpers.paths import track_path
from tests.helpers.small_corpus import keep_in_process
from wanstreamer.errors import InputError

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
            read_frames(data / track_path(session, who, "mp4")),
            read_wav(data / track_path(session, who, "wav"))[0],
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
    rejected = (tmp_path / "data/tables/rejections/quality/b=0000.parquet").read_bytes()
    # Thresholds are judged without a look at the tracks.
    monkeypatch.setattr(track_facts, "measure", None)
    assert all(row["usable"] for row in measured(tmp_path / "data", recordings, find_duplicates=False).values())
    strict = measured(tmp_path / "data", recordings, max_silent_share=0)
    assert not any(row["usable"] for row in strict.values())
    measured(tmp_path / "data", recordings)
    assert (tmp_path / "data/tables/rejections/quality/b=0000.parquet").read_bytes() == rejected
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    for session in ("two", "zzz"):
        (fewer / session).symlink_to(recordings / session)
    rows = measured(tmp_path / "data", fewer)
    assert set(rows) == {"two/a", "two/b", "zzz/a", "zzz/b"} and all(row["usable"] for row in rows.values())


def test_the_worse_is_rejected_whatever_its_name(tmp_path: Path, people: dict[str, Any], recordings: Path) -> None:
    """The good recording sorts between two worse ones: one is shorter, the other a call of 8 kHz with few pixels."""
    source = tmp_path / "source"
    for who in "ab":
        record(people, source / f"aaa/{who}.mp4", f"talk-0000/{who}", cut_frames=85, gain=0.3, crf=32)
        frames, sound = people[f"talk-0000/{who}"]
        phone = np.repeat((sound[: len(sound) // 2 * 2 : 2] + sound[1::2]) / 2, 2)
        spectrum = np.fft.rfft(phone)
        spectrum[len(spectrum) // 2 :] = 0
        sound_of_phone = np.fft.irfft(spectrum).astype(np.float32)
        write_video(source / f"zzz/{who}.mp4", frames[:, ::2, ::2], sound_of_phone)
    (source / "mmm").symlink_to(recordings / "one")
    rows = measured(tmp_path / "data", source)
    assert {key: row["duplicate_of"] for key, row in rows.items() if row["duplicate_of"]} == {
        "aaa/a": "mmm/a", "aaa/b": "mmm/b", "zzz/a": "mmm/a", "zzz/b": "mmm/b"
    }  # fmt: skip
    assert {key for key, row in rows.items() if row["usable"]} == {"mmm/a", "mmm/b"}
    details = {row["key"]: row["detail"] for row in read_rows(tmp_path / "data", "rejections/quality")}
    length_s, shorter_s = (0.16 * read_length(tmp_path / "data", session) for session in ("mmm", "aaa"))
    assert details["aaa/a"] == (
        f"the same recording as mmm/a, which is longer: {length_s:.2f} s instead of {shorter_s:.2f} s"
    )
    assert details["zzz/b"] == ("the same recording as mmm/b, which has a larger picture: 12288 pixels instead of 3072")
    assert rows["zzz/a"]["bandwidth_hz"] < 4200 < 6000 < rows["mmm/a"]["bandwidth_hz"]


def read_length(data: Path, session: str) -> int:
    """Units."""
    return next(row["num_units"] for row in read_rows(data, "sessions") if row["session_id"] == session)


Streams = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
NOTHING = (np.empty(0, np.uint32), np.empty(0, np.int32))


def table(tracks: dict[str, Streams]) -> pa.Table:
    rows = []
    for name, streams in tracks.items():
        row: dict[str, Any] = dict(zip(("session_id", "participant"), name.split("/"), strict=True))
        for stream, (hashes, frames) in zip(("sound", "picture"), streams, strict=True):
            row |= {f"{stream}_hashes": hashes.tolist(), f"{stream}_frames": frames.tolist()}
        rows.append(row)
    return to_table("hashes", rows)


def found(tracks: dict[str, Streams]) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        return search([table(tracks)], Path(folder))


def search(tables: Sequence[pa.Table], folder: Path, **how: Any) -> dict[str, str]:
    """session/participant of a copy -> that of its original; every table is a file."""
    files = [folder / f"b={number:04d}.parquet" for number in range(len(tables))]
    for file, content in zip(files, tables, strict=True):
        pq.write_table(content, file)
    copies = find_duplicates(files, folder / "scratch", **how)
    assert copies.column_names == ["session_id", "participant", "duplicate_of"]
    return {f"{row['session_id']}/{row['participant']}": row["duplicate_of"] for row in copies.to_pylist()}


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


def test_a_copy_of_a_copy_names_the_first_that_it_shares_nothing_with() -> None:
    hashes, frames = made_up(0)
    tracks = {
        f"{name}/a": ((hashes[part], frames[part]), NOTHING)
        for name, part in (("one", slice(50)), ("two", slice(100)), ("zzz", slice(50, 100)))
    }
    assert found(tracks) == {"two/a": "one/a", "zzz/a": "one/a"}


def test_more_copies_than_a_hash_has_neighbours_are_all_found() -> None:
    sound = made_up(0)
    names = [f"s{index:02}/a" for index in range(40)]
    assert found(dict.fromkeys(names, (sound, NOTHING))) == dict.fromkeys(names[1:], names[0])


def test_one_session_may_share_its_sound_and_two_may_where_the_pictures_differ() -> None:
    sound = made_up(0)
    assert found({"one/a": (sound, made_up(1)), "one/b": (sound, made_up(2))}) == {}
    assert found({"one/a": (sound, NOTHING), "one/b": (sound, NOTHING)}) == {}
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


def from_few_values(seed: int, count: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Hashes that very many tracks have: a hundred tracks share each."""
    rng = np.random.default_rng(seed)
    hashes = 7919 * rng.permutation(400)[:count].astype(np.uint32)
    return hashes, np.sort(rng.choice(20 * count, count, replace=False)).astype(np.int32)


def corpus() -> tuple[dict[str, Streams], dict[str, str]]:
    """400 tracks with rare and common hashes, of which 20 are copies; and the original of each copy."""
    tracks: dict[str, Streams] = {}
    for index in range(400):
        sound = from_few_values(index) if index % 2 else made_up(index)
        tracks[f"s{index // 2:03}/{'ab'[index % 2]}"] = (sound, NOTHING if index % 3 else from_few_values(1000 + index))
    originals = {f"s{100 + index:03}/{who}": f"s{index:03}/{who}" for index in range(10) for who in "ab"}
    for copy, original in originals.items():
        tracks[copy] = tuple(later(stream, 85, 0.6, index) for index, stream in enumerate(tracks[original]))  # type: ignore[assignment]
    return tracks, originals


def test_files_tasks_and_their_order_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracks, originals = corpus()
    assert found(tracks) == originals
    monkeypatch.setattr(duplicates, "ROWS_PER_TASK", 4000)
    monkeypatch.setattr(duplicates, "TRACKS_PER_BATCH", 40)
    monkeypatch.setattr(matching, "ROWS_PER_BATCH", 1000)
    content, order = table(tracks), np.random.default_rng(0).permutation(len(tracks))
    files = [content.take(rows) for rows in np.array_split(order, 7)]

    def backwards(function: Any, arguments: Sequence[Any]) -> list[Any]:
        return [function(argument) for argument in reversed(arguments)]

    assert search(files, tmp_path, map_tasks=backwards) == originals


def test_tasks_run_in_other_processes(tmp_path: Path) -> None:
    tracks, originals = corpus()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert search([table(tracks)], tmp_path, map_tasks=pool.map) == originals


def test_what_a_killed_run_left_in_scratch_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracks, originals = corpus()
    content, scratch = table(tracks), tmp_path / "scratch"

    def killed(function: Any, arguments: Sequence[Any]) -> list[Any]:
        if not list(tmp_path.rglob("context-matches-*")):
            return [function(argument) for argument in arguments]
        shutil.copytree(scratch, tmp_path / "left")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(duplicates, "ROWS_PER_TASK", 4000)
        search([content], tmp_path, map_tasks=killed)
    for rows, copies in ((content.slice(0, 100), {}), (content, originals)):
        shutil.rmtree(scratch)
        shutil.copytree(tmp_path / "left", scratch)
        assert list(scratch.rglob("hash-matches-3-*"))
        assert search([rows], tmp_path) == copies
        assert not list(scratch.iterdir())


@pytest.mark.parametrize("name", ["hashes-0-0", "common-0", "contexts-0", "context-matches-0-0"])
def test_a_missing_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def losing(function: Any, arguments: Sequence[Any]) -> list[Any]:
        results = [function(argument) for argument in arguments]
        for path in tmp_path.rglob(name):
            path.unlink()
        return results

    monkeypatch.setattr(duplicates, "WAIT_S", 0)
    with pytest.raises(InputError, match="expected.*share"):
        search([table(corpus()[0])], tmp_path, map_tasks=losing)


def test_a_table_without_hashes_has_no_copies(tmp_path: Path) -> None:
    assert search([table({})], tmp_path) == {} and search([], tmp_path) == {}
    assert found({"one/a": (NOTHING, NOTHING), "two/a": (NOTHING, NOTHING)}) == {}


def test_a_hundred_different_copies_all_name_the_first() -> None:
    sound = made_up(0)
    names = [f"s{index:03}/a" for index in range(100)]
    tracks: dict[str, Streams] = {name: (later(sound, index, 0.6, index), NOTHING) for index, name in enumerate(names)}
    assert found(tracks) == dict.fromkeys(names[1:], names[0])


def test_a_jingle_in_many_tracks_is_no_copy_and_costs_one_comparison_per_track(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def count_only(*tracks: Any) -> bool:
        compared.append(tracks)
        return False

    monkeypatch.setattr(duplicates, "is_copy", count_only)
    jingle = made_up(0, 20)
    tracks: dict[str, Streams] = {}
    for index in range(80):
        hashes, frames = made_up(1 + index)
        frames = np.concatenate([frames + 3000, jingle[1] + 40 * index]).astype(np.int32)
        order = np.argsort(frames)
        tracks[f"s{index:02}/a"] = (np.concatenate([hashes, jingle[0]])[order], frames[order]), NOTHING
    assert found(tracks) == {}
    assert len(tracks) - 1 <= len(compared) < 2 * len(tracks)


def test_a_key_that_occurs_twice_is_a_bug(tmp_path: Path) -> None:
    content = table({"one/a": (made_up(0), NOTHING)})
    with pytest.raises(ValueError, match="one.*twice"):
        search([content, content], tmp_path)


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
