"""The views of the phenomena on a conversation in which every turn is known, and the queries of docs/tables.md."""

import re
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.bucket_files import write_rejections
from tests.helpers.annotated_sessions import TALK, write_annotated
from tools import query

EXPECTED: dict[str, list[tuple[Any, ...]]] = {
    "SELECT from_participant, to_participant, start_ms, end_ms, duration_ms FROM gaps": [
        ("a", "b", 2200, 2600, 400),
        ("b", "a", 3200, 4000, 800),
        ("b", "a", 15_000, 20_000, 5000),
    ],
    "SELECT from_participant, to_participant, start_ms, duration_ms FROM latches": [("b", "a", 25_500, 20)],
    "SELECT participant, start_ms, duration_ms FROM pauses": [
        ("a", 6000, 500),
        ("a", 9000, 1500),
        ("b", 22_500, 1700),
    ],
    "SELECT before, came_in, start_ms, duration_ms, changes_speaker FROM overlapping_speech": [
        ("a", "b", 5000, 400, False),
        ("a", "b", 12_000, 500, True),
        ("a", "b", 20_100, 500, True),
    ],
    "SELECT participant, start_ms, silence_ms FROM initiations": [("a", 1000, None)],
    "SELECT participant, other, start_ms, ahead_ms, outcome FROM simultaneous_starts": [
        ("a", "b", 20_000, 100, "gives_way"),
        ("b", "a", 20_100, -100, "goes_on"),
    ],
    "SELECT participant, start_ms, pause_ms FROM holds": [("a", 10_500, 1500), ("b", 24_200, 1700)],
    "SELECT challenger, incumbent, outcome, yielded_by, yield_ms, overlap_ms FROM interruptions": [
        ("b", "a", "floor_taking", "a", 500, 500)
    ],
    "SELECT participant, to_participant, words, duration_ms, in_pause FROM backchannels": [
        ("b", "a", "mhm", 400, False)
    ],
    "SELECT from_participant, to_participant, fto_ms FROM floor_transfer_offsets": [
        ("a", "b", 400),
        ("b", "a", 800),
        ("a", "b", -500),
        ("b", "a", 20),
    ],
    "SELECT participant, said, duration_ms, began_as, outcome, fto_ms FROM turns_said LIMIT 3": [
        ("a", "is it red?", 1200, "initiation", None, None),
        ("b", "no blue.", 600, "smooth_shift", None, 400),
        ("a", "well i went down to the sea and looked at", 5000, "smooth_shift", None, 800),
    ],
    "SELECT turns, backchannels, interruptions, floor_taking, simultaneous_starts, initiations FROM session_summary": [
        (9, 1, 1, 1, 1, 1)
    ],
    "SELECT participant, over_silence, share_over_silence, source FROM transcripts": [
        ("a", 0, 0.0, "sidecar"),
        ("b", 0, 0.0, "sidecar"),
    ],
    "SELECT duration_s, median_fto_ms, median_gap_ms, median_pause_ms, overlap_share FROM session_summary": [
        (28.8, 210.0, 800.0, 1500.0, 1400 / 28_800)
    ],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_annotated(tmp_path_factory.mktemp("talk"), {"s1": TALK}, consent={}, num_units=180)


@pytest.mark.parametrize("sql", EXPECTED)
def test_a_view_says_what_happened(data: Path, sql: str) -> None:
    assert query.query(data, sql)[1] == EXPECTED[sql]


def test_a_turn_without_a_transcript_has_no_words(tmp_path: Path) -> None:
    silent = {who: [(start, end, None) for start, end, _ in own] for who, own in TALK.items()}
    write_annotated(tmp_path, {"s1": silent}, consent={}, num_units=180)
    assert {said for (said,) in query.query(tmp_path, "SELECT said FROM turns_said")[1]} == {None}


def test_three_who_begin_at_once_are_one_start(tmp_path: Path) -> None:
    said = {who: [(start, end, None)] for who, start, end in (("a", 0, 1700), ("b", 100, 2500), ("c", 150, 1400))}
    write_annotated(tmp_path, {"s1": said}, consent={}, num_units=20)
    rows = query.query(tmp_path, "SELECT participant, outcome FROM simultaneous_starts")[1]
    assert rows == [("a", "gives_way"), ("b", "goes_on"), ("c", "gives_way")]
    assert query.query(tmp_path, "SELECT simultaneous_starts FROM session_summary")[1] == [(1,)]


def test_sounds_that_are_no_speech(tmp_path: Path) -> None:
    said = {"a": [(0, 2000, "so he fell."), (2500, 3500, "[laughter]")],
            "b": [(1000, 1400, "[breath]"), (3000, 4000, "(laughs)"), (4000, 5000, "no!")]}  # fmt: skip
    write_annotated(tmp_path, {"s1": said}, consent={}, num_units=40)
    columns = "participant, label, start_ms, duration_ms, voice_of, while_others_speak, together"
    assert query.query(tmp_path, f"SELECT {columns} FROM non_speech")[1] == [
        ("b", "breath", 1000, 400, None, True, False),
        ("a", "laughter", 2500, 1000, None, False, True),
        ("b", "laughter", 3000, 1000, None, False, True),
    ]
    assert query.query(tmp_path, "SELECT duration_ms FROM gaps")[1] == [(2000,)]
    assert query.query(tmp_path, "SELECT speech_s FROM talk_time")[1] == [(2.0,), (1.0,)]


def test_every_query_of_the_page_of_tables_runs_and_finds_something(data: Path) -> None:
    write_rejections(data, "annotate", [("s2/a", "no_audio", "")])
    page = (query.VIEWS.parents[1] / "docs/tables.md").read_text()
    queries = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    assert len(queries) > 5
    for sql in queries:
        assert query.query(data, sql)[1], sql
