"""The store of finished parts: nothing is made twice, whatever is killed is repaired, what leaves here leaves there."""

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from pipelines.engine.forgotten import is_forgotten, remember
from pipelines.engine.jobs import Job
from pipelines.engine.parts import forget_rejected
from pipelines.engine.run import RunParams
from pipelines.engine.store import open_store, stores_of
from pipelines.ingest import stage as ingest
from pipelines.pack import stage as pack
from pipelines.pack.stage import PackParams
from tests.helpers import counted_jobs
from tests.helpers.counted_jobs import calls, contents, jobs_of
from tests.helpers.s3_server import s3_server
from tests.helpers.small_corpus import Person, keep_in_process, write_corpus
from tools.forget import forget, print_report
from wanstreamer.errors import InputError


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with s3_server() as files:
        yield files


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Callable[..., dict]]:
    """use(uri): the stage's run that keeps its parts there. Work runs in this process."""
    keep_in_process(monkeypatch)
    return lambda uri: partial(counted_jobs.run, store=uri)


def stored_files(uri: str) -> dict[str, bytes]:
    files, root = fsspec.url_to_fs(uri, use_listings_cache=False)
    return {path[len(root) + 1 :]: files.cat_file(path) for path in files.find(root)}


@pytest.mark.usefixtures("ray_once")
def test_a_machine_goes_on_where_a_lost_one_stopped(tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = partial(counted_jobs.run, store="s3://lab/spot")
    with pytest.raises(Exception, match="a bug"):
        run(tmp_path / "lost", jobs_of("s1") + jobs_of("s2", bug=True), workers=1)
    assert "parts/annotate/s1/part.json" in stored_files("s3://lab/spot")
    shutil.rmtree(tmp_path / "lost")
    run(tmp_path / "next", jobs_of("s1", "s2", "s3"))
    assert calls(tmp_path / "next") == {"s2": 1, "s3": 1}
    counted_jobs.run(tmp_path / "alone", jobs_of("s1", "s2", "s3"))
    files = contents(tmp_path / "next")
    assert files.pop("parts/stores.json") and files.pop("forgotten.json", b"") == b""
    assert files == contents(tmp_path / "alone")
    assert stored_files("s3://lab/spot").items() >= files.items()


@pytest.mark.parametrize("kind", ["s3", "folder"])
def test_a_fresh_machine_makes_nothing_again(tmp_path: Path, s3: Any, use: Any, kind: str) -> None:
    run = use("s3://lab/deep/er" if kind == "s3" else str(tmp_path / "store"))
    data, jobs = tmp_path / "data", jobs_of("s1", "s2") + jobs_of("s3", bad=True)
    counts = run(data, jobs)
    whole = contents(data)
    shutil.rmtree(data)
    assert run(data, jobs) == counts
    assert contents(data) == whole and not (data / "marks").exists()
    run(data, [Job(key="s1", spec={}, inputs=("new content",)), *jobs[1:]])
    assert calls(data) == {"s1": 1}


def test_a_key_that_left_the_source_leaves_the_store(tmp_path: Path, s3: Any, use: Any) -> None:
    run = use("s3://lab/leaving")
    run(tmp_path / "data", jobs_of("s1", "s2"))
    run(tmp_path / "data", jobs_of("s2"))
    assert [name for name in stored_files("s3://lab/leaving") if "s1" in name] == []
    assert {"bulk/s2.bin", "parts/annotate/s2/part.json", "tables/speech.parquet"} <= set(
        stored_files("s3://lab/leaving")
    )


def test_a_store_that_is_named_later_gets_what_is_there(tmp_path: Path, use: Any) -> None:
    store, data = tmp_path / "store", tmp_path / "data"
    counted_jobs.run(data, jobs_of("s1", "s2"))
    run = use(str(store))
    run(data, jobs_of("s1", "s2"))
    (store / "parts/annotate/s2/part.json").write_text("{")  # cut short by a kill of a copy by hand
    run(data, jobs_of("s1", "s2"))
    assert calls(data) == {"s1": 1, "s2": 1}
    shutil.rmtree(data)
    run(data, jobs_of("s1", "s2"))
    assert not (data / "marks").exists() and stores_of(data) == [str(store)]


def test_a_part_that_is_not_whole_is_made_again(tmp_path: Path, use: Any) -> None:
    store, data = tmp_path / "store", tmp_path / "data"
    run = use(str(store))
    jobs = jobs_of("s1", "s2", "s3", "s4", "s5")
    run(data, jobs)
    whole = stored_files(str(store))
    (store / "bulk/s1.bin").write_bytes(b"short")
    (store / "bulk/s2.bin").unlink()
    (store / "parts/annotate/s3/speech.parquet").unlink()
    part = json.loads((store / "parts/annotate/s4/part.json").read_text())
    part["files"] = {"../outside.bin": 20}
    (store / "parts/annotate/s4/part.json").write_text(json.dumps(part))
    (tmp_path / "outside.bin").write_bytes(b"s4" * 10)
    shutil.rmtree(data)
    run(data, jobs)
    assert calls(data) == {"s1": 1, "s2": 1, "s3": 1, "s4": 1}
    assert stored_files(str(store)) == whole


def before(run: Callable[..., dict], data: Path) -> None:
    run(data, jobs_of("s1", "s2", "s3"))


def after(run: Callable[..., dict], data: Path) -> None:
    """s1 has left, s2 has changed and writes its file under another name, s4 is new."""
    changed = Job(key="s2", spec={"bad": True}, inputs=("new content",))
    run(data, [changed, *jobs_of("s3", "s4")])


STEPS = 19  # writes of the second run; a kill at each


@pytest.mark.parametrize("stop", range(1, STEPS + 2))
def test_a_kill_at_any_write_is_repaired(tmp_path: Path, use: Any, stop: int) -> None:
    run = use(str(tmp_path / "whole"))
    before(run, tmp_path / "data")
    after(run, tmp_path / "data")
    run = use(str(tmp_path / "store"))
    before(run, tmp_path / "first")
    steps = 0

    def stopping(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **options: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == stop:
                raise KeyboardInterrupt
            return real(*args, **options)

        return step

    with pytest.MonkeyPatch.context() as patch:
        for name in ("put_file", "pipe_file", "rm_file"):
            patch.setattr(LocalFileSystem, name, stopping(getattr(LocalFileSystem, name)))
        if stop <= STEPS:
            with pytest.raises(KeyboardInterrupt):
                after(run, tmp_path / "first")
        else:
            after(run, tmp_path / "first")
            assert steps == STEPS
    for path in (tmp_path / "store").rglob("part.json"):
        part = json.loads(path.read_text())
        assert all((tmp_path / "store" / name).is_file() for name in part["files"])
        assert all(path.with_name(f"{table}.parquet").is_file() for table in part["tables"])
    shutil.rmtree(tmp_path / "first")
    after(run, tmp_path / "second")
    assert stored_files(str(tmp_path / "store")) == stored_files(str(tmp_path / "whole"))


def test_rejected_keys_are_tried_again_whatever_the_store_has(tmp_path: Path, use: Any) -> None:
    run = use(str(tmp_path / "store"))
    jobs = jobs_of("s1") + jobs_of("s2", bad=True)
    run(tmp_path / "first", jobs)
    data = tmp_path / "data"
    store = open_store(str(tmp_path / "store"), data)
    assert forget_rejected(data, "annotate", "unreadable", store) == 1
    run(data, jobs)
    assert calls(data) == {"s2": 1}


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://nobucket/x", "s3://nobucket/x: no such bucket; create it, or correct run.store"),
        ("nosuch://x", "nosuch://x: Protocol not known"),
        ("data/store", "is inside the data folder"),
    ],
)
def test_a_wrong_store_is_one_line_before_any_work(
    tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], uri: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(f"run: {{store: '{uri}'}}")
    monkeypatch.setattr("sys.argv", ["ingest"])
    with pytest.raises(SystemExit) as caught:
        ingest.main()
    error = capsys.readouterr().err
    assert caught.value.code == 2 and message in error and error.count("\n") == 1


def test_a_store_that_fails_stops_the_run_and_it_goes_on_later(
    tmp_path: Path, s3: Any, use: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = use("s3://lab/failing")
    files = fsspec.filesystem("s3", use_listings_cache=False)

    def refuse(*_: object) -> None:
        raise OSError(errno.EBUSY, "Please reduce your request rate.")

    with monkeypatch.context() as patch:
        patch.setattr(files, "put_file", refuse)
        with pytest.raises(InputError, match="request rate.*run the same command again"):
            run(tmp_path / "data", jobs_of("s1"))
    run(tmp_path / "data", jobs_of("s1"))
    assert calls(tmp_path / "data") == {"s1": 1} and "bulk/s1.bin" in stored_files("s3://lab/failing")


SHE = "p4242anna"


@pytest.mark.parametrize("kind", ["s3", "folder"])
def test_a_person_leaves_the_store_too(tmp_path: Path, s3: Any, use: Any, kind: str) -> None:
    uri = "s3://lab/people" if kind == "s3" else str(tmp_path / "store")
    data = tmp_path / "data"
    words = [("red", 100, 300)]
    people = {
        "s1": ("train", 8, {"a": Person(speaker_id=SHE, words=words), "b": Person(speaker_id="bob")}),
        "s10": ("train", 8, {"a": Person(speaker_id="cat", words=words), "b": Person(speaker_id="bob")}),
    }
    write_corpus(data, people)
    pack.run(data, PackParams(window_units=4, stride_units=4), RunParams(workers=1, store=uri))
    files, root = fsspec.url_to_fs(uri, use_listings_cache=False)
    files.put_file(str(data / "tables/tracks.parquet"), f"{root}/tables/tracks.parquet")
    assert any("s1" in name.split("/") for name in stored_files(uri)) and "windows/s1.tar" in stored_files(uri)
    report = forget(data, SHE)
    assert report.unreached == []
    left = stored_files(uri)
    assert [name for name in left if "/s1" in name.replace("/s10", "")] == []
    assert [name for name, content in left.items() if SHE.encode() in content] == []
    assert {"windows/s10.tar", "parts/pack/s10/part.json"} <= set(left)
    assert is_forgotten(tmp_path / "elsewhere", SHE) is False
    open_store(uri, tmp_path / "elsewhere")
    assert is_forgotten(tmp_path / "elsewhere", SHE)
    assert forget(tmp_path / "fresh", SHE, stores=[uri]).sessions == []
    with pytest.raises(InputError, match="no speaker dan"):
        forget(tmp_path / "fresh", "dan", stores=[uri])
    assert forget(tmp_path / "fresh", "cat", stores=[uri]).sessions == ["s10"]
    assert [name for name in stored_files(uri) if "s10" in name] == []


def test_a_store_that_is_not_reached_is_told(
    tmp_path: Path, s3: Any, use: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    write_corpus(data, {"s1": ("train", 8, {"a": Person(speaker_id=SHE), "b": Person(speaker_id="bob")})})
    (data / "parts").mkdir()
    (data / "parts/stores.json").write_text(json.dumps({"stores": ["s3://gone/x"]}))
    report = forget(data, SHE)
    assert report.sessions == ["s1"] and "s3://gone/x: no such bucket" in report.unreached[0]
    print_report(report)
    assert "NOT reached" in capsys.readouterr().out


def test_without_a_store_nothing_is_asked(tmp_path: Path, use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = use("")
    monkeypatch.setattr(fsspec, "url_to_fs", None)
    run(tmp_path / "data", jobs_of("s1"))
    remember(tmp_path / "data", SHE)
    assert not (tmp_path / "data/parts/stores.json").exists()
