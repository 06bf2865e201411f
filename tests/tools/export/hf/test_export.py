"""The format hf, opened with the libraries of its readers: every row and window as in our tables, nothing else."""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import mlcroissant
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import DatasetCard

from pipelines.engine.files import file_sha256
from pipelines.engine.tables import read_rows, to_table, write_table
from tests.helpers.shared_sessions import SHE, write_shared_sessions
from tests.helpers.small_corpus import Person
from tests.helpers.staged_corpus import stage_corpus
from tools.export.__main__ import main
from tools.export.form import Choices
from tools.export.hf import bucket, export
from tools.export.hf.export import HF
from tools.export.hf.what import COLUMNS_LEFT_OUT, TABLES_OUT
from tools.export.run import export as write_export
from tools.forget import forget
from wanstreamer.windows.index import open_windows
from wanstreamer.windows.manifest import FIELDS, read_manifest

# Tasks that the Hub lists for datasets (huggingface.js, packages/tasks/src/pipelines.ts), as far as they fit.
HUB_TASKS = {
    "audio-to-audio", "audio-classification", "automatic-speech-recognition", "voice-activity-detection",
    "text-to-speech", "video-classification", "text-to-video", "video-to-video", "any-to-any", "other",
}  # fmt: skip
BOTH = ["train", "share", "show"]
WORDS = [("red", 330, 470)]


def person(speaker_id: str, consent: list[str] | None = BOTH) -> Person:
    return Person(speaker_id=speaker_id, words=WORDS, speech_units={2}, consent=consent)


CORPUS = {
    "s1": ("train", 8, {"a": person(SHE), "b": person("bob")}),
    "s10": ("train", 8, {"a": person("cat"), "b": person("bob")}),
    "s2": ("test", 8, {"a": person("dan"), "b": person("eve")}),
    "s3": ("train", 8, {"a": person("fay"), "b": person("gus", ["train", "show"])}),
    "s4": ("train", 8, {"a": person("hal"), "b": person("ivy", None)}),
}
SHARED = ("s1", "s10", "s2")


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data folder with events and no windows, and its export."""
    home = tmp_path_factory.mktemp("talks")
    data = write_shared_sessions(home / "data", ("anna", "quiet", "refused", "unknown"))
    write_export(data, HF, home / "corpus", Choices())
    return data, home / "corpus"


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A data folder with windows."""
    stage_corpus(tmp_path / "data", CORPUS)
    return tmp_path / "data"


def front(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((out / "README.md").read_text().split("---\n")[1])
    return content


def ours(data: Path, table: str, sessions: set[str]) -> list[dict[str, Any]]:
    """The rows of a table that may be shared, without the columns that are left out."""
    gone = COLUMNS_LEFT_OUT.get(table, {})
    rows = [row for row in read_rows(data, table) if row["session_id"] in sessions]
    return [{name: value for name, value in row.items() if name not in gone} for row in rows]


def contents(out: Path) -> dict[str, str]:
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def texts(path: Path) -> Iterator[bytes]:
    """The bytes of a file, and what is packed in it."""
    yield path.read_bytes()
    if path.suffix == ".tar":
        with tarfile.open(path) as tar:
            yield b"\n".join(name.encode() for name in tar.getnames())
    if path.suffix == ".parquet":
        yield json.dumps(pq.read_table(path, partitioning=None).to_pylist()).encode()
    if path.suffix == ".arrow":
        yield json.dumps(pa.ipc.open_file(path).read_all().to_pylist()).encode()


def found(folder: Path, *needles: str) -> list[str]:
    return [
        f"{needle} in {path.relative_to(folder)}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for needle in needles
        if needle in str(path.relative_to(folder)) or any(needle.encode() in text for text in texts(path))
    ]


def test_every_config_opens_with_the_rows_of_our_tables(talks: tuple[Path, Path], tmp_path: Path) -> None:
    data, out = talks
    configs = front(out)["configs"]
    assert {"sessions", "tracks", "turns", "events", "words", "units"} <= {each["config_name"] for each in configs}
    splits = {"anna": "train", "quiet": "valid"}
    for config in (each["config_name"] for each in configs):
        stream = datasets.load_dataset(str(out), config, streaming=True)
        whole = datasets.load_dataset(str(out), config, cache_dir=str(tmp_path / "cache"))
        wanted = ours(data, TABLES_OUT[config], set(splits))
        assert wanted
        for split in ("train", "valid"):
            own = [row for row in wanted if splits[row["session_id"]] == split]
            assert list(stream[split]) == own, config
            assert whole[split].to_list() == own, config


def test_people_who_did_not_agree_and_their_partners_are_nowhere(talks: tuple[Path, Path]) -> None:
    _, out = talks
    assert not found(out, "refused", "unknown-a", "unknown-b", ".wav")
    left_out = (out / "README.md").read_text()
    assert "1 conversation: a participant did not agree to `share` (`not_shared`)" in left_out
    assert "1 conversation: the consent of a participant is not known (`consent_unknown`)" in left_out


def test_the_card_says_what_is_there_and_the_hub_knows_its_words(talks: tuple[Path, Path]) -> None:
    _, out = talks
    card = DatasetCard((out / "README.md").read_text())
    about = card.data.to_dict()
    assert set(about["task_categories"]) <= HUB_TASKS
    assert (about["language"], about["license"], about["size_categories"]) == (["en"], "cc-by-4.0", ["n<1K"])
    assert "agreed to share" in about["extra_gated_prompt"]
    assert "CC-BY-4.0" in about["extra_gated_prompt"]
    assert "2 conversations" in card.text
    assert "4 people" in card.text
    events = pq.ParquetDataset(out / "tables" / "events").read().to_pylist()
    interruptions = sum(row["label"] == "interruption" for row in events)
    assert f"| transition | interruption | {interruptions} |" in card.text
    assert "(picture.svg)" in card.text
    assert (out / "picture.svg").read_text().startswith("<svg")


def test_croissant_is_valid_and_reads_our_events(talks: tuple[Path, Path]) -> None:
    data, out = talks
    described = mlcroissant.Dataset(jsonld=out / "croissant.json")
    assert not described.metadata.ctx.issues.errors
    wanted = ours(data, "events", {"anna", "quiet"})
    records = []
    for record in described.records("events"):
        records.append({key.removeprefix("events/"): value for key, value in record.items()})
        if len(records) == 10:
            break
    assert len(records) == 10
    for record, row in zip(records, wanted, strict=False):
        assert record.pop("split") == b"train"
        read = {key: value.decode() if isinstance(value, bytes) else value for key, value in record.items()}
        assert read == pytest.approx(row, nan_ok=True)
    content = json.loads((out / "croissant.json").read_text())
    listed = {each["contentUrl"]: each["sha256"] for each in content["distribution"] if "contentUrl" in each}
    assert listed == {name: file_sha256(out / name) for name in listed}
    assert set(listed) == {
        str(path.relative_to(out)) for path in (out / "tables").rglob("*.parquet")
    }  # fmt: skip
    for name in ("dataCollection", "personalSensitiveInformation", "dataLimitations", "dataBiases", "dataUseCases"):
        assert content[f"rai:{name}"]


def test_windows_open_as_a_dataset_and_in_our_loader(packed: Path, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    write_export(packed, HF, out, Choices())
    assert [each["config_name"] for each in front(out)["configs"]] == [
        name for name in TABLES_OUT if (out / "tables" / name).is_dir()
    ]
    stream = datasets.load_dataset(str(out / "windows"), streaming=True)
    whole = datasets.load_dataset(str(out / "windows"), cache_dir=str(tmp_path / "cache"))
    for split in ("train", "test"):
        rows = [row for row in read_rows(packed, "windows") if row["session_id"] in SHARED and row["split"] == split]
        copied = list(open_windows(out / "windows", split).rows)
        assert [row["window_id"] for row in copied] == [row["window_id"] for row in rows]
        assert whole[split]["__key__"] == [row["window_id"] for row in rows]
        for row, opened in zip(rows, stream[split], strict=True):
            arrays = sample(packed, row)
            assert {name: np.asarray(opened[f"{name}.npy"], arrays[name].dtype).tobytes() for name in FIELDS} == {
                name: arrays[name].tobytes() for name in FIELDS
            }
    assert read_manifest(out / "windows").window_units == read_manifest(packed / "windows").window_units
    assert not found(out, "s3-", "s4-", "gus", "ivy")


def sample(data: Path, row: dict[str, Any]) -> dict[str, np.ndarray]:
    with (data / row["shard"]).open("rb") as file:
        file.seek(row["offset"])
        content = file.read(row["num_bytes"])
    with tarfile.open(fileobj=io.BytesIO(content + bytes(1024))) as tar:
        members = {member.name.split(".")[1]: tar.extractfile(member) for member in tar}
        return {name: np.load(io.BytesIO(file.read())) for name, file in members.items() if file is not None}


def test_a_window_with_damaged_bytes_is_left_out_and_counted(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = next(row for row in read_rows(packed, "windows") if row["session_id"] == "s10")
    with (packed / row["shard"]).open("r+b") as file:
        file.seek(row["offset"] + row["num_bytes"] - 700)
        file.write(b"damaged!")
    out = tmp_path / "corpus"
    main(["hf", "--data", str(packed), "--out", str(out)])
    assert "windows whose bytes are damaged in the data folder; run the pack stage again (1)" in capsys.readouterr().out
    assert "- 1 window with damaged bytes" in (out / "README.md").read_text()
    ids = {each["window_id"] for split in ("train", "test") for each in open_windows(out / "windows", split).rows}
    shared = {each["window_id"] for each in read_rows(packed, "windows") if each["session_id"] in SHARED}
    assert ids == shared - {row["window_id"]}


def test_a_session_with_a_track_that_is_not_usable_is_left_out(packed: Path, tmp_path: Path) -> None:
    rows = [{name: row[name] for name in row if name != "schema_version"} for row in read_rows(packed, "quality")]
    for row in rows:
        row["usable"] = (row["session_id"], row["participant"]) != ("s2", "b")
    shutil.rmtree(packed / "state" / "quality")
    write_table(packed, "quality", to_table("quality", rows))
    write_export(packed, HF, tmp_path / "corpus", Choices())
    assert not found(tmp_path / "corpus" / "tables", "s2") + found(tmp_path / "corpus" / "windows", "s2")
    card = (tmp_path / "corpus" / "README.md").read_text()
    assert "- 1 conversation: a track is not usable, as the stage quality found (`not_usable`)" in card


def test_after_forget_the_export_is_as_without_the_person(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "buckets_for", lambda num_sessions: 4)
    monkeypatch.setattr(bucket, "ROWS_PER_GROUP", 5)
    out = tmp_path / "corpus"
    write_export(packed, HF, out, Choices())
    assert found(out, SHE)
    forget(packed, SHE)
    assert not found(out, SHE, "s1-", '"s1"')
    assert "2 conversations" in (out / "README.md").read_text()
    again = tmp_path / "again" / "corpus"
    write_export(packed, HF, again, Choices())
    assert {name: sha256 for name, sha256 in contents(out).items() if not name.startswith(".export/notes")} == {
        name: sha256 for name, sha256 in contents(again).items() if not name.startswith(".export/notes")
    }
    before = contents(out)
    write_export(packed, HF, out, Choices())
    assert contents(out) == before


def test_a_stopped_export_goes_on(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "corpus"
    monkeypatch.setattr(export, "buckets_for", lambda num_sessions: 4)
    with monkeypatch.context() as patch:
        patch.setattr(bucket, "file_sha256", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_export(packed, HF, out, Choices())
    write_export(packed, HF, out, Choices())
    whole = tmp_path / "whole" / "corpus"
    write_export(packed, HF, whole, Choices())
    assert contents(out) == contents(whole)
