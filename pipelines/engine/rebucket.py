"""Writes the tables and state of a stage again with another number of buckets. Shards stay as they are."""

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.engine.buckets import bucket_name, bucket_of, overlapping
from pipelines.engine.commit import JOURNAL, commit
from pipelines.engine.files import file_sha256
from pipelines.engine.merge import entry_of, groups, rejection_rows, salvaged, sessions_in, write_pieces, write_plain
from pipelines.engine.state import BucketState, content_sum, num_state_buckets, state_file, write_state
from pipelines.engine.tables import bucket_file


def rebucket(data: Path, stage: str, tables: Sequence[str], num_buckets: int) -> None:
    """Split or join buckets until there are `num_buckets`, in one commit."""
    before = num_state_buckets(data, stage)
    old = [salvaged(data, stage, bucket, tables) for bucket in range(before)]
    renames: dict[Path, Path] = {}
    for bucket in range(num_buckets):
        sources = overlapping(bucket, num_buckets, before)
        keys = {
            key: state
            for source in sources
            for key, state in old[source].keys.items()
            if bucket_of(key, num_buckets) == bucket
        }
        alive = {key for key, state in keys.items() if state.fingerprint}
        entries: dict[str, Any] = {}
        for table in tables:
            final = bucket_file(data, table, bucket)
            temporary = _temporary(final)
            paths = [bucket_file(data, table, source) for source in sources]
            num_rows = write_pieces(temporary, table, _sessions(paths, alive))
            renames[temporary] = final
            entries[table] = {
                "sha256": file_sha256(temporary),
                "num_bytes": temporary.stat().st_size,
                "num_rows": num_rows,
                "content": content_sum(
                    (key, state.tables[table][1]) for key, state in keys.items() if table in state.tables
                ),
            }
        final = bucket_file(data, f"rejections/{stage}", bucket)
        rejections, rejected = rejection_rows(stage, keys.values())
        write_plain(_temporary(final), rejections)
        renames[_temporary(final)] = final
        entries["rejections"] = entry_of(_temporary(final), rejections)
        used = {extent.shard for state in keys.values() for extent in state.segments}
        state = BucketState(
            keys=keys,
            tables=entries,
            shards={name: entry for source in sources for name, entry in old[source].shards.items() if name in used},
            canonical=not used,
            counts={
                "keys": len(keys),
                "done": sum(bool(state.tables) for state in keys.values()),
                "rejected": rejected,
                "files": sum(len(state.files) for state in keys.values()),
            },
        )
        final = state_file(data, stage, bucket)
        write_state(_temporary(final), state)
        renames[_temporary(final)] = final
    surplus = range(num_buckets, before)
    removes = [
        path
        for bucket in surplus
        for path in (
            state_file(data, stage, bucket),
            *(bucket_file(data, table, bucket) for table in (*tables, f"rejections/{stage}")),
        )
    ]
    commit(data, state_file(data, stage, 0).with_name(f"{JOURNAL}{bucket_name(0)}-all.json"), renames, removes)


def _temporary(final: Path) -> Path:
    return final.with_name(f".{final.name}.tmp")


def _sessions(paths: Sequence[Path], keys: set[str]) -> Iterator[pa.Table]:
    """The rows of these keys in the order of sessions, from files that are each in that order."""
    streams = [_pieces(path, keys, number) for number, path in enumerate(paths)]
    for _, _, rows in heapq.merge(*streams, key=lambda piece: piece[:2]):
        yield rows


def _pieces(path: Path, keys: set[str], number: int) -> Iterator[tuple[str, int, pa.Table]]:
    for rows in groups(path):
        for session, start, stop in sessions_in(rows):
            if session in keys:
                yield session, number, rows.slice(start, stop - start)
