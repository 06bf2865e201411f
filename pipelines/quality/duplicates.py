"""Hashes of all tracks -> which tracks are a second copy of a recording in an earlier session.

Tracks with equal hashes are found by sorting the hashes, never by comparing each track with all others. One process
cannot hold the hashes of a large corpus. Therefore every step below is a set of tasks, and each task reads a few slices
of what the tasks of the step before have written to disk: memory does not grow with the corpus.

1. The tracks are numbered in the order of their keys.
2. Every hash is written with its track and time, in slices by hash.
3. If few tracks have a hash, each two of them match. A hash that many tracks have proves nothing alone.
4. Such common hashes are combined to contexts: two hashes of a track, with no hash of a lower value in between. Tracks
   that lack hashes of high value, as long ones do, still have the same contexts.
5. If few tracks have a context, each two of them match. If many have it, each matches the first of them only: they
   share a jingle, or are copies of the first.
6. Two tracks with several matches at about one offset are compared (`copies.py`).

The number of matches, and so the time, grows with the number of hashes and not with its square. The result depends on
the set of tracks only, not on files, order or tasks. Tracks of one session are not compared, because they may share a
microphone.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.quality.copies import Hashes, is_copy
from pipelines.quality.hashes import MAX_HASHES, scrambled
from pipelines.quality.matching import FEW_TRACKS, Pairs, candidates, contexts, equal_pairs, group_sizes, repeated
from pipelines.quality.slices import SLICE_BITS, SLICES, read_slices, spans, whole_file, write_slices
from wanstreamer.errors import InputError

ROWS_PER_TASK = 1 << 20
TRACKS_PER_BATCH = 1 << 10
WAIT_S = 120  # for files that other machines have written

KEY = ("session_id", "participant")
STREAMS = ("sound", "picture")
PICTURE = np.uint32(1 << 31)  # set in the track number of a picture's hash
MIX = np.uint64(0x9E3779B97F4A7C15)  # odd: multiplying by it permutes the 64-bit numbers

HASH = np.dtype([("value", "<u4"), ("track", "<u4"), ("frame", "<i4")])  # value: scrambled, hence uniform
CONTEXT = np.dtype([("value", "<u8"), ("track", "<u4"), ("frame", "<i4")])
MATCH = np.dtype([("first", "<u4"), ("second", "<u4"), ("offset", "<i4")])  # first < second; frames
TRACK = np.dtype([("lengths", "<u2", 2), ("values", "<u4", (2, MAX_HASHES)), ("frames", "<i4", (2, MAX_HASHES))])

MapTasks = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]


class RowGroup(NamedTuple):
    """A row group of the table: the work of one task."""

    folder: Path  # of all files of this search
    number: int
    path: Path
    group: int  # within the file
    rows: range  # among the rows of all files


class Span(NamedTuple):
    """Slices of what the step before has written: the work of one task."""

    folder: Path
    number: int
    slices: range
    num_rows: int


def find_duplicates(files: Sequence[Path], scratch: Path, map_tasks: MapTasks = map) -> pa.Table:
    """`session_id` and `participant` of each copy, and `duplicate_of`: the same recording in the session that sorts
    first, as session/participant.

    files: the files of the table `hashes`. scratch: a folder that all tasks can use. It takes 20 KB per track,
    and up to 120 KB if most hashes are in several tracks.
    map_tasks: runs a function of this module for each argument, and returns the results in any order. Arguments and
    results are paths, numbers and small arrays.
    """
    home = scratch / "duplicates"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    try:
        # Its name is new, so that a task of a killed run, which may still write, does no harm.
        return _search(files, Path(tempfile.mkdtemp(dir=home)), map_tasks)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _search(files: Sequence[Path], folder: Path, map_tasks: MapTasks) -> pa.Table:
    groups: list[RowGroup] = []
    end = 0
    for path in files:
        metadata = pq.read_metadata(path)
        for group in range(metadata.num_row_groups):
            rows = range(end, end + metadata.row_group(group).num_rows)
            groups.append(RowGroup(folder, len(groups), path, group, rows))
            end = rows.stop
    if not end:
        return pa.table({name: pa.array([], pa.string()) for name in (*KEY, "duplicate_of")})
    list(map_tasks(_number_tracks, [groups]))
    hash_rows = _total(map_tasks(_write_hashes, groups))
    match_rows, common_rows = _total(map_tasks(_match_hashes, _spans(folder, hash_rows)), (2, SLICES))
    context_rows = _total(map_tasks(_write_contexts, _spans(folder, common_rows)))
    match_rows = match_rows + _total(map_tasks(_match_contexts, _spans(folder, context_rows)))
    copies = [copy for some in map_tasks(_compare, _spans(folder, match_rows)) for copy in some]
    originals: dict[int, int] = {}
    for track, earlier in sorted(copies):
        originals[track] = originals.get(earlier, earlier)
    names = pa.ipc.open_file(pa.memory_map(str(folder / "names"))).read_all()
    firsts = names.take(pa.array(originals.values(), pa.int64()))
    duplicate_of = pc.binary_join_element_wise(firsts["session_id"], firsts["participant"], "/")
    return names.take(pa.array(originals, pa.int64())).append_column("duplicate_of", duplicate_of)


def _total(counts: Iterable[np.ndarray], shape: int | tuple[int, int] = SLICES) -> np.ndarray:
    """Rows per slice that all tasks have written."""
    return sum(counts, np.zeros(shape, np.int64))


def _spans(folder: Path, counts: np.ndarray) -> list[Span]:
    ranges = enumerate(spans(counts, ROWS_PER_TASK))
    return [Span(folder, number, slices, int(counts[slices].sum())) for number, slices in ranges]


def _number_tracks(groups: Sequence[RowGroup]) -> None:
    """Sort the tracks by their keys. The only task that holds something of every track: 0.3 GB per million tracks."""
    folder = groups[0].folder
    tables = [pq.ParquetFile(group.path).read_row_group(group.group, list(KEY)) for group in groups]
    names = pa.table({name: pa.chunked_array([c for t in tables for c in t[name].chunks]) for name in KEY})
    order = pc.sort_indices(names, [(name, "ascending") for name in KEY]).to_numpy()
    names = names.take(order).combine_chunks()
    new_session = pc.not_equal(names["session_id"][1:], names["session_id"][:-1]).to_numpy()
    again = pc.equal(names["participant"][1:], names["participant"][:-1]).to_numpy() & ~new_session
    if again.any():
        raise ValueError(f"hashes: key {names.slice(int(again.argmax()), 1).to_pylist()} occurs twice")
    numbers = np.empty(len(order), np.uint32)
    numbers[order] = np.arange(len(order), dtype=np.uint32)
    places = [np.stack([np.full(len(group.rows), group.number), np.arange(len(group.rows))], 1) for group in groups]
    arrays = {
        "numbers": numbers,
        "sessions": np.concatenate([[0], new_session.cumsum()]).astype(np.uint32),
        "places": np.concatenate(places)[order].astype(np.uint32),
    }
    for name, array in arrays.items():
        with whole_file(folder / name) as path, path.open("wb") as file:
            np.save(file, array)
    with whole_file(folder / "names") as path, pa.ipc.new_file(str(path), names.schema) as file:
        file.write_table(names)


def _write_hashes(group: RowGroup) -> np.ndarray:
    """The hashes of a row group in slices by value, and its tracks as they are, for `_read_track`."""
    numbers = np.load(group.folder / "numbers", mmap_mode="r")[group.rows.start : group.rows.stop]
    columns = [f"{stream}_{part}" for stream in STREAMS for part in ("hashes", "frames")]
    file = pq.ParquetFile(group.path, pre_buffer=False, buffer_size=1 << 20)  # otherwise it reads a row group at once
    batches = file.iter_batches(TRACKS_PER_BATCH, row_groups=[group.group], columns=columns)
    counts, start = np.zeros(SLICES, np.int64), 0
    with whole_file(group.folder / f"tracks-{group.number}") as unfinished, unfinished.open("wb") as tracks_file:
        for batch in batches:
            tracks, rows = _unpacked(batch, numbers[start : start + len(batch)])
            tracks.tofile(tracks_file)
            path = group.folder / f"hashes-{group.number}-{start}"
            counts += write_slices(path, rows, rows["value"] >> np.uint32(32 - SLICE_BITS))
            start += len(batch)
    return counts


def _unpacked(batch: pa.RecordBatch, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The tracks of a batch as TRACK, and all their hashes as HASH."""
    tracks, rows = np.zeros(len(batch), TRACK), []
    for stream, (name, mark) in enumerate(zip(STREAMS, (np.uint32(0), PICTURE), strict=True)):
        lengths = batch[f"{name}_hashes"].value_lengths().to_numpy()
        hashes, frames = (batch[f"{name}_{part}"].flatten().to_numpy() for part in ("hashes", "frames"))
        filled = np.arange(MAX_HASHES) < lengths[:, None]
        tracks["lengths"][:, stream] = lengths
        tracks["values"][:, stream][filled] = hashes
        tracks["frames"][:, stream][filled] = frames
        rows.append(_records(HASH, scrambled(hashes), np.repeat(numbers | mark, lengths), frames))
    return tracks, np.concatenate(rows)


def _records(dtype: np.dtype, *columns: np.ndarray) -> np.ndarray:
    """Records with these columns, in the order of the dtype's fields."""
    records = np.empty(len(columns[0]), dtype)
    for name, column in zip(dtype.names or (), columns, strict=True):
        records[name] = column
    return records


def _rows(span: Span, dtype: np.dtype, *names: str) -> list[np.ndarray]:
    """The rows of a task, an array per name of files.

    Raises InputError if some are missing. A network folder may show new files late, so this waits for them.
    """
    for seconds_left in reversed(range(WAIT_S + 1)):
        rows = [read_slices(span.folder.glob(f"{name}-*"), span.slices, dtype) for name in names]
        num_rows = sum(map(len, rows))
        if num_rows == span.num_rows:
            return rows
        time.sleep(min(seconds_left, 1))
    raise InputError(
        f"{span.folder}: {num_rows} rows of {names[0]}, expected {span.num_rows}; all machines must share this folder, "
        "and no other run may use it"
    )


def _match_hashes(span: Span) -> np.ndarray:
    """Write the matches of hashes that few tracks have, and the common hashes; returns rows per slice, (2, SLICES)."""
    (rows,) = _rows(span, HASH, "hashes")
    value = rows["value"].astype(np.uint64) << np.uint64(32) | rows["track"] & PICTURE
    shared = repeated(value)
    rows, value = rows[shared], value[shared]
    order = np.argsort(value | rows["track"])
    rows, value = rows[order], value[order]
    few = group_sizes(value) <= FEW_TRACKS
    common = rows[~few]
    num_tracks = len(np.load(span.folder / "numbers", mmap_mode="r"))
    path = span.folder / f"common-{span.number}"
    return np.stack([
        _write_matches(span, "hash-matches", rows[few], equal_pairs(value[few])),
        write_slices(path, common, _slices_by_track(common["track"] & ~PICTURE, num_tracks)),
    ])  # fmt: skip


def _write_contexts(span: Span) -> np.ndarray:
    """The contexts of the common hashes of some tracks, in slices by value."""
    (rows,) = _rows(span, HASH, "common")
    rows = rows[np.argsort(rows["track"].astype(np.uint64) << np.uint64(32) | rows["frame"].astype(np.uint64))]
    early, late = contexts(rows["value"], rows["track"])
    value = (rows["value"][early].astype(np.uint64) << np.uint64(32) | rows["value"][late]) * MIX
    records = _records(CONTEXT, value, rows["track"][early] & ~PICTURE, rows["frame"][early])
    return write_slices(span.folder / f"contexts-{span.number}", records, value >> np.uint64(64 - SLICE_BITS))


def _match_contexts(span: Span) -> np.ndarray:
    """Write the matches of contexts."""
    (rows,) = _rows(span, CONTEXT, "contexts")
    rows = rows[repeated(rows["value"])]
    rows = rows[np.lexsort((rows["track"], rows["value"]))]
    return _write_matches(span, "context-matches", rows, equal_pairs(rows["value"]))


def _compare(span: Span) -> list[tuple[int, int]]:
    """(track, the first earlier track that is the same recording) for the tracks of some slices."""
    by_hash, by_context = _rows(span, MATCH, "hash-matches", "context-matches")
    matches, weights = np.concatenate([by_hash, by_context]), np.repeat([1, 2], [len(by_hash), len(by_context)])
    pairs = matches["second"].astype(np.uint64) << np.uint64(32) | matches["first"]
    several = repeated(pairs * MIX)
    places = np.load(span.folder / "places", mmap_mode="r")
    track = lru_cache(64)(lambda number: _read_track(span.folder, *places[number].tolist()))
    copies: dict[int, int] = {}
    for pair in candidates(pairs[several], matches["offset"][several], weights[several]).tolist():
        second, first = divmod(pair, 1 << 32)
        if second not in copies and is_copy(track(first), track(second)):
            copies[second] = first
    return list(copies.items())


def _read_track(folder: Path, group: int, row: int) -> tuple[Hashes, Hashes]:
    """Sound and picture of a track."""
    (track,) = np.fromfile(folder / f"tracks-{group}", TRACK, 1, offset=row * TRACK.itemsize)
    sound, picture = (Hashes(*(track[part][stream, :length] for part in ("values", "frames")))
                      for stream, length in enumerate(track["lengths"]))  # fmt: skip
    return sound, picture


def _write_matches(span: Span, name: str, rows: np.ndarray, pairs: Iterable[Pairs]) -> np.ndarray:
    """Write the pairs of rows as matches of their tracks, in slices by the second track."""
    sessions = np.load(span.folder / "sessions", mmap_mode="r")
    tracks = rows["track"] & ~PICTURE
    counts = np.zeros(SLICES, np.int64)
    for number, (first, second) in enumerate(pairs):
        other = sessions[tracks[first]] != sessions[tracks[second]]
        first, second = first[other], second[other]
        matches = _records(MATCH, tracks[first], tracks[second], rows["frame"][second] - rows["frame"][first])
        path = span.folder / f"{name}-{span.number}-{number}"
        counts += write_slices(path, matches, _slices_by_track(matches["second"], len(sessions)))
    return counts


def _slices_by_track(tracks: np.ndarray, num_tracks: int) -> np.ndarray:
    return tracks.astype(np.int64) * SLICES // num_tracks
