"""Lists that no run could make again outlive the damage of one of their two files, and say when both are damaged."""

import json
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engine.kept_lists import read_list, unsealed, write_list
from tests.helpers.damage import DAMAGES
from wanstreamer.errors import InputError

LISTS = st.sets(st.text(max_size=12), min_size=1, max_size=5)


@given(LISTS, st.integers(), st.booleans())
def test_one_damaged_file_costs_nothing_and_is_written_again(values: set[str], seed: int, second: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "people.json"
        write_list(path, "speakers", values)
        whole = {each.name: each.read_bytes() for each in Path(folder).iterdir()}
        assert sorted(whole) == ["people.copy.json", "people.json"]
        chance = random.Random(seed)
        damage = chance.choice(DAMAGES)
        damage(path.with_name("people.copy.json") if second else path, chance)
        assert read_list(path, "speakers") == values
        write_list(path, "speakers", values)
        assert {each.name: each.read_bytes() for each in Path(folder).iterdir()} == whole


@given(LISTS, st.integers(0, 200), st.integers(0, 255))
def test_no_other_byte_is_taken_for_the_list(values: set[str], place: int, byte: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "people.json"
        write_list(path, "speakers", values)
        content = bytearray(path.read_bytes())
        content[place % len(content)] = byte
        assert unsealed("speakers", bytes(content)) in (None, values)


def test_a_killed_write_loses_nobody(tmp_path: Path) -> None:
    path = tmp_path / "people.json"
    write_list(path, "speakers", ["a"])
    before = path.with_name("people.copy.json").read_bytes()
    write_list(path, "speakers", ["a", "b"])
    path.with_name("people.copy.json").write_bytes(before)
    assert read_list(path, "speakers") == {"a", "b"}


def test_both_damaged_is_an_error_and_none_is_an_empty_list(tmp_path: Path) -> None:
    path = tmp_path / "people.json"
    assert read_list(path, "speakers") == set()
    path.write_text("{")
    with pytest.raises(InputError, match=r"people\.json: damaged, and its copy beside it too or gone; restore it"):
        read_list(path, "speakers")


def test_lists_of_older_versions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "people.json"
    path.write_text(json.dumps({"speakers": ["x"]}))
    assert read_list(path, "speakers") == {"x"}
