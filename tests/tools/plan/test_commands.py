"""The command: a plan is kept and printed, and compared with what a run has spent."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.bucket_files import write_rejections
from pipelines.engine.files import write_json_atomic
from pipelines.engine.tables import to_table, write_table
from tests.helpers.blank_rows import blank_row
from tests.helpers.headers import header, write_source
from tools.plan.__main__ import main

LINES = "".join(f"s{number},{who},{who}.mp4\n" for number in range(4) for who in "ab") + "alone,a,a.mp4\n"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("vae:\n  weights: finished\n")
    headers = {"a.mp4": header(), "b.mp4": header()}
    return write_source(tmp_path / "recordings", monkeypatch, headers, f"session_id,participant,uri\n{LINES}")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["plan", *map(str, arguments)])
    main()


def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    run(monkeypatch, *arguments)
    return " ".join(capsys.readouterr().out.split())


def spend(data: Path, plan: dict[str, Any], *, factor: float = 1.0, **timings: Any) -> None:
    """A data folder of a run that spent `factor` times the prediction."""
    write_table(data, "sessions", to_table("sessions", [
        blank_row("sessions", session_id=f"s{number}", num_units=375, split="train") for number in range(4)
    ]))  # fmt: skip
    write_rejections(data, "ingest", [("s9", "truncated", ""), ("s1/a", "bad_words", "")])
    write_rejections(data, "pack", [("s3", "poor_quality", ""), ("s0-a-000000", "little_talk", "")])
    for stage in ("ingest", "pack"):
        cost = plan["stages"][stage]
        spent = {"cpu_s": factor * cost["cpu_s"], "wall_s": factor * cost["wall_s"], "start_s": 2.0, "keys": 5}
        write_json_atomic(data / "timings" / f"{stage}.json", spent | timings)
    (data / "tracks" / "s0").mkdir(parents=True)
    (data / "tracks" / "s0" / "a.wav").write_bytes(bytes(4_000_000))


def test_a_plan_is_printed_and_kept(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(
        monkeypatch, capsys, source.parent, "--cores", 8, "--nodes", 2, "--cpu-hour", 0.05, "--set", "ingest.width=336"
    )
    assert "5 sessions in 2 files, 0.1 hours of conversation" in text
    assert "rejected by pack: not_a_dyad 1" in text and "2 x 8 cores" in text and "money" in text
    assert "measured on" in text and "For another machine" in text and "--spent" in text
    plan = json.loads(Path("data/plan.json").read_text())
    assert set(plan["stages"]) == {"ingest", "quality", "annotate", "vae", "encode", "pack", "duplex"}
    assert plan["corpus"]["kept_sessions"] == 4 and plan["tracks"]["width"] == 336
    assert "s0" not in json.dumps(plan)  # no ids of sessions or people
    assert printed(monkeypatch, capsys, source, "--json", "--out", "other.json") and Path("other.json").is_file()


def test_what_is_spent_is_printed_next_to_the_plan(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, source)
    plan = json.loads(Path("data/plan.json").read_text())
    spend(Path("data"), plan, factor=2)
    found = json.loads(printed(monkeypatch, capsys, "--spent", "--json"))["spent"]
    assert found["ingest"]["cpu_s"]["ratio"] == pytest.approx(2) == found["pack"]["cpu_s"]["ratio"]
    assert found["ingest"]["gb"]["spent"] > 0.004 and found["ingest"]["files"]["spent"] >= 3
    assert found["ingest"]["rejected"] == {"truncated": {"predicted": 0, "spent": 1, "ratio": None}}
    assert {reason: (pair["predicted"], pair["spent"]) for reason, pair in found["pack"]["rejected"].items()} == {
        "not_a_dyad": (1, 0), "poor_quality": (0, 1),
    }  # fmt: skip
    assert found["ingest"]["kept_hours"]["spent"] == pytest.approx(4 / 60)
    assert found["pack"]["kept_hours"] == {
        "predicted": pytest.approx(4 / 60), "spent": pytest.approx(3 / 60), "ratio": pytest.approx(0.75),
    }  # fmt: skip
    text = printed(monkeypatch, capsys, "--spent")
    assert "2.00" in text and "all CPU" in text and "rejected as poor_quality: 0 -> 1 sessions" in text


def test_nothing_is_spent_before_a_run(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, source)
    with pytest.raises(SystemExit):
        run(monkeypatch, "--spent")
    assert "error: data: no stage has run there; pass --data DIR" in capsys.readouterr().err


def test_times_of_a_run_that_did_only_some_sessions_are_compared_with_their_share(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, source)
    plan = json.loads(Path("data/plan.json").read_text())
    spend(Path("data"), plan, factor=0.2, keys=1)
    found = json.loads(printed(monkeypatch, capsys, "--spent", "--json"))["spent"]
    assert found["pack"]["cpu_s"]["ratio"] == pytest.approx(1)
    assert "pack: its last run did 20% of the sessions" in printed(monkeypatch, capsys, "--spent")


def test_timings_of_an_older_version_cannot_tell(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, source)
    plan = json.loads(Path("data/plan.json").read_text())
    spend(Path("data"), plan)
    for stage in ("ingest", "pack"):
        write_json_atomic(Path("data") / "timings" / f"{stage}.json", {"wall_s": 10.0, "workers": 2})
    found = json.loads(printed(monkeypatch, capsys, "--spent", "--json"))["spent"]
    assert found["pack"]["cpu_s"]["spent"] is None and found["pack"]["cpu_s"]["ratio"] is None
    assert found["pack"]["wall_s"]["ratio"] > 0
    assert "? ?" in printed(monkeypatch, capsys, "--spent")


def test_a_plan_is_corrected_by_an_earlier_run(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, source, "--out", "first/plan.json", "--data", "first")
    first = json.loads(Path("first/plan.json").read_text())
    spend(Path("first"), first, factor=1.5)
    text = printed(monkeypatch, capsys, source, "--like", "first", "--out", "second.json")
    assert "corrected by what first has spent" in text and "75% of the hours that headers promised" in text
    second = json.loads(Path("second.json").read_text())
    assert second["stages"]["pack"]["cpu_s"] == pytest.approx(1.5 * first["stages"]["pack"]["cpu_s"])
    assert second["stages"]["encode"] == first["stages"]["encode"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere"], "nowhere: no such folder or manifest"),
        (["--spent"], "data/plan.json: no plan; make one with"),
        ([".", "--cores", "0"], "--cores 0: expected 1 or more"),
        ([".", "--cpu-hour", "-1"], "--cpu-hour -1.0: expected 0 or more"),
        ([".", "--slopes", "none.json"], "--slopes none.json: no such file"),
        ([".", "--set", "ingest.width=17"], "ingest.width"),
        ([".", "--like", "first"], "first/plan.json: no plan"),
    ],
)
def test_a_mistake_is_one_line(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    given = [str(source) if argument == "." else argument for argument in arguments]
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *given)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert ended.value.code == 2 and error.startswith("error: ") and line in error
    if arguments == ["--spent"]:
        Path("data").mkdir()
        Path("data/plan.json").write_text("{}")
        with pytest.raises(SystemExit):
            run(monkeypatch, "--spent")
        assert "not a plan of this version" in capsys.readouterr().err
