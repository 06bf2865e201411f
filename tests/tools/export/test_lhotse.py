"""The lhotse export, opened and validated by lhotse; words, samples and events are those of the tables."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipelines.engine.tables import read_rows
from pipelines.media.tracks import read_frames
from tests.helpers.paths import track_path
from tests.helpers.shared_sessions import NUM_UNITS, SHARED, samples_of, write_shared_sessions
from tools.export.form import Choices
from tools.export.lhotse import LHOTSE
from tools.export.run import export

lhotse = pytest.importorskip("lhotse")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("lhotse")
    data = write_shared_sessions(folder / "data")
    export(data, LHOTSE, folder / "out", Choices())
    return data, folder / "out"


def manifests(out: Path, split: str, name: str) -> Any:
    path = out / split / f"{name}.jsonl.gz"
    if name == "supervisions":
        return lhotse.SupervisionSet.from_file(path).to_eager()
    return lhotse.RecordingSet.from_file(path).with_path_prefix(out).to_eager()


@pytest.mark.parametrize("split, sessions", [("train", ("anna", "loud")), ("valid", ("quiet",))])
def test_lhotse_validates_and_removes_nothing(
    folders: tuple[Path, Path], split: str, sessions: tuple[str, ...]
) -> None:
    data, out = folders
    recordings, supervisions = manifests(out, split, "recordings"), manifests(out, split, "supervisions")
    lhotse.validate(recordings, read_data=True)
    lhotse.validate(supervisions)
    lhotse.qa.validate_recordings_and_supervisions(recordings, supervisions)
    fixed = lhotse.fix_manifests(recordings, supervisions)
    assert [len(each) for each in fixed] == [len(recordings), len(supervisions)]
    assert {each.id for each in recordings} == {f"{session}.{who}" for session in sessions for who in "ab"}
    for recording in recordings:
        session, who = recording.id.split(".")
        heard = np.round(recording.load_audio()[0] * 32768).astype(int)
        assert np.array_equal(heard, samples_of(data, session, who))


def test_supervisions_are_the_units_of_speech_with_their_words(folders: tuple[Path, Path]) -> None:
    data, out = folders
    supervisions = [each for split in ("train", "valid") for each in manifests(out, split, "supervisions")]
    spoken = {
        (f"{row['session_id']}.{row['participant']}", row["start_ms"] / 1000, row["end_ms"] / 1000, row["text"])
        for row in read_rows(data, "ipus")
        if row["session_id"] in SHARED
    }
    assert {(each.recording_id, each.start, each.end, each.text) for each in supervisions} == spoken
    timed = sorted(
        (each.recording_id, item.symbol, item.start, round(item.end, 3))
        for each in supervisions
        for item in (each.alignment or {}).get("word", [])
    )
    words = sorted(
        (f"{row['session_id']}.{row['participant']}", row["word"], row["start_ms"] / 1000, row["end_ms"] / 1000)
        for row in read_rows(data, "words")
        if row["session_id"] in SHARED
    )
    assert timed == words and words
    assert all(each.text is None and each.alignment is None for each in supervisions if "loud.b" in each.id)
    assert {each.language for each in supervisions if each.text} == {"en"}
    assert {each.speaker for each in supervisions if each.recording_id == "anna.a"} == {"p4242anna"}


def test_every_event_and_turn_is_in_custom(folders: tuple[Path, Path]) -> None:
    data, out = folders
    supervisions = [each for split in ("train", "valid") for each in manifests(out, split, "supervisions")]
    exported = sorted(
        (each.recording_id, event["kind"], event["label"], round(event["start"] * 1000), round(event["end"] * 1000))
        for each in supervisions
        for event in each.custom.get("events", [])
    )
    ours = sorted(
        (f"{row['session_id']}.{row['participant']}", row["kind"], row["label"], row["start_ms"], row["end_ms"])
        for row in read_rows(data, "events")
        if row["session_id"] in SHARED
    )
    assert exported == ours and ours
    turns = {
        (each.recording_id, each.custom["turn"]["start"], each.custom["turn"]["end"])
        for each in supervisions
        if "turn" in each.custom
    }
    assert turns == {
        (f"{row['session_id']}.{row['participant']}", row["start_ms"] / 1000, row["end_ms"] / 1000)
        for row in read_rows(data, "turns")
        if row["session_id"] in SHARED
    }
    mixed = [each for each in supervisions if each.custom["audio_mixed"]]
    assert mixed and {each.recording_id for each in mixed} == {"loud.b"}


def test_films_have_the_same_sound_and_picture(folders: tuple[Path, Path]) -> None:
    data, out = folders
    videos = manifests(out, "train", "videos")
    assert {each.id for each in videos} == {"anna.a.video", "anna.b.video", "loud.a.video"}  # loud.b has no picture
    for recording in videos:
        session, who, _ = recording.id.split(".")
        assert (recording.video.num_frames, recording.video.fps) == (NUM_UNITS * 4, 25.0)
        path = Path(recording.sources[0].source)
        with av.open(str(path)) as film:
            pieces = [frame.to_ndarray() for frame in film.decode(audio=0)]
        sound = np.concatenate(pieces, axis=1)[0]
        assert np.array_equal(sound, samples_of(data, session, who))
        track = data / track_path(session, who, "mp4")
        assert np.array_equal(read_frames(path, 0, 8), read_frames(track, 0, 8))
        with av.open(str(path)) as film:
            assert film.streams.video[0].frames == NUM_UNITS * 4


def test_what_is_not_held_is_counted(folders: tuple[Path, Path]) -> None:
    not_held = json.loads((folders[1] / "not_held.json").read_text())
    assert not_held["participants without words: supervisions without text"] == 1
    assert not_held["participants without a picture: no video"] == 1
