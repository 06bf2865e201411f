"""Compare the speed of our loader with other loaders: `python -m tools.bench load`.

All load the same windows, shuffled, in batches of the same size, as the same tensors. The settings of each peer are in
tools/bench/loaders.py; the time to write the windows in the peer's format is not counted. The loaders take turns,
`--rounds` times; a round is one epoch of each. Everything runs in one process with one torch thread, and with 0, 1 or 2
workers.

Warm: the loaders and their workers stay, an epoch before the rounds fills the page cache, and the clock starts with the
ninth batch of an epoch, so that filling buffers does not count. Cold: each epoch has a new loader, the kernel is asked
first to drop the files' pages (posix_fadvise, DONTNEED; a host or a disk may still cache them), and the clock starts
with the epoch. Without `--data`, windows of random latents are made in the format of the pack stage.
"""

import argparse
import gc
import hashlib
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.engine.tables import check_data_folder, to_table
from pipelines.pack.index import Run, SessionDigest, ShardLine, shard_runs, write_manifest, write_shard_index
from pipelines.pack.stage import PackParams, sample_bytes
from tools.bench.loaders import PEERS, Arrays
from tools.bench.resources import threads
from wanstreamer.errors import InputError
from wanstreamer.windows.loader import FIELDS, LABELS, Batch, Loader, Windows, open_windows

AUDIO_SHAPE, VIDEO_SHAPE = (4, 16), (32, 3, 4)  # the latents of scale `tiny`
SESSION_WINDOWS = 64  # in a random shard: some minutes of a dyad
START_BATCHES = 8
INSTALL = "uv pip install -e '.[bench]' -c constraints.txt"
PACKAGES = ("torch", "webdataset", "mosaicml-streaming", "litdata")


def make_windows(data: Path, number: int) -> None:
    """Write `number` train windows of seeded noise below `data`, in the format of the pack stage."""
    params, random = PackParams(), np.random.default_rng(0)
    folder = data / "windows"
    (folder / "train").mkdir(parents=True)
    trailing = {
        "K": (), "KNC": AUDIO_SHAPE, "KCHW": VIDEO_SHAPE, "KS": (params.text_slots,), "KL": (len(LABELS),)
    }  # fmt: skip
    shards: list[ShardLine] = []
    runs: list[Run] = []
    sessions: list[SessionDigest] = []
    for first in range(0, number, SESSION_WINDOWS):
        key, content = f"talk-{first // SESSION_WINDOWS:04d}", b""
        rows: list[dict[str, Any]] = []
        for place in range(min(SESSION_WINDOWS, number - first)):
            window_id, sample = f"{key}-a-{16 * place:06d}", {}
            for name, (dtype, dimensions) in FIELDS.items():
                shape = (params.window_units, *trailing[dimensions])
                values = random.standard_normal(shape) if dtype == "float16" else random.integers(0, 2, shape)
                sample[name] = values.astype(dtype)
            written = sample_bytes(window_id, sample)
            rows.append(
                {
                    "window_id": window_id, "session_id": key, "split": "train", "agent": "a", "user": "b",
                    "agent_speaker_id": "p0", "user_speaker_id": "p1", "start_unit": 16 * place,
                    "num_units": params.window_units, "shard": "", "offset": len(content),
                    "num_bytes": len(written), "crc32": zlib.crc32(written), "agent_speech_ms": 0,
                    "user_audio_masked_units": 0, "agent_audio_masked_units": 0, "licence": None, "consent": None,
                }
            )  # fmt: skip
            content += written
        tar = content + bytes(1024)
        sha256 = hashlib.sha256(tar).hexdigest()
        path = f"train/{len(shards):04d}-{sha256[:16]}.tar"
        (folder / path).write_bytes(tar)
        table = to_table("windows", rows)
        index_sha256 = write_shard_index(folder / path, table)
        shards.append(ShardLine(path, "train", len(rows), len(tar), sha256, index_sha256))
        runs += shard_runs(path, table)
        sessions.append(SessionDigest("train", key, hashlib.sha256(content).hexdigest()))
    write_manifest(
        folder, shards, runs, sessions, params=params, shapes={"audio": AUDIO_SHAPE, "video": VIDEO_SHAPE},
        vae_hashes={"audio": None, "video": None}, vocab_size=params.vocab_size, tokenizer_sha256="0" * 64,
    )  # fmt: skip


class Ours:
    """Our loader with the interface of the peers: each iteration is an epoch."""

    def __init__(self, windows: Windows, batch_size: int, workers: int) -> None:
        # Without workers ours does not read ahead: the peers have no thread for it either.
        self.batches = iter(Loader(windows, batch_size=batch_size, seed=0, workers=workers, prefetch=2 * bool(workers)))
        self.epoch_batches = len(windows) // batch_size

    def __iter__(self) -> Iterator[Batch]:
        return islice(self.batches, self.epoch_batches)


Opens = Callable[[int], Iterable[Arrays | Batch]]


def epoch_rate(loader: Iterable[Arrays | Batch], *, start_batches: int) -> float:
    """Samples per second over an epoch without its first `start_batches`."""
    taken, began_s = 0, time.perf_counter()
    for number, batch in enumerate(loader, start=1):
        taken += len(batch.labels_BKL if isinstance(batch, Batch) else batch["labels"])
        if number == start_batches:
            taken, began_s = 0, time.perf_counter()
    return taken / (time.perf_counter() - began_s)


def forget_pages(folder: Path) -> None:
    """Ask the kernel to drop the cached pages of the folder's files."""
    for path in (path for path in folder.rglob("*") if path.is_file()):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)  # pages that are not yet on disk would stay
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def take_turns(
    loaders: dict[str, tuple[Opens, Path]], *, workers: int, cold: bool, rounds: int
) -> dict[str, list[float]]:
    """Name -> samples per second of each round. `loaders`: name -> function that opens it, and folder it reads."""
    rates: dict[str, list[float]] = {name: [] for name in loaders}
    open_loaders = {} if cold else {name: opens(workers) for name, (opens, _) in loaders.items()}
    for loader in open_loaders.values():
        epoch_rate(loader, start_batches=START_BATCHES)
    for number in range(rounds):
        for name in list(loaders)[:: -1 if number % 2 else 1]:
            opens, folder = loaders[name]
            if cold:
                forget_pages(folder)
                rates[name].append(epoch_rate(opens(workers), start_batches=0))
                gc.collect()  # peers' iterators are in reference cycles, and keep their workers alive
            else:
                rates[name].append(epoch_rate(open_loaders[name], start_batches=START_BATCHES))
    return rates


def compare(
    windows: Windows, scratch: Path, *, batch_size: int, workers: Sequence[int], rounds: int,
    on_step: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Measure all in turns; returns the figures that `--json` prints."""
    loaders: dict[str, tuple[Opens, Path]] = {
        "ours": (lambda count: Ours(windows, batch_size, count), windows.manifest.folder)
    }
    for name, peer in PEERS.items():
        if not peer.installed:
            on_step(f"{name} is not installed and is left out; to install it: {INSTALL}")
            continue
        on_step(f"writing windows for {name}")
        folder = scratch / peer.module
        peer.convert(windows, folder)
        opens = _opener(name, windows, folder, batch_size)
        loaders[name] = (opens, folder if folder.exists() else windows.manifest.folder)
    rows = []
    for cold in (False, True) if hasattr(os, "posix_fadvise") else (False,):
        for count in workers:
            on_step(f"{'cold' if cold else 'warm'} cache, {count} workers")
            rates = take_turns(loaders, workers=count, cold=cold, rounds=rounds)
            gc.collect()
            for name, values in rates.items():
                ratios = [ours / theirs for ours, theirs in zip(rates["ours"], values, strict=True)]
                rows.append(
                    {
                        "cache": "cold" if cold else "warm", "workers": count, "loader": name,
                        "samples_per_s": [round(rate, 1) for rate in values],
                        "median": round(statistics.median(values)),
                        "ours_to_it": round(statistics.median(ratios), 2),
                    }
                )  # fmt: skip
    return {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {name: version(name) for name in PACKAGES if _has(name)},
        "windows": len(windows),
        "window_bytes": windows.rows[0]["num_bytes"],
        "batch_size": batch_size,
        "rounds": rounds,
        "missing": [name for name, peer in PEERS.items() if not peer.installed],
        "ratio_to_best_peer": min(
            row["ours_to_it"] for row in rows if row["cache"] == "warm" and row["loader"] != "ours"
        ),
        "rows": rows,
    }


def _opener(name: str, windows: Windows, folder: Path, batch_size: int) -> Opens:
    return lambda workers: PEERS[name].open(windows, folder, batch_size, workers)


def _has(package: str) -> bool:
    try:
        version(package)
    except ImportError:
        return False
    return True


def add(commands: Any) -> None:
    command = commands.add_parser("load", help="our loader compared with other loaders", description=__doc__)
    command.add_argument("--data", type=Path, help="folder with windows (default: windows of random latents)")
    command.add_argument("--windows", type=int, default=2048, help="number of random windows (default: 2048)")
    command.add_argument("--batch-size", type=int, default=16, help="windows per batch (default: 16)")
    command.add_argument(
        "--workers", type=int, nargs="+", default=[0, 1, 2], help="worker processes to compare (default: 0 1 2)"
    )
    command.add_argument("--rounds", type=int, default=5, help="epochs of each loader; all take turns (default: 5)")
    command.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, Any]:
    if args.rounds < 1 or min(args.workers) < 0 or args.batch_size < 1:
        raise InputError("bench load: expected --rounds and --batch-size of 1 or more, --workers of 0 or more")
    if args.data is None and args.windows < 1:
        raise InputError(f"--windows {args.windows}: expected 1 or more")
    if args.data is not None:
        check_data_folder(args.data)
    console = Console(stderr=True)
    scratch = Path(tempfile.mkdtemp(prefix="bench-load-"))
    try:
        if args.data is None:
            make_windows(scratch / "data", args.windows)
        windows = open_windows((args.data or scratch / "data").resolve() / "windows", "train")
        fewest = (START_BATCHES + 1) * args.batch_size
        if len(windows) < fewest:
            raise InputError(f"bench load: {len(windows)} windows; expected {fewest} or more at this batch size")
        # The peers print to stdout, where `--json` goes, and warn of missing optional packages.
        with redirect_stdout(sys.stderr), warnings.catch_warnings(), threads(1):
            warnings.simplefilter("ignore")
            return compare(
                windows, scratch, batch_size=args.batch_size, workers=args.workers, rounds=args.rounds,
                on_step=lambda message: console.print(message, highlight=False, markup=False),
            )  # fmt: skip
    finally:
        shutil.rmtree(scratch)


def show(results: dict[str, Any]) -> None:
    console = Console()
    table = Table(
        box=SIMPLE_HEAD, title_justify="left",
        title=f"samples per second: {results['windows']} windows of {results['window_bytes'] // 1000} kB, shuffled, in "
        f"batches of {results['batch_size']}; {results['rounds']} rounds, {results['machine']['cores']} cores",
    )  # fmt: skip
    for name in ("cache", "workers", "loader", "median", "lowest", "highest", "ours / it"):
        table.add_column(name, justify="left" if name in ("cache", "loader") else "right")
    for row in results["rows"]:
        rates = row["samples_per_s"]
        ratio = "" if row["loader"] == "ours" else f"{row['ours_to_it']:.2f}"
        table.add_row(
            row["cache"], str(row["workers"]), row["loader"], str(row["median"]), str(round(min(rates))),
            str(round(max(rates))), ratio,
        )  # fmt: skip
    console.print(table)
    for name in results["missing"]:
        console.print(
            f"{name} is not installed and is left out; to install it: {INSTALL}", highlight=False, markup=False
        )
    console.print(
        f"lowest ratio to the best peer, warm, with equal workers: {results['ratio_to_best_peer']:.2f}",
        highlight=False,
    )
