"""Word files: a word without usable times is left out and counted, and the others stay; another file is named."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.formats.word_files import BadWords, read_words

HELLO = {"word": "hello", "start_ms": 500, "end_ms": 900}
THERE = {"word": "there", "start_ms": 1000, "end_ms": 1300}


def read(folder: Path, content: Any, encoding: str = "utf-8") -> tuple[list[dict[str, Any]], int]:
    path = folder / "a.words.json"
    path.write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding, errors="surrogatepass"))
    return read_words(path)


@pytest.mark.parametrize(
    "times",
    [
        {},
        {"start_ms": None, "end_ms": None},
        {"start_ms": 900},
        {"start_ms": 900, "end_ms": float("nan")},
        {"start_ms": 950, "end_ms": 500},
        {"start_ms": 950, "end_ms": 1e30},
        {"start_ms": "early", "end_ms": 960},
        {"start_ms": True, "end_ms": 960},
    ],
)
def test_a_word_without_usable_times_is_left_out_and_counted(tmp_path: Path, times: dict[str, Any]) -> None:
    assert read(tmp_path, {"words": [HELLO, {"word": "1984", **times}, THERE]}) == ([HELLO, THERE], 1)
    with pytest.raises(BadWords, match="none of its 1 words has a start and an end"):
        read(tmp_path, {"words": [{"word": "1984", **times}]})


def test_a_word_that_ends_before_it_begins_is_no_word_of_1_ms(tmp_path: Path) -> None:
    assert read(tmp_path, {"words": [{"word": "hello", "start_ms": 900, "end_ms": 500}, THERE]}) == ([THERE], 1)
    instant = {"word": "so", "start_ms": 900, "end_ms": 900}
    assert read(tmp_path, {"words": [instant]}) == ([{**instant, "end_ms": 901}], 0)


def test_half_a_letter_costs_its_word(tmp_path: Path) -> None:
    path = tmp_path / "a.words.json"
    half = '{"word": "a\\ud800", "start_ms": 1, "end_ms": 2}'
    path.write_text(f'{{"words": [{half}, {json.dumps(THERE)}]}}')
    assert read_words(path) == ([THERE], 1)


@given(
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), order=st.permutations([HELLO, THERE]),
    as_text=st.booleans(), empty=st.sampled_from([None, "", " ", float("nan")]), pad=st.sampled_from(["", " ", "\n"]),
)  # fmt: skip
def test_marks_orders_blanks_and_nulls_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, encoding: str, order: list[Any], as_text: bool, empty: Any, pad: str
) -> None:
    words = [
        {"word": f"{pad}{word['word']}{pad}"}
        | {name: f"{word[name]}.0" if as_text else word[name] for name in ("start_ms", "end_ms")}
        for word in order
    ]
    words.insert(1, {"word": empty, "start_ms": 0, "end_ms": 1})
    assert read(tmp_path_factory.getbasetemp(), {"words": words}, encoding) == ([HELLO, THERE], 0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not valid JSON .*line 1"),
        ('{"words": [{"word": "été"}]}'.encode("latin-1"), "not text in UTF-8"),
        (b'{"words": 3}', "`words`: expected a list"),
        (b'{"words": [{"start_ms": 1}]}', "word 1: expected an object with word, start_ms and end_ms"),
        (b'{"words": [{"word": ["secret"], "start_ms": 1, "end_ms": 2}]}', "TypeError"),
    ],
)
def test_another_file_is_named_without_its_words(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.words.json").write_bytes(content)
    with pytest.raises(BadWords, match=f"^{said}.*; expected timed words") as error:
        read_words(tmp_path / "a.words.json")
    assert "secret" not in str(error.value) and "\n" not in str(error.value)


def test_xml_in_an_unknown_encoding_is_named(tmp_path: Path) -> None:
    for encoding in ("nonsense", "shift_jis"):
        (tmp_path / "a.words.xml").write_text(f'<?xml version="1.0" encoding="{encoding}"?><r><w>hi</w></r>')
        with pytest.raises(BadWords, match="XML in an encoding that is not supported"):
            read_words(tmp_path / "a.words.xml")
