"""The tables of `tools.plan`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tools.plan.spent import total_of

CANNOT = "?"  # a figure that cannot be predicted, or that was not recorded
NOT_KNOWN = "Only decoding shows damaged media, poor quality, duplicates and third speakers: fewer hours may be kept."
FIGURES = {"cpu_s": "CPU", "wall_s": "time", "gb": "disk", "files": "files"}
ADDED_UP = ("cpu_s", "gb")


def show_plan(plan: Mapping[str, Any], path: Path) -> None:
    console = Console(highlight=False)
    corpus = plan["corpus"]
    console.print(
        f"{plan['source']}: {corpus['sessions']:,} sessions in {corpus['files']:,} files, "
        f"{corpus['hours']:,.1f} hours of conversation"
    )
    if corpus["headers_read"] < corpus["sessions"]:
        console.print(f"The headers of {corpus['headers_read']:,} sessions were read; figures are scaled up from them.")
    console.print(_hours_table(corpus))
    for note, count in corpus["notes"].items():
        console.print(f"{count:,.0f} sessions: {note}.")
    console.print(_cost_table(plan))
    for sentence in _basis(plan):
        console.print(f"{sentence}.")
    console.print(NOT_KNOWN)
    options = "" if path == Path("data/plan.json") else f" --data {path.parent}"
    if path.name != "plan.json":
        options = f" --data DIR --out {path}"
    console.print(f"Kept in {path}. Next: run the stages, then compare with `python -m tools.plan --spent{options}`.")


def _hours_table(corpus: Mapping[str, Any]) -> Table:
    table = Table(box=SIMPLE_HEAD, title="What will be kept, by the headers", title_justify="left")
    for name in ("", "sessions", "hours"):
        table.add_column(name, justify="right" if name else "left")
    splits = ", ".join(f"{split} {hours:,.1f} h" for split, hours in corpus["kept_hours_by_split"].items())
    table.add_row(f"kept ({splits})", f"{corpus['kept_sessions']:,.0f}", f"{corpus['kept_hours']:,.1f}")
    for stage, reasons in corpus["rejected"].items():
        for reason, figures in reasons.items():
            hours = f"{figures['hours']:,.1f}" if figures["hours"] else "?"
            table.add_row(f"rejected by {stage}: {reason}", f"{figures['sessions']:,.0f}", hours)
    return table


def _cost_table(plan: Mapping[str, Any]) -> Table:
    machine = plan["machine"]
    gpus = f" and {machine['gpus']} GPUs" if machine["gpus"] else ""
    table = Table(
        box=SIMPLE_HEAD, title_justify="left",
        title=f"What it will cost on {machine['nodes']} x {machine['cores']} cores{gpus}",
    )  # fmt: skip
    has_gpus, has_prices = bool(machine["gpus"]), any(plan["prices"].values())
    columns = ["stage", "CPU", *(["GPU"] if has_gpus else []), "time", "disk", "peak", "files"]
    for name in [*columns, *(["money"] if has_prices else [])]:
        table.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
    for stage, cost in plan["stages"].items():
        cells = [stage, duration(cost["cpu_s"]), *([duration(cost["gpu_s"])] if has_gpus else [])]
        cells += [duration(cost["wall_s"]), size(cost["gb"]), size(cost["peak_gb"]), _count(cost["files"])]
        table.add_row(*cells, *([_money(cost["money"])] if has_prices else []))
    costs = list(plan["stages"].values())
    cells = ["all", _sum(costs, "cpu_s", duration), *([_sum(costs, "gpu_s", duration)] if has_gpus else [])]
    cells += [_sum(costs, "wall_s", duration), _sum(costs, "gb", size), "", _sum(costs, "files", _count)]
    table.add_section()
    table.add_row(*cells, *([_sum(costs, "money", _money)] if has_prices else []))
    return table


def _sum(costs: list[dict[str, Any]], name: str, show: Callable[[float], str]) -> str:
    """The sum of the figures that are known, and whether others are missing."""
    known = [cost[name] for cost in costs if cost[name] is not None]
    return f"{'> ' if len(known) < len(costs) else ''}{show(sum(known))}"


def _basis(plan: Mapping[str, Any]) -> list[str]:
    """The sentences that say what the prediction rests on."""
    slopes = plan["slopes"]
    said = [f"CPU times rest on slopes measured on {slopes['machine']}, {slopes['date']}"]
    if slopes["scaled_by"]:
        said[0] += (
            ", scaled to this machine ("
            + ", ".join(f"{name} x {ratio:.2f}" for name, ratio in slopes["scaled_by"].items())
            + ")"
        )
    elif slopes["shipped"]:
        said[0] += ". For another machine, add --calibrate, or measure it with `python -m tools.bench cost --out "
        said[0] += "slopes.json` and pass --slopes slopes.json"
    said.append("Time includes the start of a stage; money counts the cores that a stage can use while it runs")
    said.append("Peak is what a stage needs on disk while it runs; the size of track videos depends on what they show")
    if plan["like"]:
        said.append(f"CPU times and sizes are corrected by what {plan['like']['data']} has spent")
        if plan["like"]["kept_share"]:
            kept = plan["like"]["kept_share"]
            said.append(
                f"There, {kept:.0%} of the hours that headers promised were kept; here that would be "
                f"{kept * plan['corpus']['kept_hours']:,.1f} h"
            )
    said += [f"{stage} cannot be predicted: {cost['why']}" for stage, cost in plan["stages"].items() if cost["why"]]
    if plan["storage_money_per_month"]:
        said.append(f"Disk costs {plan['storage_money_per_month']:,.2f} a month")
    return said


def show_comparison(plan: Mapping[str, Any], compared: Mapping[str, Mapping[str, Any]]) -> None:
    console = Console(highlight=False)
    table = Table(box=SIMPLE_HEAD, title_justify="left", title="Predicted, and spent")
    for name in ("stage", "", "predicted", "spent", "spent / predicted"):
        table.add_column(name, justify="left" if name in ("stage", "") else "right", no_wrap=True)
    for stage, figures in compared.items():
        for name, title in FIGURES.items():
            table.add_row(stage if name == "cpu_s" else "", title, *_cells(name, figures[name]))
        table.add_section()
    for name in ADDED_UP:
        sums = total_of(compared, name)
        table.add_row("all" if name == ADDED_UP[0] else "", FIGURES[name], *_cells(name, sums))
    console.print(table)
    for stage, figures in compared.items():
        if figures["share"] < 0.995:
            console.print(f"{stage}: its last run did {figures['share']:.0%} of the sessions; times are for these.")
        if "kept_hours" in figures:
            hours = figures["kept_hours"]
            console.print(f"{stage} keeps {hours['predicted']:,.2f} -> {hours['spent']:,.2f} hours")
            for reason, counts in figures["rejected"].items():
                console.print(f"  rejected as {reason}: {counts['predicted']:,.0f} -> {counts['spent']:,.0f} sessions")
    console.print(f"The plan was made {plan['made']} for {plan['source']}.")


def _cells(name: str, pair: Mapping[str, float | None]) -> tuple[str, str, str]:
    show = {"gb": size, "files": _count}.get(name, duration)
    return show(pair["predicted"]), show(pair["spent"]), CANNOT if pair["ratio"] is None else f"{pair['ratio']:.2f}"


def _count(number: float | None) -> str:
    return CANNOT if number is None else f"{number:,.0f}"


def duration(seconds: float | None) -> str:
    """
    >>> duration(42), duration(600), duration(7200), duration(400_000), duration(None)
    ('42 s', '10.0 min', '2.0 h', '111 h', '?')
    """
    if seconds is None:
        return CANNOT
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:,.1f} h" if seconds < 360_000 else f"{seconds / 3600:,.0f} h"


def size(gb: float | None) -> str:
    """
    >>> size(0.0004), size(0.25), size(12.34), size(4321), size(None)
    ('0.4 MB', '250 MB', '12.3 GB', '4.32 TB', '?')
    """
    if gb is None:
        return CANNOT
    if gb < 1:
        return f"{1000 * gb:.1f} MB" if gb < 0.01 else f"{1000 * gb:.0f} MB"
    return f"{gb:.1f} GB" if gb < 1000 else f"{gb / 1000:.2f} TB"


def _money(amount: float | None) -> str:
    return CANNOT if amount is None else f"{amount:,.2f}"
