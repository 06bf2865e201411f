"""metrics/*.json + timings -> one table on the terminal: what the last `make repro` made."""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.params import SECTIONS
from pipelines.engine.tables import check_data_folder


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.summary", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    args = parser.parse_args()
    with exit_on_input_error():
        check_data_folder(args.data)
        Console().print(summary_table(args.data))


def summary_table(data: Path) -> Table:
    """One row per stage that has run: what it made and how long that took."""
    table = Table(title="WanStreamer: what was made", title_justify="left")
    table.add_column("stage")
    table.add_column("made")
    table.add_column("turned away")
    table.add_column("time", justify="right")
    for stage in SECTIONS:
        path = data.resolve().parent / "metrics" / f"{stage}.json"
        timings = data / "timings" / f"{stage}.json"
        if not path.is_file() or not timings.is_file():  # figures alone may have come with the code
            continue
        metrics = json.loads(path.read_text())
        wall_s = json.loads(timings.read_text()).get("wall_s")
        rejected = ", ".join(f"{count} {reason}" for reason, count in metrics.get("rejected", {}).items())
        table.add_row(stage, made(stage, metrics), rejected or "-", "-" if wall_s is None else f"{wall_s:.0f} s")
    return table


def made(stage: str, metrics: dict[str, Any]) -> str:
    """The figures of a stage a person wants to see first."""
    if stage == "vae":
        said = []
        for people in ("unseen", "seen"):  # a small folder has nobody held out
            found = {kind: metrics[kind][people] for kind in ("video", "audio") if metrics.get(kind)}
            said += [f"video PSNR {found['video']['psnr_db']:.1f} dB on {people} people"] if found.get("video") else []
            said += [f"audio log-mel L1 {found['audio']['log_mel_l1']:.2f} on {people}"] if found.get("audio") else []
            if said:
                break
        return ", ".join(said)
    if stage in ("pretrain", "duplex"):
        split = "train" if metrics["valid"]["loss"] is None else "valid"
        loss = metrics[split]["loss"]
        return f"{metrics['parameters']:,} weights, {metrics['steps']} steps, loss on {split} {loss:.3f}"
    if stage == "evaluate":
        compared = metrics.get("comparisons")
        if not compared:
            return str(metrics.get("skipped", ""))
        beaten = f"{compared['beaten']} of {compared['made']} baselines"
        area = metrics["turn_ends"]["unit_0"].get("model", {}).get("area")
        told = "" if area is None else f", tells turn ends from pauses (area {area:.2f})"
        return f"model beats {beaten} on {metrics['sessions']} held-out sessions{told}"
    if stage == "behaviour":
        if "recorded" not in metrics:
            return str(metrics["skipped"])
        return f"{len(metrics['recorded']['agents'])} agents with {metrics['recorded']['sessions']} held-out sessions"
    parts = [f"{count} {name}" for name, count in metrics.get("rows", {}).items()]
    parts += [f"{count} {split}" for split, count in metrics.get("windows_by_split", {}).items()]
    return ", ".join(parts)


if __name__ == "__main__":
    main()
