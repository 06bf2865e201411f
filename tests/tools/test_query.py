"""Queries over small Parquet tables: the five of the README, views that follow the files, and one-line mistakes."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from pipelines.engine.bucket_files import write_rejections
from pipelines.engine.tables import bucket_file, read_rows, to_table, write_rows, write_table
from schemas import TABLES
from tests.helpers.blank_rows import blank_row
from tests.helpers.paths import ROOT
from tools import query
from wanstreamer.clock import Span
from wanstreamer.errors import InputError

RULES: dict[str, Any] = {"rule_version": "turns-1"}
TALK_TIME = "SELECT session_id, participant, speaker_id, speech_s, share_of_speech FROM talk_time"
OFFSETS = """SELECT label, count(*) AS n, median(fto_ms) AS median_ms,
    quantile_cont(fto_ms, [0.25, 0.75]) AS quartiles_ms
FROM floor_transfer_offsets GROUP BY label ORDER BY n DESC, label"""
INTERRUPTIONS = """SELECT session_id, challenger, incumbent, outcome, yielded_by, yield_ms
FROM interruptions ORDER BY session_id, start_ms"""
BACKCHANNELS = """SELECT words, count(*) AS n, round(avg(duration_ms)) AS mean_ms
FROM backchannels GROUP BY words ORDER BY n DESC, words"""
# A telephone call whose one side fell silent for 2.5 s; the other track is whole, and has no picture.
CLOCKS = {
    "a": {"audio_filled_ms": 2500, "audio_cut_ms": 0, "video_held_ms": 640, "clock_joins": 1},
    "b": {
        "audio_filled_ms": 0,
        "partner_clock": {
            "reference": "a",
            "finding": "measured",
            "offset_ms": 3700.0,
            "drift_ppm": 80.0,
            "drift_error_ppm": 0.25,
            "confidence": 0.5,
            "num_jumps": 0,
            "apart_ms": -3700.0,
            "corrected": False,
        },
    },
}
REJECTIONS = "SELECT stage, reason, times FROM rejections_by_reason"


def interval(participant: str, start_ms: int, end_ms: int, **more: Any) -> dict[str, Any]:
    return {"session_id": "s1", "participant": participant, "start_ms": start_ms, "end_ms": end_ms} | more


def event(participant: str, start_ms: int, end_ms: int, kind: str, label: str, **more: Any) -> dict[str, Any]:
    empty = {"outcome": None, "other": None, "yield_ms": None, "fto_ms": None, "source": "words", "confidence": 0.8}
    return interval(participant, start_ms, end_ms, kind=kind, label=label, **empty | RULES | more)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One session of 16 s: a asks, b answers and listens, a interrupts b."""
    folder = tmp_path / "it's data"
    speech = {"a": [Span(0, 2000), Span(6000, 9000)], "b": [Span(2300, 6500), Span(7000, 7300), Span(7600, 8000)]}
    rows = {
        "sessions": [blank_row("sessions", session_id="s1", num_participants=2, num_units=100, duration_ms=16_000)],
        "tracks": [
            blank_row(
                "tracks", session_id="s1", participant=p, speaker_id=f"person-{p}", num_units=100, **CLOCKS[p]
            )
            for p in speech
        ],
        "speech": [interval(p, *s, source="silero", confidence=0.9) for p, own in speech.items() for s in own],
        "ipus": [
            interval(p, *s, short=False, candidate="none", text=text, **RULES)
            for p, texts in {"a": ["is it red?", "wait -"], "b": ["no it is", "Mhm.", "mhm"]}.items()
            for s, text in zip(speech[p], texts, strict=True)
        ],
        "turns": [
            interval(p, start, end, is_primary=True, complete=True, num_ipus=1, num_words=3, **RULES)
            for p, start, end in [("a", 0, 2000), ("b", 2300, 6500), ("a", 6000, 9000)]
        ],
        "events": [
            event("a", 0, 0, "transition", "initiation"),
            event("b", 2300, 2300, "transition", "smooth_shift", other="a", fto_ms=300),
            event("a", 6000, 6500, "transition", "interruption", other="b", outcome="floor_taking",
                  yield_ms=500, fto_ms=-500),
            event("b", 7000, 7300, "backchannel", "lexical", other="a"),
            event("b", 7600, 8000, "backchannel", "lexical", other="a"),
            event("a", 2000, 2300, "state", "gap", other="b"),
        ],
    }  # fmt: skip
    for name, content in rows.items():
        write_table(folder, name, to_table(name, content))
    write_rejections(folder, "ingest", [("s2", "unreadable", ""), ("s3", "unreadable", "x")])
    write_rejections(folder, "annotate", [("s1/a", "word_outside_session", "")] * 3)
    return folder


def test_a_folder_a_level_off_is_answered_with_the_right_one(data: Path, tmp_path: Path) -> None:
    data = data.rename(tmp_path / "data")
    for wrong in (tmp_path, data / "tables"):
        said = f"^{wrong}.*; the data folder is {data}: pass --data {data}$"
        with pytest.raises(InputError, match=said):
            query.query(wrong, "FROM tracks")
        with pytest.raises(InputError, match=said):
            read_rows(wrong, "tracks")


def test_mended_clocks_are_listed(data: Path) -> None:
    assert query.query(data, "SELECT * FROM clock_repairs")[1] == [("s1", "a", 2.5, 0.0, 0.64, 1)]


def test_recorders_that_were_compared_are_listed(data: Path) -> None:
    names, rows = query.query(data, "SELECT * FROM recorder_clocks")
    assert rows == [("s1", "b", "partner", "a", "measured", 3700.0, 80.0, 0.25, 0.5, 0, -3700.0, False)]
    assert names[5:7] == ["offset_ms", "drift_ppm"]


def test_the_five_queries_of_the_readme(data: Path) -> None:
    assert query.query(data, TALK_TIME)[1] == [
        ("s1", "a", "person-a", 5.0, pytest.approx(5 / 9.9)),
        ("s1", "b", "person-b", 4.9, pytest.approx(4.9 / 9.9)),
    ]
    assert query.query(data, OFFSETS)[1] == [
        ("interruption", 1, -500.0, [-500.0, -500.0]),
        ("smooth_shift", 1, 300.0, [300.0, 300.0]),
    ]
    assert query.query(data, INTERRUPTIONS)[1] == [("s1", "a", "b", "floor_taking", "b", 500)]
    assert query.query(data, BACKCHANNELS)[1] == [("mhm", 2, 350.0)]
    assert query.query(data, REJECTIONS)[1] == [("annotate", "word_outside_session", 3), ("ingest", "unreadable", 2)]


def test_every_view_answers(data: Path) -> None:
    for name in query.view_statements(data):
        names, _ = query.query(data, f"FROM {name}")
        assert names
    (summary,) = query.query(data, "SELECT turns, backchannels, interruptions, median_fto_ms FROM session_summary")[1]
    assert summary == (3, 2, 1, -100.0)


def test_answers_follow_the_files(data: Path) -> None:
    assert query.query(data, "SELECT count(*) FROM turns")[1] == [(3,)]
    write_table(data, "turns", to_table("turns", []))
    assert query.query(data, "SELECT count(*) FROM turns")[1] == [(0,)]


def test_a_moved_folder_and_a_new_table_are_noticed(data: Path, tmp_path: Path) -> None:
    query.query(data, "FROM turns")
    moved = data.rename(tmp_path / "moved")
    assert query.query(moved, "SELECT count(*) FROM turns")[1] == [(3,)]
    write_table(moved, "units", to_table("units", []))
    assert query.query(moved, "SELECT count(*) FROM units")[1] == [(0,)]


def bucket(data: Path, table: str, number: int, *session_ids: str) -> None:
    """A file of a table's folder, with a row per session."""
    rows = [blank_row(table, session_id=session_id) for session_id in session_ids]
    write_rows(bucket_file(data, table, number), to_table(table, rows))


def test_a_table_is_a_folder_of_files_and_its_views_need_no_change_when_it_grows(tmp_path: Path) -> None:
    data = tmp_path / "run=3" / "it's [*] data"  # nothing in the path is a pattern or a column
    bucket(data, "sessions", 0, "s1", "s2")
    names, rows = query.query(data, "FROM sessions ORDER BY session_id")
    assert names == TABLES["sessions"].schema.names and [row[0] for row in rows] == ["s1", "s2"]
    before = (data / "wanstreamer.duckdb").stat()
    bucket(data, "sessions", 1, "s3")
    bucket(data, "sessions", 0, "s1")
    assert query.query(data, "SELECT session_id FROM sessions ORDER BY ALL")[1] == [("s1",), ("s3",)]
    after = (data / "wanstreamer.duckdb").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


NAMES = (
    "study [pilot]", "a*b", "axb", "a?b", "{a,b}", "a", "[ab]", "[!a]", "**", "a]b", "a[b", "~", "$HOME", "x#y", "\n"
)  # fmt: skip


def test_the_name_of_a_folder_is_no_pattern(tmp_path: Path) -> None:
    """All lie side by side: a pattern would find the rows of others."""
    for name in NAMES:
        bucket(tmp_path / name, "sessions", 0, f"of {name}")
    for name in NAMES:
        assert query.query(tmp_path / name, "SELECT session_id FROM sessions")[1] == [(f"of {name}",)]


@pytest.mark.parametrize(("name", "said"), [("a\\b", "rename the folder"), ("a?b", "no database in a folder with `?`")])
def test_a_folder_that_duckdb_cannot_open_is_one_line(name: str, said: str, tmp_path: Path) -> None:
    bucket(tmp_path / name, "sessions", 0, "s1")
    with pytest.raises(InputError, match=said):
        query.build(tmp_path / name)
    assert [path.name for path in (tmp_path / name).iterdir()] == ["tables"]


def test_tables_without_a_new_column_are_queried_and_their_views_say_what_to_do(data: Path) -> None:
    path = bucket_file(data, "turns", 0)
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["start_ms"]), path)
    assert query.query(data, "SELECT count(*) FROM turns")[1] == [(3,)]
    with pytest.raises(InputError, match=r"^session_summary: .* lack a column that it needs; run .*annotate.* again$"):
        query.query(data, "FROM session_summary")


def test_a_folder_that_may_only_be_read_is_queried(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.answers.views.os.access", lambda path, mode: False)
    assert query.query(data, "SELECT count(*) FROM turns")[1] == [(3,)]
    assert query.query(data, "SELECT turns FROM session_summary")[1] == [(3,)]
    assert not (data / "wanstreamer.duckdb").exists()


def test_a_damaged_table_is_one_line_that_names_the_remedy(data: Path) -> None:
    file = next((data / "tables" / "turns").glob("b=*.parquet"))
    whole = file.read_bytes()
    for place in range(4, len(whole), 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        (data / "wanstreamer.duckdb").unlink(missing_ok=True)
        with suppress(InputError):
            query.query(data, "SELECT * FROM turns")
    file.write_bytes(whole[:-12] + b"\xff" * 4 + whole[-8:])
    (data / "wanstreamer.duckdb").unlink(missing_ok=True)
    with pytest.raises(InputError, match="python -m tools.verify"):
        query.query(data, "SELECT * FROM turns")


def test_rejections_of_all_stages_are_one_view(tmp_path: Path) -> None:
    for number, stage in enumerate(("ingest", "ingest", "annotate")):
        rows = [{"stage": stage, "key": f"s{number}", "reason": "unreadable", "detail": "", "count": 1}]
        write_rows(bucket_file(tmp_path, f"rejections/{stage}", number), to_table("rejections", rows))
    assert query.query(tmp_path, "SELECT stage, times FROM rejections_by_reason ORDER BY ALL")[1] == [
        ("annotate", 1), ("ingest", 2)
    ]  # fmt: skip
    write_rejections(tmp_path, "encode", [("s9", "unreadable", "")])
    assert query.query(tmp_path, "SELECT count(*) FROM rejections")[1] == [(4,)]


def test_a_folder_of_an_older_version_is_refused_with_the_name_of_the_tool(tmp_path: Path) -> None:
    write_rows(tmp_path / "tables" / "turns.parquet", to_table("turns", []))
    with pytest.raises(InputError, match="run python -m tools.upgrade"):
        query.query(tmp_path, "FROM turns")


@pytest.mark.parametrize(
    "sql", ["SELECT 1;", "SELECT 1 ; -- é", "SELECT 1 -- one", "/* ü */ SELECT 1; /* two */ ;;", "SELECT 1\n;\n"]
)
def test_what_follows_the_statement_is_no_mistake(data: Path, sql: str) -> None:
    assert query.query(data, sql)[1] == [(1,)]


def test_statements_that_are_no_select_are_answered_too(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for sql, expected in (
        ("DESCRIBE turns", "session_id"), ("SUMMARIZE turns", "session_id"), ("EXPLAIN FROM turns", "physical_plan"),
        ("SHOW TABLES", "floor_transfer_offsets"), ("PRAGMA version", "library_version"), ("SET threads = 1", ""),
    ):  # fmt: skip
        for form in ([], ["--csv"], ["--json"]):
            query.main([sql, "--data", str(data), *form])
            assert expected in capsys.readouterr().out


def test_the_database_holds_views_only_and_serves_any_folder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    path = query.build(Path(data.name))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with duckdb.connect(str(path), read_only=True) as connection:
        kinds = connection.execute("SELECT DISTINCT table_type FROM information_schema.tables").fetchall()
        assert kinds == [("VIEW",)]
        assert connection.execute("SELECT count(*) FROM turns").fetchall() == [(3,)]
    assert sorted(path.name for path in data.iterdir()) == ["tables", "wanstreamer.duckdb"]


def test_a_query_changes_nothing(data: Path) -> None:
    with pytest.raises(query.InputError, match="read-only"):
        query.query(data, "DROP VIEW turns")


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELEC 1", "syntax error"),
        ("FROM trns", 'Did you mean "turns"'),
        ("SELECT foo FROM turns", '"foo" not found'),
        ("FROM windows", "run pack first"),
        ("FROM turns; FROM words", "SQL: 2 statements; expected one"),
        ("-- nothing", "SQL: 0 statements; expected one"),
        ("FROM training_hours", "needs windows, not yet in"),
    ],
)
def test_a_mistake_in_the_sql_is_one_line_and_exit_code_2(
    data: Path, sql: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        query.main([sql, "--data", str(data)])
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert said in told and told.count("\n") == 1


def test_a_folder_without_tables_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, said in [(tmp_path / "nowhere", "no such data folder"), (tmp_path, "no tables in it")]:
        with pytest.raises(SystemExit) as ended:
            query.main(["FROM turns", "--data", str(folder)])
        assert ended.value.code == 2
        assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_forms_of_output(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT participant, other, fto_ms FROM events WHERE kind = 'transition' ORDER BY start_ms"
    query.main([sql, "--data", str(data), "--json"])
    assert json.loads(capsys.readouterr().out)[1] == {"participant": "b", "other": "a", "fto_ms": 300}
    query.main([sql, "--data", str(data), "--csv"])
    assert capsys.readouterr().out.splitlines() == ["participant,other,fto_ms", "a,,", "b,a,300", "a,b,-500"]
    query.main([sql, "--data", str(data)])
    assert "fto_ms" in capsys.readouterr().out


def test_tables_are_described_from_their_metadata(capsys: pytest.CaptureFixture[str]) -> None:
    query.main(["--tables"])
    told = capsys.readouterr().out
    for table in TABLES.values():
        assert table.meaning in told
    assert "fto_ms: int64, may be null [ms] - floor transfer offset" in told
    for path in query.VIEWS.glob("*.sql"):
        assert f"{path.stem}: " in told


def test_the_command_itself(data: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.query", "FROM nothing", "--data", str(data)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr
