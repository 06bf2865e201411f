"""Compare the speed of pack with copying tar members: `python -m tools.bench pack`.

The peer only writes the same members, which are in memory, into a new tar per session with Python's tarfile: one
process per worker. Both take turns, `--rounds` times. Pack also reads latents, places text, masks, computes checksums
and writes tables, under Ray. Rates are those of the steady state: the slope of finished sessions over time.
"""

import argparse
import io
import multiprocessing
import shutil
import statistics
import tarfile
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.engine.ray import ray_session
from pipelines.engine.run import RunParams
from pipelines.engine.tables import check_data_folder, read_rows
from pipelines.pack import stage as pack
from pipelines.pack.stage import TOKENIZER_PATH, PackParams
from tools.bench.steady import in_turns, remove_work, repeat_corpus, shares, show_rounds, stage_keys_per_s
from wanstreamer.errors import InputError

TABLES = ("sessions", "tracks", "words", "units", "latents")


class ByteRange(NamedTuple):
    """The windows of a session in a shard."""

    path: Path
    offset: int
    num_bytes: int


_members: list[list[tuple[str, bytes]]]  # of this process; one list per session


def _load(ranges: Sequence[ByteRange]) -> None:
    global _members  # noqa: PLW0603
    _members = []
    for place in ranges:
        with place.path.open("rb") as file:
            file.seek(place.offset)
            content = file.read(place.num_bytes)
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            _members.append([(info.name, tar.extractfile(info).read()) for info in tar])  # type: ignore[union-attr]


def _copy(folder: Path) -> float:
    """Seconds to write all sessions of this process."""
    began_s = time.perf_counter()
    for number, members in enumerate(_members):
        with tarfile.open(folder / f"{number}.tar", "w") as tar:
            for name, content in members:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return time.perf_counter() - began_s


def _sessions_of(data: Path, packed: Path) -> list[ByteRange]:
    """Where the windows of each session are: one after the other, in one shard or several. `packed` has the shards."""
    ranges: dict[tuple[str, str], ByteRange] = {}
    for row in sorted(read_rows(data, "windows"), key=lambda row: row["offset"]):
        path = packed / row["shard"].removeprefix("windows/")
        first = ranges.setdefault((row["session_id"], row["shard"]), ByteRange(path, row["offset"], 0))
        ranges[row["session_id"], row["shard"]] = first._replace(
            num_bytes=row["offset"] + row["num_bytes"] - first.offset
        )
    return list(ranges.values())


def compare(data: Path, folder: Path, *, sessions: int, rounds: int, workers: int) -> dict[str, Any]:
    """Measure both in turns; returns the figures that `--json` prints."""
    times = max(1, round(sessions / len(read_rows(data, "sessions"))))
    has_quality = any((data / "tables" / "quality").glob("b=*.parquet"))
    repeated, packed = folder / "data", folder / "packed"
    repeat_corpus(data, repeated, ("latents",), (*TABLES, "quality") if has_quality else TABLES, times)
    shutil.copytree(data / "models", repeated / "models")  # pack writes its tokenizer there
    params = PackParams(tokenizer=str(data / TOKENIZER_PATH))
    with ray_session(workers):
        counts = pack.run(repeated, params, RunParams(workers=workers))  # what the peer will copy
        (repeated / "windows").rename(packed)
        ranges = _sessions_of(repeated, packed)
        total_mb = sum(place.num_bytes for place in ranges) / 1e6
        parts = shares(ranges[: -(-len(ranges) // times)], workers)
        mb_in = [sum(place.num_bytes for place in part) / 1e6 for part in parts]
        places = [Path(tempfile.mkdtemp(dir=folder)) for _ in parts]
        context = multiprocessing.get_context("spawn")  # a fork would inherit threads
        pools = [ProcessPoolExecutor(1, context, _load, (part,)) for part in parts]

        def ours() -> float:
            remove_work(repeated, "pack", "windows")
            pack.run(repeated, params, RunParams(workers=workers))
            return stage_keys_per_s(repeated, "pack") * total_mb / counts["keys"]

        def tarfile_alone() -> float:
            waiting = [pool.submit(_copy, place) for pool, place in zip(pools, places, strict=True)]
            return sum(mb / future.result() for mb, future in zip(mb_in, waiting, strict=True))

        try:
            rates = in_turns({"ours": ours, "tarfile": tarfile_alone}, rounds)  # MB of shards per second
        finally:
            for pool in pools:
                pool.shutdown()
    ratios = [ours / theirs for ours, theirs in zip(rates["ours"], rates["tarfile"], strict=True)]
    return {
        "workers": workers,
        "rounds": rounds,
        "sessions": counts["keys"],
        "shards_mb": round(total_mb),
        "ratio_to_tarfile": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "mb_per_s": {name: [round(rate, 1) for rate in values] for name, values in rates.items()},
    }


def add(commands: Any) -> None:
    command = commands.add_parser("pack", help="pack compared with copying members with tarfile", description=__doc__)
    command.add_argument("--data", type=Path, default=Path("data"), help="data folder with latents (default: data)")
    command.add_argument(
        "--sessions", type=int, default=160, help="sessions; they are repeated as needed (default: 160)"
    )
    command.add_argument("--rounds", type=int, default=5, help="rounds; both take turns in each (default: 5)")
    command.add_argument("--workers", type=int, default=2, help="parallel sessions (default: 2)")
    command.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, Any]:
    if min(args.sessions, args.rounds, args.workers) < 1:
        raise InputError("bench pack: expected --sessions, --rounds and --workers of 1 or more")
    check_data_folder(args.data)
    with tempfile.TemporaryDirectory(prefix="bench-pack-") as folder:
        return compare(
            args.data.resolve(), Path(folder), sessions=args.sessions, rounds=args.rounds, workers=args.workers
        )


def show(results: dict[str, Any]) -> None:
    rates = results["mb_per_s"]
    show_rounds(
        f"MB of shards per second: {results['sessions']} sessions, {results['shards_mb']} MB, "
        f"{results['workers']} workers",
        ("pack", "tarfile alone", "ratio"),
        (rates["ours"], rates["tarfile"]),
        results["ratios"],
    )
    print(f"median ratio to tarfile alone: {results['ratio_to_tarfile']:.3f}")
