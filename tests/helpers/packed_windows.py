"""A packed folder of windows: 14 of train in two shards, 4 of test in one. And the same windows in any other shards."""

import hashlib
import json
import shutil
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipelines.engine.run import RunParams
from pipelines.engine.tables import to_table
from pipelines.pack import stage as pack
from pipelines.pack.index import Run, SessionDigest, ShardLine, shard_runs, write_manifest, write_shard_index
from pipelines.pack.stage import PackParams
from tests.helpers.small_corpus import Person, keep_in_process, write_corpus
from wanstreamer.windows.index import open_windows
from wanstreamer.windows.manifest import manifest_hash, read_manifest


class Sample(NamedTuple):
    """A window's row of the table `windows`, and its bytes in the shard."""

    row: dict[str, Any]
    content: bytes


def pack_windows(home: Path) -> Path:
    people = {"a": Person(words=[("red", 330, 470)], speech_units={2}), "b": Person()}
    corpus = {"s0": ("train", 20, people), "s1": ("train", 15, people), "s2": ("test", 12, people)}
    write_corpus(home / "data", corpus)
    with pytest.MonkeyPatch.context() as patch:
        keep_in_process(patch)
        pack.run(home / "data", PackParams(window_units=8, stride_units=4), RunParams(workers=1))
    return lay_out(home / "data" / "windows", [["s0"], ["s1"], ["s2"]])


def lay_out(folder: Path, shards: Iterable[Iterable[str]], copy: Path | None = None) -> Path:
    """Write the windows again, the sessions of each list into one shard; in place, or as `copy`."""
    samples = read_samples(folder)
    wanted = [[sample for name in names for sample in samples if sample.row["session_id"] == name] for names in shards]
    return write_shards(folder, wanted, copy)


def read_samples(folder: Path) -> list[Sample]:
    """All windows, sorted by split and then in their order."""
    samples = []
    for split in sorted(read_manifest(folder).content_sha256):
        for row in open_windows(folder, split).rows:
            with (folder / row["shard"]).open("rb") as file:
                file.seek(row["offset"])
                samples.append(Sample(row, file.read(row["num_bytes"])))
    return samples


def write_shards(folder: Path, shards: Sequence[Sequence[Sample]], copy: Path | None = None) -> Path:
    """Write samples into these shards, in this order; everything else is as in the folder's manifest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    if copy is None:
        shutil.rmtree(folder)
    return write_windows(copy or folder, shards, manifest)


def write_windows(folder: Path, shards: Sequence[Sequence[Sample]], like: Mapping[str, Any]) -> Path:
    """A folder of windows with these shards; parameters and shapes are those of the manifest `like`."""
    lines: list[ShardLine] = []
    runs: list[Run] = []
    contents: dict[tuple[str, str], dict[str, bytes]] = {}  # split, session -> window_id -> bytes
    for number, shard in enumerate(shards):
        tar = b"".join(content for _, content in shard) + bytes(1024)
        sha256 = hashlib.sha256(tar).hexdigest()
        split = shard[0].row["split"]
        path = f"{split}/{number:04d}-{sha256[:16]}.tar"
        (folder / split).mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(tar)
        rows, offset = [], 0
        for row, content in shard:
            place = {"offset": offset, "num_bytes": len(content), "crc32": zlib.crc32(content)}
            rows.append(row | place | {"shard": path})
            offset += len(content)
            contents.setdefault((split, row["session_id"]), {})[row["window_id"]] = content
        rows = [{name: value for name, value in row.items() if name != "schema_version"} for row in rows]
        table = to_table("windows", rows)
        lines.append(ShardLine(path, split, len(shard), len(tar), sha256, write_shard_index(folder / path, table)))
        runs += shard_runs(path, table)
    digests = [
        SessionDigest(*key, hashlib.sha256(b"".join(content for _, content in sorted(windows.items()))).hexdigest())
        for key, windows in contents.items()
    ]
    shapes = {kind: like["fields"][f"agent_{kind}"]["shape"][1:] for kind in ("audio", "video")}
    params = PackParams(
        **{name: like[name] for name in ("window_units", "text_slots", "text_lead_units")}, stride_units=1
    )
    write_manifest(
        folder, lines, runs, digests,
        params=params, shapes=shapes, vae_hashes={kind: like[f"{kind}_codec"] for kind in ("audio", "video")},
        vocab_size=like["vocab_size"], tokenizer_sha256=like["tokenizer_sha256"],
    )  # fmt: skip
    return folder


def change_manifest(folder: Path, **changes: object) -> None:
    """Change entries of a manifest and its hash of itself."""
    manifest = json.loads((folder / "manifest.json").read_text()) | changes
    (folder / "manifest.json").write_text(json.dumps(manifest | {"manifest_sha256": manifest_hash(manifest)}))


def shard_of(folder: Path, session_id: str, split: str = "train") -> Path:
    """The shard that a session's windows lie in."""
    windows = open_windows(folder, split)
    return folder / windows.rows[windows.rows.of_session(session_id)[0]]["shard"]


def rewrite(folder: Path, change: Callable[[Sample], Sample]) -> None:
    """Write every window as `change` makes it, in the same shards."""
    shards: dict[str, list[Sample]] = {}
    for sample in read_samples(folder):
        shards.setdefault(sample.row["shard"], []).append(change(sample))
    write_shards(folder, list(shards.values()))
