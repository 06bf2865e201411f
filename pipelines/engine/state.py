"""What a stage has done: one row per key, in one file per bucket, `state/<stage>/b=0000.parquet`.

The file of a bucket is its commit record. Its metadata names the bucket's table files and shards with their checksums,
and the inputs that the keys were compared with: if these are unchanged, a run does not read the rows. Beside the
folder, `state/<stage>.json` is a small summary that does not depend on buckets and shards; DVC depends on it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.engine.buckets import bucket_name, bucket_of, overlapping
from pipelines.engine.files import hash_of, replace_file, write_json_atomic
from schemas.state import STATE, STATE_FORMAT

SETTLED = "settled "  # begins the fingerprint of a key that was rejected before any work: it has no part


@dataclass(frozen=True, kw_only=True)
class Extent:
    """A byte range of a shard with one key's samples, and their rows among those of the shard."""

    shard: str
    offset: int
    num_bytes: int
    sha256: str
    first_row: int
    num_rows: int


@dataclass(frozen=True, kw_only=True)
class KeyState:
    """What a stage made from one key."""

    key: str
    fingerprint: str
    tables: Mapping[str, tuple[int, str]] = field(default_factory=dict)  # name -> number of rows, hash of their content
    files: Mapping[str, tuple[int, str]] = field(default_factory=dict)  # path -> bytes, sha256
    segments: Sequence[Extent] = ()
    rejections: Sequence[tuple[str, str, str, int]] = ()  # key, reason, detail, count

    @property
    def is_worked(self) -> bool:
        """Whether a worker has made this, with present inputs: then it can be a part."""
        return bool(self.fingerprint) and not self.fingerprint.startswith(SETTLED)

    @property
    def content(self) -> str:
        """Hash of what was made: not of how, nor of where in the shards it is."""
        segments = [(extent.num_bytes, extent.sha256) for extent in self.segments]
        return hash_of([self.key, dict(self.tables), dict(self.files), segments, list(self.rejections)])


@dataclass(frozen=True, kw_only=True)
class BucketState:
    """The keys of a bucket, and the files in which their results are."""

    keys: Mapping[str, KeyState] = field(default_factory=dict)
    inputs: str = ""  # what the keys were compared with; empty: not all keys are done
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # name -> sha256, num_rows
    shards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # path -> sha256, num_bytes, ...
    canonical: bool = True  # whether the shards are those of a run from scratch
    counts: Mapping[str, Any] = field(default_factory=dict)  # keys, done, rejected by reason
    num_buckets: int = 0  # of the stage, when this was written


def content_sum(contents: Iterable[tuple[str, str]]) -> str:
    """A hash of (key, content hash) pairs that does not depend on their order: sums of buckets can be added."""
    total = sum(int(hashlib.sha256(f"{key} {content}".encode()).hexdigest(), 16) for key, content in contents)
    return f"{total % 2**256:064x}"


def add_sums(sums: Iterable[str]) -> str:
    return f"{sum(int(value, 16) for value in sums) % 2**256:064x}"


def state_file(data: Path, stage: str, bucket: int) -> Path:
    return data / "state" / stage / f"{bucket_name(bucket)}.parquet"


def summary_file(data: Path, stage: str) -> Path:
    return data / "state" / f"{stage}.json"


def damage_note(data: Path, stage: str, bucket: int) -> Path:
    """Exists if a reader has found a damaged table of this bucket."""
    return data / "state" / stage / f"{bucket_name(bucket)}.damaged"


def key_note(data: Path, stage: str, key: str) -> Path:
    """Exists if a reader has found that what this stage made from the key is damaged."""
    return data / "parts" / stage / f"{key}.damaged"


def note_damage(data: Path, stage: str, key: str) -> None:
    """What this stage made from the key is damaged: from now on, DVC and the stage know that it must be made again."""
    summary_file(data, stage).unlink(missing_ok=True)
    note = key_note(data, stage, key)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.touch()


def num_state_buckets(data: Path, stage: str) -> int:
    """0 if the stage has no state yet. A missing file counts: its bucket is there, and all of its keys are undone."""
    folders = (data / "state" / stage, data / "tables" / "rejections" / stage)
    buckets = sorted({int(path.stem[2:]) for folder in folders for path in folder.glob("b=*.parquet")})
    if not buckets or not folders[0].is_dir():
        return 0
    at_least = 1 << buckets[-1].bit_length()
    for bucket in buckets:  # drivers may have done some of the buckets only, but each file knows the number
        num_buckets = read_about(data, stage, bucket).num_buckets
        if num_buckets > at_least:
            num_buckets = read_state(data, stage, bucket).num_buckets  # its checksum is right, too
        if num_buckets:
            return max(at_least, num_buckets)
    return at_least


def write_state(path: Path, state: BucketState) -> None:
    """Write a bucket's state to `path`, with a checksum over all of it."""
    rows = [_row(state.keys[key]) for key in sorted(state.keys)]
    about = {
        "inputs": state.inputs,
        "tables": {name: dict(entry) for name, entry in state.tables.items()},
        "shards": {name: dict(entry) for name, entry in state.shards.items()},
        "canonical": state.canonical,
        "counts": dict(state.counts),
        "num_buckets": state.num_buckets,
    }
    schema = STATE.with_metadata(
        {
            "format": str(STATE_FORMAT),
            "about": json.dumps(about, sort_keys=True),
            "sha256": hash_of([rows, about]),
            "place": _place(path),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")


def _place(path: Path) -> str:
    """Stage and bucket of a state file, also under its temporary name."""
    return f"{path.parent.name}/{path.name.strip('.').partition('.')[0]}"


def _is_at(path: Path, metadata: Mapping[bytes, bytes]) -> bool:
    """Whether a state file is that of its own bucket, not of another one that was copied here."""
    return metadata.get(b"place", b"").decode() == _place(path)


def note_inputs(data: Path, stage: str, bucket: int, inputs: str) -> None:
    """Remember that all keys of the bucket are done with these inputs."""
    if read_about(data, stage, bucket).inputs != inputs:
        state = read_state(data, stage, bucket)
        final = state_file(data, stage, bucket)
        temporary = final.with_name(f".{final.name}.tmp")
        write_state(temporary, replace(state, inputs=inputs))
        replace_file(temporary, final)


def state_sha256(file: Path | BinaryIO) -> str:
    """The checksum that a state file has in itself. Raises OSError, ValueError, KeyError or pa.ArrowException."""
    return str(pq.read_metadata(file).metadata[b"sha256"].decode())


def read_state(data: Path, stage: str, bucket: int) -> BucketState:
    """The state of a bucket; empty if there is none, or if it is damaged: then all its keys are undone."""
    path = state_file(data, stage, bucket)
    return read_state_of(path, path)


def read_state_of(file: Path | BinaryIO, path: Path) -> BucketState:
    """As `read_state`, for the content of a state file whose place is `path`."""
    try:
        table = pq.read_table(file, partitioning=None)
        metadata = table.schema.metadata
        about = json.loads(metadata[b"about"])
        rows = table.to_pylist()
        if metadata[b"sha256"].decode() != hash_of([rows, about]) or not _is_at(path, metadata):
            return BucketState()
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return BucketState()
    return BucketState(keys={row["key"]: _key_state(row) for row in rows}, **about)


def read_about(data: Path, stage: str, bucket: int) -> BucketState:
    """As `read_state`, without the keys: the cost does not depend on their number."""
    try:
        path = state_file(data, stage, bucket)
        metadata = pq.read_metadata(path).metadata
        about = json.loads(metadata[b"about"])
        if not _is_at(path, metadata):
            return BucketState()
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return BucketState()
    return BucketState(**about)


def keys_of(data: Path, stage: str, bucket: int, num_buckets: int) -> dict[str, KeyState]:
    """The keys of bucket `bucket` of `num_buckets`, whatever number of buckets the stage has."""
    own = num_state_buckets(data, stage)
    if not own:
        return {}
    return {
        key: state
        for other in overlapping(bucket, num_buckets, own)
        for key, state in read_state(data, stage, other).keys.items()
        if bucket_of(key, num_buckets) == bucket
    }


def sum_up(data: Path, stage: str, tables: Sequence[str], *, whole: bool) -> dict[str, Any]:
    """The counts over all buckets. If the stage is `whole`, all of its keys are done, and its summary is written."""
    counts, about = counts_of(data, stage, tables, range(num_state_buckets(data, stage)))
    if whole:
        content = {
            table: add_sums(state.tables[table]["content"] for state in about) for table in (*tables, "rejections")
        }
        write_json_atomic(summary_file(data, stage), {"format": STATE_FORMAT, **counts, "content": content})
    else:
        summary_file(data, stage).unlink(missing_ok=True)
    return counts


def counts_of(
    data: Path, stage: str, tables: Sequence[str], buckets: Iterable[int]
) -> tuple[dict[str, Any], list[BucketState]]:
    """The counts over those of the buckets that are there, and these without their keys."""
    about = [state for bucket in buckets if (state := read_about(data, stage, bucket)).counts]
    rejected: dict[str, int] = {}
    for state in about:
        for reason, count in state.counts["rejected"].items():
            rejected[reason] = rejected.get(reason, 0) + count
    counts = {
        "keys": sum(state.counts["keys"] for state in about),
        "done": sum(state.counts["done"] for state in about),
        "rejected": dict(sorted(rejected.items())),
        "rows": {table: sum(state.tables[table]["num_rows"] for state in about) for table in tables},
    }
    return counts, about


def inputs_of(data: Path, stage: str, own: int, tables: Iterable[str], bucket: int, num_buckets: int) -> str:
    """A hash that changes when the content of some tables of this stage changes in a bucket; cheap to get.

    `own`: the stage's number of buckets. To find it takes a listing, so one who asks for all buckets finds it once.
    """
    about = [read_about(data, stage, other) for other in overlapping(bucket, num_buckets, own)] if own else []
    return hash_of([[state.tables.get(name, {}).get("content", "") for name in tables] for state in about])


def _row(state: KeyState) -> dict[str, Any]:
    return {
        "key": state.key,
        "fingerprint": state.fingerprint,
        "tables": [
            {"name": name, "num_rows": num_rows, "sha256": sha256}
            for name, (num_rows, sha256) in sorted(state.tables.items())
        ],
        "files": [
            {"path": path, "num_bytes": num_bytes, "sha256": sha256}
            for path, (num_bytes, sha256) in sorted(state.files.items())
        ],
        "segments": [asdict(extent) for extent in state.segments],
        "rejections": [
            {"key": key, "reason": reason, "detail": detail, "count": count}
            for key, reason, detail, count in state.rejections
        ],
    }


def _key_state(row: Mapping[str, Any]) -> KeyState:
    return KeyState(
        key=row["key"],
        fingerprint=row["fingerprint"],
        tables={entry["name"]: (entry["num_rows"], entry["sha256"]) for entry in row["tables"]},
        files={entry["path"]: (entry["num_bytes"], entry["sha256"]) for entry in row["files"]},
        segments=tuple(Extent(**extent) for extent in row["segments"]),
        rejections=tuple(
            (entry["key"], entry["reason"], entry["detail"], entry["count"]) for entry in row["rejections"]
        ),
    )
