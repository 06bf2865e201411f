"""Buckets and shards: whatever the order of runs, every key is there with its bytes, and compacted files are as made at
once."""

import hashlib
import tarfile
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pipelines.engine.buckets import bucket_of, buckets_for, overlapping
from pipelines.engine.compact import compact
from pipelines.engine.state import num_state_buckets, read_state, summary_file
from pipelines.engine.tables import read_rows, session_rows, table_files
from pipelines.formats.npy_tar import array_at
from tests.helpers.counted_jobs import contents
from tests.helpers.sealed_jobs import make_small, run

KEYS = [f"s{number}" for number in range(8)]
STEPS = st.lists(st.dictionaries(st.sampled_from(KEYS), st.integers(1, 3), min_size=1), min_size=1, max_size=4)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sessions a bucket, shards of a few sessions; work and merges run in this process."""
    make_small(monkeypatch)


def compacted(data: Path, num_keys: int) -> None:
    assert compact(data, "encode", ("latents",), buckets_for(num_keys)) == []


def check(data: Path, versions: dict[str, int]) -> None:
    """Every key is there once, in its bucket, and its row leads to its bytes."""
    rows = read_rows(data, "latents")
    assert sorted((row["session_id"], row["participant"]) for row in rows) == sorted(
        (key, who) for key in versions for who in "ab"
    )
    for row in rows:
        key = row["session_id"]
        seed = hashlib.sha256(f"{key} {versions[key]}".encode()).digest()
        assert array_at(data / row["shard"], row["audio_offset"]).mapped().tobytes()[:32] == seed
        assert (data / f"files/{key}.bin").read_bytes() == seed
        assert row in session_rows(data, "latents", key)
    files = table_files(data, "latents")
    for bucket, path in enumerate(files):
        assert [row for row in rows if bucket_of(row["session_id"], len(files)) == bucket] == [
            row for row in rows if row in read_rows_of(path)
        ]
    used = {row["shard"] for row in rows}
    assert used == {f"latents/{path.name}" for path in (data / "latents").glob("*")}
    names = [name for path in (data / "latents").glob("*.tar") for name in member_names(path)]
    assert sorted(names) == sorted(row["audio_member"] for row in rows)
    assert {path.name for path in (data / "files").iterdir()} == {f"{key}.bin" for key in versions}


def member_names(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


def read_rows_of(path: Path) -> list[dict]:
    return pq.read_table(path, partitioning=None).to_pylist()


@given(STEPS)
@settings(max_examples=15, deadline=None, phases=(Phase.explicit, Phase.generate))
def test_any_order_of_runs_ends_in_the_same_data(steps: list[dict[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        data, once = Path(folder) / "data", Path(folder) / "once"
        for versions in steps:
            run(data, versions)
            check(data, versions)
        run(once, steps[-1])
        assert summary_file(data, "encode").read_bytes() == summary_file(once, "encode").read_bytes()
        compacted(data, len(steps[-1]))
        run(data, steps[-1])  # notes that nothing is to do, with the present buckets
        check(data, steps[-1])
        assert contents(data) == contents(once)


def test_what_did_not_change_is_not_written(tmp_path: Path) -> None:
    data = tmp_path / "data"
    versions = dict.fromkeys(KEYS, 1)
    run(data, versions)
    assert num_state_buckets(data, "encode") == 4
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*") if path.is_file()}
    run(data, versions)
    changed = bucket_of("s3", 4)
    shards_before = set(read_state(data, "encode", changed).shards)
    run(data, versions | {"s3": 2})
    touched = {path.name for path in data.rglob("b=*.parquet") if before[path] != path.stat().st_mtime_ns}
    assert touched == {f"b={changed:04d}.parquet"}
    gone = {path.name for path in before if not path.exists()}
    assert gone <= {Path(name).name for name in shards_before} and gone


def test_buckets_split_into_neighbours() -> None:
    for number in range(200):
        parent = bucket_of(f"s{number}", 4)
        child = bucket_of(f"s{number}", 8)
        assert child in overlapping(parent, 4, 8) and parent in overlapping(child, 8, 4)
