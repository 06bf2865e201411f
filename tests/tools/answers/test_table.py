"""The table for people: aligned, whatever the characters; on a terminal not endless, and never steered by the data."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.cells import cell_len

from pipelines.engine.tables import to_table, write_table
from tests.helpers.paths import ROOT
from tools import query
from tools.answers.answer import BATCH_ROWS
from tools.answers.table import MEASURED_ROWS


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table") / "data"
    write_table(folder, "units", to_table("units", []))
    query.build(folder)
    return folder


def table(data: Path, capsys: pytest.CaptureFixture[str], sql: str, *arguments: str) -> tuple[list[str], str]:
    query.main([sql, "--data", str(data), *arguments])
    printed = capsys.readouterr()
    return printed.out.splitlines(), printed.err


def test_columns_are_aligned_and_numbers_are_at_the_right(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sql = """SELECT * FROM (VALUES ('a', 1, 1234567.0::DOUBLE, true, 'x'), ('漢字', 22222, 0.5, NULL, NULL),
        ('ünï', NULL, 'nan'::DOUBLE, false, 'zz')) AS rows(name, "count", ratio, yes, last)"""
    lines, summary = table(data, capsys, sql)
    assert lines == [
        "name  count      ratio  yes    last",
        "────  ─────  ─────────  ─────  ────",
        "a         1  1.235e+06  true   x",
        "漢字  22222        0.5",
        "ünï                nan  false  zz",
    ]
    assert summary == "3 rows\n"
    plain = "SELECT * FROM (VALUES ('a', 1, NULL), ('b', NULL, 'c')) AS rows(name, n, last)"
    assert table(data, capsys, plain)[0][2:] == ["a     1", "b        c"]


def test_cells_of_several_lines_and_control_characters(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT E'one\\ntwo\\n' AS a, chr(27) || '[31mred' || chr(9) AS b, E'x\\r\\ny' AS c, 'end' AS d"
    lines, _ = table(data, capsys, sql)
    assert lines == [
        "a    b                c      d",
        "───  ───────────────  ─────  ───",
        "one  \\x1b[31mred\\x09  x\\x0d  end",
        "two                   y",
        "",
    ]


def test_no_rows_have_a_header(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert table(data, capsys, "SELECT 1 AS a, 'b' AS text WHERE false") == (["a  text", "─  ────"], "0 rows\n")
    assert table(data, capsys, "SELECT 1 AS a", "--limit", "0") == (["a", "─"], "0 rows\n")


@pytest.mark.parametrize("wide", ["x" * 30, "漢" * 30])
def test_a_wide_row_after_the_measured_ones_moves_only_itself(
    data: Path, capsys: pytest.CaptureFixture[str], wide: str
) -> None:
    num_rows = BATCH_ROWS + 10
    places = (MEASURED_ROWS + 5, BATCH_ROWS + 5)
    text = f"CASE WHEN range IN {places} THEN '{wide}' ELSE 'é' END"
    sql = f"SELECT {text} AS text, 10000 + range AS n FROM range({num_rows})"
    (_, rule, *rows), summary = table(data, capsys, sql)
    assert len(rows) == num_rows and summary == f"{num_rows} rows\n"
    for place, row in enumerate(rows):
        cell, number = row.split()
        assert int(number) == 10000 + place and cell == (wide if place in places else "é")
        assert place in places or cell_len(row) == cell_len(rule)


def test_a_limit_is_kept_in_every_form(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for form, extra in (([], 2), (["--csv"], 1), (["--jsonl"], 0), (["--json"], 2)):
        lines, _ = table(data, capsys, "SELECT range AS n FROM range(20000)", *form, "--limit", "9000")
        assert len(lines) == 9000 + extra and "8999" in lines[-2] + lines[-1]
    with pytest.raises(SystemExit):
        query.main(["SELECT 1", "--data", str(data), "--limit", "-1"])
    assert capsys.readouterr().err == "error: --limit -1: expected 0 or more\n"


def on_terminal(data: Path, sql: str, *arguments: str, width: int = 80) -> tuple[list[str], str]:
    """What the command prints on a terminal of this width, and on stderr."""
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.query", "--data", str(data), sql, *arguments],
        cwd=ROOT, stdout=terminal, stderr=subprocess.PIPE, env=os.environ | {"COLUMNS": str(width)},
    )  # fmt: skip
    os.close(terminal)
    printed = b""
    while True:
        try:
            content = os.read(main, 1 << 16)
        except OSError:  # the terminal is closed
            break
        if not content:
            break
        printed += content
    os.close(main)
    assert process.stderr is not None
    errors = process.stderr.read().decode()
    assert process.wait(30) == 0, errors
    return printed.decode().replace("\r\n", "\n").splitlines(), errors


def test_a_terminal_gets_a_thousand_rows_and_how_many_more_there_are(data: Path) -> None:
    sql = "SELECT range AS n FROM range({})"
    lines, summary = on_terminal(data, sql.format(5_000_000))
    assert len(lines) == 1002 and lines[-1].strip() == "999"
    assert summary == (
        "1000 of 5000000 rows; --limit 5000000 prints all of them, --csv and --parquet FILE are for programs\n"
    )
    assert on_terminal(data, sql.format(1000))[1] == "1000 rows\n"
    lines, summary = on_terminal(data, sql.format(5000), "--limit", "2000")
    assert len(lines) == 2002 and summary == "2000 rows\n"
    assert len(on_terminal(data, sql.format(5000), "--csv")[0]) == 5001


def test_a_row_wider_than_the_terminal_is_printed_one_value_per_line(data: Path) -> None:
    sql = "SELECT 'a' AS short, repeat('x', 50) || range AS long, E'p\\nq' AS \"two lines\" FROM range(2)"
    lines, summary = on_terminal(data, sql, width=60)
    assert lines == [
        line
        for number in (1, 2)
        for line in (
            f"row {number} ".ljust(40, "─"),
            "short      a",
            f"long       {'x' * 50}{number - 1}",
            "two lines  p",
            "           q",
        )
    ]
    assert summary == "2 rows\n"
    assert "short" in on_terminal(data, sql, width=100)[0][0]


def test_a_long_table_is_fast(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Drawn cell by cell, 46,100 rows took 86 s."""
    sql = (
        "SELECT 'session-' || range AS session_id, range AS n, range / 7 AS x, true AS b, 'word' AS w FROM range(46100)"
    )
    began_s = time.process_time()
    lines, _ = table(data, capsys, sql)
    assert len(lines) == 46_102 and time.process_time() - began_s < 5
