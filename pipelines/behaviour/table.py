"""All figures of all agents -> a table: figures in rows, agents in columns, each value with its n."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from pipelines.behaviour.figures import Figure

BEST = {"high": "high", "low": "low", "truth": "as truth", "": ""}


def table(
    title: str,
    figures: Mapping[str, Figure],
    agents: Mapping[str, Mapping[str, Mapping[str, Any]]],
    *,
    order: Sequence[str],
    with_interval: str,
) -> Table:
    """A figure without any observation is left out.

    Args:
        agents: Name -> figure -> value, n, low, high.
        order: Names in the order of their columns.
        with_interval: The agent whose intervals are shown; the metrics have all intervals.
    """
    grid = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    grid.add_column("figure", no_wrap=True)
    grid.add_column("best", no_wrap=True)
    names = [name for name in order if name in agents]
    for name in names:
        grid.add_column(f"{name} (95 %)" if name == with_interval else name, justify="right", no_wrap=True)
    for key, figure in figures.items():
        if any(agent[key]["n"] for agent in agents.values()):
            cells = (_cell(agents[name][key], figure.digits, name == with_interval) for name in names)
            grid.add_row(figure.title, BEST[figure.best], *cells)
    grid.caption = "value and n, the number of things counted"
    grid.caption_justify = "left"
    return grid


def _cell(figure: Mapping[str, Any], digits: int, with_interval: bool) -> str:
    if figure["value"] is None:
        return "-" if not figure["n"] else f"- {_faint(figure['n'])}"
    shown = f"{figure['value']:.{digits}f}"
    if with_interval and figure["low"] is not None:
        shown += f" ({figure['low']:.{digits}f} to {figure['high']:.{digits}f})"
    return f"{shown} {_faint(figure['n'])}"


def _faint(count: int) -> str:
    return f"[dim]{count:>3}[/dim]"
