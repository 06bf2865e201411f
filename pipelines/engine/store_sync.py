"""Before a run: the store gets what is done here and it does not have, and loses what has left.

The part of a key is gone once it is merged. It is put together again from the bucket: its rows from the tables, its
segments from the shards, its files from their places. All must have the hashes that the state recorded; a key with
other content is marked as damaged, and the run makes it again.
"""

import itertools
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from pipelines.engine.files import file_sha256, hash_of_bytes
from pipelines.engine.merge import merged_segments, sessions_in
from pipelines.engine.parts import Part, part_path, read_part, scratch_home, write_zip
from pipelines.engine.plan import BucketPlan
from pipelines.engine.remote import PARALLEL_REQUESTS
from pipelines.engine.salvage import groups, rows_as_in_part
from pipelines.engine.shards import DamagedSegment, write_segment
from pipelines.engine.state import KeyState, damage_note, key_note, read_state
from pipelines.engine.store import Copies, Store, drop_others, drop_part, in_parallel, is_stored, put_local, put_part
from pipelines.engine.tables import bucket_file

Stored = Mapping[str, Copies]


class DamagedKey(Exception):
    """What the data folder has of a key is not what was written."""


def sync_bucket(
    store: Store, data: Path, stage: str, tables: Iterable[str], bucket: int, plan: BucketPlan | None, stored: Stored
) -> bool:
    """Bring the store up to date with what is done in a bucket. `plan`: None if nothing has changed in it.

    Args:
        stored: The store's copies of the keys of this bucket.

    Returns whether something here turned out to be damaged, so that the bucket must be planned again.
    """
    state = read_state(data, stage, bucket)
    keys = set(state.keys if plan is None else plan.keys)
    current = {key: own for key, own in state.keys.items() if key in keys and own.is_worked}
    rejected = {key for key, own in state.keys.items() if own.fingerprint and not own.is_worked}
    waiting: frozenset[str] = frozenset()
    if plan is not None:
        changed = plan.pending | plan.parts | set(plan.settled)
        current = {key: own for key, own in current.items() if key not in changed}
        rejected = (rejected - plan.pending - plan.parts) | set(plan.settled)
        waiting = plan.parts
    gone = sorted(key for key in stored if key not in keys or key in rejected)
    in_parallel(store, lambda key: drop_part(store, stage, key), gone)
    has = {key for key, own in current.items() if is_stored(stored.get(key, {}), own.fingerprint, _sizes(own))}
    surplus = sorted(key for key in has if len(stored[key]) > 1)
    in_parallel(store, lambda key: drop_others(store, stage, key, current[key].fingerprint, stored[key]), surplus)
    in_parallel(store, lambda key: _put_waiting(store, data, stage, key, stored.get(key, {})), sorted(waiting))
    missing = {key: current[key] for key in sorted(set(current) - has)}
    return not _put_merged(store, data, stage, tables, bucket, missing, stored)


def _sizes(state: KeyState) -> list[int]:
    return [size for size, _ in state.files.values()] + [extent.num_bytes for extent in state.segments]


def _put_waiting(store: Store, data: Path, stage: str, key: str, copies: Copies) -> None:
    """A part that is not merged yet."""
    part = read_part(part_path(data / "parts" / stage, key))
    if part is None:
        return
    sizes = [size for size, _ in part.files.values()] + [segment["num_bytes"] for segment in part.segments]
    if is_stored(copies, part.fingerprint, sizes):
        drop_others(store, stage, key, part.fingerprint, copies)
    else:
        put_local(store, data, stage, key, copies)


def _put_merged(
    store: Store, data: Path, stage: str, tables: Iterable[str], bucket: int, missing: Mapping[str, KeyState],
    stored: Stored,
) -> bool:  # fmt: skip
    """Put keys of a bucket; false if something is damaged."""
    if not missing:
        return True
    intact = True

    def put(item: tuple[str, dict[str, pa.Table]]) -> bool:
        key, rows = item
        scratch = scratch_home(data / "parts" / stage, key) / "store"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            part, zipped, segments = part_again(data, missing[key], rows, scratch)
            files = {name: data / name for name in part.files}
            put_part(store, stage, part, zipped, files, segments, stored.get(key, {}))
        except DamagedKey:
            key_note(data, stage, key).touch()
            return False
        finally:
            shutil.rmtree(scratch.parent)
        return True

    rows_by_key = rows_of_keys(data, tables, bucket, missing)
    try:
        while together := list(itertools.islice(rows_by_key, PARALLEL_REQUESTS)):
            intact &= all(in_parallel(store, put, together))
    except pa.ArrowException:  # a table is damaged
        damage_note(data, stage, bucket).touch()
        return False
    return intact


def rows_of_keys(
    data: Path, tables: Iterable[str], bucket: int, keys: Iterable[str]
) -> Iterator[tuple[str, dict[str, pa.Table]]]:
    """The rows of keys, sorted, from the tables of a bucket; the tables are read once, and one row group at a time."""
    streams = {table: _sessions(bucket_file(data, table, bucket)) for table in tables}
    heads = {table: next(stream, None) for table, stream in streams.items()}
    for key in sorted(keys):
        rows = {}
        for table, stream in streams.items():
            head = heads[table]
            while head is not None and head[0] < key:
                head = next(stream, None)
            if head is not None and head[0] == key:
                rows[table] = head[1]
            heads[table] = head
        yield key, rows


def _sessions(path: Path) -> Iterator[tuple[str, pa.Table]]:
    pieces = ((key, rows.slice(start, stop - start)) for rows in groups(path) for key, start, stop in sessions_in(rows))
    for key, own in itertools.groupby(pieces, key=lambda piece: piece[0]):
        yield key, pa.concat_tables([rows for _, rows in own])


def part_again(
    data: Path, state: KeyState, rows: Mapping[str, pa.Table], scratch: Path
) -> tuple[Part, Path, list[Path]]:
    """The part of a merged key as its worker wrote it: its description, its file and its segments.

    Raises DamagedKey if rows, segments or files are not those that the state names.
    """
    content = {}
    for table, (num_rows, sha256) in state.tables.items():
        try:
            content[table] = rows_as_in_part(table, rows[table].to_pylist() if table in rows else [], state)
        except (ValueError, KeyError) as error:
            raise DamagedKey(state.key) from error
        if hash_of_bytes(content[table]) != sha256 or (table in rows and len(rows[table]) != num_rows):
            raise DamagedKey(state.key)
    sources = merged_segments(data, state)
    segments = [scratch / f"{number}.segment" for number in range(len(sources))]
    try:
        for path, source in zip(segments, sources, strict=True):
            write_segment(path, source)
        if any(file_sha256(data / name) != sha256 for name, (_, sha256) in state.files.items()):
            raise DamagedKey(state.key)
    except (FileNotFoundError, DamagedSegment) as error:
        raise DamagedKey(state.key) from error
    described = [
        {
            "folder": source.folder, "num_bytes": source.num_bytes, "sha256": source.sha256,
            "num_rows": source.num_rows,
        }
        for source in sources
    ]  # fmt: skip
    part = Part(
        key=state.key, fingerprint=state.fingerprint, tables=state.tables, files=state.files, segments=described,
        rejections=state.rejections,
    )  # fmt: skip
    write_zip(scratch / "part.zip", part, content)
    return part, scratch / "part.zip", segments
