"""Values of an answer as text: the end of a column's name says its unit."""

from typing import Any

NOTHING = "–"


def cell(column: str, value: Any) -> str:
    """A value as the report writes it.

    >>> cell("median_ms", 212.4), cell("silent_share", 0.051), cell("num_bytes", 2_500_000), cell("hours", None)
    ('212 ms', '5.1 %', '2.5 MB', '–')
    """
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    if column.endswith("share"):
        return f"{100 * value:.1f} %"
    if "bytes" in column:
        return _bytes(float(value))
    if column.endswith("_ms"):
        return f"{value:,.0f} ms"
    if column.endswith(("_s", "_s_per_hour")):
        return f"{value:,.1f} s"
    if column.endswith("hours") or column == "hours_done":
        return f"{value:,.1f} h" if value >= 10 else f"{value:,.2f} h" if value >= 1 else f"{60 * value:,.1f} min"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}"


def heading(column: str) -> str:
    """The name of a column for people: its unit is in the cells."""
    plain = column.removesuffix("_ms").removesuffix("_s").removeprefix("num_").replace("_s_per_hour", "_per_hour")
    return plain.replace("_", " ")


def _bytes(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"
        value /= 1000
    raise AssertionError
