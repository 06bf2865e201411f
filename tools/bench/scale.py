"""Measure drivers, merges, loader and files of a large corpus: `python -m tools.bench scale`.

The corpus is made up (scale_corpus.py): sessions of ten minutes with the rows of real ones, without real media. At each
of `--hours`, every stage runs from nothing, then with nothing to do, then with one more session, each time in a process
of its own; then a training's loader opens the windows. At the smallest of `--hours`, workers write parts, and merges
read them; a person of the added session is forgotten again, and the tables and shards must then be those of before. At
the others, drivers and merges do the same without workers and parts (scale_bulk.py). 100,000 hours are extrapolated: a
line through all points, or the largest figure where it falls.
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.engine.files import file_sha256
from pipelines.engine.tables import read_rows
from tools.bench.loader_start import measure_loader
from tools.bench.scale_corpus import SESSION_HOURS, STAGES, name_of, write_sources
from tools.bench.scale_templates import write_templates
from wanstreamer.errors import InputError

FAR_HOURS = 100_000
KINDS = (".parquet", ".tar", ".arrow")  # of tables and shards
HOURS = (1_000, 2_000, 10_000)


def measure(home: Path, hours: float, workers: int, *, bulk: bool) -> dict[str, Any]:
    """One point: all stages from nothing, again, and with one more session; without `bulk`, also without it again."""
    forgets = not bulk
    sessions = round(hours / SESSION_HOURS)
    data, sources = home / "data", home / "sources"
    for folder in (data, sources):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(home / "sample" / "models", data / "models")
    (data / "models" / "tokenizer.json").unlink()
    write_sources(sources, range(sessions))
    stages = {stage: run_stage(home, stage, workers, bulk=bulk) for stage in STAGES}
    files = count_files(data)
    loader = measure_loader(data / "windows")
    again = {stage: run_stage(home, stage, workers) for stage in STAGES}
    before = hashes(data) if forgets else {}
    write_sources(sources, range(sessions, sessions + 1))
    added = {stage: run_stage(home, stage, workers) for stage in STAGES}
    forgotten = forget_last(home, sessions, before) if forgets else {}
    return {
        "hours": round(sessions * SESSION_HOURS, 1),
        "sessions": sessions,
        "bulk": bulk,
        "stages": stages,
        "again": again,
        "added": added,
        **forgotten,
        "loader": loader,
        "files": files,
        "driver_peak_gb": peak(stages, "driver_gb"),
        "merge_peak_gb": peak(stages, "merge_gb"),
        "driver_cpu_s": round(sum(each["driver_cpu_s"] for each in stages.values()), 1),
        "loader_gb": loader["loader_gb"],
        "loader_open_s": loader["loader_open_s"],
        "rerun_s": round(sum(each["process_s"] for each in again.values()), 1),
        "add_one_s": round(sum(each["process_s"] for each in added.values()), 1),
        "files_per_hour": round(sum(files.values()) / (sessions * SESSION_HOURS), 2),
        "files_per_hour_besides_tracks": round(
            sum(count for kind, count in files.items() if kind != "tracks") / (sessions * SESSION_HOURS), 2
        ),
    }


def run_stage(home: Path, stage: str, workers: int, *, bulk: bool = False) -> dict[str, float]:
    """The figures of a stage in a process of its own; `process_s` includes its start."""
    command = [sys.executable, "-m", "tools.bench.scale_stage", stage, str(home), "--workers", str(workers)]
    command += ["--bulk"] if bulk else []
    began_s = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"bench scale: {stage} has ended with code {done.returncode}: {done.stderr.strip()[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    figures["process_s"] = round(time.perf_counter() - began_s, 1)
    print(
        f"{stage}: {figures['process_s']:.0f} s, driver {figures['driver_gb']:.2f} GB and "
        f"{figures['driver_cpu_s']:.0f} CPU s, merges {figures['merge_gb']:.2f} GB and "
        f"{figures['merge_cpu_s']:.0f} CPU s",
        file=sys.stderr,
    )
    return figures


def hashes(data: Path) -> dict[str, str]:
    """The hashes of all tables and shards."""
    paths = (path for folder in ("tables", "latents", "windows") for path in (data / folder).rglob("*"))
    return {str(path.relative_to(data)): file_sha256(path) for path in paths if path.suffix in KINDS}


def forget_last(home: Path, number: int, before: Mapping[str, str]) -> dict[str, Any]:
    """Forget a person of the session that was added last. `before`: the hashes of before it was added.

    `forget_differs` should be empty: the tables and shards that are not those of before, once they are compacted.
    """
    data = home / "data"
    speaker = read_rows(data, "tracks", [("session_id", "=", name_of(number))], ["speaker_id"])[0]["speaker_id"]
    with_them = hashes(data)
    forget_s = _run("tools.forget", "--speaker", speaker, "--yes", "--data", str(data))
    without = hashes(data)
    _run("tools.bench.scale_compact", str(home))
    after = hashes(data)
    return {
        "forget_s": forget_s,
        "forget_files_written": sum(with_them.get(name) != sha256 for name, sha256 in without.items()),
        "forget_files": len(without),
        "forget_differs": sorted(name for name in after.keys() | before.keys() if after.get(name) != before.get(name)),
    }


def _run(module: str, *arguments: str) -> float:
    """Run a command; returns the seconds that it took."""
    began_s = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", module, *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"bench scale: {module} has ended with code {done.returncode}: {done.stderr.strip()[-2000:]}")
    return round(time.perf_counter() - began_s, 1)


def peak(stages: Mapping[str, Mapping[str, float]], name: str) -> float:
    return max(each[name] for each in stages.values())


def count_files(data: Path) -> dict[str, int]:
    """Folder -> number of files, of the folders in a data folder."""
    return {
        folder.name: sum(path.is_file() for path in folder.rglob("*"))
        for folder in sorted(data.iterdir())
        if folder.is_dir()
    }


def at_far_hours(hours: Sequence[float], values: Sequence[float]) -> float:
    """What a line through the points says for 100,000 hours; at least the largest of them."""
    slope, start = np.polyfit(hours, values, 1)
    return round(max(*values, float(start + slope * FAR_HOURS)), 2)


def extrapolated(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures at 100,000 hours, stage by stage; without a stage, they are those of the stage with the largest."""
    hours = [point["hours"] for point in points]
    far: dict[str, Any] = {}
    for name in ("driver_gb", "merge_gb", "driver_cpu_s"):
        by_stage = {stage: at_far_hours(hours, [point["stages"][stage][name] for point in points]) for stage in STAGES}
        if name == "driver_cpu_s":  # with workers, a driver also talks to them, for each session
            times = FAR_HOURS / hours[0]
            by_stage = {
                stage: max(cpu_s, times * points[0]["stages"][stage][name]) for stage, cpu_s in by_stage.items()
            }
        far[f"{name}_by_stage"] = by_stage
        far[name] = max(by_stage.values())
    for name in ("loader_gb", "loader_open_s", "rerun_s", "add_one_s"):
        far[name] = at_far_hours(hours, [point[name] for point in points])
    return far


def add(commands: Any) -> None:
    command = commands.add_parser(
        "scale", help="drivers, merges, loader and files of a large corpus", description=__doc__
    )
    command.add_argument(
        "--hours", type=float, nargs="+", default=list(HOURS), metavar="H", help="default: 1000 2000 10000"
    )
    command.add_argument(
        "--workers", type=int, default=2, help="processes that write parts, and that merge (default: 2)"
    )
    command.add_argument("--scratch", type=Path, metavar="DIR", help="for the corpus: 1 MB per hour, and 3 GB more")
    command.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, Any]:
    if not all(1 <= hours < math.inf for hours in args.hours) or args.workers < 1:
        raise InputError("bench scale: expected --hours and --workers of 1 or more")
    with tempfile.TemporaryDirectory(prefix="bench-scale-", dir=args.scratch) as folder:
        home = Path(folder)
        write_templates(home, args.workers)
        points: list[dict[str, Any]] = []
        for hours in sorted(args.hours):
            print(f"{hours:g} hours", file=sys.stderr)
            points.append(measure(home, hours, args.workers, bulk=bool(points)))
    results: dict[str, Any] = {"workers": args.workers, "points": points}
    results |= {f"at_{round(point['hours'])}h": headline(point) for point in points}
    if len(points) > 1:
        results[f"extrapolated_to_{FAR_HOURS}h"] = extrapolated(points)
    return results


def headline(point: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in point.items() if isinstance(value, int | float)}


def show(results: dict[str, Any]) -> None:
    table = Table(box=SIMPLE_HEAD)
    for column in (
        "hours",
        "stage",
        "driver GB",
        "driver CPU s",
        "merge GB",
        "merge CPU s",
        "s",
        "again s",
        "one more s",
    ):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for point in results["points"]:
        for stage, figures in point["stages"].items():
            table.add_row(
                f"{point['hours']:,.0f}", stage, f"{figures['driver_gb']:.2f}", f"{figures['driver_cpu_s']:.0f}",
                f"{figures['merge_gb']:.2f}", f"{figures['merge_cpu_s']:.0f}", f"{figures['process_s']:.0f}",
                f"{point['again'][stage]['process_s']:.1f}", f"{point['added'][stage]['process_s']:.1f}",
            )  # fmt: skip
    Console().print(table)
    for point in results["points"]:
        print(
            f"{point['hours']:,.0f} hours: the loader opens {point['loader']['windows']:,} windows in "
            f"{point['loader_open_s']:.2f} s with {point['loader_gb']:.3f} GB; {point['files_per_hour']:.1f} files per "
            f"hour, {point['files_per_hour_besides_tracks']:.2f} of them no tracks; all stages again "
            f"{point['rerun_s']:.0f} s, with one more session {point['add_one_s']:.0f} s"
        )
        if "forget_s" in point:
            print(
                f"to forget a person takes {point['forget_s']:.0f} s and writes {point['forget_files_written']} of "
                f"{point['forget_files']} files of tables and shards; compacted, {len(point['forget_differs'])} differ "
                "from those of before the person came"
            )
    if far := results.get(f"extrapolated_to_{FAR_HOURS}h"):
        print(
            f"extrapolated to {FAR_HOURS:,} hours: driver {far['driver_gb']:.1f} GB and {far['driver_cpu_s'] / 60:.0f} "
            f"CPU minutes in the largest stage, merges {far['merge_gb']:.1f} GB, loader {far['loader_gb']:.2f} GB, all "
            f"stages again {far['rerun_s']:.0f} s"
        )
