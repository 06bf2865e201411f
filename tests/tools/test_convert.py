"""The convert command: what a format is given, files and folders, our own sessions, mistakes in one line."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.tables import to_table, write_table
from tests.helpers.blank_rows import blank_row
from tests.helpers.dialogue_of_intervals import dialogue
from tools.convert import convert, main
from tools.exchange import data_folder
from tools.exchange.formats import given_to, read_file
from wanstreamer.errors import InputError


def test_a_format_is_given_what_it_is_for() -> None:
    chosen, lost = given_to("rttm", dialogue(), ())
    assert [(one.participant, one.start_ms, one.end_ms) for one in chosen] == [("a", 0, 500), ("b", 250, 400)]
    assert lost == {"tier words, left out": 3, "tier transition, left out": 1}
    chosen, lost = given_to("stm", dialogue(), ())
    assert [one.text for one in chosen] == ['say "red" no', "mhm"]
    chosen, lost = given_to("rttm", dialogue(), ["transition"])
    assert [one.kind for one in chosen] == ["transition"] and not lost
    with pytest.raises(InputError, match="ctm holds words, and the input has none; it has speech"):
        given_to("ctm", [replace(dialogue()[0], kind="speech")], ())
    with pytest.raises(InputError, match="--tiers gestures: no such tier"):
        given_to("eaf", dialogue(), ["gestures"])


def test_moshi_learns_the_voice_that_is_named(tmp_path: Path) -> None:
    convert(dialogue(), "moshi", tmp_path / "s.json", main="b")
    told = json.loads((tmp_path / "s.json").read_text())["alignments"]
    assert told == [['say "red"', [0.0, 0.3], "a"], ["no", [0.2, 0.5], "a"], ["mhm", [0.25, 0.4], "SPEAKER_MAIN"]]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "both.ctm").write_text("mon a 0.1 0.2 red 0.9\ntue a 0.1 0.2 hat 0.9\n")
    (tmp_path / "mon.rttm").write_text("SPEAKER mon 1 0 1 <NA> <NA> a <NA> <NA>\n")
    inputs = [str(tmp_path / "both.ctm"), str(tmp_path / "mon.rttm")]
    main([*inputs, "--to", "textgrid", "--out", str(tmp_path / "grids")])
    said = capsys.readouterr()
    assert said.out == f"convert: 2 sessions to 2 files in {tmp_path / 'grids'}: mon.TextGrid to tue.TextGrid\n"
    assert said.err == "textgrid: lost: confidences (2)\n"
    assert sorted(path.name for path in (tmp_path / "grids").iterdir()) == ["mon.TextGrid", "tue.TextGrid"]
    found, _ = read_file(tmp_path / "grids" / "mon.TextGrid")
    assert [(one.kind, one.text) for one in found] == [("speech", ""), ("words", "red")]
    main([*inputs, "--session", "mon", "--to", "srt", "--out", str(tmp_path / "titles")])
    assert capsys.readouterr().out == f"convert: 1 session to {tmp_path / 'titles' / 'mon.srt'}\n"
    main([*inputs, "--session", "mon", "--out", str(tmp_path / "call.srt")])
    assert "srt: lost: name of the session: readers will use the file's name (1)" in capsys.readouterr().err
    (tmp_path / "call.srt").write_text("written by hand")
    for bad, message in [
        ([*inputs, "--session", "mon", "--out", str(tmp_path / "call.srt")], "call.srt: exists already; pass --force"),
        ([*inputs, "--to", "textgrid", "--out", str(tmp_path / "grids")], "mon.TextGrid: exists already; pass --force"),
        ([*inputs, "--out", str(tmp_path / "x.srt")], "holds one session per file, and there are 2"),
        ([*inputs, "--to", "seglst", "--out", str(tmp_path / "x")], f"such as {tmp_path / 'x'}.seglst.json"),
        ([*inputs, "--out", str(tmp_path / "x.json")], "the suffix names no format"),
        (
            [*inputs, "--to", "moshi", "--main", "z", "--out", str(tmp_path / "x.json")],
            "--main z: no such participant; there are a",
        ),
        ([*inputs, "--session", "wed", "--out", str(tmp_path / "x.srt")], "--session wed: no such session"),
        (["--out", str(tmp_path / "x.srt")], "expected either files to read"),
        (["--data", str(tmp_path / "no"), "--out", str(tmp_path / "x.srt")], "no: no such data folder; pass --data"),
    ]:
        with pytest.raises(SystemExit) as ended:
            main(bad)
        assert ended.value.code == 2 and message in capsys.readouterr().err
    assert (tmp_path / "call.srt").read_text() == "written by hand"
    main(
        [inputs[0], "--session", "mon", "--from", "CTM", "--to", "SRT", "--out", str(tmp_path / "call.srt"), "--force"]
    )
    assert "red" in (tmp_path / "call.srt").read_text()


def test_eaf_without_its_library_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pympi", None)
    monkeypatch.setitem(sys.modules, "pympi.Elan", None)
    with pytest.raises(InputError, match=r"install the extra: uv pip install -e '.\[exchange\]'"):
        convert(dialogue(), "eaf", tmp_path / "s.eaf")


def test_nothing_is_left_half_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = tmp_path / "s.ctm"
    out.write_text("as before")
    monkeypatch.setattr("pipelines.engine.files.replace_file", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        convert(dialogue(), "ctm", out, tiers=["words"], force=True)
    assert out.read_text() == "as before"


def write_data(data: Path, consent: list[str] | None) -> None:
    about = {"session_id": "mon", "participant": "a", "start_ms": 0, "end_ms": 900}
    rules = {"rule_version": "test"}
    tables: dict[str, list[dict[str, Any]]] = {
        "sessions": [blank_row("sessions", session_id="mon")],
        "tracks": [blank_row("tracks", session_id="mon", participant="a", consent=consent)],
        "speech": [about | {"source": "silero", "confidence": 0.9}],
        "words": [
            about
            | {
                "index": 0,
                "word": "red?",
                "source": "sidecar",
                "confidence": 1.0,
                "language": None,
                "over_silence": None,
                "times_fit": True,
            }
        ],
        "turns": [about | rules | {"is_primary": True, "complete": True, "num_ipus": 1, "num_words": 1}],
        "events": [
            blank_row(
                "events", **about, kind="transition", label="interruption", outcome="failed", other="b", yield_ms=9
            )
        ],
    }
    for name, rows in tables.items():
        write_table(data, name, to_table(name, rows))


def test_a_session_of_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_data(tmp_path, ["train", "share"])
    main(["--data", str(tmp_path), "--session", "mon", "--out", str(tmp_path / "mon.eaf")])
    assert (
        "lost: columns `other`, `yield_ms`, `fto_ms` of events: see them with tools.query (1)"
        in capsys.readouterr().err
    )
    found, _ = read_file(tmp_path / "mon.eaf")
    assert {one.kind: one.text for one in found} == {
        "speech": "",
        "words": "red?",
        "turns": "primary, complete",
        "transition": "interruption failed",
    }
    with pytest.raises(InputError, match="--session tue: no such session"):
        data_folder.read_data(tmp_path, ["tue"])


def test_no_one_is_exported_without_consent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_data(tmp_path, None)
    arguments = ["--data", str(tmp_path), "--to", "ctm", "--out", str(tmp_path / "mon.ctm")]
    with pytest.raises(SystemExit):
        main(arguments)
    assert "a participant has not agreed to `share`" in capsys.readouterr().err and not (tmp_path / "mon.ctm").exists()
    main([*arguments, "--private"])
    assert (tmp_path / "mon.ctm").read_text() == "mon a 0.000 0.900 red? 1.0\n"
