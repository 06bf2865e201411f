"""Time the search for duplicate recordings in a made-up corpus: `python -m tools.bench duplicates --tracks 120000`.

The corpus has hashes only: two tracks per session, 512 hashes of sound and of picture per track, drawn from
`--distinct` values. Every 50th session has a copy of an earlier track, which starts at another time and shares half of
its hashes. Varied voices and pictures have many distinct values (at most 2^30), few voices and phrases have few (the
sample: about 2^19). Every point runs in processes of its own: the figures are the CPU time of all of them, and the
peak memory of the driver and of the largest worker.
"""

import argparse
import hashlib
import multiprocessing
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.engine.tables import ROWS_PER_GROUP, to_table
from pipelines.quality.duplicates import find_duplicates
from pipelines.quality.hashes import MAX_HASHES
from tools.bench.resources import peak_gb
from wanstreamer.errors import InputError

COPY_EVERY = 50  # sessions
SHARED = 0.5  # share of a copy's hashes that its original has too
SESSIONS_PER_BUCKET = 5000
FRAMES_APART = (4, 54)  # neighbouring hashes: 512 of them take ten minutes
VALUES = 2**30
COLUMNS = ("tracks", "wall_s", "cpu_s", "driver_gb", "worker_gb", "planted", "found", "wrong")


class Stream(NamedTuple):
    hashes: np.ndarray  # uint32 (512,)
    frames: np.ndarray  # int32 (512,), ascending


def write_hashes(folder: Path, tracks: int, distinct: int) -> list[Path]:
    """Bucket files of a table `hashes`, as the quality stage writes them. Holds one bucket in memory."""
    sessions = range(tracks // 2)
    buckets = 1
    while buckets * SESSIONS_PER_BUCKET < len(sessions):
        buckets *= 2
    members = defaultdict(list)
    for session in sessions:
        members[int(hashlib.sha256(_name(session).encode()).hexdigest()[:8], 16) * buckets >> 32].append(session)
    paths = []
    for bucket, numbers in sorted(members.items()):
        paths.append(folder / f"b={bucket:04d}.parquet")
        table = to_table("hashes", (row for session in numbers for row in _rows(session, distinct)))
        pq.write_table(table, paths[-1], row_group_size=ROWS_PER_GROUP, compression="zstd")
    return paths


def planted(tracks: int) -> dict[str, str]:
    """session/participant of each copy -> that of its original."""
    copies = range(COPY_EVERY - 1, tracks // 2, COPY_EVERY)
    return {f"{_name(session)}/a": f"{_name(_original(session))}/a" for session in copies}


def _name(session: int) -> str:
    return f"talk-{session:08d}"


def _original(session: int) -> int:
    return session - 1 - session // COPY_EVERY % (COPY_EVERY - 1)


def _rows(session: int, distinct: int) -> Iterator[dict[str, Any]]:
    for participant in "ab":
        sound, picture = _track(session, participant, distinct)
        yield {
            "session_id": _name(session), "participant": participant,
            "sound_hashes": sound.hashes, "sound_frames": sound.frames,
            "picture_hashes": picture.hashes, "picture_frames": picture.frames,
        }  # fmt: skip


def _track(session: int, participant: str, distinct: int) -> list[Stream]:
    rng = np.random.default_rng((session, ord(participant)))
    streams = []
    for _ in range(2):
        # An odd factor spreads the values over all 30 bits, without a collision.
        hashes = rng.choice(distinct, MAX_HASHES, replace=False) * 0x9E3779B1 % VALUES
        frames = rng.integers(*FRAMES_APART, MAX_HASHES).cumsum()
        streams.append(Stream(hashes.astype(np.uint32), frames.astype(np.int32)))
    if participant == "a" and session % COPY_EVERY == COPY_EVERY - 1:
        originals = _track(_original(session), "a", distinct)
        return [_mixed(rng, *pair) for pair in zip(originals, streams, strict=True)]
    return streams


def _mixed(rng: np.random.Generator, original: Stream, fresh: Stream) -> Stream:
    """Half of the original's hashes, 100 frames later, among fresh ones."""
    shared = rng.random(MAX_HASHES) < SHARED
    fresh_places = np.flatnonzero(~np.isin(fresh.hashes, original.hashes))[: int((~shared).sum())]
    hashes = np.concatenate([original.hashes[shared], fresh.hashes[fresh_places]])
    frames = np.concatenate([original.frames[shared] + np.int32(100), fresh.frames[fresh_places]])
    order = np.argsort(frames, kind="stable")
    return Stream(hashes[order], frames[order])


class Usage(NamedTuple):
    result: Any
    worker: int
    cpu_s: float
    peak_gb: float


def _task(function: Callable[[Any], Any], argument: Any) -> Usage:
    return Usage(function(argument), os.getpid(), time.process_time(), peak_gb())


def search(folder: Path, tracks: int, workers: int) -> dict[str, float]:
    """Search the corpus in `folder`; returns the figures of this process and its workers."""
    usage: dict[int, Usage] = {}
    context = multiprocessing.get_context("spawn")
    start_s = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as scratch, ProcessPoolExecutor(workers, context) as pool:

        def map_tasks(function: Callable[[Any], Any], arguments: Iterable[Any]) -> Iterator[Any]:
            for done in pool.map(partial(_task, function), arguments):
                usage[done.worker] = done._replace(result=None)
                yield done.result

        copies = find_duplicates(sorted(folder.glob("b=*.parquet")), Path(scratch), map_tasks).to_pylist()
    wall_s = time.perf_counter() - start_s
    found = {f"{copy['session_id']}/{copy['participant']}": copy["duplicate_of"] for copy in copies}
    expected = planted(tracks)
    return {
        "tracks": tracks,
        "wall_s": round(wall_s, 1),
        "cpu_s": round(time.process_time() + sum(worker.cpu_s for worker in usage.values()), 1),
        "driver_gb": round(peak_gb(), 2),
        "worker_gb": round(max(worker.peak_gb for worker in usage.values()), 2),
        "planted": len(expected),
        "found": sum(found.get(copy) == original for copy, original in expected.items()),
        "wrong": sum(expected.get(copy) != original for copy, original in found.items()),
    }


def run(args: argparse.Namespace) -> dict[str, Any]:
    if min(*args.tracks, args.distinct, args.workers) < 1:
        raise InputError("bench duplicates: expected --tracks, --distinct and --workers of 1 or more")
    """A point per number of tracks, each in a fresh process."""
    points = []
    for tracks in args.tracks:
        with tempfile.TemporaryDirectory(dir=args.scratch) as name:
            write_hashes(Path(name), tracks, args.distinct)
            Console(stderr=True).print(f"{tracks} tracks are written", highlight=False)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
                points.append(fresh.submit(search, Path(name), tracks, args.workers).result())
    return {"workers": args.workers, "distinct": args.distinct, "points": points}


def show(results: dict[str, Any]) -> None:
    table = Table(box=SIMPLE_HEAD)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for point in results["points"]:
        table.add_row(*(f"{point[column]:,}" for column in COLUMNS))
    Console().print(table)


def add(commands: Any) -> None:
    parser = commands.add_parser("duplicates", help="the search for duplicate recordings", description=__doc__)
    parser.add_argument("--tracks", type=int, nargs="+", default=[12000, 40000, 120000], metavar="N")
    parser.add_argument("--distinct", type=int, default=VALUES, metavar="N", help="values of hashes; %(default)s")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes; %(default)s")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="for the corpus and the search: 30 KB per track")
    parser.set_defaults(run=run, show=show)
