"""The command on answers that are large, endless, or read by someone who stops: its memory, its end, its files."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from pipelines.engine.tables import to_table, write_table
from tests.helpers.ctrl_c import hear_ctrl_c
from tests.helpers.paths import ROOT
from tools import query
from tools.answers.answer import Answer, ctrl_c_at_the_end
from wanstreamer.errors import InputError

Start = Callable[..., "subprocess.Popen[bytes]"]
TEXTS = (
    "SELECT range AS n, 'a text that is long enough for many of them to need memory ' || range AS text FROM range({})"
)
ENDLESS = TEXTS.format(10**12)
# Reads for hours before its first row.
SLOW = "SELECT count(*) AS n FROM range(1000000) a, range(1000000) b WHERE (a.range * b.range) % 7 = sin(a.range)"
FORMS = [[], ["--csv"], ["--json"], ["--jsonl"]]
MEMORY_BYTES = 2_000_000_000  # of addresses: the libraries alone take 1.2 GB of them


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answers") / "data"
    write_table(folder, "units", to_table("units", []))
    query.build(folder)
    return folder


@pytest.fixture
def start(data: Path) -> Iterator[Start]:
    """start(argument, ...): the command in a process of its own, which does not outlive the test."""
    processes = []
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}

    def run(*arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "tools.query", "--data", str(data), *arguments]
        processes.append(
            subprocess.Popen(
                command, cwd=ROOT, stderr=subprocess.PIPE, env=environment | {"MALLOC_ARENA_MAX": "2"}, **options
            )
        )
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.wait()


def little_memory() -> None:
    os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:2])  # every thread takes addresses of its own
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the memory are Linux's")
@pytest.mark.parametrize(
    "form",
    [[], ["--csv"], *(pytest.param([form], marks=pytest.mark.long) for form in ("--json", "--jsonl", "--parquet"))],
)
def test_a_large_answer_needs_little_memory(start: Start, tmp_path: Path, form: list[str]) -> None:
    """These rows take 1.2 GB."""
    num_rows = 1_000_000
    sql = f"SELECT range AS n, repeat('x', 1200) || range AS text FROM range({num_rows})"
    form = [*form, str(tmp_path / "answer.parquet")] if form == ["--parquet"] else form
    process = start(sql, *form, stdout=subprocess.PIPE, preexec_fn=little_memory)
    assert process.stdout is not None and process.stderr is not None
    printed = sum(b"xxx" in line for line in process.stdout)
    assert process.wait() == 0, process.stderr.read().decode()
    assert (pq.read_metadata(form[1]).num_rows if "--parquet" in form else printed) == num_rows


@pytest.mark.parametrize("form", FORMS)
def test_rows_come_at_once_and_a_reader_that_stops_ends_the_query(start: Start, form: list[str]) -> None:
    process = start(ENDLESS, *form, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    lines = [process.stdout.readline() for _ in range(100)]
    assert b"memory 90" in b"".join(lines)
    process.stdout.close()
    assert process.wait(30) == 1
    assert process.stderr.read() == b""


@pytest.mark.parametrize("sql", [SLOW, ENDLESS])
@pytest.mark.parametrize("to_file", [False, True])
def test_ctrl_c_ends_it_at_once(start: Start, tmp_path: Path, sql: str, to_file: bool) -> None:
    form = ["--parquet", str(tmp_path / "answer.parquet")] if to_file else ["--csv"]
    process = start(sql, *form, stdout=subprocess.PIPE, preexec_fn=hear_ctrl_c)
    assert process.stdout is not None and process.stderr is not None
    if to_file:
        while not list(tmp_path.iterdir()):
            time.sleep(0.05)
    else:
        process.stdout.readline()  # the header
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert process.stderr.read() == b"query: stopped\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_one_line(start: Start) -> None:
    with Path("/dev/full").open("wb") as full:
        process = start(TEXTS.format(100), "--csv", stdout=full)
        _, errors = process.communicate()
    assert (process.returncode, errors) == (2, b"error: stdout: No space left on device\n")


def test_an_error_after_a_million_rows_is_one_line(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = "SELECT CASE WHEN range < 1000000 THEN range ELSE ('x' || range)::INT END AS n FROM range(1000010)"
    for form in FORMS:
        with pytest.raises(SystemExit) as ended:
            query.main([late, "--data", str(data), *form])
        printed = capsys.readouterr()
        assert ended.value.code == 2 and printed.err.count("\n") == 1
        assert printed.err.startswith("error: SQL: Conversion Error: Could not convert string 'x1000000'")
        with pytest.raises(ValueError):  # a program must not take the part for the whole
            json.loads(printed.out)


def test_a_query_that_was_left_does_not_end_the_next_one() -> None:
    connection = duckdb.connect()
    for _ in range(20):
        answer = Answer(connection=connection, relation=connection.sql(ENDLESS))
        batches = answer.batches("n")
        assert next(batches).num_rows
        batches.close()
        assert answer.first(70_000).count() == 70_000


def test_parquet_has_the_types_of_the_answer_and_is_whole_or_absent(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "it's [1].parquet"
    path.write_bytes(b"the old one")
    sql = "SELECT 1::TINYINT AS n, ['a', NULL] AS names, {'start_ms': 2} AS span, 'nan'::DOUBLE AS x, NULL::DATE AS day"
    query.main([sql, "--data", str(data), "--parquet", str(path)])
    table = pq.read_table(path)
    assert table.schema.field("n").type == "int8" and table.schema.field("day").type == "date32"
    assert str(table.to_pylist()[0]) == (
        "{'n': 1, 'names': ['a', None], 'span': {'start_ms': 2}, 'x': nan, 'day': None}"
    )
    assert query.write_parquet(data, TEXTS.format(1000), path, limit=7) == 7
    before = path.read_bytes()
    with pytest.raises(InputError, match="Could not convert"):
        query.write_parquet(data, "SELECT ('x' || range)::INT FROM range(9)", path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    assert query.write_parquet(data, "SELECT 1 AS a, 2 AS a FROM units", path) == 0
    assert pq.read_schema(path).names == ["a", "a_1"]
    with pytest.raises(
        InputError, match=r'wait: INTERVAL\[\] has no place in a Parquet file; cast it: "wait"::VARCHAR$'
    ):
        query.write_parquet(data, "SELECT 1 AS n, [INTERVAL 1 DAY] AS wait", path)
    for wrong in (tmp_path, tmp_path / "nowhere" / "a.parquet"):
        with pytest.raises(InputError, match=f"^--parquet {wrong}: expected a file in a folder that exists"):
            query.write_parquet(data, "SELECT 1", wrong)


def test_ctrl_c_in_the_block_comes_at_its_end() -> None:
    """Python's own locks break when it comes inside of them."""
    seen = []
    with pytest.raises(KeyboardInterrupt):
        with ctrl_c_at_the_end() as pressed:
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
            seen.append(bool(pressed))
        seen.append(True)
    assert seen == [True] and signal.getsignal(signal.SIGINT) is signal.default_int_handler
