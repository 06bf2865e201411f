"""Scores against hand-made references: shares of speech and one-to-one events, on cases that can be counted."""

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.annotated_sessions import TALK, write_annotated
from tools import score
from tools.exchange.intervals import Interval
from tools.score import detection, event_agreement
from wanstreamer.clock import Span
from wanstreamer.errors import InputError


def test_detection_error_is_what_is_missed_and_what_is_too_much() -> None:
    reference = [Span(1000, 3000), Span(5000, 7000)]
    found = detection([Span(1500, 3000), Span(5000, 7400)], reference, 0)
    assert found == pytest.approx({"missed": 0.125, "false_alarm": 0.1, "error": 0.225, "speech_s": 4.0})
    assert detection([], reference, 0)["missed"] == 1


def test_the_collar_is_cut_around_the_edges_of_the_reference() -> None:
    reference = [Span(1000, 3000)]
    late = [Span(1200, 3100)]
    assert detection(late, reference, 0)["error"] == pytest.approx(0.15)
    assert detection(late, reference, 400) == pytest.approx(
        {"missed": 0, "false_alarm": 0, "error": 0, "speech_s": 1.6}
    )


def event(start_ms: int, label: str = "gap", participant: str = "a") -> dict[str, Any]:
    place = {"session_id": "s", "participant": participant, "kind": "state", "outcome": None}
    return place | {"label": label, "start_ms": start_ms, "end_ms": start_ms + 500}


def test_events_match_one_to_one() -> None:
    reference = [event(1000), event(1150), event(4000), event(4000, participant="b"), event(9000, "pause")]
    found = [event(1140), event(4300), event(3990, participant="b")]
    assert event_agreement(found, reference) == {"state.gap": (2, 3, 4), "state.pause": (0, 0, 1)}
    assert event_agreement([event(1140)], [event(1000), event(1150)]) == {"state.gap": (1, 1, 2)}


RTTM = "SPEAKER call 1 0.000 2.000 <NA> <NA> a <NA> <NA>\nSPEAKER call 1 2.300 3.000 <NA> <NA> b <NA> <NA>\n"


def test_two_files_are_compared_and_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two, other = tmp_path / "one.rttm", tmp_path / "two.rttm", tmp_path / "other.rttm"
    one.write_text(RTTM)
    renamed = RTTM.replace("<NA> a <NA>", "<NA> x <NA>").replace("<NA> b <NA>", "<NA> a <NA>")
    two.write_text(renamed.replace("2.300 3.000", "2.400 2.900"))
    other.write_text(RTTM.replace(" call ", " meeting "))
    score.main([str(one), "--found", str(two)])
    said = capsys.readouterr().out
    assert "2.0 %" in said and "3.3 %" in said
    (shift,) = [line.split() for line in said.splitlines() if "transition.smooth_shift" in line]
    assert shift[1:] == ["1", "1", "1", "1.00"] and "derived from timing alone" in said
    for arguments, complaint in (
        ([str(one), "--found", str(other)], "session call: in the reference, but nothing was detected"),
        ([str(one), str(other), "--audio", "x.wav"], "x.wav: the reference has no session x; it has"),
        ([str(one), "--found", str(two), "--collar-ms", "-1"], "--collar-ms -1"),
        ([str(one), "--audio", str(tmp_path / "call.wav")], "call.wav: missing_file"),
        ([str(one), "--data", str(tmp_path / "no")], "no such data folder"),
    ):
        with pytest.raises(SystemExit) as stopped:
            score.main(arguments)
        assert stopped.value.code == 2 and complaint in capsys.readouterr().err


STM = "call 1 anna 0.000 2.000 Well, I mean it.\ncall 1 ben 2.300 5.300 Uh-huh!\n"
CTM = (
    "call a 0.1 0.4 well\ncall a 0.5 0.4 I\ncall a 0.9 0.3 mean\ncall a 1.3 0.2 that\ncall a 1.6 0.2 it\n"
    "call b 2.4 0.8 uh-huh\ncall c 9.0 0.2 thanks\n"
)


def test_words_are_compared_person_by_person(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference, found = tmp_path / "call.stm", tmp_path / "found.ctm"
    reference.write_text(STM)
    found.write_text(CTM)
    score.main([str(reference), "--found", str(found)])
    lines = [line.split() for line in capsys.readouterr().out.partition("words; case")[2].splitlines()]
    rows = {line[1]: line[2:] for line in lines if line[:1] in (["all"], ["call"])}
    assert rows == {
        "everybody": ["6", "0", "0", "1", "16.7", "%"], "anna": ["4", "0", "0", "1", "25.0", "%"],
        "ben": ["2", "0", "0", "0", "0.0", "%"],
    }  # fmt: skip


def test_a_reference_may_name_its_session_by_its_file(tmp_path: Path) -> None:
    write_annotated(tmp_path / "data", {"call": TALK, "other": TALK}, consent={}, num_units=180)
    said = [Interval(session_id="sample", participant="a", kind="speech", start_ms=0, end_ms=9)]
    (renamed,) = score._named_as_in(tmp_path / "data", [Path("call.rttm")], said)
    assert renamed.session_id == "call"
    with pytest.raises(InputError, match=r"chat\.rttm: session sample is not in .*; there are call, other"):
        score._named_as_in(tmp_path / "data", [Path("chat.rttm")], said)
