"""TurnBench: labels in both directions with their losses, and predictions that a checker of its format accepts."""

import json
from pathlib import Path
from typing import Any

import pytest

from tools.convert import main
from tools.exchange.formats import read_file
from tools.exchange.intervals import Interval
from tools.exchange.turnbench import OURS, UNKNOWN, Conversation, labels_of, read_labels, write_predictions
from wanstreamer.errors import InputError


def one(kind: str, start_ms: int, end_ms: int, text: str, participant: str = "a", session: str = "20") -> Interval:
    return Interval(
        session_id=session, participant=participant, kind=kind, start_ms=start_ms, end_ms=end_ms, text=text
    )  # fmt: skip


def check_format(content: str, durations_s: dict[str, float]) -> None:
    """TurnBench's docs/SUBMISSION_FORMAT.md, checked independently: raises AssertionError."""
    submission: dict[str, Any] = json.loads(content)
    assert submission.keys() == {"schema_version", "predictions"} and submission["schema_version"] == 1
    ids = [prediction["conversation_id"] for prediction in submission["predictions"]]
    assert len(set(ids)) == len(ids) and set(ids) == set(durations_s) and all(isinstance(name, str) for name in ids)
    for prediction in submission["predictions"]:
        assert prediction.keys() == {"conversation_id", "speaker_1", "speaker_2"}
        for speaker in ("speaker_1", "speaker_2"):
            assert prediction[speaker].keys() == {"eot", "interruption"}
            for times in prediction[speaker].values():
                assert all(isinstance(time, float) for time in times)
                assert all(first < second for first, second in zip(times, times[1:], strict=False))
                assert all(0 <= time < durations_s[prediction["conversation_id"]] for time in times)


def test_predictions_are_commit_times_in_their_format() -> None:
    intervals = [
        one("turns", 0, 4000, "primary, complete"),
        one("turns", 6000, 9000, "primary"),  # decided at 10.5 s, after the audio
        one("turns", 5000, 5200, "inside another's", "b"),
        one("transition", 3000, 4000, "interruption floor_taking", "b"),
        one("turns", 3000, 6500, "primary", "b"),
        one("turns", 6400, 6500, "primary", "b"),
        one("transition", 0, 0, "initiation"),
    ]
    known = {"20": Conversation(10_000, ["a", "b"]), "21": Conversation(5000, ["x", "y"])}
    content, lost = write_predictions(intervals, known)
    check_format(content, {"20": 10.0, "21": 5.0})
    first, second = json.loads(content)["predictions"]
    assert first == {
        "conversation_id": "20",
        "speaker_1": {"eot": [5.5], "interruption": []},
        "speaker_2": {"eot": [8.0], "interruption": [4.0]},
    }
    assert second["speaker_1"] == second["speaker_2"] == {"eot": [], "interruption": []}
    assert lost == {
        "ends of turns that are decided only after the audio ends, left out": 1,
        "ends of turns at the same time as another, left out": 1,
        "turns inside another's, left out": 1,
        "tier transition, left out": 1,
    }


@pytest.mark.parametrize("people", [["a"], ["a", "b", "c"]])
def test_only_conversations_of_two_are_written(people: list[str]) -> None:
    with pytest.raises(InputError, match=f"session 20: {len(people)} participants"):
        write_predictions([], {"20": Conversation(1000, people)})


def test_every_label_of_theirs_is_read_or_counted_by_its_name() -> None:
    for label in (*OURS, *UNKNOWN, "Hum"):
        read, lost = read_labels([one("turnbench", 0, 100, label.upper().replace("-", " "))])
        if label in OURS:
            kind, text, what = OURS[label]
            assert (read[0].kind, read[0].text) == (kind, text) or read[1].kind == kind
            assert sum(lost.values()) == bool(what)
        else:
            assert not read and sum(lost.values()) == 1 and label.upper() in next(iter(lost))


def test_our_events_become_their_labels_and_what_is_not_known_is_counted() -> None:
    intervals = [
        one("turns", 0, 4000, "primary"),
        one("turns", 3000, 6000, "primary", "b"),
        one("transition", 3000, 4000, "interruption floor_taking", "b"),
        one("turns", 5000, 5400, "inside another's"),
        one("transition", 5000, 5400, "interruption failed"),
        one("backchannel", 1000, 1200, "lexical", "b"),
        one("non_speech", 2000, 2500, "laughter", "b"),
        one("non_speech", 2600, 2700, "breath", "b"),
        one("state", 3000, 4000, "overlap_between"),
        one("words", 0, 100, "so"),
    ]
    theirs, lost = labels_of(intervals)
    assert [(label.participant, label.start_ms, label.text) for label in theirs] == [
        ("a", 0, "Normal Turn"), ("a", 5000, "Non-floor-taking Interruption"),
        ("b", 1000, "Backchannel"), ("b", 2000, "Laughter"), ("b", 3000, "Floor-taking Interruption"),
    ]  # fmt: skip
    assert {label.kind for label in theirs} == {"turnbench"}
    assert lost == {
        "whether an interruption is competitive or cooperative: not known": 2,
        "whether a backchannel is an acknowledgement, continuer or reaction: not known": 1,
        "tier non_speech breath, which TurnBench does not label": 1,
        "tier state overlap_between, which TurnBench does not label": 1,
        "tier words, which TurnBench does not label": 1,
    }
    back, _ = read_labels(theirs)
    kept = {
        (interval.participant, interval.kind, interval.start_ms, interval.text.partition(",")[0])
        for interval in intervals
        if interval.kind in ("turns", "transition", "backchannel") or interval.text == "laughter"
    }
    assert {(interval.participant, interval.kind, interval.start_ms, interval.text) for interval in back} == kept


def test_the_command_reads_and_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        ("a", 0, 4, "Normal Turn"),
        ("b", 3, 6, "Floor-taking Competitive Interruption"),
        ("a", 7, 8, "Awkward Silence"),
    ]
    segments = [
        {"session_id": "20", "speaker": who, "start_time": start, "end_time": end, "words": label, "kind": "turnbench"}
        for who, start, end, label in rows
    ]
    source = tmp_path / "20.seglst.json"
    source.write_text(json.dumps(segments))
    out = tmp_path / "20.predictions.json"
    main([str(source), "--labels", "from-turnbench", "--to", "turnbench-predictions", "--out", str(out)])
    errors = capsys.readouterr().err
    assert "TurnBench's label Awkward Silence, which we do not have, left out (1)" in errors
    assert "TurnBench's distinction: competitive or cooperative (1)" in errors
    check_format(out.read_text(), {"20": 6.0})
    assert json.loads(out.read_text())["predictions"][0]["speaker_2"]["interruption"] == [4.0]

    grid = tmp_path / "20.TextGrid"
    main([str(source), "--labels", "from-turnbench", "--out", str(grid)])
    again = tmp_path / "labels.TextGrid"
    main([str(grid), "--labels", "to-turnbench", "--out", str(again)])
    labels = [(label.participant, label.text) for label in read_file(again)[0]]
    assert labels == [("a", "Normal Turn"), ("b", "Floor-taking Interruption")]
