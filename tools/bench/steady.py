"""Rates of the steady state, measured in turns; and data folders that hold a small corpus several times."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.engine.state import summary_file
from pipelines.engine.tables import read_rows, to_table, write_table
from wanstreamer.errors import InputError

TOO_FEW = "bench: too few sessions for a rate; pass more (--sessions, or --hours)"


def keys_per_s(ends_s: Sequence[float]) -> float:
    """Finished keys per second: the slope over their finish times, so that start and end of the run do not count.

    Raises InputError if there are too few keys for a slope.
    """
    if len(ends_s) < 3 or max(ends_s) == min(ends_s):
        raise InputError(TOO_FEW)
    return float(np.polyfit(sorted(ends_s), range(len(ends_s)), 1)[0])


def stage_keys_per_s(data: Path, stage: str) -> float:
    """The same slope for the keys of a stage's last run, as the engine noted it.

    Raises InputError if there were too few keys for a slope.
    """
    figures = json.loads((data / "timings" / f"{stage}.json").read_text())
    if not figures.get("keys_per_s"):
        raise InputError(TOO_FEW)
    return float(figures["keys_per_s"])


def remove_work(data: Path, stage: str, *folders: str) -> None:
    """Make all keys of a stage undone; `folders` have its bulk files."""
    summary_file(data, stage).unlink(missing_ok=True)
    for folder in (f"parts/{stage}", f"state/{stage}", *folders):
        shutil.rmtree(data / folder, ignore_errors=True)


def repeat_corpus(data: Path, folder: Path, read: Sequence[str], tables: Sequence[str], times: int) -> None:
    """Make a data folder with `times` copies of every session of `data`, under new names.

    The folders in `read` are links: a stage may read them, but must not write there.
    """
    folder.mkdir(parents=True)
    for name in read:
        (folder / name).symlink_to((data / name).resolve(), target_is_directory=True)
    for table in tables:
        rows = [{k: v for k, v in row.items() if k != "schema_version"} for row in read_rows(data, table)]
        again = [row | {"session_id": f"{row['session_id']}-{n:03d}"} for n in range(times) for row in rows]
        write_table(folder, table, to_table(table, again))


def shares(items: Sequence[Any], workers: int) -> list[list[Any]]:
    """The items assigned to workers, in turn."""
    return [list(items[start::workers]) for start in range(min(workers, len(items)))]


def in_turns(works: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Name -> the value of each round. Every other round is in reverse order; a first round, not counted, warms up."""
    console = Console(stderr=True)
    values: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        console.print(f"round {number} of {rounds}" if number else "warming up", highlight=False)
        for name in list(works)[:: 1 if number % 2 else -1]:
            value = works[name]()
            if number:
                values[name].append(value)
    return values


def show_rounds(title: str, columns: Sequence[str], rates: Sequence[Sequence[float]], ratios: Sequence[float]) -> None:
    """Print a row per round: the rates and their ratio."""
    table = Table(box=SIMPLE_HEAD, title_justify="left", title=title)
    for name in ("round", *columns):
        table.add_column(name, justify="right")
    for number, (*values, ratio) in enumerate(zip(*rates, ratios, strict=True), start=1):
        table.add_row(str(number), *map(str, values), f"{ratio:.3f}")
    Console().print(table)
