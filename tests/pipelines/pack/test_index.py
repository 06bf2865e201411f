"""pack/index: equal windows give equal bytes and hashes, and what does not belong together is refused."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.engine.tables import to_table
from pipelines.pack import index
from pipelines.pack.index import Run, SessionDigest, ShardLine, read_runs, shard_runs, write_manifest, write_shard_index
from pipelines.pack.stage import PackParams
from schemas.windows import RUNS, WINDOWS
from wanstreamer.windows.manifest import manifest_hash, read_manifest


def row(session_id: str, agent: str, start_unit: int, place: int, **changes: object) -> dict[str, object]:
    return {
        "window_id": f"{session_id}-{agent}-{start_unit:06d}", "session_id": session_id, "split": "train",
        "agent": agent, "user": "b" if agent == "a" else "a", "agent_speaker_id": f"p-{agent}",
        "user_speaker_id": "p", "start_unit": start_unit, "num_units": 32, "shard": "windows/x.tar",
        "offset": 100 * place, "num_bytes": 100, "crc32": place, "agent_speech_ms": 5,
        "user_audio_masked_units": 0, "agent_audio_masked_units": 0, "licence": None, "consent": None,
    } | changes  # fmt: skip


def rows_of(*keys: tuple[str, str, int]) -> list[dict[str, object]]:
    return [row(*key, place) for place, key in enumerate(keys)]


KEYS = [("s9", "a", 0), ("s9", "a", 16), ("s9", "b", 0), ("s1", "a", 0), ("s1", "a", 8), ("s5", "b", 3)]


def read(path: Path) -> pa.Table:
    return pa.ipc.open_file(path).read_all()


def test_an_index_has_the_rows_of_the_table_windows_in_the_order_of_the_tar(tmp_path):
    rows = to_table("windows", rows_of(*KEYS))
    sha256 = write_shard_index(tmp_path / "0000-ab.tar", rows)
    assert [path.name for path in tmp_path.iterdir()] == ["0000-ab.arrow"]
    stored = read(tmp_path / "0000-ab.arrow")
    assert stored.column_names == [name for name in WINDOWS.schema.names if name != "shard"]
    assert stored.to_pylist() == rows.drop_columns(["shard"]).to_pylist()
    repeated = {field.name for field in stored.schema if pa.types.is_dictionary(field.type)}
    assert repeated == {*index.REPEATED}
    assert len(stored["agent"].chunk(0).dictionary) == 2
    assert len(sha256) == 64


def test_equal_rows_give_equal_bytes_however_they_lie_in_memory(tmp_path):
    rows = rows_of(*KEYS)
    rows[1]["consent"], rows[2]["licence"], rows[4]["consent"] = ["train", "show"], "CC0-1.0", []
    table = to_table("windows", rows)
    before = to_table("windows", rows_of(("s0", "a", 0), ("s0", "a", 1), ("s0", "a", 2)))
    inside = pa.concat_tables([before, table, before]).combine_chunks().slice(3, len(rows))
    in_chunks = pa.concat_tables([table.slice(0, 2), table.slice(2, 1), table.slice(3)])
    encoded = pa.concat_tables([before, table]).combine_chunks()
    for name in index.REPEATED:
        place = encoded.schema.get_field_index(name)
        encoded = encoded.set_column(place, name, encoded[name].combine_chunks().dictionary_encode())
    backwards = table.take(pa.array(np.arange(len(rows))[::-1])).take(pa.array(np.arange(len(rows))[::-1]))
    described = table.replace_schema_metadata({"meaning": "in other words"})
    contents = set()
    for number, content in enumerate(
        (table, inside, in_chunks, encoded.slice(3), backwards, described, table.select(reversed(table.column_names)))
    ):
        sha256 = write_shard_index(tmp_path / f"{number}.tar", content)
        contents.add((sha256, (tmp_path / f"{number}.arrow").read_bytes()))
    assert len(contents) == 1
    changed = to_table("windows", [*rows[:-1], rows[-1] | {"crc32": 6}])
    assert write_shard_index(tmp_path / "other.tar", changed) not in {sha256 for sha256, _ in contents}


def test_known_runs_are_those_of_shards_that_have_not_changed(tmp_path):
    listed = {shard.path: shard for shard in SHARDS}
    assert index.known_runs(tmp_path, listed) == {}
    write_manifest(tmp_path, SHARDS, RUNS_OF_SHARDS, DIGESTS, **SETTINGS)
    (tmp_path / "manifest.json").rename(tmp_path / index.BEFORE)
    by_shard = {path: sorted(run for run in RUNS_OF_SHARDS if run.shard == path) for path in listed}
    assert index.known_runs(tmp_path, listed) == by_shard
    changed = listed | {"test/a.tar": listed["test/a.tar"]._replace(index_sha256="f" * 64)}
    assert index.known_runs(tmp_path, changed) == {path: by_shard[path] for path in ("train/a.tar", "train/b.tar")}
    assert index.known_runs(tmp_path, {"train/a.tar": listed["train/a.tar"]}) == {
        "train/a.tar": by_shard["train/a.tar"]
    }
    (tmp_path / "runs.arrow").write_bytes(b"x" + (tmp_path / "runs.arrow").read_bytes()[1:])
    assert index.known_runs(tmp_path, listed) == {}, "runs.arrow is damaged"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "or there are none"),
        (rows_of(*KEYS)[::-1], "not in the order of the tar"),
        ([row("s", "a", 0, 0), row("s", "a", 9, 1, offset=99)], "overlap"),
        ([row("s", "a", 0, 0), row("t", "a", 0, 1, split="test")], "more than one split"),
        (rows_of(("s", "a", 16), ("s", "a", 0)), "s-a-000000 is not in the order"),
        (rows_of(("t", "a", 0), ("s", "b", 0), ("s", "a", 16)), "s-a-000016 is not in the order"),
        (rows_of(("s", "a", 0), ("s", "a", 0)), "s-a-000000 is not in the order"),
    ],
)
def test_rows_that_a_reader_would_misplace_are_refused(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        write_shard_index(tmp_path / "x.tar", to_table("windows", rows))


def test_runs_are_the_sessions_of_a_shard(tmp_path):
    assert shard_runs("train/x.tar", to_table("windows", rows_of(*KEYS))) == [
        Run("train", "s9", "a", "b", 0, "train/x.tar", 0, 3),
        Run("train", "s1", "a", "b", 0, "train/x.tar", 3, 2),
        Run("train", "s5", "b", "a", 3, "train/x.tar", 5, 1),
    ]


def test_the_content_hash_depends_on_windows_and_not_on_their_order():
    digests = [
        SessionDigest(split, f"s{number}", f"{number}" * 64) for number in range(9) for split in ("test", "train")
    ]
    hashes = index.content_sha256(digests)
    assert index.content_sha256(digests[::-1]) == hashes and sorted(hashes) == ["test", "train"]
    assert hashes["test"] == hashes["train"]  # the split is no part of it
    changed = index.content_sha256([*digests[1:], digests[0]._replace(sha256="f" * 64)])
    assert changed["train"] == hashes["train"] and changed["test"] != hashes["test"]
    assert index.content_sha256(digests[:-2])["test"] != hashes["test"]


SHARDS = [ShardLine(f"train/{name}.tar", "train", 6, 4096, name * 64, "c" * 64) for name in "ba"]
SHARDS.append(ShardLine("test/a.tar", "test", 2, 1000, "d" * 64, "e" * 64))
RUNS_OF_SHARDS = [
    *(run for shard in SHARDS[:2] for run in shard_runs(shard.path, to_table("windows", rows_of(*KEYS)))),
    Run("test", "u", "a", "b", 0, "test/a.tar", 0, 2),
]
RUNS_OF_SHARDS[3:6] = [run._replace(session_id=f"{run.session_id}x") for run in RUNS_OF_SHARDS[3:6]]
DIGESTS = [SessionDigest(run.split, run.session_id, "0" * 64) for run in RUNS_OF_SHARDS]
SETTINGS = {
    "params": PackParams(), "shapes": {"audio": [4, 16], "video": [32, 3, 4]},
    "vae_hashes": {"audio": "a" * 64, "video": None}, "vocab_size": 300, "tokenizer_sha256": "t" * 64,
}  # fmt: skip


def test_runs_and_manifest_are_sorted_and_do_not_depend_on_the_order_they_come_in(tmp_path):
    hours = write_manifest(tmp_path, SHARDS, RUNS_OF_SHARDS, DIGESTS, **SETTINGS)
    again = tmp_path / "again"
    write_manifest(again, SHARDS[::-1], RUNS_OF_SHARDS[::-1], DIGESTS[::-1], **SETTINGS)
    for name in ("runs.arrow", "manifest.json"):
        assert (tmp_path / name).read_bytes() == (again / name).read_bytes()
    runs = read(tmp_path / "runs.arrow")
    assert [(field.name, field.type) for field in runs.schema] == [(field.name, field.type) for field in RUNS]
    sorted_sessions = [("test", "u"), *(("train", name) for name in ("s1", "s1x", "s5", "s5x", "s9", "s9x"))]
    assert [tuple(row.values())[:2] for row in runs.to_pylist()] == sorted_sessions
    manifest = read_manifest(tmp_path)
    assert [shard["path"] for shard in manifest.shards] == ["test/a.tar", "train/a.tar", "train/b.tar"]
    assert read_runs(tmp_path, manifest.shards) == sorted(RUNS_OF_SHARDS)
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert content["windows"] == {"test": 2, "train": 12} and content["hours"] == hours == manifest.hours
    assert hours == {"test": round(2 * 5.12 / 3600, 4), "train": round(12 * 5.12 / 3600, 4)}
    assert content["manifest_sha256"] == manifest_hash(content)
    assert manifest.field_shapes["agent_audio"] == (32, 4, 16) and manifest.field_shapes["user_text"] == (32, 2)
    assert manifest.field_shapes["user_video"] == (32, 32, 3, 4) and manifest.field_shapes["labels"] == (32, 4)
    assert manifest.field_shapes["user_text_known"] == (32,)


@pytest.mark.parametrize(
    ("shards", "runs", "digests", "message"),
    [
        (SHARDS[1:], RUNS_OF_SHARDS, DIGESTS, r"shards and runs differ in .*train/b\.tar"),
        (SHARDS, RUNS_OF_SHARDS[1:], DIGESTS, r"shards and runs differ in .*train/b\.tar"),
        (SHARDS, RUNS_OF_SHARDS, DIGESTS[1:], "sessions and runs differ in .*s9"),
        (SHARDS, RUNS_OF_SHARDS, [*DIGESTS, SessionDigest("test", "new", "0")], "sessions and runs differ in .*new"),
        (SHARDS, RUNS_OF_SHARDS, [*DIGESTS, DIGESTS[0]], r"session \('train', 's9'\) is listed twice"),
        ([*SHARDS, SHARDS[0]], RUNS_OF_SHARDS, DIGESTS, "train/b.tar is listed twice"),
    ],
)
def test_shards_runs_and_sessions_that_do_not_belong_together_are_refused(tmp_path, shards, runs, digests, message):
    with pytest.raises(ValueError, match=message):
        write_manifest(tmp_path, shards, runs, digests, **SETTINGS)
    assert not (tmp_path / "manifest.json").exists()
