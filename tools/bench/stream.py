"""Measure how long the live agent takes per 160 ms unit as the history grows: `python -m tools.bench stream`.

Plays a recorded user to a live agent and times every unit, in ms per part, at full speed. The models are the trained
ones of the data folder; without them weights are random, and without tracks media are random. `unit` is the time from
when a user's unit is available until its answer is decoded, `pace` the time from answer to answer. The two differ when
units overlap, as they do with two workers at self_lag 1, the default. `--live` gives a unit every 160 ms, as a user
does.

`--scale small | base | large` times random weights of that size with VAEs for 336x192 and 24 kHz, and needs no data.
On a GPU (`--device`; the default if there is one) two workers are two CUDA streams of this process, the trunk is
bfloat16 and the solver's passes are CUDA graphs unless `--no-graphs`. There a part's time is the host's waiting time;
`unit` and `pace` are a user's.

`--history-units full 375` compares full history with a history limit of 375 units; `--hours 1 --history-units 375`
plays for one hour and reports memory and latency.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tools.bench import soak
from tools.bench.conversation import Setting
from tools.bench.latency import COLUMNS, FULL, stream
from wanstreamer.clock import UNIT_MS
from wanstreamer.errors import InputError
from wanstreamer.model.config import SCALES
from wanstreamer.streaming.config import AgentConfig
from wanstreamer.streaming.machine import TRUNKS, Machine


def show(results: dict[str, Any]) -> None:
    if "hours" in results:
        soak.show(results)
        return
    console = Console()
    weights = "trained weights" if results["trained"] else "random weights: nothing is trained yet"
    media = "recorded media" if results["recorded_media"] else "random media"
    console.print(
        f"ms per {UNIT_MS} ms unit, p50/p95; {results['machine']}, "
        f"{results['parameters']:,} {results['trunk']} {weights}, "
        f"{results['passes']}{' compiled' if results['compile'] else ''} passes, {media}, "
        f"{results['threads']} thread(s), {results['solver_steps']} solver steps, "
        f"{results['workers']} worker(s), self_lag {results['self_lag']}",
        soft_wrap=True,
    )
    table = Table(box=SIMPLE_HEAD, padding=0)
    for name in ("after", "limit", *COLUMNS, "max"):  # limit: of the history, in units
        table.add_column(name, justify="right", no_wrap=True)
    histories = results["histories"]
    for seconds in next(iter(histories.values()))["at"]:
        for limit, history in histories.items():
            row = history["at"][seconds]
            cells = [f"{row[name]['p50_ms']:.0f}/{row[name]['p95_ms']:.0f}" for name in COLUMNS]
            table.add_row(f"{seconds} s", limit, *cells, f"{row['unit']['max_ms']:.0f}")
    console.print(table)
    for limit, history in histories.items():
        _show_history(console, _kept(limit), history, results["units"])
    stalls = results["stalls"]
    console.print(
        f"the machine stalled {stalls['number']} times, for {stalls['longest_ms']:.0f} ms at the most, in "
        f"{stalls['units']} units; the figures include them"
    )
    if results["trained_at_self_lag"] not in (None, results["self_lag"]):
        console.print(f"trained at self_lag {results['trained_at_self_lag']}: the times are right, its answers are not")


def _show_history(console: Console, limit: str, history: dict[str, Any], num_units: int) -> None:
    over = history[f"units_over_{UNIT_MS}_ms"]
    console.print(f"{limit}: {over} of {num_units} units took longer than {UNIT_MS} ms")
    for seconds, row in history["at"].items():
        if "share_at_work" in row:
            share, handover_us = row["share_at_work"], row["handover_us"]
            console.print(
                f"{limit}, after {seconds} s: thinker at work {share['thinker']:.0%}, performer "
                f"{share['performer']:.0%}, both {share['both']:.0%} of the time; hand-over of "
                f"{history['handover_bytes']:,} bytes "
                f"{handover_us['p50']:.0f}/{handover_us['p95']:.0f} us"
            )


def _kept(limit: str) -> str:
    return "full history" if limit == FULL else f"{limit} units"


def add(commands: Any) -> None:
    command = commands.add_parser("stream", help="latency of the live agent", description=__doc__)
    command.add_argument("--data", type=Path, help="data folder (default: data, if it exists)")
    command.add_argument("--seconds", type=int, default=60, help="longest history, in seconds (default: 60)")
    command.add_argument("--hours", type=float, help="play for this many hours instead, with one --history-units")
    command.add_argument(
        "--history-units",
        "--window-units",  # its old name
        nargs="+",
        default=[FULL],
        metavar="N",
        help="history limits to compare, in units; 'full': no limit (default: full)",
    )
    command.add_argument("--threads", type=int, default=1, help="torch threads (default: 1)")
    command.add_argument("--steps", type=int, help=f"solver steps (default: {AgentConfig.steps})")
    command.add_argument(
        "--workers",
        type=int,
        choices=(1, 2),
        default=2,
        help="processes; with 2 the performer has its own (default: 2)",
    )
    command.add_argument(
        "--lag",
        type=int,
        choices=(0, 1),
        help="self_lag: 1 overlaps units (default: 1 with two workers, else the model's)",
    )
    command.add_argument("--scale", choices=SCALES, help="random weights of this size (default: the models of --data)")
    command.add_argument("--device", help="cpu or cuda (default: cuda if there is a GPU)")
    command.add_argument(
        "--trunk", choices=TRUNKS, help="type of the trunk's weights (default: bfloat16 on a GPU, else float32)"
    )
    command.add_argument(
        "--graphs",
        action=argparse.BooleanOptionalAction,
        help="solver passes in fixed shapes, on a GPU as CUDA graphs (default: on a GPU)",
    )
    command.add_argument("--compile", action="store_true", help="compile the blocks of passes in fixed shapes")
    command.add_argument(
        "--units-per-point",
        type=int,
        default=Setting.units_per_point,
        help="units timed at each length of history (default: 50)",
    )
    command.add_argument(
        "--live", action="store_true", help=f"give a user unit every {UNIT_MS} ms, instead of full speed"
    )
    command.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, object]:
    data = named_folder(args.data)
    setting = Setting(
        workers=args.workers,
        threads=args.threads,
        steps=args.steps,
        lag=args.lag,
        live=args.live,
        scale=args.scale,
        units_per_point=args.units_per_point,
        machine=_chosen(args),
    )
    history_limits = [_history_units(text) for text in args.history_units]
    if args.hours is None:
        return stream(data, setting, seconds=args.seconds, history_limits=history_limits)
    if len(history_limits) != 1 or history_limits[0] is None:
        raise InputError(f"--hours {args.hours:g}: full history does not fit in memory; pass one --history-units N")
    return soak.soak(data, setting, hours=args.hours, history_units=history_limits[0])


def named_folder(folder: Path | None) -> Path:
    """The data folder. Only the default may be missing: then weights and media are random, and `show` reports it."""
    if folder is not None and not folder.is_dir():
        raise InputError(f"--data {folder}: no such data folder; leave out --data for random weights")
    return folder or Path("data")


def _chosen(args: argparse.Namespace) -> Machine:
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    cuda = device.startswith("cuda")
    fixed = "graphs" if cuda else "fixed"
    return Machine(
        threads=args.threads,
        device=device,
        trunk=args.trunk or ("bfloat16" if cuda else "float32"),
        passes=fixed if (cuda if args.graphs is None else args.graphs) else "plain",
        compile=args.compile,
    )


def _history_units(text: str) -> int | None:
    if text != FULL and not text.isdigit():
        raise InputError(f"--history-units {text}: expected a number of units, or {FULL}")
    return None if text == FULL else int(text)
