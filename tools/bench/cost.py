"""Measure what each stage costs on this machine: `python -m tools.bench cost --out slopes.json`.

Makes recordings of several sizes and lengths, runs the stages on them with one worker each, and fits slopes: CPU
seconds per million pixels of a source, per second of sound, per track, and so on (tools/plan/amounts.py lists what a
stage's cost depends on). The start of a stage is measured apart. `tools.plan --slopes FILE` reads the file.

The figures of the table are per hour of conversation, the start apart. With --keep, a measurement that was stopped goes
on where it was.
"""

import argparse
import math
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.engine.files import write_json_atomic
from tools.bench.stage_costs import (
    STAGES,
    bytes_per_frame,
    measure_codecs,
    measure_starts,
    measured_rows,
    settings,
    stage_slopes,
)
from tools.plan.calibrate import measure_speeds
from tools.plan.slopes import VERSION, Slopes, slopes_json, this_machine
from wanstreamer.errors import InputError

KEPT = ("setting", "stage", "sessions", "hours", "cpu_s", "bulk_mb", "tables_mb", "files")  # of a measurement
SIZES = ("640x360", "1280x720", "1920x1080")


def measure(folder: Path, sizes: Sequence[str], minutes: float, log: Console) -> Slopes:
    """Measure everything, in folders below `folder`."""
    # torch takes seconds to import, and `tools.bench --help` needs none of it
    from tools.bench.training_costs import duplex_slopes, vae_slopes

    machine = this_machine()
    log.print("the speed of this machine")
    speeds = measure_speeds()
    every = settings(folder, sizes, minutes)
    measured: list[dict[str, Any]] = []
    for setting in every:
        length = f"{60 * setting.recordings.hours:.1f} min of conversation"
        log.print(f"{setting.name}: {length}, {', '.join(setting.stages)}", highlight=False)
        measured += measured_rows(setting)
    log.print("start of the stages")
    start = measure_starts(every[1], measured)
    log.print("training")
    whole = [setting for setting in every if setting.stages == STAGES]
    vae = vae_slopes([setting for setting in whole if not setting.name.endswith("short")])
    duplex = duplex_slopes(next(setting for setting in whole if setting.recordings.size == sizes[0]))
    stages = stage_slopes(measured, gpu=machine["gpu"] != "")
    if machine["gpu"]:
        stages["gpu_s"]["duplex"] = duplex
    log.print("codecs")
    return Slopes(
        version=VERSION,
        date=date.today().isoformat(),
        machine=machine,
        speeds=speeds,
        start=start,
        bytes_per_frame=bytes_per_frame(every, measured),
        codecs=measure_codecs(folder, sizes[0]),
        vae=vae,
        duplex=duplex,
        measured=[{name: row[name] for name in KEPT} for row in measured],
        **stages,
    )


def add(commands: Any) -> None:
    command = commands.add_parser("cost", help="what each stage costs, for tools.plan", description=__doc__)
    command.add_argument("--out", type=Path, help="write the slopes to this file, for tools.plan --slopes")
    command.add_argument(
        "--sizes", nargs="+", default=SIZES, metavar="WxH", help=f"sizes of the sources (default: {' '.join(SIZES)})"
    )
    command.add_argument(
        "--minutes", type=float, default=2.0, help="length of the longest recordings; others are shorter (default: 2)"
    )
    command.add_argument("--keep", type=Path, help="folder for recordings and data folders (default: temporary)")
    command.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, Any]:
    if not 0 < args.minutes < math.inf:
        raise InputError(f"bench cost: --minutes {args.minutes}: expected more than 0")
    for size in args.sizes:
        width, _, height = size.partition("x")
        if not (width.isdecimal() and height.isdecimal() and int(width) % 2 == int(height) % 2 == 0 < int(width)):
            raise InputError(f"bench cost: --sizes {size}: expected even numbers of pixels, such as 1280x720")
    if args.keep and args.keep.exists() and not _is_ours(args.keep):
        raise InputError(f"bench cost: --keep {args.keep}: expected an empty or a new folder, or one of a stopped run")
    with tempfile.TemporaryDirectory(prefix="bench-cost-") as temporary:
        folder = args.keep or Path(temporary)
        slopes = slopes_json(measure(folder.resolve(), args.sizes, args.minutes, Console(stderr=True)))
    if args.out:
        write_json_atomic(args.out, slopes)
    return slopes


def _is_ours(folder: Path) -> bool:
    """Whether a folder has only what a measurement makes in it."""
    return all((path / "sources").is_dir() or path.name.startswith("codec-") for path in folder.iterdir())


def show(results: dict[str, Any]) -> None:
    console = Console()
    machine = results["machine"]
    table = Table(
        box=SIMPLE_HEAD, title_justify="left",
        title=f"cost per hour of conversation, start apart: {machine['processor']}, {results['date']}",
    )  # fmt: skip
    for name in ("recordings", "stage", "CPU s", "on disk MB", "files"):
        table.add_column(name, justify="left" if name in ("recordings", "stage") else "right")
    before = None
    for row in results["measured"]:
        disk_mb = row["bulk_mb"] + row["tables_mb"]
        figures = [figure / row["hours"] for figure in (row["cpu_s"], disk_mb, row["files"])]
        name = row["setting"] if row["setting"] != before else ""
        before = row["setting"]
        table.add_row(name, row["stage"], *(f"{figure:,.0f}" for figure in figures))
    console.print(table)
    for stage, start in results["start"].items():
        if stage in STAGES:
            error = results["errors"][stage]
            console.print(
                f"{stage}: starts in {start['ray_s']:.1f} s, without Ray in {start['plain_s']:.1f} s; its slopes are "
                f"within {error:.0%} of all measurements",
                highlight=False,
            )
