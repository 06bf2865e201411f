"""Indexes without windows: as pack writes them, in shards by bucket; and what the loader needs to open them."""

import hashlib
from pathlib import Path

import pytest

from tests.helpers.packed_windows import pack_windows
from tools.bench import synthetic_windows
from tools.bench.loader_start import measure_loader
from tools.bench.synthetic_windows import write_synthetic_index
from wanstreamer.windows.loader import open_windows


def test_the_indexes_are_those_of_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic_windows, "SESSIONS_PER_BUCKET", 8)
    monkeypatch.setattr(synthetic_windows, "SHARD_BYTES", 3 * 9 * synthetic_windows.WINDOW_BYTES)
    num_shards = write_synthetic_index(tmp_path / "synthetic", 20, 9)
    windows = open_windows(tmp_path / "synthetic", "train")
    real = open_windows(pack_windows(tmp_path), "train").rows[0]
    rows = list(windows.rows)
    assert len(rows) == 180 and len(windows.manifest.shards) == num_shards
    assert {name: type(value) for name, value in rows[0].items() if value is not None} | {
        "consent": type(real["consent"])
    } == {name: type(value) for name, value in real.items()}
    ids = [row["window_id"] for row in rows]
    assert ids == sorted(set(ids)) and [place.window_id for place in windows.rows.places(range(180))] == ids
    assert {(row["agent"], row["user"]) for row in rows} == {("a", "b"), ("b", "a")}
    assert all(row["window_id"] == f"{row['session_id']}-{row['agent']}-{row['start_unit']:06d}" for row in rows)
    for row in rows:
        bucket = int(hashlib.sha256(row["session_id"].encode()).hexdigest()[:8], 16) * 4 >> 32
        assert row["shard"].startswith(f"train/{bucket:04d}-")
    for shard in windows.manifest.shards:
        of_shard = [row for row in rows if row["shard"] == shard["path"]]
        assert len(of_shard) == shard["num_windows"] <= 27
        assert sorted(row["offset"] for row in of_shard) == [
            place * row_bytes(of_shard) for place in range(len(of_shard))
        ]
    assert not [*(tmp_path / "synthetic").rglob("*.tar")]


def row_bytes(rows: list[dict]) -> int:
    [num_bytes] = {row["num_bytes"] for row in rows}
    return num_bytes


def test_the_loader_needs_next_to_nothing_for_each_window(tmp_path: Path) -> None:
    """200,000 windows: as dictionaries in a list, they took 0.4 GB."""
    write_synthetic_index(tmp_path / "windows", 430, 468)
    figures = measure_loader(tmp_path / "windows")
    assert figures["windows"] == 201_240 and figures["shards"] == 29
    assert figures["loader_gb"] < 0.1 and figures["opened_gb"] < 0.08
    assert figures["loader_open_s"] < 2
