"""People who were found in a recording become its tracks; a changed finding makes that session again, and no other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.engine.jobs import Job, Rejected, Result
from pipelines.engine.run import RunParams, run_keys
from pipelines.engine.tables import read_rows
from pipelines.ingest import stage as ingest
from pipelines.ingest.stage import IngestParams
from pipelines.media.tracks import read_wav, write_wav
from schemas.people import PEOPLE
from tests.helpers.clips import RATE_HZ, make_clip
from tests.helpers.found_people import crop_row, ingest_found, person, spans
from tests.helpers.other_machine import have_other_machines
from tests.helpers.paths import track_path
from tests.helpers.small_corpus import keep_in_process
from wanstreamer.errors import InputError


def find(job: Job, data: Path, scratch: Path) -> Result:
    """A stage `people` that finds what its jobs say."""
    if "reason" in job.spec:
        raise Rejected(job.spec["reason"], "2 s of speech in all")
    return Result(tables={"people": job.spec["rows"]})


def find_people(data: Path, found: dict[str, list[dict[str, Any]] | str], **how: Any) -> None:
    """found: session -> rows of the table `people`, or the reason why there are none."""
    jobs = [Job(key=key, spec={"reason" if isinstance(own, str) else "rows": own}) for key, own in found.items()]
    how = {"workers": 1, **how}
    run_keys(data, "people", jobs, find, params=None, tables=(PEOPLE,), how=RunParams(**how), code=())


def two_people(session_id: str, first_ms: int = 600) -> list[dict[str, Any]]:
    crops = [crop_row(0, (0, 0, 64, 48))]
    return [
        person(session_id, "a", speech=spans((first_ms, first_ms + 400)), crops=crops, visible=spans((0, 9000))),
        person(session_id, "b", speech=spans((2200, 2400))),
    ]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    keep_in_process(monkeypatch)
    folder = tmp_path / "in"
    (folder / "named").mkdir(parents=True)
    make_clip(folder / "talk.mp4")
    for who in "ab":
        write_wav(folder / "named" / f"{who}.wav", np.full(RATE_HZ, 0.1, np.float32), RATE_HZ)
    return folder


def run_ingest(source: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], dict[str, tuple[str, str]]]:
    """The sessions that were made, and what was rejected: by session its reason and detail."""
    made: list[str] = []
    keep_in_process(monkeypatch, made)
    data = source.parent / "data"
    ingest.run(data, IngestParams(source=str(source)), RunParams(workers=1))
    rejected = {row["key"]: (row["reason"], row["detail"]) for row in read_rows(data, "rejections/ingest")}
    return sorted(made), rejected


def test_found_people_become_tracks_and_nothing_else_is_made_again(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = source.parent / "data"
    made, rejected = run_ingest(source, monkeypatch)
    assert made == ["named"] and rejected["talk"][0] == "no_participants"
    assert "python -m pipelines.people" in rejected["talk"][1]

    find_people(data, {"talk": two_people("talk")})
    made, rejected = run_ingest(source, monkeypatch)
    assert made == ["talk"] and not rejected
    tracks = {(row["session_id"], row["participant"]): row for row in read_rows(data, "tracks")}
    assert sorted(tracks) == [("named", "a"), ("named", "b"), ("talk", "a"), ("talk", "b")]
    assert tracks["talk", "a"]["video_path"] and tracks["talk", "a"]["visible"]
    assert tracks["talk", "b"]["video_path"] is None and tracks["talk", "b"]["visible"] is None, "a voice off screen"
    assert tracks["talk", "a"]["attributed"] and tracks["talk", "a"]["speaker_id"] == "talk.a"
    assert tracks["named", "a"]["visible"] is None
    first_sha256 = tracks["talk", "a"]["audio_sha256"]

    assert run_ingest(source, monkeypatch)[0] == []
    find_people(data, {"talk": two_people("talk", first_ms=4300)})
    assert run_ingest(source, monkeypatch)[0] == ["talk"]
    assert {row["audio_sha256"] for row in read_rows(data, "tracks")} - {first_sha256} and run_ingest(
        source, monkeypatch
    ) == ([], {})

    find_people(data, {"talk": "more_than_two"})
    assert run_ingest(source, monkeypatch) == ([], {"talk": ("more_than_two", "2 s of speech in all")})
    assert {row["session_id"] for row in read_rows(data, "tracks")} == {"named"}


def test_a_session_that_the_stage_people_has_not_seen_says_so(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_people(source.parent / "data", {"other": two_people("other")})
    made, rejected = run_ingest(source, monkeypatch)
    assert made == ["named"] and rejected["talk"][0] == "no_participants" and "has not seen it" in rejected["talk"][1]


def test_recordings_without_names_alone_are_no_mistake_of_the_folder(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (source / "named").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"none of 1 sessions can be used .*python -m pipelines.people"):
        run_ingest(source, monkeypatch)
    find_people(source.parent / "data", {"talk": two_people("talk")})
    assert run_ingest(source, monkeypatch)[0] == ["talk"]


def test_a_manifest_may_ask_for_people_to_be_found(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = "session_id,participant,uri,language,consent,start_offset_ms"
    (source / "manifest.csv").write_text(f"{header}\nchat,,talk.mp4,de,train;share,200\n")
    find_people(source.parent / "data", {"chat": two_people("chat")})
    assert run_ingest(source, monkeypatch)[0] == ["chat"]
    tracks = read_rows(source.parent / "data", "tracks")
    assert [(row["participant"], row["language"], row["consent"]) for row in tracks] == [
        ("a", "de", ["train", "share"]), ("b", "de", ["train", "share"]),
    ]  # fmt: skip


def test_no_consent_and_people_who_left_are_rejected_as_all(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.engine.forgotten import remember

    (source / "manifest.csv").write_text("session_id,participant,uri,consent\nno,,talk.mp4,show\ngone,,talk.mp4,\n"
                                         "kept,,talk.mp4,\n")  # fmt: skip
    data = source.parent / "data"
    find_people(data, {key: two_people(key) for key in ("no", "gone", "kept")})
    remember(data, "gone.b")
    made, rejected = run_ingest(source, monkeypatch)
    assert made == ["kept"] and {key: reason for key, (reason, _) in rejected.items()} == {
        "no": "no_consent", "gone": "forgotten",
    }  # fmt: skip


def test_each_track_has_its_own_speech_and_says_where_others_are_heard(tmp_path: Path) -> None:
    write_wav(tmp_path / "talk.wav", np.full(6 * RATE_HZ, 0.1, np.float32), RATE_HZ)
    shared = {"overlap": spans((2000, 2500)), "others": spans((5000, 5200))}
    people = [
        person("s", "a", speech=spans((1000, 2500)), **shared),
        person("s", "b", speech=spans((2000, 3000)), **shared),
    ]
    result, data = ingest_found(tmp_path, "talk.wav", people, start_offset_ms=400)
    for who, (start, end) in (("a", (1000, 2500)), ("b", (2000, 3000))):
        audio, rate_hz = read_wav(data / track_path("s", who, "wav"))
        loud = np.flatnonzero(np.abs(audio) > 0.05) * 1000 / rate_hz
        assert abs(loud[0] - start) <= 6 and abs(loud[-1] - end) <= 6
    for track in result.tables["tracks"]:
        assert track["mixed"] == spans((2000, 2500), (5000, 5200)) and track["attributed"]
    assert result.tables["sessions"][0]["layout"] == "mixed"


def test_speech_is_on_the_clock_of_the_sound_and_crops_on_that_of_the_picture(tmp_path: Path) -> None:
    """The recorder began 1 s after the camera: the tracks begin with the recorder."""
    make_clip(tmp_path / "x.mkv", lossless=True)
    write_wav(tmp_path / "x.wav", np.full(4 * RATE_HZ, 0.1, np.float32), RATE_HZ)
    crops = [crop_row(0, (0, 0, 128, 96))]
    a = person("s", "a", speech=spans((500, 1500)), crops=crops, visible=spans((2000, 3000)))
    result, data = ingest_found(tmp_path, "x.mkv", [a], audio_uri="x.wav", audio_offset_ms=1000)
    audio, rate_hz = read_wav(data / track_path("s", "a", "wav"))
    loud = np.flatnonzero(np.abs(audio) > 0.05) * 1000 / rate_hz
    assert abs(loud[0] - 500) <= 6 and abs(loud[-1] - 1500) <= 6
    assert result.tables["tracks"][0]["visible"] == spans((1000, 2000))


@pytest.mark.long
def test_a_worker_without_the_data_folder_gets_what_was_found_from_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_other_machines(monkeypatch)
    source, store = tmp_path / "in", str(tmp_path / "store")
    source.mkdir()
    for name in ("one", "two"):
        make_clip(source / f"{name}.mp4")
    find_people(tmp_path / "data", {name: two_people(name) for name in ("one", "two")}, store=store)
    params = IngestParams(source=str(source))
    counts = ingest.run(tmp_path / "data", params, RunParams(workers=2, store=store))
    assert counts["done"] == 2
    tracks = read_rows(tmp_path / "data", "tracks")
    assert [(row["session_id"], row["participant"], row["video_path"] is None) for row in tracks] == [
        (name, who, who == "b") for name in ("one", "two") for who in "ab"
    ]
