"""JSON of other programs: null is no one and no text; an entry that is wrong is named with its place."""

from pathlib import Path

import pytest

from tools.exchange.formats import read_file
from wanstreamer.errors import InputError


@pytest.mark.parametrize("null", ["null", "NaN"])
def test_null_in_json_is_no_one_and_no_text(tmp_path: Path, null: str) -> None:
    path = tmp_path / "s.whisperx.json"
    path.write_text(
        f'{{"segments": [{{"start": 0.0, "end": 1.0, "text": "hello", "speaker": {null}, "words": [{{"word": "hello", '
        f'"start": 0.1, "end": 0.5, "score": {null}, "speaker": {null}}}]}}, {{"start": 2.0, "end": 3.0, "text": '
        f'{null}, "speaker": "SPEAKER_01 ", "words": {null}}}, {{"start": {null}, "end": 4, "text": "so"}}]}}'
    )
    intervals, losses = read_file(path)
    assert [(one.participant, one.kind, one.text, one.confidence) for one in intervals] == [
        ("", "segments", "hello", None), ("", "words", "hello", None), ("SPEAKER_01", "segments", "", None),
    ] and losses == {"segments without times, left out": 1}  # fmt: skip
    path = tmp_path / "s.seglst.json"
    path.write_text(
        f'[{{"session_id": "s", "speaker": {null}, "start_time": 0, "end_time": "1.0", "words": {null}, '
        f'"kind": {null}}}]'
    )
    [only] = read_file(path)[0]
    assert (only.participant, only.kind, only.end_ms, only.text) == ("", "segments", 1000, "")
    path = tmp_path / "s.json"
    path.write_text(f'{{"alignments": [[{null}, [0, 1], {null}], ["a", [{null}, 1], "b"]]}}')
    intervals, losses = read_file(path)
    assert [(one.participant, one.text) for one in intervals] == [("", "")] and losses == {
        "words without times, left out": 1
    }


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.whisperx.json", '{"segments": [{"start": 0, "end": 1}, {"start": "x", "end": 1}]}',
         "segment 2: not WhisperX .start or end `x`: expected seconds"),
        ("x.whisperx.json", '{"segments": [{"start": 0, "end": 1, "words": [{"start": 0, "end": 1}]}]}',
         "segment 1 word 1: not WhisperX .no 'word'"),
        ("x.whisperx.json", '{"segments": [{"start": 0, "end": 1, "words": 5}]}', "segment 1: not WhisperX"),
        ("x.seglst.json", '[{"session_id": null, "start_time": 0, "end_time": 1}]',
         "segment 1: not SegLST .no session_id"),
        ("x.seglst.json", '[{"session_id": "s", "start_time": 0}]', "segment 1: not SegLST .no 'end_time'"),
        ("x.json", '{"alignments": [["a", [0, 1e300], "b"]]}', "alignment 1: not Moshi .*expected seconds below"),
        ("x.json", '{"alignments": [["a\\ud800", [0, 1], "b"]]}', "half a letter in a text"),
        ("x.srt", "99999999999999:00:00,000 --> 00:00:01,000\nx\n", "line 1: .*expected a time below"),
    ],
)  # fmt: skip
def test_an_entry_that_is_wrong_is_named_with_its_place(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=f"{name}:? {said}"):
        read_file(tmp_path / name)
