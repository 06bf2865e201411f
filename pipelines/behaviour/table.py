"""All figures of all agents -> a table to read: figures in rows, agents in columns, each value with its n."""

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
    """Figures that nobody has are left out.

    Args:
        players: Name -> figure -> value, n, low, high.
        order: Names, as their columns stand.
        with_interval: Whose intervals are shown; everybody's are in the metrics.
    """
    made = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    made.add_column("figure", no_wrap=True)
    made.add_column("best", no_wrap=True)
    names = [name for name in order if name in agents]
    for name in names:
        made.add_column(f"{name} (95 %)" if name == with_interval else name, justify="right", no_wrap=True)
    for key, figure in figures.items():
        if any(agent[key]["n"] for agent in agents.values()):
            cells = (_cell(agents[name][key], figure.digits, name == with_interval) for name in names)
            made.add_row(figure.title, BEST[figure.best], *cells)
    made.caption = "value and n, the number of things counted"
    made.caption_justify = "left"
    return made


def _cell(found: Mapping[str, Any], digits: int, with_interval: bool) -> str:
    if found["value"] is None:
        return "-" if not found["n"] else f"- {_faint(found['n'])}"
    said = f"{found['value']:.{digits}f}"
    if with_interval and found["low"] is not None:
        said += f" ({found['low']:.{digits}f} to {found['high']:.{digits}f})"
    return f"{said} {_faint(found['n'])}"


def _faint(count: int) -> str:
    return f"[dim]{count:>3}[/dim]"
