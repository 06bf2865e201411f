"""`python -m pipelines.behaviour`: the behaviour stage, then its figures as a table, or with `--json` as JSON."""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from functools import partial, wraps
from pathlib import Path
from typing import Any

from rich.console import Console

from pipelines.behaviour.figures import figures_of_looks, figures_of_timing
from pipelines.behaviour.params import BehaviourParams
from pipelines.behaviour.stage import run
from pipelines.behaviour.table import table
from pipelines.engine.command import stage_main
from pipelines.engine.errors import exit_on_input_error
from wanstreamer.errors import InputError

WIDTH = 160  # of the table without a terminal
ORDER = ("truth", "model", "shuffled user", "ignoring", "cascade", "copy", "silence")
TITLES = {
    "recorded": "Agents that hear and see a recorded user",
    "simulated": "Agents in conversation with users who react",
}


def main() -> None:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--json", action="store_true", help="print the figures as JSON instead of tables")
    options.add_argument(
        "--write",
        nargs=2,
        metavar=("fdb", "DIR"),
        help="write the model's run with recorded users as folders of Full-Duplex-Bench v1.0",
    )
    parser = argparse.ArgumentParser(add_help=False, parents=[options])
    parser.add_argument("--data", type=Path, default=Path("data"))
    known, rest = parser.parse_known_args()
    with contextlib.redirect_stdout(sys.stdout if {"-h", "--help"} & set(rest) else sys.stderr):
        stage_main(
            "behaviour", BehaviourParams, _writing(known.write), ["--data", str(known.data), *rest], options=options
        )
    metrics = json.loads((known.data.resolve().parent / "metrics" / "behaviour.json").read_text())
    if known.json:
        print(json.dumps(metrics, indent=2))
        return
    show(metrics)


def _writing(write: list[str] | None) -> Callable[..., dict[str, Any]]:
    """The stage, which also writes a benchmark's folders if `--write FORMAT DIR` names one."""
    if write is None:
        return run
    form, folder = write
    with exit_on_input_error():
        if form != "fdb":
            raise InputError(f"--write {form}: expected fdb DIR (Full-Duplex-Bench v1.0)")
        if Path(folder).exists() and (not Path(folder).is_dir() or any(Path(folder).iterdir())):
            raise InputError(f"--write fdb {folder}: exists and is not an empty folder; name another one")
    return wraps(run)(partial(run, fdb=Path(folder)))


def show(metrics: Mapping[str, Any]) -> None:
    """Print a table per part."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    if "skipped" in metrics:
        console.print(f"behaviour: {metrics['skipped']}")
    for part, title in TITLES.items():
        if part not in metrics:
            continue
        results = metrics[part]
        if "skipped" in results:
            console.print(f"{title}: {results['skipped']}")
            continue
        seconds = sorted({int(name.split("_")[1][:-1]) for name in results["agents"]["model"] if "identity" in name})
        figures = {**figures_of_timing(0), **figures_of_looks(seconds)}
        counted = ", ".join(f"{results[name]} {name}" for name in ("conversations", "sessions") if name in results)
        console.print(table(f"{title}: {counted}", figures, results["agents"], order=ORDER, with_interval="model"))


if __name__ == "__main__":
    main()
