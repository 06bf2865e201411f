"""shards: samples as they were packed, from anywhere, and nothing damaged or foreign gets through."""

import io
import json
import os
import random
import shutil
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch

from pipelines.pack.stage import sample_bytes
from schemas import windows as schema
from tests.helpers.packed_windows import Sample, change_manifest, pack_windows, rewrite, shard_of
from tests.helpers.s3_server import s3_server
from wanstreamer.errors import InputError
from wanstreamer.windows import shards
from wanstreamer.windows.index import Windows, index_path
from wanstreamer.windows.loader import (
    FIELDS,
    LABELS,
    WINDOW_FORMAT,
    Loader,
    load_sample,
    open_windows,
    read_manifest,
)
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
    with ShardReader(windows.manifest) as reader:
        records = np.empty(len(windows), reader.record_dtype)
        assert reader.read(windows.rows.places(range(len(windows))), records) == []
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
    first = open_windows(folder, "train").rows[0]["window_id"]

    def change(sample: Sample) -> Sample:
        if sample.row["window_id"] != first:
            return sample
        with tarfile.open(fileobj=io.BytesIO(sample.content)) as tar:
            member = next(iter(tar))
        changed = bytearray(sample.content)
        changed[member.offset_data : member.offset_data + member.size] = content.ljust(member.size, b" ")[: member.size]
        return sample._replace(content=bytes(changed))

    rewrite(folder, change)


def repack(folder: Path, write, rename=str) -> None:
    """Write all samples again with `write(key, sample)`, under other keys."""
    arrays = {
        key: sample for split in ("train", "test") for key, sample in by_tarfile(open_windows(folder, split)).items()
    }

    def change(sample: Sample) -> Sample:
        key = sample.row["window_id"]
        return Sample(sample.row | {"window_id": rename(key)}, write(rename(key), arrays[key]))

    rewrite(folder, change)


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
    with pytest.raises(InputError, match=r"\.tar: sample s0-a-000000: not readable"):
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
        ("another's", r"damaged \(checksum differs\); delete the shard and run the pack stage again"),
    ],
)
def test_damaged_shards_name_shard_and_sample(copied, damage, message, workers):
    path, other = shard_of(copied, "s0"), shard_of(copied, "s1")
    damage_file(path, damage, other)
    windows = open_windows(copied, "train")
    with pytest.raises(InputError, match=rf"{path.name}: sample s0-a-000000: {message}$"):
        load_sample(windows, 0)
    windows = windows.take([0])
    with pytest.raises(InputError, match=rf"{path.name}: sample s0-a-000000: {message}$") as caught:
        next(iter(Loader(windows, batch_size=1, seed=0, workers=workers)))
    assert "\n" not in str(caught.value)


def damage_file(path: Path, damage: str, other: Path) -> None:
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    if damage == "gone":
        path.unlink()
    elif damage == "another's":
        shutil.copy(other, path)
    else:
        path.write_bytes(content if damage == "flip" else content[:900])


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "another's"])
def test_damaged_indexes_are_named_when_they_are_first_used(copied, damage):
    path = copied / index_path(str(shard_of(copied, "s0")))
    other = copied / index_path(str(shard_of(copied, "s1")))
    windows = open_windows(copied, "train")
    damage_file(path, damage, other)
    why = "No such file or directory" if damage == "gone" else "not the index that the manifest names"
    message = rf"{path.name}: damaged \({why}\); delete it and train/\S+\.tar, and run the pack stage again$"
    for use in (
        lambda: windows.rows[0],
        lambda: load_sample(windows, 0),
        lambda: next(iter(Loader(windows, batch_size=14, seed=0))),
        lambda: next(iter(Loader(windows, batch_size=14, seed=0, workers=1))),
    ):
        with pytest.raises(InputError, match=message) as caught:
            use()
        assert "\n" not in str(caught.value)
    assert windows.rows[13]["session_id"] == "s1" and len(windows) == 14  # the other shard is as before


def test_an_index_cut_after_it_was_checked_is_found(copied, monkeypatch):
    monkeypatch.setattr("wanstreamer.windows.index.MAX_HELD_BYTES", 0)
    windows = open_windows(copied, "train")
    load_sample(windows, 0)
    path = copied / index_path(str(shard_of(copied, "s0")))
    os.truncate(path, 700)
    with pytest.raises(InputError, match=r"damaged \(it ends too early\)"):
        windows.rows.places(range(8))


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "another's"])
def test_damaged_runs_are_named_when_the_windows_are_opened(copied, damage):
    damage_file(copied / "runs.arrow", damage, copied / "manifest.json")
    message = r"runs\.arrow: cannot be read \(FileNotFoundError\); run the pack stage again$"
    if damage != "gone":
        message = r"runs\.arrow: not the runs that the manifest names; packing was interrupted, or the file is damaged"
    with pytest.raises(InputError, match=message):
        open_windows(copied, "train")


def test_any_changed_digit_of_the_manifest_is_found(copied):
    path = copied / "manifest.json"
    content = path.read_bytes()
    draw = random.Random(0)
    places = [place for place, byte in enumerate(content) if chr(byte) in "0123456789abcdef"]
    for place in draw.sample(places, 40):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(InputError, match=r"manifest\.json: (damaged|not a window manifest|window format)"):
            read_manifest(copied)
    path.write_bytes(content)
    read_manifest(copied)


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


@pytest.mark.parametrize("name", ["study [pilot]", "a*b"])
def test_the_name_of_a_folder_of_a_store_is_no_pattern(packed, name):
    files = fsspec.filesystem("memory")
    files.put(str(packed), f"/{name}/windows", recursive=True)
    files.put(str(packed), "/axb/windows", recursive=True)
    for index in files.find("/axb"):
        files.pipe_file(index, b"")
    try:
        windows = open_windows(f"memory://{name}/windows", "train")
        assert_equal(read_all(windows), read_all(open_windows(packed, "train")))
    finally:
        files.store.clear()  # `rm` would take the name for a pattern


def test_what_fails_in_a_store_is_one_line(in_memory):
    windows = open_windows(in_memory, "train")
    files = fsspec.filesystem("memory")
    shard, other = windows.rows[0]["shard"], windows.rows[13]["shard"]
    content = files.cat(f"/lab/windows/{shard}")
    files.pipe(f"/lab/windows/{shard}", content[:1000])
    with pytest.raises(InputError, match=rf"memory://lab/windows/{shard}: sample s0-a-000000: damaged \(1000 of"):
        load_sample(windows, 0)
    files.rm(f"/lab/windows/{shard}")
    with pytest.raises(InputError, match=rf"memory://lab/windows/{shard}: sample s0-a-000000: no such file"):
        load_sample(windows, 0)
    windows = open_windows(in_memory, "train")
    files.pipe(f"/lab/windows/{index_path(shard)}", b"x")
    files.rm(f"/lab/windows/{index_path(other)}")
    with pytest.raises(InputError, match=rf"memory://lab/windows/{index_path(shard)}: damaged \(not the index"):
        load_sample(windows, 0)
    with pytest.raises(
        InputError, match=rf"memory://lab/windows/{index_path(other)}: damaged \(No such file or directory\)"
    ):
        load_sample(windows, 13)
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
        shard = windows.rows[8]["shard"]
        files.pipe(f"lab/windows/{shard}", files.cat(f"lab/windows/{shard}")[:1000])
        places = windows.rows.of_session("s1")
        for place, left in ((places[0], 1000), (places[1], 0)):
            name = windows.rows[place]["window_id"]
            with pytest.raises(InputError, match=rf"^s3://lab/windows/{shard}: sample {name}: damaged \({left} of"):
                load_sample(windows, place)
        files.rm(f"lab/windows/{shard}")
        with pytest.raises(InputError, match=rf"^s3://lab/windows/{shard}: sample s1-a-000000: no such file"):
            load_sample(windows, places[0])


def test_other_formats_and_fields_are_refused_by_name(copied):
    fields = json.loads((copied / "manifest.json").read_text())["fields"]
    wrong = {**fields, "agent_audio": {"dtype": "float32", "shape": [8, 4, 3]}}
    for changes, message in (
        (
            {"format_version": 1},
            "manifest.json: window format 1, expected 2; python -m tools.upgrade upgrades the data folder$",
        ),
        ({"format_version": 3}, "manifest.json: window format 3, expected 2"),
        ({"fields": {**fields, "gaze": fields["labels"]}}, "fields differ from format 2 in: gaze"),
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
    with (copied / "runs.arrow").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="packing was interrupted"):
        open_windows(copied, "train")
    (copied / "runs.arrow").unlink()
    with pytest.raises(InputError, match="runs.arrow: cannot be read"):
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
