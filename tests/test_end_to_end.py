"""The whole DAG, as `dvc repro` runs it, on two sessions and a scene of 20 s: each stage leaves what the next needs."""

import hashlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from pipelines.engine.tables import read_rows
from schemas import TABLES
from tests.helpers.paths import ROOT
from tests.helpers.small_corpus import keep_in_process

SMALL = {
    "run": {"workers": 2},
    "sample": {"sessions": 2, "seconds": 20, "scenes": 1},
    "ingest": {"source": "data/sources"},
    "vae": {
        "video": {"channels": 8, "steps": 4, "batch": 2, "clip_units": 2},
        "audio": {"channels": 8, "steps": 4, "batch": 2, "clip_units": 2},
    },
    "pack": {"window_units": 16, "stride_units": 16},
    "duplex": {"steps": 6},
    "evaluate": {"resamples": 100, "given_units": 8, "free_units": 8},
}


def make_workspace(folder: Path, **changes: dict) -> Path:
    """A project of its own around the same code: `dvc.yaml`, small params, no outputs."""
    folder.mkdir()
    (folder / "data" / "corrections").mkdir(parents=True)  # in git
    for name in ("pipelines", "schemas", "tools", "wanstreamer"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, values in [*SMALL.items(), *changes.items()]:
        params[section] = {**(params.get(section) or {}), **values}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder


def dvc(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": "."}
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def run_here(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """The stages up to evaluate as `dvc.yaml` lists them, which is their order, in this process and no worker's."""
    patch.chdir(folder)
    keep_in_process(patch)
    commands = {
        name: one["cmd"].split() for name, one in yaml.safe_load(Path("dvc.yaml").read_text())["stages"].items()
    }
    for name in list(commands)[: list(commands).index("evaluate") + 1]:
        python, _, module = commands[name]
        assert python == "python"
        patch.setattr(sys, "argv", [module])
        entry = importlib.import_module(module)
        (entry if hasattr(entry, "main") else importlib.import_module(f"{module}.__main__")).main()


def file_hashes(workspace: Path) -> dict[str, str]:
    """sha256 of every output; what names times or is a picture is none, nor is what depends on the source's place."""
    found = {}
    for path in sorted([*(workspace / "data").rglob("*"), *(workspace / "metrics").rglob("*")]):
        inside = path.relative_to(workspace).parts
        notes = inside[1] in ("parts", "timings", "reports", ".lock") or (inside[1] == "state" and len(inside) > 3)
        if path.is_file() and not notes and path.suffix != ".duckdb":
            found["/".join(inside)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, ray_once: None) -> Iterator[Path]:
    folder = make_workspace(tmp_path_factory.mktemp("project") / "small")
    (folder / ".dvc").mkdir()  # what `dvc init` and `dvc config` would write, in seconds
    (folder / ".dvc/config").write_text("[core]\n    no_scm = True\n    analytics = false\n")
    dvc(folder, "repro", "evaluate")
    yield folder


@pytest.mark.long
def test_every_stage_leaves_its_outputs(workspace: Path) -> None:
    data = workspace / "data"
    for table in TABLES.values():
        if table.name == "rejections":
            continue
        made = pq.read_table(data / f"tables/{table.name}/b=0000.parquet", partitioning=None)
        assert made.schema.equals(table.schema, check_metadata=True), table.name
        assert made.num_rows or table.name == "events", table.name
    sessions = read_rows(data, "sessions")
    assert {row["split"] for row in sessions} == {"train", "test"}
    windows = read_rows(data, "windows")
    assert {(row["agent"], row["user"]) for row in windows} == {("a", "b"), ("b", "a")}
    assert json.loads((workspace / "metrics/evaluate.json").read_text())
    assert (data / "models/duplex/model.safetensors").is_file()


@pytest.mark.long
def test_a_parameter_redoes_its_stage_and_what_follows(workspace: Path) -> None:
    params = yaml.safe_load((workspace / "params.yaml").read_text())
    said = dvc(workspace, "repro", "evaluate")
    assert "didn't change" in said or "up to date" in said
    params["annotate"]["ipu_gap_ms"] = 180
    (workspace / "params.yaml").write_text(yaml.safe_dump(params))
    planned = dvc(workspace, "repro", "--dry", "evaluate")
    rerun = {line.split("'")[1] for line in planned.splitlines() if line.startswith("Running stage")}
    params["annotate"]["ipu_gap_ms"] = 200
    (workspace / "params.yaml").write_text(yaml.safe_dump(params))
    assert "annotate" in rerun and not rerun & {"sample", "ingest", "vae", "encode"}


@pytest.mark.long
def test_one_worker_and_a_clean_start_give_the_same_bytes(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = make_workspace(workspace.parent / "again", run={"workers": 1})
    threads = torch.get_num_threads()
    run_here(again, monkeypatch)
    torch.set_num_threads(threads)
    one, two = file_hashes(workspace), file_hashes(again)
    assert sorted(one) == sorted(two)
    assert [name for name in one if one[name] != two[name]] == []
