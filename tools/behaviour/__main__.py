"""`python -m tools.behaviour`: the behaviour stage, then its figures as a table; with `--json` as JSON alone."""

import argparse
import contextlib
import json
import sys
from pathlib import Path

from rich.console import Console

from pipelines.stage import stage_main
from tools.behaviour.figures import figures_of_looks, figures_of_timing
from tools.behaviour.run import BehaviourParams, run
from tools.behaviour.table import table

TITLES = {
    "recorded": "Agents that hear and see a recorded user",
    "simulated": "Agents in conversation with users who react",
}


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", type=Path, default=Path("data"))
    known, rest = parser.parse_known_args()
    if {"-h", "--help"} & set(rest):
        print("--json: print the figures as JSON instead of tables; and, as every stage:\n")
    with contextlib.redirect_stdout(sys.stdout if {"-h", "--help"} & set(rest) else sys.stderr):
        stage_main("behaviour", BehaviourParams, run, ["--data", str(known.data), *rest])
    metrics = json.loads((known.data.resolve().parent / "metrics" / "behaviour.json").read_text())
    if known.json:
        print(json.dumps(metrics, indent=2))
        return
    show(metrics)


def show(metrics: dict) -> None:
    """Print a table per part."""
    console = Console()
    if "skipped" in metrics:
        console.print(f"behaviour: {metrics['skipped']}")
    for part, title in TITLES.items():
        if part not in metrics:
            continue
        agents = metrics[part]["agents"]
        seconds = sorted({int(name.split("_")[1][:-1]) for name in agents["model"] if name.startswith("identity_")})
        figures = {**figures_of_timing(0), **figures_of_looks(seconds)}
        counted = ", ".join(
            f"{metrics[part][name]} {name}" for name in ("conversations", "sessions") if name in metrics[part]
        )
        console.print(table(f"{title}: {counted}", figures, agents))


if __name__ == "__main__":
    main()
