"""data: every window once per epoch, the same order after any resume, and nothing damaged or foreign gets through."""

import io
import json
import shutil
import tarfile
import zlib
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import pack
from pipelines.files import file_sha256
from pipelines.pack import PackParams
from schemas import windows as schema
from tests.small_corpus import Person, keep_in_process, write_corpus
from wanstreamer import data
from wanstreamer.data import Batch, batches, batches_once, load_sample, open_windows, read_manifest, step_indices
from wanstreamer.errors import InputError


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    """14 train windows in two shards, 4 test windows in one."""
    folder = tmp_path_factory.mktemp("packed") / "data"
    people = {"a": Person(words=[("red", 330, 470)], speech_units={2}), "b": Person()}
    write_corpus(folder, {"s0": ("train", 20, people), "s1": ("train", 15, people), "s2": ("test", 12, people)})

    with pytest.MonkeyPatch.context() as patch:
        keep_in_process(patch)
        pack.run(folder, PackParams(window_units=8, stride_units=4), workers=1)
    return folder / "windows"


@pytest.fixture
def copied(packed, tmp_path) -> Path:
    shutil.copytree(packed, tmp_path / "windows")
    return tmp_path / "windows"


def test_both_sides_of_the_shards_agree_on_the_format():
    assert (data.WINDOW_FORMAT, data.FIELDS, data.LABELS) == (
        schema.WINDOW_FORMAT,
        schema.WINDOW_FIELDS,
        schema.WINDOW_LABELS,
    )


def test_batch_has_the_documented_shapes_and_types(packed):
    batch = next(batches(packed, "train", 3, seed=0))
    shapes = {name: tuple(value.shape) for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
    assert shapes["agent_audio_BKNC"] == shapes["user_audio_BKNC"] == (3, 8, 4, 3)
    assert shapes["agent_video_BKCHW"] == (3, 8, 2, 3, 4) and shapes["agent_text_BKS"] == (3, 8, 2)
    assert shapes["labels_BKL"] == (3, 8, 4) and len(batch.window_id) == 3
    assert {shape for name, shape in shapes.items() if name.endswith("known_BK")} == {(3, 8)}
    assert batch.agent_audio_BKNC.dtype == torch.float32 and batch.user_text_BKS.dtype == torch.int64
    assert batch.user_audio_known_BK.dtype == torch.bool
    assert isinstance(batch.to("cpu"), Batch)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 3))
@settings(deadline=None)
def test_every_window_comes_once_per_epoch_across_batch_seams(num_windows, batch_size, seed):
    steps = -(-3 * num_windows // batch_size)
    stream = [index for step in range(steps) for index in step_indices(num_windows, batch_size, seed, step)]
    epochs = [stream[start : start + num_windows] for start in range(0, 3 * num_windows, num_windows)]
    assert all(sorted(epoch) == list(range(num_windows)) for epoch in epochs)


def test_order_is_a_global_shuffle_fixed_by_seed_and_epoch(packed):
    def epoch(seed: int, number: int) -> list[str]:
        made = batches(packed, "train", 7, seed=seed, start_step=2 * number)
        return [key for batch in islice(made, 2) for key in batch.window_id]

    first = epoch(0, 0)
    assert len(first) == 14 and first == epoch(0, 0)
    assert first != epoch(1, 0) and first != epoch(0, 1) and first != sorted(first)
    # Global: windows of both shards are mixed, not one shard after the other.
    assert len({key.split("-")[0] for key in first[:7]}) == 2


@pytest.mark.parametrize("prefetch", [0, 2])
def test_resume_continues_exactly(packed, prefetch):
    whole = [batch.window_id for batch in islice(batches(packed, "train", 4, seed=3, prefetch=prefetch), 9)]
    for start in (1, 3, 4, 8):
        rest = batches(packed, "train", 4, seed=3, start_step=start, prefetch=prefetch)
        assert [batch.window_id for batch in islice(rest, 9 - start)] == whole[start:]


def test_one_pass_meets_every_window_in_order(packed):
    windows = open_windows(packed, "train")
    seen = [key for batch in batches_once(windows, 4) for key in batch.window_id]
    assert seen == sorted(seen) and len(seen) == len(windows.rows) == 14


def test_prefetching_stops_with_its_reader_and_hands_over_errors(copied):
    import threading

    before = threading.active_count()
    made = batches(copied, "train", 2, seed=0)
    next(made)
    assert threading.active_count() == before + 1
    made.close()
    assert threading.active_count() == before
    for shard in copied.glob("*.tar"):
        shard.write_bytes(b"")
    with pytest.raises(InputError, match="sample s"):
        next(batches(copied, "train", 2, seed=0))


def replace_member(folder: Path, content: bytes) -> None:
    """Put `content` into the first member of the first train sample and make the index believe it."""
    table = pq.read_table(folder / "index.parquet")
    rows = table.to_pylist()
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
    crcs = [zlib.crc32(sample) if found is row else found["crc32"] for found in rows]
    index = table.schema.get_field_index("crc32")
    table = table.set_column(index, table.schema.field(index), [crcs])
    pq.write_table(table, folder / "index.parquet")
    change_manifest(folder, index_sha256=file_sha256(folder / "index.parquet"))


def change_manifest(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))


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


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_damaged_shards_name_shard_and_sample(copied, damage):
    path = copied / "s0.tar"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flip" else content[:900])
    with pytest.raises(InputError, match=r"s0\.tar: sample s0-a-000000: ") as caught:
        load_sample(open_windows(copied, "train"), 0)
    assert "\n" not in str(caught.value)


def test_other_formats_and_fields_are_refused_by_name(copied):
    fields = json.loads((copied / "manifest.json").read_text())["fields"]
    wrong = {**fields, "agent_audio": {"dtype": "float32", "shape": [8, 4, 3]}}
    for changes, said in (
        ({"format_version": 2}, "manifest.json: window format 2, expected 1"),
        ({"fields": {**fields, "gaze": fields["labels"]}}, "fields differ from format 1 in: gaze"),
        ({"fields": wrong}, r"field agent_audio is float32 \[8, 4, 3\], expected float16"),
        ({"shards": None}, "manifest.json: incomplete"),
    ):
        original = (copied / "manifest.json").read_text()
        change_manifest(copied, **changes)
        with pytest.raises(InputError, match=said):
            read_manifest(copied)
        (copied / "manifest.json").write_text(original)


def test_missing_and_unfinished_folders_say_what_to_do(copied, tmp_path):
    with pytest.raises(InputError, match="no window manifest; run the pack stage"):
        read_manifest(tmp_path / "nowhere")
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
    found = {sample["__key__"]: sample for sample in webdataset.WebDataset(paths, shardshuffle=False).decode()}
    windows = open_windows(packed, "train")
    assert sorted(found) == [row["window_id"] for row in windows.rows]
    for index, row in enumerate(windows.rows):
        for name, array in load_sample(windows, index).items():
            np.testing.assert_array_equal(found[row["window_id"]][f"{name}.npy"], array)


def test_shards_open_as_a_hugging_face_dataset(packed, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    import datasets

    paths = [str(packed / shard["path"]) for shard in read_manifest(packed).shards if shard["split"] == "test"]
    found = list(datasets.load_dataset("webdataset", data_files=paths, split="train", streaming=True))
    windows = open_windows(packed, "test")
    assert sorted(sample["__key__"] for sample in found) == [row["window_id"] for row in windows.rows]
    by_key = {sample["__key__"]: sample for sample in found}
    for index, row in enumerate(windows.rows):
        for name, array in load_sample(windows, index).items():
            np.testing.assert_array_equal(np.asarray(by_key[row["window_id"]][f"{name}.npy"]), array)
