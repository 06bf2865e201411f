"""Files that rot: whatever is damaged is found, and the next run repairs it to the same bytes."""

import random
import shutil
from pathlib import Path

import pytest

from pipelines.engine.compact import compact
from pipelines.engine.state import damage_note, num_state_buckets
from pipelines.engine.tables import read_rows
from tests.helpers.counted_jobs import contents
from tests.helpers.counts import count
from tests.helpers.damage import DAMAGES, flip
from tests.helpers.sealed_jobs import make_small, run
from tools.verify import mark, verify
from wanstreamer.errors import InputError

VERSIONS = {f"s{number}": 1 for number in range(8)}
NUM_BUCKETS = 4


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    data = tmp_path / "whole"
    run(data, VERSIONS)
    return data


def settle(data: Path) -> None:
    """Repair as a user would: the stage again, and again if it says that something is undone."""
    for _ in range(3):
        try:
            run(data, VERSIONS)
            return
        except InputError:
            continue
    raise AssertionError("not repaired after three runs")


@pytest.mark.counts
@pytest.mark.parametrize("number", range(count(200, 20)))
def test_damage_is_found_and_repaired(tmp_path: Path, whole: Path, number: int) -> None:
    chance = random.Random(number)
    data = tmp_path / "data"
    shutil.copytree(whole, data)
    files = sorted(path for path in data.rglob("*") if path.is_file() and path.suffix in (".parquet", ".tar", ".bin"))
    path = files[number % len(files)]
    before = path.read_bytes()
    chance.choice(DAMAGES)(path, chance)
    if path.is_file() and path.read_bytes() == before:
        return  # the other file had the same content
    damages = verify(data).damages
    assert damages
    mark(data, damages)
    settle(data)
    assert verify(data).damages == []
    compact(data, "encode", ("latents",), NUM_BUCKETS)
    run(data, VERSIONS)
    assert contents(data) == contents(whole)


def test_a_reader_finds_a_damaged_table_and_its_stage_repairs_it(tmp_path: Path, whole: Path) -> None:
    before = contents(whole)
    path = whole / "tables/latents/b=0001.parquet"
    flip(path, random.Random(0))
    with pytest.raises(InputError, match=r"b=0001\.parquet: damaged, its checksum differs; run the encode stage again"):
        read_rows(whole, "latents")
    assert damage_note(whole, "encode", 1).exists()
    settle(whole)
    assert len(read_rows(whole, "latents")) == 2 * len(VERSIONS)
    compact(whole, "encode", ("latents",), num_state_buckets(whole, "encode"))
    run(whole, VERSIONS)
    assert contents(whole) == before


def test_a_summary_that_is_gone_or_damaged_is_written_again(whole: Path) -> None:
    before = contents(whole)
    for content in ("", "{", None):
        path = whole / "state/encode.json"
        path.unlink() if content is None else path.write_text(content)
        run(whole, VERSIONS)
        assert contents(whole) == before
