"""The one reader of text: encodings, line ends, fields, numbers, missing values and JSON; the rest is named."""

import codecs
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wanstreamer.errors import InputError
from wanstreamer.text_files import (
    decode_text,
    is_missing,
    number_of,
    numbered_fields,
    parse_json,
    read_text,
    seconds_of,
)

LETTERS = st.characters(exclude_characters="\0\r\ufeff", exclude_categories=["Cs"])
ENCODINGS = {
    "utf-8": b"",
    "utf-8-sig": b"",
    "utf-16": b"",
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
}


@given(lines=st.lists(st.text(LETTERS.filter(lambda letter: letter != "\n"))), encoding=st.sampled_from([*ENCODINGS]))
def test_every_text_is_read_in_every_encoding(lines: list[str], encoding: str) -> None:
    text = "\n".join(lines)
    assert decode_text(ENCODINGS[encoding] + text.encode(encoding), "x") == text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("été\n".encode("latin-1"), r"not text in UTF-8 \(byte 0xe9 in line 1\).*Windows-1252.*save it as UTF-8"),
        ("ok\n李雷韩梅 0\n".encode("gb18030"), "in line 2.*GB18030"),
        ("call a 0 1 so\n".encode("utf-16-le"), "UTF-16 without a byte order mark; save it as UTF-8"),
        ("call a 0 1 so\n".encode("utf-16-be"), "UTF-16 without a byte order mark"),
        ("so\n".encode("utf-32"), "UTF-32; save it as UTF-8"),
        ("so\n".encode("utf-16")[:-1], "UTF-16, but it is damaged or cut off"),
        (b"one\ntwo\0\0\0\0three\n", "a NUL byte in line 2"),
        ("one\n\0".encode("utf-16"), "a NUL character in line 2"),
    ],
)
def test_another_encoding_is_named(content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=f"^x.txt: .*{said}") as error:
        decode_text(content, "x.txt")
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_opened_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere.ctm: no such file"):
        read_text(tmp_path / "nowhere.ctm")
    with pytest.raises(InputError, match="is a folder; expected a file"):
        read_text(tmp_path)


def test_fields_end_at_spaces_and_tabs_and_lines_at_lf_and_crlf() -> None:
    text = "a\u00a0b \t c\x85d\u2028e\r\n\n  ;; a comment\n\ufeff \x1cf\n"
    assert list(numbered_fields(text, "x")) == [(1, ["a\u00a0b", "c\x85d\u2028e"]), (4, ["\x1cf"])]
    with pytest.raises(InputError, match="x line 2: a carriage return inside the line"):
        list(numbered_fields("a b\nc\rd\n", "x"))


@pytest.mark.parametrize("value", ["", "nan", "1_000", "١٢", "1,5", "0x1", "1e999", True, None, [], "1 2", "inf"])
def test_what_is_no_number(value: object) -> None:
    with pytest.raises(ValueError, match="expected a"):
        number_of(value)


def test_numbers_and_missing_values() -> None:
    assert [number_of(value) for value in (3, 0.5, "1200.0", " -2 ", "+1e3", ".5")] == [3, 0.5, 1200, -2, 1000, 0.5]
    for missing in (None, math.nan, "", "  ", "nan", "NaN", "<NA>"):
        assert is_missing(missing)
    for value in (0, 0.0, False, [], "Nan", "0"):
        assert not is_missing(value)
    with pytest.raises(ValueError, match="seconds below"):
        seconds_of("1e10")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1,\n "b" 2}', "not valid JSON .*line 2 column 6"),
        ('{"a": 1, "a": 2}', "an object has the key `a` twice"),
        ("[" * 100_000, "too deep"),
        ("1" * 5000, "not valid JSON"),
    ],
)
def test_json_that_is_none_is_one_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match=f"x.json: .*{said}") as error:
        parse_json(text, "x.json")
    assert "\n" not in str(error.value)
