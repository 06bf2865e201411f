"""YAML as people expect it, and the text of each scalar."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engine.plain_yaml import read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("200", 200),
        ("-5", -5),
        ("010", 10),
        ("1_000", 1000),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("2.", 2.0),
        ("-.inf", float("-inf")),
        ("", None),
        ("null", None),
        ("True", True),
        ("off", False),
        ("1:30", "1:30"),
        ("0x10", "0x10"),
        ("2024-11-03", "2024-11-03"),
        ("3.10.1", "3.10.1"),
        ("'200'", "200"),
        ("[1, no, a b]", [1, False, "a b"]),
        ("{a: {b: 2}}", {"a": {"b": 2}}),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_values(text: str, value: Any) -> None:
    loaded, _ = read_yaml(text)
    assert loaded == value and type(loaded) is type(value)


def test_texts_are_those_of_unquoted_scalars() -> None:
    value, texts = read_yaml(
        "ingest:\n  source: 2024-11-03  # a folder\n  layout: 'no'\n  qp: 022\n  salt: ~\n  empty:\n"
    )
    assert value == {"ingest": {"source": "2024-11-03", "layout": "no", "qp": 22, "salt": None, "empty": None}}
    assert texts == {"ingest.source": "2024-11-03", "ingest.qp": "022", "ingest.empty": ""}


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: 1\nb: 2\na: 3\n", 2), ("a: [1\nb: 2\n", 1), ("a: {b: 1, b: 1}", 0), ("a:\n\t- b", 1), ("? [1]\n: 2", 0)],
)
def test_what_cannot_be_meant_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(yaml.MarkedYAMLError) as caught:
        read_yaml(text)
    assert caught.value.problem_mark.line == line


@pytest.mark.parametrize("content", [b"a: \xff", "a: &a [*a]", "[" * 20_000])
def test_what_no_one_can_read_is_an_error_of_yaml(content: str | bytes) -> None:
    with pytest.raises(yaml.YAMLError):
        read_yaml(content)


@given(st.recursive(st.integers() | st.booleans() | st.text("abc é#:[", max_size=5), lambda inner: st.lists(inner)))
def test_what_yaml_writes_is_read_back(value: Any) -> None:
    assert read_yaml(yaml.safe_dump({"key": value}))[0] == {"key": value}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_and_line_ends(encoding: str) -> None:
    assert read_yaml("a: é\r\nb: 2\r\n".encode(encoding))[0] == {"a": "é", "b": 2}
