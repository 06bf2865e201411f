"""Print what the last run made: metrics/*.json and timings as one table; with --next, what was rejected, and what now.

`make repro` and `make windows` end with it.
"""

import argparse
import json
import shlex
from pathlib import Path
from textwrap import shorten
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.params import SECTIONS
from pipelines.engine.tables import check_data_folder
from tools.query import query

REJECTED = """SELECT stage, reason, count(DISTINCT key) AS keys, min(key) AS example, arg_min(detail, key) AS detail
FROM rejections GROUP BY stage, reason ORDER BY stage, keys DESC, reason"""
PEOPLE = {"unseen": "unseen people", "train": "people of the train split", "seen": "seen people"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.summary", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    parser.add_argument("--next", action="store_true", help="print what was rejected, too, and the next commands")
    args = parser.parse_args()
    with exit_on_input_error():
        check_data_folder(args.data)
        Console().print(summary_table(args.data))
        if args.next:
            print("\n".join(["", *rejected_lines(args.data), "", "next:", *next_lines(args.data)]))


def summary_table(data: Path) -> Table:
    """One row per stage that has run: what it made, what it rejected, and how long it took."""
    table = Table(title="WanStreamer: what was made", title_justify="left")
    table.add_column("stage")
    table.add_column("made")
    table.add_column("rejected")
    table.add_column("time", justify="right")
    for stage in SECTIONS:
        path = data.resolve().parent / "metrics" / f"{stage}.json"
        timings = data / "timings" / f"{stage}.json"
        if not path.is_file() or not timings.is_file():  # metrics without timings came with the code, not from a run
            continue
        metrics = json.loads(path.read_text())
        wall_s = json.loads(timings.read_text()).get("wall_s")
        rejected = ", ".join(f"{count} {reason}" for reason, count in metrics.get("rejected", {}).items())
        table.add_row(
            stage, main_figures(stage, metrics), rejected or "-", "-" if wall_s is None else f"{wall_s:.0f} s"
        )
    return table


def rejected_lines(data: Path) -> list[str]:
    """What could not be used: stage, reason, how many keys, and one of them with its detail."""
    rows = _rejected(data)
    if not rows:
        return ["rejected: nothing"]
    lines = ["rejected:"]
    for stage, reason, keys, key, detail in rows:
        example = shorten(f"{key}: {detail}", 160, placeholder=" ...") if detail else key
        lines.append(f"  {stage}: {keys} x {reason}, for example {example}")
    return lines


def _rejected(data: Path) -> list[tuple[Any, ...]]:
    folder = data / "tables" / "rejections"
    return query(data, REJECTED)[1] if folder.is_dir() and any(folder.rglob("b=*.parquet")) else []


def next_lines(data: Path) -> list[str]:
    """Commands for what is in the data folder, each with what it is for."""
    manifest, place = data / "windows" / "manifest.json", shlex.quote(str(data))
    has_events = any((data / "tables" / "events").glob("b=*.parquet"))
    found = (data / "tables" / "people").glob("b=*.parquet")
    has_found = any(pq.read_metadata(path).num_rows for path in found)
    splits = json.loads(manifest.read_text()).get("content_sha256", {}) if manifest.is_file() else {}
    commands = [
        (f'python -m tools.query --data {place} "SELECT stage, key, reason, detail FROM rejections"', "all rejections",
         bool(_rejected(data))),
        (f"python -m tools.people --data {place}", "who was found in files of both people", has_found),
        (f"python -m tools.show --data {place}", "look and listen, in a browser; correct what is wrong", has_events),
        (f"python -m tools.picture --data {place}", "draw conversations", has_events),
        (f"python -m tools.report {place} --out report.html", "the whole corpus on one page", has_events),
        (f'python -m tools.query --data {place} "FROM session_summary"', "who speaks how much", has_events),
        (f"python -m pipelines.train.duplex --data {place}", "train on the windows", "train" in splits),
        ("make windows ... ARGS='--set ingest.test_fraction=0 --set ingest.valid_fraction=0'",
         "put all people into the train split, which has no windows", bool(splits) and "train" not in splits),
        ("the same command again, once the recordings or parameters are repaired", "there are no windows yet",
         not splits),
    ]  # fmt: skip
    return [f"  {command}  # {purpose}" for command, purpose, applies in commands if applies]


def _compared(kind: str, figures: dict[str, Any], people: str) -> str:
    """The figure of a VAE, and that of linear principal components of the same size."""
    name, words = ("psnr_db", "video PSNR {:.1f} dB") if kind == "video" else ("stoi", "audio STOI {:.2f}")
    value, linear = figures[people].get(name), figures["baseline"].get(people, {}).get(name)
    if value is None:  # too little speech for STOI
        return f"audio log-mel L1 {figures[people]['log_mel_l1']:.2f}"
    verdict = "" if linear is None else f" ({'WORSE than ' if value < linear else ''}PCA {linear:.4g})"
    return words.format(value) + verdict


def main_figures(stage: str, metrics: dict[str, Any]) -> str:
    """The most important figures of a stage."""
    if stage == "vae":
        known = [kind for kind in ("video", "audio") if metrics.get(kind)]
        for people in ("unseen", "train", "seen"):  # a small data folder has no held-out people
            phrases = [_compared(kind, metrics[kind], people) for kind in known if metrics[kind].get(people)]
            if phrases:
                return ", ".join(phrases) + f" on {PEOPLE[people]}"
        return "finished VAEs, not measured" if known else ""
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
        turn_ends = "" if area is None else f", separates turn ends from pauses (area {area:.2f})"
        return f"model beats {beaten} on {metrics['sessions']} held-out sessions{turn_ends}"
    if stage == "behaviour":
        if "recorded" not in metrics:
            return str(metrics["skipped"])
        return f"{len(metrics['recorded']['agents'])} agents with {metrics['recorded']['sessions']} held-out sessions"
    parts = [f"{count} {name}" for name, count in metrics.get("rows", {}).items()]
    parts += [f"{count} {split}" for split, count in metrics.get("windows_by_split", {}).items()]
    return ", ".join(parts)


if __name__ == "__main__":
    main()
