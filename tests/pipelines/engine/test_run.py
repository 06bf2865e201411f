"""The runner: every key comes back, equal bytes for any number of workers, resume redoes only what changed."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine import tables
from pipelines.engine.command import stage_main
from pipelines.engine.files import file_sha256
from pipelines.engine.jobs import Job
from pipelines.engine.retry import retry_rejected
from pipelines.engine.run import RunParams, run_keys
from pipelines.engine.state import read_state
from pipelines.engine.tables import read_rows
from schemas.annotate import SPEECH
from tests.helpers.counted_jobs import FIGURES, Settings, Speaker, calls, contents, jobs_of, run, speak
from tests.helpers.small_corpus import keep_in_process
from wanstreamer.errors import InputError

pytestmark = pytest.mark.usefixtures("ray_once")


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what does not depend on who works: a run through Ray takes a second."""
    keep_in_process(monkeypatch)


def test_every_key_comes_back_as_output_or_rejection(tmp_path: Path) -> None:
    data = tmp_path / "data"
    counts = run(data, jobs_of("s1", "s3") + jobs_of("s2", bad=True))
    assert counts == {"keys": 3, "done": 2, "rejected": {"short": 4, "unreadable": 1}, "rows": {"speech": 2}}
    rejected = read_rows(data, "rejections/annotate")
    assert {(row["key"], row["reason"], row["count"]) for row in rejected} == {
        ("s1/a", "short", 2),
        ("s2", "unreadable", 1),
        ("s3/a", "short", 2),
    }


def test_one_worker_gives_the_bytes_of_two(tmp_path: Path) -> None:
    jobs = jobs_of("s1", "s2", "s3")
    run(tmp_path / "one", jobs, workers=1)
    run(tmp_path / "two", jobs[:0:-1], workers=2)
    run(tmp_path / "two", jobs, workers=2)  # s1 comes last
    done = {name: (tmp_path / "two" / "marks" / name).stat().st_mtime for name in ("s1", "s2", "s3")}
    assert max(done, key=lambda name: done[name]) == "s1"
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_plain_processes_give_the_bytes_of_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "ray", jobs_of("s1", "s2", "s3"), workers=2)
    monkeypatch.setattr("pipelines.engine.workers.ray_session", None, raising=False)  # must not be asked for
    run(tmp_path / "plain", jobs_of("s1", "s2", "s3"), workers=2, ray=False)
    assert contents(tmp_path / "plain") == contents(tmp_path / "ray")
    with pytest.raises(InputError, match="weights"):
        run(tmp_path / "plain", jobs_of("s4", mistake=True), workers=2, ray=False)


def test_a_plain_process_builds_its_work_once_and_a_bug_stops_the_run(tmp_path: Path) -> None:
    keys = jobs_of(*(f"s{n}" for n in range(5)))
    how = RunParams(workers=2, ray=False)
    data = tmp_path / "data"
    (data / "marks").mkdir(parents=True)
    run_keys(
        data, "annotate", keys, Speaker, params=Settings(), tables=(SPEECH,), how=how, code=(), setup={"data": data}
    )
    built = len((data / "marks" / "built").read_text())
    assert 1 <= built <= 2 and len(read_rows(data, "speech")) == 5
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run(data, [*jobs_of("s6", bug=True), *jobs_of("s7", "s8", "s9")], workers=1, ray=False)


def test_code_that_is_not_of_the_project_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of module functools; name the modules"):
        run_keys(tmp_path, "annotate", [], partial(speak), params=None, tables=(SPEECH,), how=RunParams())


@pytest.mark.usefixtures("in_process")
def test_resume_redoes_only_what_changed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    run(data, jobs_of("s1", "s2"))
    whole = contents(data)
    run(data, jobs_of("s1", "s2"))
    assert calls(data) == {"s1": 1, "s2": 1}

    (data / "parts/annotate/.s1").mkdir()  # killed after its file was replaced, before its part was written
    (data / "parts/annotate/.s1/note.json").write_text(json.dumps({"files": ["bulk/s1.bin"]}))
    (data / "parts/annotate/.s9").mkdir()  # of a key that has left since
    (data / "parts/annotate/.s9/note.json").write_text(json.dumps({"files": ["bulk/s9.bin"]}))
    (data / "bulk/s9.bin").touch()
    (data / "bulk/s2.bin").unlink()  # its bulk file is gone
    run(data, jobs_of("s1", "s2"))
    assert calls(data) == {"s1": 2, "s2": 2}
    assert contents(data) == whole

    run(data, jobs_of("s1", "s2"), Settings(length_ms=200))
    assert calls(data) == {"s1": 3, "s2": 3}
    changed = [Job(key="s1", spec={}, inputs=("new content",)), *jobs_of("s2")]
    run(data, changed, Settings(length_ms=200))
    assert calls(data) == {"s1": 4, "s2": 3}


@pytest.mark.usefixtures("in_process")
def test_a_key_that_left_the_source_leaves_the_data(tmp_path: Path) -> None:
    data = tmp_path / "data"
    run(data, jobs_of("s1", "s2"))
    counts = run(data, jobs_of("s2"))
    assert counts["rows"] == {"speech": 1}
    assert not (data / "bulk/s1.bin").exists() and not list((data / "parts/annotate").iterdir())


def test_a_bug_stops_the_run_and_a_mistake_is_one_line(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with pytest.raises(Exception, match="a bug"):
        run(data, jobs_of("s1") + jobs_of("s2", bug=True))
    with pytest.raises(InputError, match="weights/: no such folder"):
        run(data, jobs_of("s2", mistake=True))
    assert not (data / "tables/speech").exists()
    assert not (data / "parts/annotate/s2.zip").exists()


def test_rows_must_fit_the_schema(tmp_path: Path) -> None:
    row = {"session_id": "s", "participant": "a", "start_ms": 0, "end_ms": 100, **FIGURES}
    with pytest.raises(ValueError, match="columns differ"):
        tables.to_table("speech", [{**row, "colour": "red"}])
    with pytest.raises(ValueError, match="allows none"):
        tables.to_table("speech", [{**row, "end_ms": None}])
    with pytest.raises(ValueError, match="occurs twice"):
        tables.write_table(tmp_path, "speech", tables.to_table("speech", [row, row]))


@pytest.mark.usefixtures("in_process")
def test_the_state_names_the_files_of_a_key_with_their_sizes_and_hashes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    run(data, jobs_of("s1"))
    state = read_state(data, "annotate", 0)
    assert state.keys["s1"].files == {"bulk/s1.bin": (20, file_sha256(data / "bulk/s1.bin"))}


def test_a_key_that_kills_its_worker_is_given_up_and_the_others_are_done(tmp_path: Path) -> None:
    data = tmp_path / "data"
    counts = run(data, jobs_of("s1", "s3") + jobs_of("s2", dies=True))
    assert counts["done"] == 2 and counts["rejected"] == {"short": 4, "worker_died": 1}
    assert calls(data)["s2"] == 3
    assert not list((data / "parts/annotate").iterdir())


def test_a_key_that_hangs_is_given_up(tmp_path: Path) -> None:
    counts = run(tmp_path / "data", jobs_of("s1") + jobs_of("s2", hangs=True), key_timeout_s=0.5)
    assert counts["done"] == 1 and counts["rejected"] == {"short": 2, "timed_out": 1}


def test_a_stutter_of_the_disk_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    counts = run(data, jobs_of("s1", stutters=2) + jobs_of("s2", stutters=9))
    assert calls(data) == {"s1": 3, "s2": 3}
    assert counts["done"] == 1 and counts["rejected"] == {"input_output_error": 1, "short": 2}


def test_a_full_disk_stops_the_run_and_it_goes_on_later(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with pytest.raises(InputError, match="no space left; free some space and run the same command again"):
        run(data, jobs_of("s1") + jobs_of("s2", full=True))
    assert not (data / "tables/speech").exists() and not list((data / "parts/annotate").glob(".*"))
    assert run(data, jobs_of("s1", "s2"))["done"] == 2
    assert calls(data)["s1"] <= 2


@pytest.mark.usefixtures("in_process")
def test_rejected_keys_are_tried_again_when_asked(tmp_path: Path) -> None:
    data = tmp_path / "data"
    jobs = jobs_of("s1") + jobs_of("s2", bad=True)
    run(data, jobs)
    assert retry_rejected(data, "annotate", "too_short") == 0
    assert retry_rejected(data, "annotate", "unreadable") == 1
    counts = run(data, jobs)
    assert calls(data) == {"s1": 1, "s2": 2} and counts["rejected"] == {"short": 2, "unreadable": 1}
    assert retry_rejected(data, "annotate", "all") == 2


def nothing(data: Path, params: Settings, how: RunParams) -> dict[str, Any]:
    return {}


@pytest.mark.usefixtures("in_process")
def test_a_reason_that_no_key_had_is_answered_with_those_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    (tmp_path / "params.yaml").write_text("")

    def retry(reason: str) -> str:
        where = ["--data", str(data), "--params", str(tmp_path / "params.yaml")]
        stage_main("annotate", Settings, nothing, [*where, "--retry-rejected", reason])
        return capsys.readouterr().err

    assert retry("unreadible") == "annotate: 0 rejected keys are tried again; the last run rejected no keys\n"
    run(data, [*jobs_of("s1", bad=True), *jobs_of("s2")])
    with pytest.raises(SystemExit) as ended:
        retry("unreadible")
    said = "error: --retry-rejected unreadible: no such reason; the reasons of annotate are short, unreadable, or all\n"
    assert ended.value.code == 2 and capsys.readouterr().err.endswith(said)
    assert "2 rejected keys are tried again\n" in retry("all")
    assert "0 rejected keys are tried again; annotate decides about these keys on every run\n" in retry("all")


@pytest.mark.usefixtures("in_process")
def test_a_run_without_work_leaves_the_times_of_the_one_that_worked(tmp_path: Path) -> None:
    data, path = tmp_path / "data", tmp_path / "data" / "timings" / "annotate.json"
    (tmp_path / "params.yaml").write_text("")

    def times(*keys: str) -> dict[str, Any]:
        def annotate(data: Path, params: Settings, how: RunParams) -> dict[str, Any]:
            return run(data, jobs_of(*keys))

        stage_main("annotate", Settings, annotate, ["--data", str(data), "--params", str(tmp_path / "params.yaml")])
        return json.loads(path.read_text())

    assert times("s1")["wall_s"] < 60
    path.write_text(json.dumps({"wall_s": 1000.0, "workers": 9, "read_s": 5}))
    assert times("s1") == {"wall_s": 1000.0, "workers": 9, "read_s": 5}
    again = times("s1", "s2")
    assert again["wall_s"] < 60 and again["read_s"] == 5
    assert again["keys"] == 1 and 0 < again["cpu_s"] < 10 and 0 < again["start_s"] < again["wall_s"]
