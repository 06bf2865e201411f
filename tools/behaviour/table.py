"""All figures of all agents -> a table to read: figures in rows, agents in columns, n and interval under each value."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from tools.behaviour.figures import Figure

BEST = {"high": "high", "low": "low", "truth": "as the truth", "": ""}


def table(title: str, figures: Mapping[str, Figure], agents: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    """`agents`: name -> figure -> value, n, low, high. Figures that nobody has are left out."""
    made = Table(title=title, title_justify="left", row_styles=["", "on grey11"])
    made.add_column("figure (best)")
    for name in agents:
        made.add_column(name, justify="right")
    for name, figure in figures.items():
        found = [agent[name] for agent in agents.values()]
        if any(one["n"] for one in found):
            best = f" ({BEST[figure.best]})" if figure.best else ""
            made.add_row(figure.title + best, *(_cell(one, figure.digits) for one in found))
    return made


def _cell(found: Mapping[str, Any], digits: int) -> str:
    if found["value"] is None:
        return "-"
    said = f"{found['value']:.{digits}f}"
    if found["low"] is not None:
        said += f"\n[dim]{found['low']:.{digits}f} to {found['high']:.{digits}f}[/dim]"
    return f"{said}\n[dim]n {found['n']}[/dim]"
