"""Rows that tasks exchange by files: all arrive, each slice in one place."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.quality.slices import SLICES, read_slices, spans, whole_file, write_slices

ROW = np.dtype([("slice", "<u2"), ("number", "<u4")])


def test_every_row_arrives_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = np.empty(5000, ROW)
    rows["slice"], rows["number"] = rng.integers(0, SLICES, len(rows)), np.arange(len(rows))
    counts = np.zeros(SLICES, int)
    for number, part in enumerate([*np.array_split(rows, 3), rows[:0]]):
        counts += write_slices(tmp_path / f"rows-{number}", part, part["slice"])
    ranges = spans(counts, 700)
    assert [number for slices in ranges for number in slices] == list(range(SLICES))
    arrived = [read_slices(tmp_path.glob("rows-*"), slices, ROW) for slices in ranges]
    assert all(
        np.isin(part["slice"], slices).all() and len(part) <= 700 for part, slices in zip(arrived, ranges, strict=True)
    )
    assert np.sort(np.concatenate([part["number"] for part in arrived])).tolist() == list(range(len(rows)))


def test_a_slice_of_its_own_for_too_many_rows_and_no_task_for_none() -> None:
    counts = np.zeros(SLICES, int)
    assert spans(counts, 10) == []
    counts[[3, 4, 5, 9]] = 5, 30, 5, 5
    assert spans(counts, 10) == [range(4), range(4, 5), range(5, SLICES)]


def test_a_file_has_its_name_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "rows-0"
    with pytest.raises(OSError, match="no space left"), whole_file(path) as unfinished:
        unfinished.write_bytes(b"half")
        raise OSError("no space left")
    assert not list(tmp_path.glob("rows-*"))
    with whole_file(path) as unfinished:
        unfinished.write_bytes(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
