"""How long one 160 ms unit takes: `python -m tools.bench stream` prints milliseconds per part at growing history.

Plays a recorded user (random media where there is none) into a live agent with the trained models of a data folder
(random weights of the same size where there are none) and times every unit, as fast as the machine goes. `unit` is from
a user's unit being there to its answer decoded, `pace` from answer to answer: the two differ where units overlap, as
they do in two workers at self_lag 1, the default. `--live` gives a unit every 160 ms instead, as a user does.

`--scale small | base | large` times random weights of that size with VAEs for 336x192 and 24 kHz, and needs no data.
On a GPU (`--device`; the default where there is one) two workers are two CUDA streams of this process, the trunk is
bfloat16 and the solver's passes are CUDA graphs unless `--no-graphs`; parts are then what the host waited for, units
and paces what a user waits for.

`--history-units full 375` compares full history with a history limit of 375 units; `--hours 1 --history-units 375`
plays for so long and says what became of memory and latency.
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
from wanstreamer.streaming.machine import TRUNKS, Machine


def show(found: dict[str, Any]) -> None:
    if "hours" in found:
        soak.show(found)
        return
    console = Console()
    weights = "trained weights" if found["trained"] else "random weights: nothing is trained yet"
    media = "recorded media" if found["recorded_media"] else "random media"
    console.print(
        f"ms per {UNIT_MS} ms unit, p50/p95; {found['machine']}, {found['parameters']:,} {found['trunk']} {weights}, "
        f"{found['passes']}{' compiled' if found['compile'] else ''} passes, {media}, {found['threads']} thread(s), "
        f"{found['solver_steps']} solver steps, {found['workers']} worker(s), self_lag {found['self_lag']}",
        soft_wrap=True,
    )
    table = Table(box=SIMPLE_HEAD, padding=0)
    for name in ("after", "kept", *COLUMNS, "max"):  # units kept
        table.add_column(name, justify="right", no_wrap=True)
    histories = found["histories"]
    for seconds in next(iter(histories.values()))["at"]:
        for kept, history in histories.items():
            row = history["at"][seconds]
            cells = [f"{row[name]['p50_ms']:.0f}/{row[name]['p95_ms']:.0f}" for name in COLUMNS]
            table.add_row(f"{seconds} s", kept, *cells, f"{row['unit']['max_ms']:.0f}")
    console.print(table)
    for kept, history in histories.items():
        _show_history(console, _kept(kept), history, found["units"])
    stalls = found["stalls"]
    console.print(
        f"the machine stalled {stalls['number']} times, {stalls['longest_ms']:.0f} ms at the longest, in "
        f"{stalls['units']} units; these are in the figures"
    )
    if found["trained_at_self_lag"] not in (None, found["self_lag"]):
        console.print(f"trained at self_lag {found['trained_at_self_lag']}: the times hold, what it says does not")


def _show_history(console: Console, kept: str, history: dict[str, Any], num_units: int) -> None:
    over = history[f"units_over_{UNIT_MS}_ms"]
    console.print(f"{kept}: {over} of {num_units} units took longer than {UNIT_MS} ms")
    for seconds, row in history["at"].items():
        if "share_at_work" in row:
            share, handover_us = row["share_at_work"], row["handover_us"]
            console.print(
                f"{kept}, after {seconds} s: thinker at work {share['thinker']:.0%}, performer "
                f"{share['performer']:.0%}, both {share['both']:.0%} of the time; hand-over of "
                f"{history['handover_bytes']:,} bytes "
                f"{handover_us['p50']:.0f}/{handover_us['p95']:.0f} us"
            )


def _kept(kept: str) -> str:
    return "full history" if kept == FULL else f"{kept} units"


def add(commands: Any) -> None:
    command = commands.add_parser("stream", help="latency of the live agent", description=__doc__)
    command.add_argument("--data", type=Path, help="data folder (default: data, which need not be there)")
    command.add_argument("--seconds", type=int, default=60, help="longest history (default: 60)")
    command.add_argument("--hours", type=float, help="instead: play for so long, with one --history-units")
    command.add_argument(
        "--history-units",
        "--window-units",  # its old name
        nargs="+",
        default=[FULL],
        metavar="N",
        help="units of history kept, one or several to compare; 'full': all (default: full)",
    )
    command.add_argument("--threads", type=int, default=1, help="torch threads (default: 1)")
    command.add_argument("--steps", type=int, help="solver steps (default: 4 at self_lag 1, else the agent's)")
    command.add_argument(
        "--workers", type=int, choices=(1, 2), default=2, help="processes: 2 has the performer apart (default: 2)"
    )
    command.add_argument(
        "--lag",
        type=int,
        choices=(0, 1),
        help="self_lag: 1 overlaps units (default: 1 with two workers, else the model's)",
    )
    command.add_argument("--scale", choices=SCALES, help="random weights of this size (default: what --data holds)")
    command.add_argument("--device", help="cpu or cuda (default: cuda where there is a GPU)")
    command.add_argument(
        "--trunk", choices=TRUNKS, help="type of its weights (default: bfloat16 on a GPU, else float32)"
    )
    command.add_argument(
        "--graphs",
        action=argparse.BooleanOptionalAction,
        help="solver passes in fixed shapes, on a GPU as CUDA graphs (default: on a GPU)",
    )
    command.add_argument("--compile", action="store_true", help="compile the blocks of passes in fixed shapes")
    command.add_argument(
        "--units-per-point", type=int, default=Setting.units_per_point, help="timed per length of history (default: 50)"
    )
    command.add_argument("--live", action="store_true", help=f"a user's unit every {UNIT_MS} ms, not at full speed")
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
    history_limits = [_history_units(given) for given in args.history_units]
    if args.hours is None:
        return stream(data, setting, seconds=args.seconds, history_limits=history_limits)
    if len(history_limits) != 1 or history_limits[0] is None:
        raise InputError("--hours: full history does not fit for so long; give one --history-units N")
    return soak.soak(data, setting, hours=args.hours, history_units=history_limits[0])


def named_folder(folder: Path | None) -> Path:
    """The data folder: only the default may be missing, and then weights and media are random, which `show` says."""
    if folder is not None and not folder.is_dir():
        raise InputError(f"--data {folder}: no such data folder; leave --data out for random weights")
    return folder or Path("data")


def _chosen(args: argparse.Namespace) -> Machine:
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    cuda = device.startswith("cuda")
    fixed = "graphs" if cuda else "fixed"
    return Machine(
        device=device,
        trunk=args.trunk or ("bfloat16" if cuda else "float32"),
        passes=fixed if (cuda if args.graphs is None else args.graphs) else "plain",
        compile=args.compile,
    )


def _history_units(given: str) -> int | None:
    if given != FULL and not given.isdigit():
        raise InputError(f"--history-units {given}: expected a number of units, or {FULL}")
    return None if given == FULL else int(given)
