"""Rows taken out of a manifest: whatever quotes, line ends and empty lines there are, the other bytes stay."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.source_manifest import drop_rows, without_rows
from wanstreamer.errors import InputError

FIELD = st.text(st.sampled_from('ab,;"\n \u2028é'), max_size=5)
RECORDS = st.lists(st.tuples(st.sampled_from(["s1", "s2", 's"3', "s\n4", ""]), FIELD, FIELD), max_size=6)


@given(rows=RECORDS, quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]), end=st.sampled_from(["\n", "\r\n"]))
def test_csv_rows_stay_byte_for_byte(rows: list[tuple[str, str, str]], quoting: int, end: str) -> None:
    def written(some: list[tuple[str, str, str]]) -> bytes:
        out = io.StringIO(newline="")
        csv.writer(out, quoting=quoting, lineterminator=end).writerows([("session_id", "words_uri", "uri"), *some])
        return out.getvalue().encode()

    content, count = without_rows(written(rows), ".csv", lambda row: row["session_id"] == "s1")
    stay = [row for row in rows if row[0] != "s1"]
    assert content == written(stay) and count == len(rows) - len(stay)


def test_a_quoted_field_with_commas_and_line_ends() -> None:
    rows = ['s1,"a, b\r\nc",x\n', '"s1",d,"""e"""\n', "\n", 's2,"s1,\ns1",f']
    content, count = without_rows(
        ("session_id,uri,n\n" + "".join(rows)).encode(), ".csv", lambda r: r["session_id"] == "s1"
    )
    assert content.decode() == "session_id,uri,n\n" + rows[2] + rows[3] and count == 2


def test_a_manifest_without_such_rows_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text('{"session_id":   "s2"}')
    before = path.stat()
    assert drop_rows(path, lambda row: row["session_id"] == "s1") == 0
    assert path.stat().st_mtime_ns == before.st_mtime_ns and path.stat().st_ino == before.st_ino


def test_what_cannot_be_rewritten_is_one_line(tmp_path: Path) -> None:
    for name, content in (("a.csv", b"session_id\n\xff\n"), ("a.jsonl", b"{\n"), ("a.parquet", b"PAR1")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: could not be rewritten .*; remove the person's rows by hand"):
            drop_rows(tmp_path / name, lambda row: True)
        assert (tmp_path / name).read_bytes() == content
    with pytest.raises(InputError, match="manifest .txt: expected .csv, .jsonl or .parquet"):
        without_rows(b"", ".txt", lambda row: True)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_rows_are_found_as_ingest_reads_them(tmp_path: Path, suffix: str, encoding: str) -> None:
    """With a mark, in UTF-16, with blanks around the values; the other rows stay byte for byte."""
    lines = ["session_id,speaker_id\r\n", "s, anna \r\n", "t,ben\r\n"]
    if suffix == ".jsonl":
        lines = ["", '{"session_id": "s", "speaker_id": " anna "}\r\n', '{"session_id": "t"}\n']
    path = tmp_path / f"manifest{suffix}"
    path.write_bytes("".join(lines).encode(encoding))
    assert drop_rows(path, lambda row: row.get("speaker_id") == "anna") == 1
    assert path.read_bytes() == (lines[0] + lines[2]).encode(encoding)
