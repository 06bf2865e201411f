"""shards: samples as they were packed, from anywhere, and nothing damaged or foreign gets through."""

import dataclasses
import io
import json
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipelines.engine.files import file_sha256
from pipelines.pack.stage import sample_bytes
from schemas import windows as schema
from tests.helpers.packed_windows import pack_windows
from tests.helpers.s3_server import s3_server
from wanstreamer.errors import InputError
from wanstreamer.windows import shards
from wanstreamer.windows.loader import (
    FIELDS,
    LABELS,
    WINDOW_FORMAT,
    Loader,
    load_sample,
    open_windows,
    read_manifest,
)
from wanstreamer.windows.manifest import Windows
from wanstreamer.windows.shards import ShardReader


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    return pack_windows(tmp_path_factory.mktemp("packed"))


@pytest.fixture
def copied(packed, tmp_path) -> Path:
    shutil.copytree(packed, tmp_path / "windows")
    return tmp_path / "windows"


def read_all(windows: Windows) -> dict[str, dict[str, np.ndarray]]:
    """window_id -> field -> array, all read at once."""
    with ShardReader(windows) as reader:
        records = np.empty(len(windows.rows), reader.record_dtype)
        reader.read(range(len(windows.rows)), records)
    return {row["window_id"]: {name: records[name][place] for name in FIELDS} for place, row in enumerate(windows.rows)}


def by_tarfile(windows: Windows) -> dict[str, dict[str, np.ndarray]]:
    """The same, by the standard library alone."""
    read_samples: dict[str, dict[str, np.ndarray]] = {}
    for shard in {row["shard"] for row in windows.rows}:
        with tarfile.open(windows.manifest.folder / shard) as tar:
            for member in tar:
                key, name, _ = member.name.rsplit(".", 2)
                read_samples.setdefault(key, {})[name] = np.load(io.BytesIO(tar.extractfile(member).read()))
    return read_samples


def assert_equal(actual: dict[str, dict[str, np.ndarray]], wanted: dict[str, dict[str, np.ndarray]]) -> None:
    assert sorted(actual) == sorted(wanted)
    for key, sample in wanted.items():
        assert sorted(actual[key]) == sorted(sample) == sorted(FIELDS)
        for name, array in sample.items():
            assert actual[key][name].dtype == array.dtype
            np.testing.assert_array_equal(actual[key][name], array)


def test_both_sides_of_the_shards_agree_on_the_format():
    assert (WINDOW_FORMAT, FIELDS, LABELS) == (
        schema.WINDOW_FORMAT,
        schema.WINDOW_FIELDS,
        schema.WINDOW_LABELS,
    )


def test_samples_are_what_a_tar_and_npy_reader_finds(packed, monkeypatch):
    windows = open_windows(packed, "train")
    wanted = by_tarfile(windows)
    assert len(wanted) == 14
    assert_equal({row["window_id"]: load_sample(windows, index) for index, row in enumerate(windows.rows)}, wanted)
    monkeypatch.setattr(ShardReader, "_parse", None)  # packed windows have one layout: nothing is parsed
    monkeypatch.setattr(shards, "MAX_OPEN_SHARDS", 1)  # the two shards take turns
    assert_equal(read_all(windows), wanted)


def replace_member(folder: Path, content: bytes) -> None:
    """Put `content` into the first member of the first train sample and make the index believe it."""
    rows = pq.read_table(folder / "index.parquet").to_pylist()
    row = min((row for row in rows if row["split"] == "train"), key=lambda row: row["window_id"])
    path = folder / row["shard"]
    shard = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        member = next(iter(tar))
    size = member.size
    start = row["offset"] + member.offset_data - member.offset
    shard[start : start + size] = content.ljust(size, b" ")[:size]
    path.write_bytes(bytes(shard))
    sample = shard[row["offset"] : row["offset"] + row["num_bytes"]]
    rewrite_index(folder, [entry if entry is not row else row | {"crc32": zlib.crc32(sample)} for entry in rows])


def rewrite_index(folder: Path, rows: list[dict]) -> None:
    table = pq.read_table(folder / "index.parquet")
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), folder / "index.parquet")
    change_manifest(folder, index_sha256=file_sha256(folder / "index.parquet"))


def change_manifest(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))


def repack(folder: Path, write, rename=str) -> None:
    """Write all samples again with `write(key, sample)`, under other keys."""
    rows = pq.read_table(folder / "index.parquet").to_pylist()
    samples = {
        key: sample for split in ("train", "test") for key, sample in by_tarfile(open_windows(folder, split)).items()
    }
    shards = {row["shard"]: b"" for row in rows}
    for row in rows:
        sample = samples[row["window_id"]]
        row["window_id"] = rename(row["window_id"])
        content = write(row["window_id"], sample)
        row |= {"offset": len(shards[row["shard"]]), "num_bytes": len(content), "crc32": zlib.crc32(content)}
        shards[row["shard"]] += content
    for name, content in shards.items():
        (folder / name).write_bytes(content + bytes(1024))
    rewrite_index(folder, rows)


def in_reverse(key: str, sample: dict[str, np.ndarray]) -> bytes:
    """The members from last to first; those of equal size change places."""
    alone = [sample_bytes(key, {name: array}) for name, array in sorted(sample.items())]
    return b"".join(reversed(alone))


@pytest.mark.parametrize(
    ("write", "rename"),
    [
        (in_reverse, str),
        (sample_bytes, "{:x<120}".format),
        (sample_bytes, "größe-{}".format),
        (sample_bytes, "a/{}".format),
    ],
    ids=["other order", "long name", "other letters", "folder"],
)
def test_samples_of_another_layout_are_read_all_the_same(copied, write, rename):
    repack(copied, write, rename)
    windows = open_windows(copied, "train")
    assert_equal(read_all(windows), by_tarfile(windows))


def test_a_sample_under_the_key_of_another_is_refused(copied):
    repack(copied, lambda key, sample: sample_bytes(key.replace("-a-", "-c-"), sample))
    with pytest.raises(InputError, match=r"s0-a-000000: unexpected member s0-c-000000\.agent_audio\.npy; run the pack"):
        load_sample(open_windows(copied, "train"), 0)


def test_a_missing_field_is_named(copied):
    repack(copied, lambda key, sample: sample_bytes(key, {name: sample[name] for name in sample if name != "labels"}))
    with pytest.raises(InputError, match=r"s0-a-000000: field labels is missing; run the pack"):
        load_sample(open_windows(copied, "train"), 0)


def test_pickled_arrays_are_refused(copied):
    """Invariant 8: an object array would run code when read."""

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (copied / "exploded",))

    content = io.BytesIO()
    np.save(content, np.array([Bomb()], dtype=object), allow_pickle=True)
    replace_member(copied, content.getvalue())
    with pytest.raises(InputError, match=r"s0\.tar: sample s0-a-000000: not readable"):
        load_sample(open_windows(copied, "train"), 0)
    assert not (copied / "exploded").exists()


def test_wrong_shape_in_a_sample_is_named(copied):
    content = io.BytesIO()
    np.save(content, np.zeros((3, 3), dtype=np.float16))
    replace_member(copied, content.getvalue())
    with pytest.raises(InputError, match=r"sample s0-a-000000: field agent_audio is float16 \[3, 3\], expected"):
        load_sample(open_windows(copied, "train"), 0)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("flip", r"damaged \(checksum differs\); delete the shard and run the pack stage again"),
        ("cut", r"damaged \(900 of \d+ bytes are left\); delete the shard and run the pack stage again"),
        ("gone", r"cannot be read \(No such file or directory\); run the pack stage again"),
    ],
)
def test_damaged_shards_name_shard_and_sample(copied, damage, message, workers):
    path = copied / "s0.tar"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flip" else content[:900])
    windows = open_windows(copied, "train")
    with pytest.raises(InputError, match=rf"s0\.tar: sample s0-a-000000: {message}$"):
        load_sample(windows, 0)
    windows = dataclasses.replace(windows, rows=windows.rows[:1])
    with pytest.raises(InputError, match=rf"s0\.tar: sample s0-a-000000: {message}$") as caught:
        next(iter(Loader(windows, batch_size=1, seed=0, workers=workers)))
    assert "\n" not in str(caught.value)


@pytest.fixture
def in_memory(packed) -> Iterator[str]:
    files = fsspec.filesystem("memory")
    files.put(str(packed), "/lab/windows", recursive=True)
    yield "memory://lab/windows"
    files.rm("/lab", recursive=True)


def test_stores_are_read_by_byte_range(packed, in_memory, monkeypatch):
    local, remote = open_windows(packed, "train"), open_windows(in_memory, "train")
    assert_equal(read_all(remote), read_all(local))
    assert_equal({"": load_sample(remote, 3)}, {"": load_sample(local, 3)})
    wanted = next(iter(Loader(local, batch_size=5, seed=2)))
    fetched = next(iter(Loader(remote, batch_size=5, seed=2)))
    assert fetched.window_id == wanted.window_id and fetched.agent_video_BKCHW.equal(wanted.agent_video_BKCHW)


def test_what_fails_in_a_store_is_one_line(in_memory):
    windows = open_windows(in_memory, "train")
    files = fsspec.filesystem("memory")
    content = files.cat("/lab/windows/s0.tar")
    files.pipe("/lab/windows/s0.tar", content[:1000])
    with pytest.raises(InputError, match=r"memory://lab/windows/s0.tar: sample s0-a-000000: damaged \(1000 of"):
        load_sample(windows, 0)
    files.rm("/lab/windows/s0.tar")
    with pytest.raises(InputError, match=r"memory://lab/windows/s0.tar: sample s0-a-000000: no such file"):
        load_sample(windows, 0)
    with pytest.raises(InputError, match=r"memory://lab/manifest.json: no window manifest"):
        open_windows("memory://lab", "train")
    with pytest.raises(InputError, match=r"nothing://x: cannot be read \(ValueError"):
        open_windows("nothing://x", "train")


def test_workers_read_from_a_bucket(packed):
    with s3_server() as files:
        files.put(str(packed), "lab/windows", recursive=True)
        windows = open_windows("s3://lab/windows", "train")
        stream = iter(Loader(windows, batch_size=4, seed=1, workers=1))
        wanted = iter(Loader(open_windows(packed, "train"), batch_size=4, seed=1))
        for fetched in islice(stream, 5):
            local = next(wanted)
            assert fetched.window_id == local.window_id and fetched.user_audio_BKNC.equal(local.user_audio_BKNC)
        stream.close()
        wanted.close()
        files.rm("lab/windows/s1.tar")
        with pytest.raises(InputError, match=r"^s3://lab/windows/s1.tar: sample s1-a-000000: no such file"):
            load_sample(windows, next(i for i, row in enumerate(windows.rows) if row["shard"] == "s1.tar"))


def test_other_formats_and_fields_are_refused_by_name(copied):
    fields = json.loads((copied / "manifest.json").read_text())["fields"]
    wrong = {**fields, "agent_audio": {"dtype": "float32", "shape": [8, 4, 3]}}
    for changes, message in (
        ({"format_version": 2}, "manifest.json: window format 2, expected 1"),
        ({"fields": {**fields, "gaze": fields["labels"]}}, "fields differ from format 1 in: gaze"),
        ({"fields": wrong}, r"field agent_audio is float32 \[8, 4, 3\], expected float16"),
        ({"shards": None}, "manifest.json: incomplete"),
    ):
        original = (copied / "manifest.json").read_text()
        change_manifest(copied, **changes)
        with pytest.raises(InputError, match=message):
            read_manifest(copied)
        (copied / "manifest.json").write_text(original)


def test_missing_and_unfinished_folders_say_what_to_do(copied, tmp_path):
    with pytest.raises(InputError, match="no window manifest; run the pack stage"):
        read_manifest(tmp_path / "nowhere")
    shutil.copytree(copied, tmp_path / "mine" / "data" / "windows")
    for wrong in ("mine", "mine/data", "mine/windows"):
        with pytest.raises(
            InputError, match=f"{wrong}/manifest.json: no window manifest; the windows are in .*data/wi"
        ):
            read_manifest(tmp_path / wrong)
    with pytest.raises(InputError, match="no windows of split 'valid' .splits found: test, train."):
        open_windows(copied, "valid")
    with (copied / "index.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="packing was interrupted"):
        open_windows(copied, "train")
    (copied / "index.parquet").unlink()
    with pytest.raises(InputError, match="index.parquet: cannot be read"):
        open_windows(copied, "train")
    (copied / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="manifest.json: not a window manifest"):
        read_manifest(copied)


def test_shards_open_as_plain_webdataset(packed):
    import webdataset

    paths = [str(packed / shard["path"]) for shard in read_manifest(packed).shards if shard["split"] == "train"]
    peer_samples = {sample["__key__"]: sample for sample in webdataset.WebDataset(paths, shardshuffle=False).decode()}
    windows = open_windows(packed, "train")
    assert sorted(peer_samples) == [row["window_id"] for row in windows.rows]
    for index, row in enumerate(windows.rows):
        for name, array in load_sample(windows, index).items():
            np.testing.assert_array_equal(peer_samples[row["window_id"]][f"{name}.npy"], array)


def test_shards_open_as_a_hugging_face_dataset(packed, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    import datasets

    paths = [str(packed / shard["path"]) for shard in read_manifest(packed).shards if shard["split"] == "test"]
    dataset = datasets.load_dataset("webdataset", data_files=paths, split="train", streaming=True)
    peer_samples = list(dataset)
    windows = open_windows(packed, "test")
    assert sorted(sample["__key__"] for sample in peer_samples) == [row["window_id"] for row in windows.rows]
    by_key = {sample["__key__"]: sample for sample in peer_samples}
    for index, row in enumerate(windows.rows):
        for name, array in load_sample(windows, index).items():
            np.testing.assert_array_equal(np.asarray(by_key[row["window_id"]][f"{name}.npy"]), array)
    for form, kind in (("numpy", np.ndarray), ("torch", torch.Tensor)):
        sample = next(iter(dataset.with_format(form)))
        [index] = [i for i, row in enumerate(windows.rows) if row["window_id"] == sample["__key__"]]
        for name, array in load_sample(windows, index).items():
            value = sample[f"{name}.npy"]
            assert isinstance(value, kind) and tuple(value.shape) == array.shape
            wider = {"float16": "float32", "int32": "int64"}.get(array.dtype.name, array.dtype.name)
            assert str(value.dtype).removeprefix("torch.") == wider
            np.testing.assert_array_equal(np.asarray(value), array)
