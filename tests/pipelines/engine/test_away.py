"""Workers without the data folder: the same bytes as with it, also if one is killed; what fails is one line."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.annotate import stage as annotate
from pipelines.encode import stage as encode
from pipelines.engine.away import AwayFolder, moved_setup
from pipelines.engine.jobs import RunParams
from pipelines.engine.tables import read_rows
from pipelines.ingest import stage as ingest
from pipelines.pack import stage as pack
from pipelines.quality import stage as quality
from tests.helpers import needy_jobs
from tests.helpers.clips import make_clip
from tests.helpers.counted_jobs import contents
from tests.helpers.needy_jobs import tries
from tests.helpers.other_machine import have_other_machines
from tests.helpers.paths import ROOT
from tests.helpers.s3_server import s3_server
from tests.helpers.small_corpus import keep_in_process
from tests.helpers.small_vaes import small_vae
from wanstreamer import vae
from wanstreamer.errors import InputError

VERSIONS = {"s1": 1, "s2": 1, "s3": 1, "s4": 1}
NOTES = ("parts/stores.json", "parts/stores.copy.json", "parts/ingest-source.json")


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with s3_server() as files:
        yield files


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where workers that are away work."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def made(data: Path) -> dict[str, bytes]:
    """Everything in a data folder but notes of where it was made."""
    return {name: content for name, content in contents(data).items() if name not in NOTES and "hashes/" not in name}


def shared(tmp_path: Path, **options: Any) -> dict[str, bytes]:
    """What a run on one machine makes."""
    with pytest.MonkeyPatch.context() as patch:
        keep_in_process(patch)
        needy_jobs.run(tmp_path / "shared", tmp_path / "shared-marks", VERSIONS, **options)
    return made(tmp_path / "shared")


def objects(files: Any, folder: str) -> set[str]:
    return {name.partition("/")[2] for name in files.find(f"lab/{folder}")}


def test_rows_files_samples_and_weights_come_from_the_store(
    tmp_path: Path, s3: Any, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_other_machines(monkeypatch)
    marks = tmp_path / "marks"
    bad = frozenset({"s3"})
    counts = needy_jobs.run(tmp_path / "data", marks, VERSIONS, bad=bad, store="s3://lab/away")
    assert counts["done"] == 3 and counts["rejected"]["no_latents"] == 1
    assert made(tmp_path / "data") == shared(tmp_path, bad=bad)
    assert tries(marks) == dict.fromkeys(VERSIONS, 1)
    assert not list(temporary.iterdir()) and not list((tmp_path / "data").rglob(".token-*"))
    assert not objects(s3, "away/attempts") and not objects(s3, "away/inputs")
    # Another run of the same work, by a machine that lost its data folder, takes all of it from the store.
    shutil.rmtree(tmp_path / "data")
    needy_jobs.run(tmp_path / "data", marks, VERSIONS, bad=bad, store="s3://lab/away")
    assert tries(marks) == dict.fromkeys(VERSIONS, 1) and made(tmp_path / "data") == made(tmp_path / "shared")


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_a_try(tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dies = {"s2": 1, "s4": 9}
    needy_jobs.run(tmp_path / "alone", tmp_path / "alone-marks", VERSIONS, dies=dies)
    have_other_machines(monkeypatch)
    marks = tmp_path / "marks"
    counts = needy_jobs.run(tmp_path / "data", marks, VERSIONS, dies=dies, store=str(tmp_path / "store"))
    assert counts["rejected"]["worker_died"] == 1
    assert tries(marks) == tries(tmp_path / "alone-marks") == {"s1": 1, "s2": 2, "s3": 1, "s4": 3}
    (rejection,) = read_rows(tmp_path / "data", "rejections/annotate")
    assert (rejection["key"], rejection["detail"]) == ("s4", "3 attempts")
    assert made(tmp_path / "data") == made(tmp_path / "alone")
    assert not [path for path in (tmp_path / "store/attempts").rglob("*") if path.is_file()]
    left = list(temporary.iterdir())  # of killed workers, after which no other began
    AwayFolder()  # of a later worker of that machine
    assert not any(path.exists() for path in left)


def test_what_a_killed_worker_leaves_is_removed_by_a_later_one(temporary: Path) -> None:
    code = "import os; from pipelines.engine.away import AwayFolder; folder = AwayFolder(); os._exit(9)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    (left,) = temporary.iterdir()
    mine = AwayFolder()
    assert not left.exists()
    AwayFolder()
    assert mine.home.is_dir()


def test_damage_in_the_store_is_found_and_heals(
    tmp_path: Path, s3: Any, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_other_machines(monkeypatch)
    data, marks, store = tmp_path / "data", tmp_path / "marks", "s3://lab/damage"
    with pytest.MonkeyPatch.context() as patch:
        keep_in_process(patch)
        needy_jobs.run(data, marks, VERSIONS, store=store)
    (name,) = (name for name in s3.find("lab/damage/parts/encode/s2") if name.endswith(".segment"))
    s3.pipe_file(name, bytes(len(s3.cat_file(name))))
    shutil.rmtree(data / "state/annotate")
    s3.rm("lab/damage/parts/annotate", recursive=True)
    with pytest.raises(InputError, match="1 sessions are undone, for example s2"):
        needy_jobs.run(data, marks, VERSIONS, first=False, store=store)
    (rejection,) = (row for row in read_rows(data, "rejections/annotate") if row["key"] == "s2")
    assert rejection["reason"] == "damaged_file" and "its copy of what encode made is damaged" in rejection["detail"]
    assert not (data / "state/encode.json").exists() and (data / "parts/encode/s2.damaged").exists()
    needy_jobs.run(data, marks, VERSIONS, store=store)
    assert made(data) == shared(tmp_path)


def test_what_the_store_has_not_is_one_line(
    tmp_path: Path, s3: Any, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_other_machines(monkeypatch)
    data, marks = tmp_path / "data", tmp_path / "marks"
    with pytest.raises(InputError, match=r"/nowhere: the worker on \S+ does not have this folder.*run.store=s3://"):
        needy_jobs.run(data, marks, VERSIONS)
    with pytest.raises(InputError, match="nothing of the encode stage for s.; run that stage with the same run.store"):
        needy_jobs.run(data, marks, VERSIONS, first=False, store="s3://lab/empty")
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.engine.run.put_inputs", lambda *_: {})
        with pytest.raises(InputError, match=r"/nowhere/models/weights.bin: the worker on \S+ does not have it"):
            needy_jobs.run(data, marks, VERSIONS, store="s3://lab/empty")
    store = tmp_path / "store"
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.engine.store._put_forgotten", lambda *_: None)
        with pytest.raises(InputError, match="does not find there what this run has put there"):
            needy_jobs.run(data, marks, VERSIONS, first=False, store=str(store))


def test_paths_below_the_data_folder_are_found_in_nested_values() -> None:
    data = Path("/d/data")
    setup = {"a": "/d/data/x", "b": [Path("/d/data/y/z"), "/d/database", 3], "c": {"d": ("/d/data/x", None)}}
    found: list[Path] = []

    def move(path: Path) -> Path:
        found.append(path)
        return Path("/other") / path.relative_to(data)

    moved = moved_setup(setup, data, move)
    assert moved == {"a": "/other/x", "b": [Path("/other/y/z"), "/d/database", 3], "c": {"d": ("/other/x", None)}}
    assert sorted(set(found)) == [Path("/d/data/x"), Path("/d/data/y/z")]


@pytest.mark.long
def test_all_stages_make_the_same_bytes(
    tmp_path: Path, s3: Any, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    for session in ("one", "two", "three"):
        (source / session).mkdir(parents=True)
        for name in ("a.mp4", "b.mkv"):
            make_clip(source / session / name, seconds=2)
            (source / session / name).with_suffix(".beeps").unlink()
        words = {
            "words": [{"word": word, "start_ms": at, "end_ms": at + 200} for word, at in (("red?", 200), ("no", 500))]
        }
        (source / session / "a.words.json").write_text(json.dumps(words))
    s3.put(f"{source}/", "lab/talks/", recursive=True)

    def stages(data: Path, how: RunParams) -> None:
        looks = {"width": 32, "height": 32}
        counts = ingest.run(data, ingest.IngestParams(source="s3://lab/talks", **looks), how)
        assert counts["done"] == 3
        generous = {"max_black_share": 1.0, "max_frozen_share": 1.0, "min_face_share": 0.0, "find_duplicates": False}
        quality.run(data, quality.QualityParams(**generous, max_same_picture_share=1.0), how)
        annotate.run(data, annotate.AnnotateParams(), how)
        for kind in ("audio", "video"):
            path = data / "models" / "vae" / f"{kind}.safetensors"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                vae.save(small_vae(kind), path)
        encode.run(data, encode.EncodeParams(), how)
        windows = {"window_units": 4, "stride_units": 4, "vocab_size": 300}
        assert pack.run(data, pack.PackParams(**windows), how)["done"] > 0

    with pytest.MonkeyPatch.context() as patch:
        keep_in_process(patch)
        stages(tmp_path / "shared", RunParams(workers=1, store="s3://lab/one"))
    have_other_machines(monkeypatch)
    stages(tmp_path / "data", RunParams(workers=2, ray=False, store="s3://lab/two"))
    assert made(tmp_path / "data") == made(tmp_path / "shared")
    assert any(name.startswith("windows/") for name in made(tmp_path / "data"))
