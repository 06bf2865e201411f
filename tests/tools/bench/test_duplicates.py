"""The bench of the search for duplicates: its corpus has the copies that it says, and its figures are complete."""

import argparse
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from schemas import TABLES
from tools.bench import duplicates


def test_figures_of_a_small_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = argparse.Namespace(tracks=[400], distinct=2**14, workers=1, scratch=tmp_path)
    results = duplicates.run(args)
    json.dumps(results)
    (point,) = results["points"]
    assert (point["planted"], point["found"], point["wrong"]) == (4, 4, 0)
    assert point["cpu_s"] > 0 and 0 < point["driver_gb"] < 2 and 0 < point["worker_gb"] < 2
    assert not list(tmp_path.iterdir())
    duplicates.show(results)
    assert "planted" in capsys.readouterr().out


def test_the_corpus_is_buckets_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "SESSIONS_PER_BUCKET", 30)
    files = duplicates.write_hashes(tmp_path, 200, 2**30)
    assert [file.name for file in files] == [f"b={bucket:04d}.parquet" for bucket in range(4)]
    tables = [pq.read_table(file) for file in files]
    assert all(table.schema.equals(TABLES["hashes"].schema) for table in tables)
    sessions = [table["session_id"].to_pylist() for table in tables]
    assert (
        all(names == sorted(names) for names in sessions) and len({name for names in sessions for name in names}) == 100
    )
