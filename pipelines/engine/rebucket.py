"""Writes the tables and state of a stage again with another number of buckets. Shards stay as they are."""

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from pipelines.engine.buckets import bucket_of, overlapping
from pipelines.engine.commit import JOURNAL, commit
from pipelines.engine.merge import NewBucket, sessions_in
from pipelines.engine.salvage import groups, salvaged
from pipelines.engine.state import num_state_buckets, state_file
from pipelines.engine.tables import bucket_file

ALL = f"{JOURNAL}all.json"


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
        new = NewBucket(data, stage, bucket, num_buckets, keys)
        for table in tables:
            new.add_table(table, _sessions([bucket_file(data, table, source) for source in sources], alive))
        used = {extent.shard for state in keys.values() for extent in state.segments}
        new.finish(
            inputs="",
            shards={name: entry for source in sources for name, entry in old[source].shards.items() if name in used},
            canonical=not used,
        )
        renames |= new.renames
    surplus = range(num_buckets, before)
    removes = [
        path
        for bucket in surplus
        for path in (
            state_file(data, stage, bucket),
            *(bucket_file(data, table, bucket) for table in (*tables, f"rejections/{stage}")),
        )
    ]
    commit(data, state_file(data, stage, 0).with_name(ALL), renames, removes)


def has_rebucketing(folder: Path) -> bool:
    """Whether a killed run has left half of the buckets in the new form."""
    return (folder / ALL).exists()


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
