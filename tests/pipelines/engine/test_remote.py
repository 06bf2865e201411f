"""Recordings in an object store: the tracks of local files, nothing left on disk, and every failure in one line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.registry import _registry, known_implementations

from pipelines.engine.remote import folder_at, is_remote_uri, stamps
from pipelines.engine.run import RunParams
from pipelines.engine.tables import read_rows
from pipelines.ingest import stage as ingest
from pipelines.ingest.stage import SOURCE_NOTE, IngestParams
from pipelines.sources import hashes
from pipelines.sources.find import find_sources
from pipelines.sources.layouts import recognise, rows_of_folder
from tests.helpers.clips import make_clip
from tests.helpers.corpora import MAKERS
from tests.helpers.s3_server import s3_server
from tests.helpers.small_corpus import keep_in_process
from tools.forget import forget
from wanstreamer.errors import InputError


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with s3_server() as files:
        yield files


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_in_process(monkeypatch)


def tracks(data: Path) -> dict[str, bytes]:
    return {str(path.relative_to(data)): path.read_bytes() for path in sorted((data / "tracks").rglob("*.*"))}


@pytest.mark.long
@pytest.mark.usefixtures("ray_once")
def test_tracks_of_a_bucket_are_those_of_the_disk(tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    for session in ("one", "two"):
        (source / session).mkdir(parents=True)
        make_clip(source / session / "a.mp4", seconds=2)
        (source / session / "a.beeps").unlink()
    make_clip(source / "one/b.mkv", seconds=2)
    (source / "one/b.beeps").unlink()
    words = {"words": [{"word": "red?", "start_ms": 200, "end_ms": 400}]}
    (source / "one/a.words.json").write_text(json.dumps(words))
    s3.put(f"{source}/", "lab/same/", recursive=True)
    s3.pipe_file("lab/same/", b"")  # the mark of a folder, as the console of S3 writes it
    params = IngestParams(source="s3://lab/same")
    data = tmp_path / "bucket"
    counts = ingest.run(data, params, RunParams(workers=2))  # in other processes: they must know how to reach the store
    keep_in_process(monkeypatch)
    ingest.run(tmp_path / "disk", IngestParams(source=str(source)), RunParams(workers=1))
    assert counts["done"] == 2 and tracks(data) == tracks(tmp_path / "disk")
    assert json.loads((data / "parts" / SOURCE_NOTE).read_text())["source"] == "s3://lab/same"
    assert [each.parent.name for each in data.rglob("sources")] == ["tables"], "the fetched files stayed"
    before = {path: path.stat().st_mtime_ns for path in (data / "tracks").rglob("*.*")}
    s3.put_file(str(source / "one/b.mkv"), "lab/same/two/b.mkv")
    assert ingest.run(data, params, RunParams(workers=1))["rows"]["tracks"] == 4
    assert all((path.stat().st_mtime_ns == stamp) == path.name.startswith("one.") for path, stamp in before.items())


@pytest.mark.usefixtures("in_process")
def test_a_manifest_in_a_bucket_and_what_it_names_in_vain(tmp_path: Path, s3: Any) -> None:
    make_clip(tmp_path / "a.mp4", seconds=1)
    s3.put_file(str(tmp_path / "a.mp4"), "lab/listed/a b+c.mp4")
    lines = ["session_id,uri,speaker_id", "good,a b+c.mp4,", "gone,nowhere.mp4,", "late,x*.mp4,"]
    s3.pipe_file("lab/listed/calls.csv", "\n".join(lines).encode())
    s3.pipe_file("lab/listed/x*.mp4", b"no film")
    params = IngestParams(source="s3://lab/listed/calls.csv")
    counts = ingest.run(tmp_path / "data", params, RunParams(workers=1))
    assert counts["done"] == 1 and counts["rejected"] == {"missing_file": 1, "unreadable": 1}
    rejected = {row["key"]: row["reason"] for row in read_rows(tmp_path / "data", "rejections/ingest")}
    assert rejected == {"gone": "missing_file", "late": "unreadable"}


@pytest.mark.usefixtures("in_process")
def test_a_file_that_vanishes_or_changes_during_the_run_is_a_rejection(
    tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for session in ("gone", "new", "same"):
        make_clip(tmp_path / "a.mp4", seconds=1)
        s3.put_file(str(tmp_path / "a.mp4"), f"lab/moving/{session}/a.mp4")
    look = hashes.stamps

    def then_change(root: Path, names: list[str]) -> dict[str, str | None]:
        seen = look(root, names)
        s3.rm_file("lab/moving/gone/a.mp4")
        s3.pipe_file("lab/moving/new/a.mp4", b"another")
        return seen

    monkeypatch.setattr(hashes, "stamps", then_change)
    counts = ingest.run(tmp_path / "data", IngestParams(source="s3://lab/moving"), RunParams(workers=1))
    assert counts["done"] == 1 and counts["rejected"] == {"changed_file": 1, "missing_file": 1}
    rejected = {row["reason"]: row["detail"] for row in read_rows(tmp_path / "data", "rejections/ingest")}
    assert rejected["missing_file"] == "gone/a.mp4"


@pytest.mark.usefixtures("in_process")
def test_a_store_that_stutters_is_asked_again(tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clip(tmp_path / "a.mp4", seconds=1)
    s3.put_file(str(tmp_path / "a.mp4"), "lab/slow/one/a.mp4")
    asked = []
    files = fsspec.filesystem("s3")
    get = files.get_file

    def slow(*args: Any) -> Any:
        asked.append(args)
        if len(asked) < 3:
            raise OSError(16, "Please reduce your request rate.")
        return get(*args)

    monkeypatch.setattr(files, "get_file", slow)
    monkeypatch.setattr("pipelines.engine.worker.RETRY_AFTER_S", (0.0, 0.0))
    assert ingest.run(tmp_path / "data", IngestParams(source="s3://lab/slow"), RunParams(workers=1))["done"] == 1
    assert len(asked) == 3


@pytest.mark.usefixtures("in_process")
def test_a_crop_outside_the_frame_stops_the_run_here_too(tmp_path: Path, s3: Any) -> None:
    make_clip(tmp_path / "a.mp4", seconds=1)
    s3.put_file(str(tmp_path / "a.mp4"), "lab/crops/a.mp4")
    s3.pipe_file("lab/crops/manifest.csv", b"session_id,uri,crop\ns,a.mp4,100:0:64:96\n")
    with pytest.raises(InputError, match=r"crop 100:0:64:96 reaches outside the 128x96 frame"):
        ingest.run(tmp_path / "data", IngestParams(source="s3://lab/crops"), RunParams(workers=1))


@pytest.mark.usefixtures("in_process")
def test_recordings_of_a_forgotten_person_are_listed_or_said_to_be_out_of_reach(tmp_path: Path, s3: Any) -> None:
    make_clip(tmp_path / "a.mp4", seconds=1)
    s3.put_file(str(tmp_path / "a.mp4"), "lab/people/a.mp4")
    lines = ["session_id,speaker_id,uri", "one,anna,a.mp4", "two,bob,a.mp4"]
    s3.pipe_file("lab/people/manifest.csv", "\n".join(lines).encode())
    for name in ("near", "far"):
        ingest.run(tmp_path / name, IngestParams(source="s3://lab/people"), RunParams(workers=1))
    report = forget(tmp_path / "near", "anna")
    assert report.outside == ["s3://lab/people/a.mp4"] and report.sessions == ["one"] and report.unreached == []
    assert s3.exists("lab/people/a.mp4")
    assert [row["session_id"] for row in read_rows(tmp_path / "near", "tracks")] == ["two"]
    s3.rm("lab/people", recursive=True)
    report = forget(tmp_path / "far", "anna")
    assert report.sessions == ["one"] and "s3://lab/people: no such folder" in report.unreached[0]


@pytest.mark.parametrize("name", MAKERS)
def test_a_corpus_in_a_bucket_has_the_rows_of_the_disk(tmp_path: Path, s3: Any, name: str) -> None:
    MAKERS[name](tmp_path)
    s3.put(f"{tmp_path}/", f"lab/corpora/{name}/", recursive=True)
    folder = folder_at(f"s3://lab/corpora/{name}")
    assert is_remote_uri(folder) and recognise(folder) == name
    assert rows_of_folder(folder) == rows_of_folder(tmp_path)


def test_a_mixed_recording_is_read_with_its_rttm() -> None:
    files = fsspec.filesystem("memory")
    files.pipe_file("/calls/call.wav", b"")
    files.pipe_file("/calls/call.rttm", b"SPEAKER call 1 0.5 1.5 <NA> <NA> anna <NA> <NA>\n")
    _, rows = find_sources(folder_at("memory://calls"))
    assert [(row.uri, row.rttm_speaker) for row in rows] == [("call.wav", "anna")]


def test_a_whole_bucket_is_a_folder_and_a_slash_at_its_end_says_nothing(s3: Any) -> None:
    s3.mkdir("calls")
    s3.pipe_file("calls/one/a.wav", b"")
    for uri in ("s3://calls", "s3://calls/"):
        root, rows = find_sources(folder_at(uri))
        assert [(row.session_id, row.uri) for row in rows] == [("one", "one/a.wav")]
        assert list(stamps(root, ["one/a.wav", "gone"]).values()) == [None, '"d41d8cd98f00b204e9800998ecf8427e" 0']


def test_a_file_uri_is_a_local_path(tmp_path: Path) -> None:
    assert folder_at(f"file://{tmp_path}") == tmp_path and folder_at("data/sources") == Path("data/sources")
    make_clip(tmp_path / "a.mp4", seconds=1)
    (tmp_path / "manifest.csv").write_text("session_id,uri\ns,a.mp4\n")
    assert find_sources(folder_at(f"file://{tmp_path}"))[0] == tmp_path


@pytest.mark.parametrize(
    "uri", ["/etc/passwd", "../x.mp4", "a/../../x.mp4", "a\0.mp4", "s3://other/x.mp4", "http://host/x.mp4", "file:///x"]
)
@pytest.mark.parametrize("column", ["uri", "audio_uri", "words_uri", "rttm_uri"])
def test_no_path_leads_out_of_the_bucket(s3: Any, column: str, uri: str) -> None:
    row = {"session_id": "s", "uri": "a.mp4"} | {column: uri}
    s3.pipe_file("lab/escape/manifest.jsonl", json.dumps(row).encode())
    with pytest.raises(InputError, match=f"s/a: {column} .* leads out of the source folder"):
        find_sources(folder_at("s3://lab/escape"))


def test_another_protocol_is_refused_in_a_local_manifest_too(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("session_id,uri\ns,s3://lab/a.mp4\n")
    with pytest.raises(InputError, match="leads out of the source folder"):
        find_sources(tmp_path)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://nobucket/x", "s3://nobucket/x: no such folder or manifest; set ingest.source"),
        ("s3://lab/nothing", "s3://lab/nothing: no such folder or manifest"),
        ("s3://b_d!/x", "s3://b_d!/x: .*Invalid bucket name"),
        ("nosuch://lab/x", "nosuch://lab/x: Unsupported filesystem: 'nosuch'; expected s3://"),
    ],
)
def test_a_wrong_address_is_one_line(s3: Any, tmp_path: Path, uri: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        ingest.run(tmp_path, IngestParams(source=uri), RunParams(workers=1))
    assert "\n" not in str(caught.value)


def test_no_credentials_no_server_and_no_package_are_one_line(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = fsspec.get_filesystem_class("s3")
    params = IngestParams(source="s3://lab/same")
    with monkeypatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.delenv(name)
        files.clear_instance_cache()
        with pytest.raises(InputError, match=r"s3://lab/same: .*credentials; set AWS_ACCESS_KEY_ID"):
            ingest.run(tmp_path, params, RunParams(workers=1))
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        files.clear_instance_cache()
        with pytest.raises(InputError, match=r"s3://lab/same: .*check the network and AWS_ENDPOINT_URL"):
            ingest.run(tmp_path, params, RunParams(workers=1))
    files.clear_instance_cache()
    with monkeypatch.context() as patch:
        absent = {"class": "absent_package.S3", "err": "Install s3fs to access S3"}
        patch.setitem(known_implementations, "s3", absent)
        patch.delitem(_registry, "s3")
        with pytest.raises(InputError, match=r"s3://lab/same: Install s3fs .*pip install -e '\.\[s3\]'"):
            ingest.run(tmp_path, params, RunParams(workers=1))
