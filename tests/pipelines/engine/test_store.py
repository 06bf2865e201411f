"""The store of finished parts: nothing is made twice, whatever is killed is repaired, what leaves here leaves there."""

import errno
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from pipelines.engine.forgotten import is_forgotten, remember
from pipelines.engine.jobs import Job
from pipelines.engine.parts import read_content, read_part, write_zip
from pipelines.engine.retry import retry_rejected
from pipelines.engine.store import open_store, stores_of
from pipelines.ingest import stage as ingest
from tests.helpers import counted_jobs
from tests.helpers.counted_jobs import calls, contents, jobs_of
from tests.helpers.s3_server import s3_server
from tests.helpers.small_corpus import Person, keep_in_process, write_corpus
from tests.helpers.staged_corpus import Corpus, stage_corpus
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


def places(uri: str) -> dict[str, str]:
    """Key -> where its part is, below the store; each key has one."""
    found = [name.removesuffix("/part.zip") for name in stored_files(uri) if name.endswith("/part.zip")]
    keys = [place.split("/")[2] for place in found]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, found, strict=True))


def stored_files(uri: str) -> dict[str, bytes]:
    files, root = fsspec.url_to_fs(uri, use_listings_cache=False)
    return {path[len(root) + 1 :]: files.cat_file(path) for path in files.find(root)}


def test_a_machine_goes_on_where_a_lost_one_stopped(tmp_path: Path, s3: Any) -> None:
    run = partial(counted_jobs.run, store="s3://lab/spot", ray=False)
    with pytest.raises(Exception, match="a bug"):
        run(tmp_path / "lost", jobs_of("s1") + jobs_of("s2", bug=True), workers=1)
    assert list(places("s3://lab/spot")) == ["s1"]
    shutil.rmtree(tmp_path / "lost")
    run(tmp_path / "next", jobs_of("s1", "s2", "s3"))
    assert calls(tmp_path / "next") == {"s2": 1, "s3": 1}
    counted_jobs.run(tmp_path / "alone", jobs_of("s1", "s2", "s3"), ray=False)
    files = contents(tmp_path / "next")
    assert files.pop("parts/stores.json") == files.pop("parts/stores.copy.json")
    assert "forgotten.json" not in files
    assert files == contents(tmp_path / "alone")
    stored = stored_files("s3://lab/spot")
    for key, place in places("s3://lab/spot").items():
        assert stored[f"{place}/files/bulk/{key}.bin"] == files.pop(f"bulk/{key}.bin")
    assert files.pop("state/annotate.json")
    assert stored.items() >= files.items()


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
    stored = stored_files("s3://lab/leaving")
    assert [name for name in stored if "s1" in name] == [] and list(places("s3://lab/leaving")) == ["s2"]
    assert {f"{places('s3://lab/leaving')['s2']}/files/bulk/s2.bin", "tables/speech/b=0000.parquet"} <= set(stored)


def test_a_store_that_is_named_later_gets_what_is_there(tmp_path: Path, use: Any) -> None:
    store, data = tmp_path / "store", tmp_path / "data"
    counted_jobs.run(data, jobs_of("s1", "s2"))
    run = use(str(store))
    run(data, jobs_of("s1", "s2"))
    whole = stored_files(str(store))
    part = store / places(str(store))["s2"] / "part.zip"
    part.write_bytes(part.read_bytes()[:-7])  # cut short by a kill of a copy by hand
    (store / places(str(store))["s1"] / "files/bulk/s1.bin").unlink()
    run(data, jobs_of("s1", "s2"))
    assert calls(data) == {"s1": 1, "s2": 1} and stored_files(str(store)) == whole
    shutil.rmtree(data)
    run(data, jobs_of("s1", "s2"))
    assert not (data / "marks").exists() and stores_of(data) == [str(store)]


def test_what_is_damaged_here_does_not_get_into_the_store_and_is_made_again(tmp_path: Path, use: Any) -> None:
    store, data = tmp_path / "store", tmp_path / "data"
    counted_jobs.run(data, jobs_of("s1", "s2"))
    (data / "bulk/s1.bin").write_bytes(b"S1" * 10)
    run = use(str(store))
    run(data, jobs_of("s1", "s2"))
    assert calls(data) == {"s1": 2, "s2": 1}
    assert (store / places(str(store))["s1"] / "files/bulk/s1.bin").read_bytes() == b"s1" * 10


def test_a_damaged_file_is_repaired_from_the_store(tmp_path: Path, use: Any) -> None:
    run, data = use(str(tmp_path / "store")), tmp_path / "data"
    run(data, jobs_of("s1", "s2"))
    whole = contents(data)
    (data / "bulk/s1.bin").unlink()
    (data / "tables/speech/b=0000.parquet").write_bytes(b"")
    run(data, jobs_of("s1", "s2"))
    assert contents(data) == whole and calls(data) == {"s1": 1, "s2": 1}


def test_a_part_that_is_not_whole_is_made_again(tmp_path: Path, use: Any) -> None:
    store, data = tmp_path / "store", tmp_path / "data"
    run = use(str(store))
    jobs = jobs_of("s1", "s2", "s3", "s4", "s5", "s6")
    run(data, jobs)
    whole = stored_files(str(store))
    at = {key: store / place for key, place in places(str(store)).items()}
    (at["s1"] / "files/bulk/s1.bin").write_bytes(b"short")
    (at["s2"] / "files/bulk/s2.bin").unlink()
    (at["s3"] / "part.zip").write_bytes((at["s4"] / "part.zip").read_bytes())
    part = read_part(at["s4"] / "part.zip")
    rows = read_content(at["s4"] / "part.zip", part)
    write_zip(at["s4"] / "part.zip", replace(part, files={"../outside.bin": part.files["bulk/s4.bin"]}), rows)
    (at["s4"] / "outside.bin").write_bytes(b"s4" * 10)
    (at["s6"] / "files/bulk/s6.bin").write_bytes(b"S6" * 10)
    shutil.rmtree(data)
    run(data, jobs)
    assert calls(data) == {"s1": 1, "s2": 1, "s3": 1, "s4": 1, "s6": 1}
    assert stored_files(str(store)) == whole


def before(run: Callable[..., dict], data: Path) -> None:
    run(data, jobs_of("s1", "s2", "s3"))


def after(run: Callable[..., dict], data: Path) -> None:
    """s1 has left, s2 has changed and writes its file under another name, s4 is new."""
    changed = Job(key="s2", spec={"bad": True}, inputs=("new content",))
    run(data, [changed, *jobs_of("s3", "s4")])


STEPS = 14  # writes of the second run; a kill at each


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
    for path in (tmp_path / "store").rglob("part.zip"):
        part = read_part(path)
        assert all((path.parent / "files" / name).is_file() for name in part.files)
        assert read_content(path, part) is not None
    shutil.rmtree(tmp_path / "first")
    after(run, tmp_path / "second")
    assert stored_files(str(tmp_path / "store")) == stored_files(str(tmp_path / "whole"))


def test_rejected_keys_are_tried_again_whatever_the_store_has(tmp_path: Path, use: Any) -> None:
    run = use(str(tmp_path / "store"))
    jobs = jobs_of("s1") + jobs_of("s2", bad=True)
    run(tmp_path / "first", jobs)
    data = tmp_path / "data"
    store = open_store(str(tmp_path / "store"), data)
    assert retry_rejected(data, "annotate", "unreadable", store) == 1
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
    assert calls(tmp_path / "data") == {"s1": 1} and list(places("s3://lab/failing")) == ["s1"]


SHE = "p4242anna"
WORDS = [("red", 100, 300)]
PEOPLE: Corpus = {
    "s1": ("train", 8, {"a": Person(speaker_id=SHE, words=WORDS), "b": Person(speaker_id="bob")}),
    "s10": ("train", 8, {"a": Person(speaker_id="cat", words=WORDS), "b": Person(speaker_id="bob")}),
}
MADE = ("tables/", "latents/", "windows/", "tracks/", "state/")


def cells_of(uri: str, session: str) -> list[str]:
    """Tables and states of the store that name a session."""
    word = re.compile(rf"(?<![a-z0-9]){session}(?![0-9])")
    return [
        name
        for name, content in stored_files(uri).items()
        if name.endswith(".parquet") and word.search(json.dumps(pq.read_table(io.BytesIO(content)).to_pylist()))
    ]


@pytest.mark.parametrize("kind", ["s3", "folder"])
def test_a_person_leaves_the_store_too(tmp_path: Path, s3: Any, use: Any, kind: str) -> None:
    uri = "s3://lab/people" if kind == "s3" else str(tmp_path / "store")
    data = tmp_path / "data"
    stage_corpus(data, PEOPLE, store=uri)
    assert {"s1", "s10"} <= {name.split("/")[2] for name in stored_files(uri) if name.startswith("parts/")}
    assert cells_of(uri, "s1")
    report = forget(data, SHE)
    assert report.unreached == []
    left = stored_files(uri)
    assert [name for name in left if "/s1/" in name or "/s1." in name] == [] and cells_of(uri, "s1") == []
    assert [name for name, content in left.items() if SHE.encode() in content] == []
    assert [name for name in left if name.startswith("parts/pack/s10/")]
    stage_corpus(data, {"s10": PEOPLE["s10"]}, store=uri)
    stage_corpus(tmp_path / "never", {"s10": PEOPLE["s10"]}, store=str(tmp_path / "never-store"))
    apart = {"forgotten.json", "forgotten.copy.json"}
    never = stored_files(str(tmp_path / "never-store"))
    assert {**stored_files(uri), **dict.fromkeys(apart)} == {**never, **dict.fromkeys(apart)}
    assert is_forgotten(tmp_path / "elsewhere", SHE) is False
    open_store(uri, tmp_path / "elsewhere")
    assert is_forgotten(tmp_path / "elsewhere", SHE)
    assert forget(tmp_path / "fresh", SHE, stores=[uri]).sessions == []
    with pytest.raises(InputError, match="no speaker dan"):
        forget(tmp_path / "fresh", "dan", stores=[uri])
    assert forget(tmp_path / "fresh", "cat", stores=[uri]).sessions == ["s10"]
    assert [name for name in stored_files(uri) if "s10" in name] == []
    assert cells_of(uri, "s10") == []


def test_what_is_put_together_again_is_as_the_workers_left_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows, segments and files of all stages: of a store from the beginning, and of one that was named later."""
    stage_corpus(tmp_path / "data", PEOPLE, same=("s1", "s10"), store=str(tmp_path / "store"))
    stage_corpus(tmp_path / "late", PEOPLE, same=("s1", "s10"))
    capsys.readouterr()
    stage_corpus(tmp_path / "late", PEOPLE, same=("s1", "s10"), store=str(tmp_path / "late-store"))
    printed = capsys.readouterr().err
    assert printed.count(": 2 of 2 keys are up to date") == 5  # none is made again
    assert not re.search(r"\d/\d", printed)
    whole = stored_files(str(tmp_path / "store"))
    assert stored_files(str(tmp_path / "late-store")) == whole and any(name.endswith("0.segment") for name in whole)
    stage_corpus(tmp_path / "fresh", PEOPLE, same=("s1", "s10"), store=str(tmp_path / "store"))
    tables = {name: content for name, content in contents(tmp_path / "data").items() if name.startswith(MADE)}
    assert tables == {k: v for k, v in contents(tmp_path / "fresh").items() if k.startswith(MADE)}


def test_a_store_that_is_not_reached_is_printed(
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
