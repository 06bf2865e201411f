"""Bars and histograms as inline SVG. Colours come from the page's variables, so they follow light and dark."""

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil
from typing import NamedTuple

WIDTH = 520
LABEL_PX, VALUE_PX, BAR_PX, STEP_PX = 172, 90, 14, 24
PLOT_HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 168, 40, 18, 20, 34
SERIES = 6  # colours of the page: --series-0, ...
LETTER_PX = 6.3  # at most, of a label
TICKS = 5  # at most, above zero
TICK_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25)


class Bar(NamedTuple):
    label: str
    value: float
    text: str  # the value as it is written


class Mark(NamedTuple):
    """A vertical line in a histogram."""

    label: str
    at: float


def bars(rows: Sequence[Bar], most: float) -> str:
    """Horizontal bars, one below the other; `most`: the value of the longest possible one."""
    width = WIDTH - LABEL_PX - VALUE_PX
    drawn = []
    for number, bar in enumerate(rows):
        y = number * STEP_PX
        length = width * min(1.0, bar.value / most) if most > 0 else 0.0
        label = _short(bar.label, LABEL_PX - 8)
        drawn.append(
            f"<g><title>{escape(bar.label)}: {escape(bar.text)}</title>"
            f'<text class="label" x="{LABEL_PX - 8}" y="{y + 16}" text-anchor="end">{escape(label)}</text>'
            f'<rect class="room" x="{LABEL_PX}" y="{y + 5}" width="{width}" height="{BAR_PX}" rx="2"/>'
            f'<rect class="series-0" x="{LABEL_PX}" y="{y + 5}" width="{length:.1f}" height="{BAR_PX}" rx="2"/>'
            f'<text class="value" x="{LABEL_PX + width + 6}" y="{y + 16}">{escape(bar.text)}</text></g>'
        )
    return _svg(len(rows) * STEP_PX + 4, "".join(drawn), "bars")


def histogram(
    series: Mapping[str, Mapping[float, float]],
    span: tuple[float, float],
    bin_width: float,
    most: float,
    *,
    unit: str,
    marks: Sequence[Mark] = (),
    ticks: Sequence[float] = (),
) -> str:
    """Shares by bin: filled for one series, lines for several.

    Args:
        series: Name -> begin of a bin -> its share.
        span: Begin of the first bin, end of the last.
        most: The highest share that is drawn; two histograms side by side have the same.
        marks: Vertical lines, such as published means.
        ticks: Values that are written below.
    """
    plot = WIDTH - LEFT - RIGHT
    floor_y = TOP + PLOT_HEIGHT

    def x(value: float) -> float:
        return LEFT + plot * (value - span[0]) / (span[1] - span[0])

    def y(share: float) -> float:
        return floor_y - PLOT_HEIGHT * min(1.0, share / most) if most > 0 else floor_y

    step = next((step for step in TICK_STEPS if step * TICKS >= most), TICK_STEPS[-1])
    num_ticks = max(1, ceil(most / step))
    most = num_ticks * step
    drawn = []
    for number in range(num_ticks + 1):
        share = number * step
        drawn.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(share):.1f}" y2="{y(share):.1f}"/>'
            f'<text class="tick" x="{LEFT - 5}" y="{y(share) + 3.5:.1f}" text-anchor="end">{100 * share:.0f} %</text>'
        )
    drawn += [
        f'<text class="tick" x="{x(tick):.1f}" y="{floor_y + 14}" text-anchor="middle">{tick:g}</text>'
        for tick in ticks
    ]
    for number, (name, bins) in enumerate(series.items()):
        draw = _filled if len(series) == 1 else _line
        drawn.append(draw(name, bins, span, bin_width, number, x, y, unit))
    for number, mark in enumerate(marks):
        at = x(max(span[0], min(span[1], mark.at)))
        drawn.append(
            f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 4 + 12 * number}" y2="{floor_y}"/>'
            f'<text class="tick" x="{at + 4:.1f}" y="{TOP + 6 + 12 * number}">{escape(mark.label)}</text>'
        )
    drawn.append(f'<text class="tick" x="{WIDTH - RIGHT}" y="{floor_y + 28}" text-anchor="end">{escape(unit)}</text>')
    if len(series) > 1:
        drawn.append(_legend(list(series), floor_y + 28))
    return _svg(TOP + PLOT_HEIGHT + BOTTOM, "".join(drawn), "histogram")


def _filled(name, bins, span, bin_width, number, x, y, unit):  # type: ignore[no-untyped-def]
    rects = []
    for begin, share in sorted(bins.items()):
        left, right, top = x(begin), x(begin + bin_width), y(share)
        rects.append(
            f'<rect class="series-{number % SERIES}" x="{left + 0.5:.1f}" y="{top:.1f}" '
            f'width="{max(0.5, right - left - 1):.1f}" height="{y(0) - top:.1f}">'
            f"<title>{begin:g} to {begin + bin_width:g} {escape(unit)}: {100 * share:.1f} %</title></rect>"
        )
    return "".join(rects)


def _line(name, bins, span, bin_width, number, x, y, unit):  # type: ignore[no-untyped-def]
    points, begin = [], span[0]
    while begin < span[1]:
        height = y(bins.get(begin, 0.0))
        points += [f"{x(begin):.1f},{height:.1f}", f"{x(begin + bin_width):.1f},{height:.1f}"]
        begin += bin_width
    return (
        f'<polyline class="line-{number % SERIES}" points="{" ".join(points)}"><title>{escape(name)}</title></polyline>'
    )


def _legend(names: Sequence[str], y: float) -> str:
    drawn, x = [], float(LEFT)
    for number, name in enumerate(names):
        drawn.append(
            f'<line class="line-{number % SERIES}" x1="{x:.0f}" x2="{x + 18:.0f}" y1="{y - 4}" y2="{y - 4}"/>'
            f'<text class="tick" x="{x + 23:.0f}" y="{y}">{escape(name)}</text>'
        )
        x += 23 + LETTER_PX * len(name) + 16
    return "".join(drawn)


def _short(label: str, room_px: float) -> str:
    letters = int(room_px / LETTER_PX)
    return label if len(label) <= letters else label[: letters - 1] + "…"


def _svg(height: float, content: str, kind: str) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}" role="img">'
        f"{content}</svg>"
    )
