"""Parts of a bucket + the bucket as it is -> the bucket as it will be: tables, shards, state, in one commit.

One worker merges a bucket. Rows are streamed in the order of the keys, so memory does not depend on the size of the
bucket. Keys whose parts are new replace their rows; all other rows are copied. The segments of new keys go into new
shards. A shard that has a segment of a key that changed or left is given up: its other segments move too.
"""

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.engine import parts as part_files
from pipelines.engine.bucket_files import entry_of, rejection_rows, temporary, write_pieces, write_plain
from pipelines.engine.buckets import bucket_name
from pipelines.engine.commit import JOURNAL, commit
from pipelines.engine.files import file_sha256
from pipelines.engine.parts import Part, read_part, read_part_rows, segment_path
from pipelines.engine.salvage import groups, salvaged
from pipelines.engine.shards import DamagedSegment, Place, Source, seal
from pipelines.engine.state import (
    BucketState,
    Extent,
    KeyState,
    content_sum,
    damage_note,
    key_note,
    state_file,
    write_state,
)
from pipelines.engine.tables import bucket_file
from schemas import TABLES
from wanstreamer.errors import InputError

Index = Callable[[Path, pa.Table], str]  # a new shard and its rows -> a file beside it; returns its sha256


@dataclass(frozen=True, kw_only=True)
class Merge:
    """What one bucket shall have; sent to the worker that merges it."""

    data: Path
    stage: str
    bucket: int
    tables: tuple[str, ...]
    keys: tuple[str, ...]  # all keys of the bucket, sorted
    parts: frozenset[str] = frozenset()  # keys whose part is taken
    settled: Mapping[str, KeyState] = field(default_factory=dict)  # keys that need no part: rejected before any work
    given_up: frozenset[str] = frozenset()  # shards from which all segments move
    inputs: str = ""
    index: Index | None = None
    num_buckets: int  # of the stage


def merge_bucket(task: Merge) -> list[str]:
    """Merge a bucket. Returns the keys that are undone, because their present data turned out to be damaged."""
    data, stage, bucket = task.data, task.stage, task.bucket
    home = data / "parts" / stage
    old = salvaged(data, stage, bucket, task.tables)
    new_parts = {key: part for key in sorted(task.parts) if (part := read_part(part_files.part_path(home, key)))}
    undone = {key for key in task.parts if key not in new_parts}
    while True:
        try:
            return _merge(task, old, new_parts, undone)
        except DamagedSegment as error:
            key = error.args[0][0]
        except _DamagedPart as error:
            key = error.args[0]
        undone.add(key)
        new_parts.pop(key, None)


class _DamagedPart(Exception):
    pass


def _merge(task: Merge, old: BucketState, new_parts: Mapping[str, Part], undone: set[str]) -> list[str]:
    data, stage, bucket = task.data, task.stage, task.bucket
    home = data / "parts" / stage
    stay = {
        key: old.keys[key]
        for key in task.keys
        if key in old.keys and key not in new_parts and key not in task.settled and key not in undone
    }
    gone = {extent.shard for key, state in old.keys.items() if key not in stay for extent in state.segments}
    given_up = (gone | set(task.given_up)) & set(old.shards)
    sources, moves = [], {}
    for key in task.keys:
        if key in new_parts:
            sources += list(_new_segments(home, key, new_parts[key]))
        elif key in stay and any(extent.shard in given_up for extent in stay[key].segments):
            moves[key] = stay[key].segments
            sources += merged_segments(data, stay[key])
    places, new_shards = seal(data, bucket, sources)
    states: dict[str, KeyState] = {}
    for key in task.keys:
        if key in task.settled:
            states[key] = task.settled[key]
        elif key not in new_parts and not (key in stay and stay[key].fingerprint):
            states[key] = _undone(key, old.keys.get(key))
        elif key in new_parts:
            states[key] = _state_of(new_parts[key], places)
        elif key in moves:
            moved = [_moved(extent, places[key, number]) for number, extent in enumerate(moves[key])]
            states[key] = replace(stay[key], segments=moved)
        else:
            states[key] = stay[key]
    used = {extent.shard for state in states.values() for extent in state.segments}
    shards = {name: entry for name, entry in {**old.shards, **new_shards}.items() if name in used}
    new = NewBucket(data, stage, bucket, task.num_buckets, states)
    indexed: dict[str, list[pa.Table]] = {name: [] for name in new_shards}
    for table in task.tables:
        rows = _rows(task, table, old, states, new_parts, moves, places)
        new.add_table(table, _noted(rows, indexed) if "shard" in TABLES[table].schema.names else rows)
    for name, pieces in indexed.items():
        if task.index is not None and pieces:
            shards[name] = {**shards[name], "index_sha256": task.index(data / name, pa.concat_tables(pieces))}
    all_done = all(state.fingerprint for state in states.values())
    new.finish(
        inputs=task.inputs if all_done else "",
        shards=shards,
        canonical=used <= set(new_shards) or (old.canonical and not sources and not gone),
    )
    journal = state_file(data, stage, bucket).with_name(f"{JOURNAL}{bucket_name(bucket)}.json")
    commit(data, journal, new.renames, _leftovers(task, old, states))
    return sorted(key for key, state in states.items() if not state.fingerprint)


class NewBucket:
    """Writes the tables and the state of a bucket under temporary names; `renames` are for one commit."""

    def __init__(self, data: Path, stage: str, bucket: int, num_buckets: int, states: Mapping[str, KeyState]) -> None:
        self.data, self.stage, self.bucket, self.num_buckets = data, stage, bucket, num_buckets
        self.states = states
        self.renames: dict[Path, Path] = {}
        self.tables: dict[str, dict[str, Any]] = {}

    def add_table(self, table: str, rows: Iterable[pa.Table]) -> None:
        """Write a table; `rows` are in the order of their keys."""
        path = self.temporary(bucket_file(self.data, table, self.bucket))
        num_rows = write_pieces(path, table, rows)
        whole = [state for state in self.states.values() if state.fingerprint and table in state.tables]
        expected = sum(state.tables[table][0] for state in whole)
        if num_rows != expected:
            raise InputError(f"{self.stage}: {num_rows} of {expected} rows of {table} in bucket {self.bucket}")
        self.tables[table] = {
            "sha256": file_sha256(path),
            "num_bytes": path.stat().st_size,
            "num_rows": num_rows,
            "content": content_sum(
                (key, state.tables[table][1]) for key, state in self.states.items() if table in state.tables
            ),
        }

    def finish(self, *, inputs: str, shards: Mapping[str, Mapping[str, Any]], canonical: bool) -> None:
        """Write the rejections and, last, the state."""
        rejections, rejected = rejection_rows(self.stage, self.states.values())
        path = self.temporary(bucket_file(self.data, f"rejections/{self.stage}", self.bucket))
        write_plain(path, rejections)
        self.tables["rejections"] = entry_of(path, rejections)
        state = BucketState(
            keys=self.states,
            inputs=inputs,
            tables=self.tables,
            shards=shards,
            canonical=canonical,
            counts={
                "keys": len(self.states),
                "done": sum(bool(state.tables) for state in self.states.values()),
                "rejected": rejected,
                "files": sum(len(state.files) for state in self.states.values()),
            },
            num_buckets=self.num_buckets,
        )
        write_state(self.temporary(state_file(self.data, self.stage, self.bucket)), state)

    def temporary(self, final: Path) -> Path:
        self.renames[temporary(final)] = final
        return temporary(final)


def _leftovers(task: Merge, old: BucketState, states: Mapping[str, KeyState]) -> list[Path]:
    """Files that are of no use any more: merged parts, and files of keys that left or have other files now."""
    home = task.data / "parts" / task.stage
    removes = [part_files.part_path(home, key) for key in task.parts]
    removes += [path for key in task.parts for path in _segments(home, key)]
    for key, state in old.keys.items():
        files = states[key].files if key in states else {}
        if key not in states or states[key].fingerprint:
            removes += [task.data / name for name in state.files if name not in files]
    removes.append(damage_note(task.data, task.stage, task.bucket))
    removes += [key_note(task.data, task.stage, key) for key in task.parts]
    return removes


def _segments(home: Path, key: str) -> Iterator[Path]:
    number = 0
    while (path := segment_path(home, key, number)).exists():
        yield path
        number += 1


def _new_segments(home: Path, key: str, part: Part) -> Iterator[Source]:
    for number, segment in enumerate(part.segments):
        yield Source(
            name=(key, number), folder=segment["folder"], path=segment_path(home, key, number), offset=0,
            num_bytes=segment["num_bytes"], sha256=segment["sha256"], num_rows=segment["num_rows"],
        )  # fmt: skip


def merged_segments(data: Path, state: KeyState) -> list[Source]:
    """The segments of a key in its shards."""
    return [
        Source(
            name=(state.key, number), folder=str(Path(extent.shard).parent), path=data / extent.shard,
            offset=extent.offset, num_bytes=extent.num_bytes, sha256=extent.sha256, num_rows=extent.num_rows,
        )
        for number, extent in enumerate(state.segments)
    ]  # fmt: skip


def _state_of(part: Part, places: Mapping[tuple[str, int], Place]) -> KeyState:
    extents = []
    for number, segment in enumerate(part.segments):
        place = places[part.key, number]
        extents.append(
            Extent(
                shard=place.shard, offset=place.offset, num_bytes=segment["num_bytes"], sha256=segment["sha256"],
                first_row=place.first_row, num_rows=segment["num_rows"],
            )
        )  # fmt: skip
    return KeyState(
        key=part.key, fingerprint=part.fingerprint, tables=part.tables, files=part.files, segments=extents,
        rejections=part.rejections,
    )  # fmt: skip


def _undone(key: str, state: KeyState | None) -> KeyState:
    """A key that the next run must do again. Its files are listed still, so that they are removed if it leaves."""
    rejections = [each for each in state.rejections if each[1] == "damaged_file"] if state else []
    return KeyState(
        key=key, fingerprint="", files=state.files if state else {},
        rejections=rejections or [(key, "damaged_file", "", 1)],
    )  # fmt: skip


def _moved(extent: Extent, place: Place) -> Extent:
    return replace(extent, shard=place.shard, offset=place.offset, first_row=place.first_row)


def _rows(
    task: Merge,
    table: str,
    old: BucketState,
    states: Mapping[str, KeyState],
    new_parts: Mapping[str, Part],
    moves: Mapping[str, Sequence[Extent]],
    places: Mapping[tuple[str, int], Place],
) -> Iterator[pa.Table]:
    """The rows of a table in the order of their keys, in pieces."""
    home = task.data / "parts" / task.stage
    sealed = "shard" in TABLES[table].schema.names
    fresh = [key for key in task.keys if key in new_parts and table in new_parts[key].tables]
    keep = {
        key
        for key, state in states.items()
        if key in old.keys and key not in new_parts and state.fingerprint and state.tables.get(table, (0,))[0]
    }
    place = 0

    def part_rows(key: str) -> pa.Table:
        try:
            rows = read_part_rows(part_files.part_path(home, key), table)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, pa.ArrowException) as error:
            raise _DamagedPart(key) from error
        if not sealed:
            return rows
        found = {str(number): places[key, number] for number in range(len(new_parts[key].segments))}
        return relocated(rows, table, {name: (where.shard, where.offset) for name, where in found.items()})

    old_file = bucket_file(task.data, table, task.bucket)
    for rows in groups(old_file) if keep else ():
        for key, start, stop in sessions_in(rows):
            while place < len(fresh) and fresh[place] < key:
                yield part_rows(fresh[place])
                place += 1
            if key not in keep:
                continue
            own = rows.slice(start, stop - start)
            if sealed and key in moves:
                shifts = {
                    extent.shard: (places[key, number].shard, places[key, number].offset - extent.offset)
                    for number, extent in enumerate(moves[key])
                }
                own = relocated(own, table, shifts)
            yield own
    for key in fresh[place:]:
        yield part_rows(key)


def relocated(rows: pa.Table, table: str, places: Mapping[str, tuple[str, int]]) -> pa.Table:
    """Rows with other shards: present value of `shard` -> the new one, and what is added to the offsets."""
    now = rows["shard"].to_pylist()
    shards = [places[name][0] for name in now]
    shift = pa.array([places[name][1] for name in now], pa.int64())
    for name in TABLES[table].offsets:
        column = rows.schema.get_field_index(name)
        rows = rows.set_column(column, rows.schema.field(column), pc.add(rows[name], shift))
    column = rows.schema.get_field_index("shard")
    return rows.set_column(column, rows.schema.field(column), pa.array(shards, pa.string()))


def sessions_in(rows: pa.Table) -> Iterator[tuple[str, int, int]]:
    """(session, first row, last row + 1) of sorted rows."""
    if not rows.num_rows:
        return
    runs = pc.run_end_encode(rows["session_id"].combine_chunks())
    start = 0
    for session, stop in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield session, start, stop
        start = stop


def _noted(rows: Iterable[pa.Table], indexed: Mapping[str, list[pa.Table]]) -> Iterator[pa.Table]:
    """The same pieces; those in new shards are also collected by shard."""
    for piece in rows:
        for shard in dict.fromkeys(piece["shard"].unique().to_pylist()):
            if shard in indexed:
                indexed[shard].append(piece.filter(pc.equal(piece["shard"], shard)))
        yield piece
