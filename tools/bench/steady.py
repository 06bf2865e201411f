"""Rates in the steady state, measured in turns; and data folders that hold a small corpus several times over."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.engine.tables import read_rows, to_table, write_table
from wanstreamer.errors import InputError


def keys_per_s(ends_s: Sequence[float]) -> float:
    """The slope of finished keys over the times at which they were finished: without the start and the end of a run.

    Raises InputError for too few keys to tell.
    """
    if len(ends_s) < 3 or max(ends_s) == min(ends_s):
        raise InputError("bench: too few sessions for a rate; ask for more")
    return float(np.polyfit(sorted(ends_s), range(len(ends_s)), 1)[0])


def finish_times(data: Path, stage: str) -> list[float]:
    """When each key of a stage was finished, in s."""
    return sorted(path.stat().st_mtime for path in (data / "parts" / stage).glob("*/part.json"))


def repeat_corpus(data: Path, folder: Path, read: Sequence[str], tables: Sequence[str], times: int) -> None:
    """A data folder with every session of `data` `times` over, under new names.

    The folders `read` are links: what is run there may read, but not write in them.
    """
    folder.mkdir(parents=True)
    for name in read:
        (folder / name).symlink_to((data / name).resolve(), target_is_directory=True)
    for table in tables:
        rows = [{k: v for k, v in row.items() if k != "schema_version"} for row in read_rows(data, table)]
        again = [row | {"session_id": f"{row['session_id']}-{n:03d}"} for n in range(times) for row in rows]
        write_table(folder, table, to_table(table, again))


def shares(items: Sequence[Any], workers: int) -> list[list[Any]]:
    """The items dealt out to workers."""
    return [list(items[start::workers]) for start in range(min(workers, len(items)))]


def in_turns(works: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each of the works returns, round by round, each of them first in every other; a round before warms up."""
    console = Console(stderr=True)
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        console.print(f"round {number} of {rounds}" if number else "warming up", highlight=False)
        for name in list(works)[:: 1 if number % 2 else -1]:
            value = works[name]()
            if number:
                found[name].append(value)
    return found


def show_rounds(title: str, columns: Sequence[str], rates: Sequence[Sequence[float]], ratios: Sequence[float]) -> None:
    """A row per round: the rates of each work, and their ratio."""
    table = Table(box=SIMPLE_HEAD, title_justify="left", title=title)
    for name in ("round", *columns):
        table.add_column(name, justify="right")
    for number, (*values, ratio) in enumerate(zip(*rates, ratios, strict=True), start=1):
        table.add_row(str(number), *map(str, values), f"{ratio:.3f}")
    Console().print(table)
