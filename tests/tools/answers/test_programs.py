"""CSV and JSON of every kind of value, read again by other readers."""

import csv
import io
import json
import math
import sys
from collections.abc import Callable
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.counts import examples
from tools.answers.answer import BATCH_ROWS, Answer
from tools.answers.programs import print_csv, print_json, print_jsonl

Printed = Callable[..., str]


def answer(sql: str) -> Answer:
    connection = duckdb.connect()
    return Answer(connection=connection, relation=connection.sql(sql))


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    def run(form: Callable[[Answer], None], sql: str) -> str:
        form(answer(sql))
        sys.stdout.flush()
        return capsys.readouterr().out

    return run


FLOATS = """SELECT 'nan'::DOUBLE AS a, 'inf'::FLOAT AS b, 1.5::DOUBLE AS c, ['-inf'::DOUBLE, 2] AS list,
    [1, 'nan'::DOUBLE]::DOUBLE[2] AS array_, {'x': 'nan'::DOUBLE, 'y': [{'z': 'inf'::FLOAT, 'w': 1}]} AS struct_,
    map {'k': 'nan'::DOUBLE, 'l': 3} AS map_, NULL::STRUCT(x DOUBLE) AS none, [NULL, 0.5]::DOUBLE[] AS has_null"""
FINITE: dict[str, Any] = {
    "a": None, "b": None, "c": 1.5, "list": [None, 2.0], "array_": [1.0, None],
    "struct_": {"x": None, "y": [{"z": None, "w": 1}]}, "map_": {"k": None, "l": 3.0}, "none": None,
    "has_null": [None, 0.5],
}  # fmt: skip


def strictly(text: str) -> Any:
    """JSON as the standard has it: NaN and Infinity are errors."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_json_has_null_for_what_is_no_number(printed: Printed) -> None:
    assert strictly(printed(print_json, FLOATS)) == [FINITE]
    assert strictly(printed(print_jsonl, FLOATS)) == FINITE
    (row,) = csv.DictReader(io.StringIO(printed(print_csv, FLOATS)))
    assert math.isnan(float(row["a"])) and row["b"] == "inf" and row["none"] == ""
    assert all(strictly(row[name]) == FINITE[name] for name in ("list", "array_", "struct_", "map_", "has_null"))


def test_rare_types_are_printed_in_every_form(printed: Printed) -> None:
    sql = """SELECT row('nan'::DOUBLE, 'a') AS t, union_value(k := 'nan'::DOUBLE) AS u, 'a'::ENUM('a', 'b') AS e,
        170141183460469231731687303715884105727::HUGEINT AS h, 1.10::DECIMAL(4, 2) AS d, DATE '2026-01-02' AS day,
        INTERVAL 3 DAY AS i, TIMESTAMP '2026-01-02 03:04:05' AS at_, '\\x00a'::BLOB AS b, true AS yes"""
    (row,) = strictly(printed(print_json, sql))
    assert (row["e"], row["h"], row["d"], row["yes"]) == ("a", 2**127 - 1, 1.1, True)
    assert (row["day"], row["at_"], row["i"]) == ("2026-01-02", "2026-01-02 03:04:05", "3 days")
    (line,) = csv.DictReader(io.StringIO(printed(print_csv, sql)))
    assert (line["d"], line["at_"], line["yes"]) == ("1.10", "2026-01-02 03:04:05", "true")


def test_no_rows_and_no_values(printed: Printed) -> None:
    assert printed(print_json, "SELECT 1 AS a WHERE false") == "[]\n"
    assert printed(print_jsonl, "SELECT 1 AS a WHERE false") == ""
    assert printed(print_csv, "SELECT 1 AS a WHERE false") == "a\n"
    assert printed(print_csv, "SELECT NULL AS a, '' AS b, NULL AS c") == 'a,b,c\n,"",\n'
    # An empty line would be skipped by the reader.
    assert printed(print_csv, "SELECT NULL AS a UNION ALL SELECT 'x'") == 'a\n""\nx\n'


def test_names_that_occur_twice_stay_apart(printed: Printed) -> None:
    sql = """SELECT 1 AS x, 2 AS x, 3 AS "odd ""name", 4 AS "a,b" """
    assert list(strictly(printed(print_json, sql))[0].values()) == [1, 2, 3, 4]
    assert printed(print_csv, sql) == 'x,x,"odd ""name","a,b"\n1,2,3,4\n'


@examples(30)
@given(
    st.lists(st.tuples(*[st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))] * 2))
)
def test_every_text_comes_back(rows: list[tuple[str | None, str | None]]) -> None:
    connection = duckdb.connect()
    connection.execute("CREATE TABLE texts (place INT, a VARCHAR, b VARCHAR)")
    for place, row in enumerate(rows):
        connection.execute("INSERT INTO texts VALUES (?, ?, ?)", [place, *row])
    texts = Answer(connection=connection, relation=connection.sql("SELECT a, b FROM texts ORDER BY place"))
    out: dict[str, str] = {}
    for form in (print_csv, print_json, print_jsonl):
        buffer = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", buffer)
            form(texts)
            buffer.flush()
        out[form.__name__] = buffer.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert [(row["a"], row["b"]) for row in strictly(out["print_json"])] == rows
    assert [tuple(strictly(line).values()) for line in out["print_jsonl"].split("\n")[:-1]] == rows
    with_empty = [tuple(text or "" for text in row) for row in rows]  # Python's reader does not know NULL
    assert [tuple(row) for row in csv.reader(io.StringIO(out["print_csv"], newline=""))][1:] == with_empty


@pytest.mark.parametrize("num_rows", [BATCH_ROWS - 1, BATCH_ROWS, BATCH_ROWS + 1, 3 * BATCH_ROWS + 5])
def test_rows_are_complete_and_in_order_over_batches(printed: Printed, num_rows: int) -> None:
    sql = f"SELECT range AS n, 'row ' || range AS text FROM range({num_rows}) ORDER BY range DESC"
    expected = [{"n": n, "text": f"row {n}"} for n in reversed(range(num_rows))]
    assert strictly(printed(print_json, sql)) == expected
    assert [strictly(line) for line in printed(print_jsonl, sql).splitlines()] == expected
    assert printed(print_csv, sql).splitlines() == ["n,text", *(f"{row['n']},{row['text']}" for row in expected)]
