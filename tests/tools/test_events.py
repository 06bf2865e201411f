"""tools.events: files of words or speech become the events table, without media."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from schemas import TABLES
from tests.helpers.paths import ROOT
from tools.events import annotate_intervals, main
from tools.exchange.formats import read_file
from wanstreamer.turns import TurnParams

PARAMS = str(ROOT / "params.yaml")
# b says mhm inside a's turn, then answers a question.
CTM = """\
two g 0.0 0.5 right
two g 0.5 1.0 down
two g 1.5 0.5 past
two f 1.8 0.3 mhm
two g 2.0 1.0 the
two g 3.0 0.6 mill.
two g 3.9 0.3 is
two g 4.2 0.3 it
two g 4.5 0.4 red?
two f 5.2 0.4 yes.
one g 0.0 1.0 hello
one f 1.3 1.0 hello
"""


def annotate(tmp_path: Path, *arguments: str) -> list[dict]:
    out = tmp_path / "events.parquet"
    main([*arguments, "--params", PARAMS, "--out", str(out), "--force"])
    table = pq.read_table(out)
    assert table.schema.equals(TABLES["events"].schema)
    return table.to_pylist()


def test_a_ctm_becomes_the_events_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.ctm").write_text(CTM)
    rows = annotate(tmp_path, str(tmp_path / "x.ctm"))
    assert [row["session_id"] for row in rows] == sorted(row["session_id"] for row in rows)
    found = [(row["participant"], row["start_ms"], row["end_ms"]) for row in rows if row["kind"] == "backchannel"]
    assert found == [("f", 1800, 2100)]
    shift = [row for row in rows if row["label"] == "smooth_shift" and row["session_id"] == "two"]
    assert [(row["participant"], row["start_ms"], row["fto_ms"]) for row in shift] == [("f", 5200, 300)]
    said = capsys.readouterr()
    assert said.out.startswith(f"events: {len(rows)} in 2 sessions: 1 backchannel.lexical, ") and not said.err


def test_speech_of_an_rttm_goes_before_that_of_the_words(tmp_path: Path) -> None:
    (tmp_path / "x.ctm").write_text("s a 0.0 0.2 red\ns b 2.0 0.5 hat\n")
    (tmp_path / "x.rttm").write_text("SPEAKER s 1 0 1.5 <NA> <NA> a <NA> <NA>\n")
    paths = str(tmp_path / "x.ctm"), str(tmp_path / "x.rttm")
    [gap] = [row for row in annotate(tmp_path, *paths) if row["label"] == "gap"]
    assert (gap["start_ms"], gap["end_ms"]) == (1500, 2000)


def test_a_transcript_that_does_not_fit_the_speech_is_named_and_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """30 words of a, each in the last half of a second of speech; then the same words 1.1 s later."""
    begins = [3 * n + 0.1 * (n % 7) for n in range(30)]
    speech = "".join(f"SPEAKER s 1 {at:.1f} 0.9 <NA> <NA> a <NA> <NA>\n" for at in begins)
    (tmp_path / "x.rttm").write_text(speech + "SPEAKER s 1 88.5 1 <NA> <NA> b <NA> <NA>\n")
    for late_s, why in ((0.0, ""), (1.1, "30 of 30 words (100%) lie over silence; ")):
        words = "".join(f"s a {at + 0.4 + late_s:.1f} 0.5 red\n" for at in begins)
        (tmp_path / "x.ctm").write_text(words + "s b 88.5 1 hat\n")
        rows = annotate(tmp_path, str(tmp_path / "x.ctm"), str(tmp_path / "x.rttm"))
        lost = capsys.readouterr().err
        assert ("lost: words over silence (30)" in lost) == bool(why)
        assert ("lost: transcript with unreliable times, not used: s, a: " in lost) == bool(why)
        assert why in lost and ("ms earlier, 0 would" in lost) == bool(why)
        assert ("words" in {row["source"] for row in rows}) == (not why)


def test_parameters_and_language(tmp_path: Path) -> None:
    (tmp_path / "x.ctm").write_text(CTM)
    default, path = annotate(tmp_path, str(tmp_path / "x.ctm")), str(tmp_path / "x.ctm")
    assert {row["label"] for row in default if row["kind"] == "backchannel"} == {"lexical"}
    german = annotate(tmp_path, path, "--language", "de")
    assert "lexical" not in {row["label"] for row in german}
    longer = annotate(tmp_path, path, "--set", "annotate.ipu_gap_ms=1000")
    assert sum(row["label"] == "pause" for row in longer) < sum(row["label"] == "pause" for row in default)


def test_without_a_parameter_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.ctm").write_text(CTM)
    known = annotate(tmp_path, str(tmp_path / "x.ctm"))
    monkeypatch.chdir(tmp_path)
    main(["x.ctm", "--from", "CTM", "--out", "events.parquet", "--force"])
    assert pq.read_table("events.parquet").to_pylist() == known
    (tmp_path / "params.yaml").write_text("annotate: {ipu_gap_ms: 1000}\n")
    main(["x.ctm", "--out", "events.parquet", "--force"])
    assert pq.read_table("events.parquet").to_pylist() != known
    with pytest.raises(SystemExit):
        main(["x.ctm", "--out", "other.parquet", "--params", "nowhere.yaml"])


def test_a_file_that_is_there_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.ctm").write_text(CTM)
    out = tmp_path / "events.parquet"
    out.write_text("of another")
    with pytest.raises(SystemExit):
        main([str(tmp_path / "x.ctm"), "--params", PARAMS, "--out", str(out)])
    assert capsys.readouterr().err == f"error: {out}: exists already; pass --force to replace it\n"
    assert out.read_text() == "of another"
    assert annotate(tmp_path, str(tmp_path / "x.ctm"))


def test_what_the_rules_cannot_use_is_counted(tmp_path: Path) -> None:
    (tmp_path / "x.ctm").write_text("s a 0.0 0.0 red\ns a 0.5 0.5 hat\n")
    found, _ = read_file(tmp_path / "x.ctm")
    _, losses = annotate_intervals(found, TurnParams())
    assert losses == {
        "words without text or duration": 1,
        "sessions with one participant: no events between people": 1,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}/none.ctm"], "no such file"),
        (["{}/empty.ctm"], "no words and no speech in it"),
        (["{}/x.ctm", "--set", "annotate.ipu_gap=1"], "did you mean `ipu_gap_ms`"),
        (["{}/x.ctm", "--language", "german"], "--language german: no known language tag"),
        (["{}/x.rttm", "--from", "ctm"], "x.rttm line 1: is RTTM, not CTM"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.ctm").write_text("")
    (tmp_path / "x.ctm").write_text(CTM)
    (tmp_path / "x.rttm").write_text("SPEAKER s 1 0.0 1.0 <NA> <NA> a <NA> <NA>\n")
    with pytest.raises(SystemExit) as ended:
        annotate(tmp_path, *(argument.format(tmp_path) for argument in arguments))
    said = capsys.readouterr().err
    assert ended.value.code == 2 and message in said and said.count("\n") == 1
    assert not (tmp_path / "events.parquet").exists()
