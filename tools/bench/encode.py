"""Compare the time of the encode stage with its networks alone: `python -m tools.bench encode`.

The peer is the forward pass of both VAEs over the same tracks, which are in memory, in the same pieces with the state
carried over: one process per worker, one thread each. Both take turns, `--rounds` times. The stage also decodes media,
writes latents and tables, and runs under Ray. Rates are those of the steady state: the slope of finished sessions over
time.
"""

import argparse
import math
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from pipelines.encode import stage as encode
from pipelines.encode.stage import EncodeParams
from pipelines.engine.ray import ray_session
from pipelines.engine.run import RunParams
from pipelines.engine.tables import check_data_folder, read_rows
from tools.bench.steady import in_turns, remove_work, repeat_corpus, shares, show_rounds, stage_keys_per_s
from wanstreamer.clock import UNIT_MS
from wanstreamer.errors import InputError

_bare: "Bare"  # each process has its own


class Bare:
    """The VAEs and the tracks of one process, in memory."""

    def __init__(self, data: Path, tracks: Sequence[dict[str, Any]], piece_units: int) -> None:
        paths = {kind: str(data / "models" / "vae" / f"{kind}.safetensors") for kind in encode.KINDS}
        needed = {kind: path for kind, path in paths.items() if any(track[f"{kind}_path"] for track in tracks)}
        self.vaes = encode.Encoder(paths=needed, weights_hashes={}, piece_units=piece_units).vaes
        self.media = [
            (kind, list(encode.pieces(data, track, self.vaes[kind], piece_units)))
            for track in tracks
            for kind in encode.KINDS
            if track[f"{kind}_path"]
        ]

    def forward(self) -> float:
        """Seconds of one pass over all tracks."""
        import torch

        began_s = time.perf_counter()
        with torch.inference_mode():
            for kind, pieces in self.media:
                state = None
                for piece in pieces:
                    _, state = self.vaes[kind].encode(piece[None], state)
        return time.perf_counter() - began_s


def _load(data: Path, tracks: Sequence[dict[str, Any]], piece_units: int) -> None:
    global _bare  # noqa: PLW0603
    _bare = Bare(data, tracks, piece_units)


def _forward() -> float:
    return _bare.forward()


def compare(data: Path, folder: Path, *, hours: float, rounds: int, workers: int) -> dict[str, Any]:
    """Measure both in turns; returns the figures that `--json` prints."""
    tracks, sessions = read_rows(data, "tracks"), read_rows(data, "sessions")
    corpus_hours = sum(track["num_units"] for track in tracks) * UNIT_MS / 3_600_000
    times = max(1, round(hours / corpus_hours))
    repeated = folder / "data"
    repeat_corpus(data, repeated, ("tracks", "models"), ("sessions", "tracks"), times)
    params = EncodeParams()
    context = multiprocessing.get_context("spawn")  # a fork would inherit threads
    parts = shares(tracks, workers)
    pools = [ProcessPoolExecutor(1, context, _load, (data, part, params.piece_units)) for part in parts]
    hours_in = [sum(track["num_units"] for track in part) * UNIT_MS / 3_600_000 for part in parts]

    def ours() -> float:
        remove_work(repeated, "encode", "latents")
        encode.run(repeated, params, RunParams(workers=workers))
        return 3600 * stage_keys_per_s(repeated, "encode") * corpus_hours / len(sessions)

    def bare() -> float:
        waiting = [pool.submit(_forward) for pool in pools]
        return sum(3600 * hour / future.result() for hour, future in zip(hours_in, waiting, strict=True))

    try:
        with ray_session(workers):
            rates = in_turns({"ours": ours, "bare": bare}, rounds)  # hours of tracks per hour
    finally:
        for pool in pools:
            pool.shutdown()
    ratios = [bare / ours for ours, bare in zip(rates["ours"], rates["bare"], strict=True)]
    return {
        "workers": workers,
        "rounds": rounds,
        "track_hours": round(corpus_hours * times, 2),
        "cost_over_bare": round(statistics.median(ratios), 3),
        "costs_over_bare": [round(ratio, 3) for ratio in ratios],
        "track_hours_per_hour": {name: [round(rate, 1) for rate in values] for name, values in rates.items()},
    }


def add(commands: Any) -> None:
    command = commands.add_parser("encode", help="encode compared with the VAEs' forward pass", description=__doc__)
    command.add_argument(
        "--data", type=Path, default=Path("data"), help="data folder with tracks and VAEs (default: data)"
    )
    command.add_argument(
        "--hours", type=float, default=1, help="hours of tracks; they are repeated as needed (default: 1)"
    )
    command.add_argument("--rounds", type=int, default=5, help="rounds; both take turns in each (default: 5)")
    command.add_argument("--workers", type=int, default=2, help="parallel sessions (default: 2)")
    command.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, Any]:
    if not 0 < args.hours < math.inf or min(args.rounds, args.workers) < 1:
        raise InputError("bench encode: expected --rounds and --workers of 1 or more, --hours above 0")
    check_data_folder(args.data)
    with tempfile.TemporaryDirectory(prefix="bench-encode-") as folder:
        return compare(args.data.resolve(), Path(folder), hours=args.hours, rounds=args.rounds, workers=args.workers)


def show(results: dict[str, Any]) -> None:
    rates = results["track_hours_per_hour"]
    show_rounds(
        f"hours of tracks per hour: {results['track_hours']} hours of tracks, {results['workers']} workers",
        ("encode", "forward pass alone", "cost over it"),
        (rates["ours"], rates["bare"]),
        results["costs_over_bare"],
    )
    print(f"median cost over the forward pass alone: {results['cost_over_bare']:.3f}")
