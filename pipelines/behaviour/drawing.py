"""Speech of both parties and what the user did -> SVG: conversations as lanes, onsets as cumulative distributions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from pipelines.conversation.stimuli import KINDS, Stimulus
from pipelines.media.svg import AMBER, COLOURS, GREY, INK, RED, STYLE, rect, text
from wanstreamer.clock import Span

LINE_MS = 20_000
PX_PER_MS = 0.055
LEFT, RIGHT = 110, 30
WIDTH = round(LEFT + LINE_MS * PX_PER_MS + RIGHT)
HEAD, AXIS, LANE, BAR, LINE_GAP = 66, 18, 20, 13, 20
MARKS = {"turn_end": INK, "pause": GREY, "interruption": RED, "backchannel": COLOURS[2], "shown": AMBER}
LABELS = {
    "turn_end": "turn over",
    "pause": "pause",
    "interruption": "interrupts",
    "backchannel": "says mhm",
    "shown": "shows a thing",
}
PLOT_WIDTH, PLOT_HEIGHT, PLOT_RANGE_MS = 640, 300, (-1200, 3000)


@dataclass(frozen=True, kw_only=True)
class Lane:
    """One voice."""

    title: str
    sound: Sequence[Span]
    is_user: bool = False
    stimuli: Sequence[Stimulus] = ()  # marked above the lane


def draw_lanes(title: str, lanes: Sequence[Lane], *, start_ms: int, end_ms: int) -> str:
    """A line of lanes per LINE_MS; speech before `start_ms` is paler: it is recorded history, or not scored."""
    line_height = AXIS + LANE * len(lanes) + LINE_GAP
    lines = [Span(at, min(at + LINE_MS, end_ms)) for at in range(0, max(end_ms, 1), LINE_MS)]
    parts = [*_open(WIDTH, HEAD + line_height * len(lines), title), *_legend()]
    for place, line in enumerate(lines):
        parts.append(f'<g transform="translate({LEFT} {HEAD + place * line_height})">')
        for ms in range(line.start_ms, line.end_ms + 1, 1000):
            x = (ms - line.start_ms) * PX_PER_MS
            parts.append(f'<path d="M{x:.1f} {AXIS - 5}V{AXIS - 1}" stroke="{GREY}"/>')
            if ms % 5000 == 0:
                parts.append(text(x, AXIS - 7, f"{ms // 1000} s", "quiet", anchor="middle"))
        for row, lane in enumerate(lanes):
            y = AXIS + row * LANE
            parts.append(text(-8, y + BAR, lane.title, "who" if lane.is_user else "", anchor="end"))
            parts.append(rect(0, y + 3, (line.end_ms - line.start_ms) * PX_PER_MS, BAR, "#f4f4f4"))
            colour = COLOURS[0] if lane.is_user else COLOURS[1]
            for span in lane.sound:
                parts += _bar(span, line, y + 3, colour, 0.4 if span.end_ms <= start_ms else 1)
            for stimulus in lane.stimuli:
                at_ms = stimulus.end_ms if stimulus.kind == "turn_end" else stimulus.start_ms
                if line.start_ms <= at_ms < line.end_ms:
                    x = (at_ms - line.start_ms) * PX_PER_MS
                    parts.append(rect(x - 1, y, 2.5, BAR + 6, MARKS[stimulus.kind]))
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def draw_onsets(title: str, offsets_ms: Mapping[str, NDArray[np.float64]]) -> str:
    """Cumulative shares of floor transfer offsets, a line per agent; the first, the truth, is dashed."""
    low, high = PLOT_RANGE_MS
    left, top = 50, 50

    def place(ms: float, share: float) -> str:
        x = left + (np.clip(ms, low, high) - low) / (high - low) * PLOT_WIDTH
        return f"{x:.1f} {top + (1 - share) * PLOT_HEIGHT:.1f}"

    parts = _open(left + PLOT_WIDTH + 190, top + PLOT_HEIGHT + 50, title)
    for ms in range(low + 200, high + 1, 500):
        x = left + (ms - low) / (high - low) * PLOT_WIDTH
        parts.append(f'<path d="M{place(ms, 0)}L{place(ms, 1)}" stroke="{INK if ms == 0 else "#e4e4e4"}"/>')
        parts.append(text(x, top + PLOT_HEIGHT + 16, f"{ms}", "quiet", anchor="middle"))
    for share in (0.0, 0.5, 1.0):
        parts.append(f'<path d="M{place(low, share)}L{place(high, share)}" stroke="#e4e4e4"/>')
        parts.append(text(left - 6, top + (1 - share) * PLOT_HEIGHT + 4, f"{share:g}", "quiet", anchor="end"))
    parts.append(
        text(
            left + PLOT_WIDTH / 2,
            top + PLOT_HEIGHT + 36,
            "onset after the user's turn end, ms",
            "quiet",
            anchor="middle",
        )
    )
    shown = {name: np.sort(rows) for name, rows in offsets_ms.items() if len(rows)}
    for row, (name, rows) in enumerate(shown.items()):
        colour = INK if row == 0 else COLOURS[(row - 1) % len(COLOURS)]
        points = [place(low, 0)]
        for count, ms in enumerate(rows):
            points += [place(ms, count / len(rows)), place(ms, (count + 1) / len(rows))]
        dashes = ' stroke-dasharray="5 3"' if row == 0 else ""
        y = top + 14 + 18 * row
        parts.append(
            f'<path d="M{"L".join([*points, place(high, 1)])}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
        )
        parts.append(f'<path d="M{left + PLOT_WIDTH + 14} {y - 4}h24" stroke="{colour}" stroke-width="2"{dashes}/>')
        parts.append(text(left + PLOT_WIDTH + 44, y, f"{name}, n {len(rows)}", ""))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _open(width: int, height: int, title: str) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        text(16, 24, title, "title"),
    ]


def _legend() -> Iterator[str]:
    x = 16.0
    for kind in KINDS:
        yield rect(x, 36, 3, 16, MARKS[kind])
        yield text(x + 8, 48, LABELS[kind], "quiet")
        x += 26 + 5.4 * len(LABELS[kind])
    for colour, meaning in ((COLOURS[0], "the user speaks"), (COLOURS[1], "an agent speaks")):
        yield rect(x, 38, 24, BAR, colour)
        yield text(x + 30, 48, meaning, "quiet")
        x += 50 + 5.4 * len(meaning)


def _bar(span: Span, line: Span, y: float, colour: str, opacity: float) -> Iterator[str]:
    start, end = max(span.start_ms, line.start_ms), min(span.end_ms, line.end_ms)
    if start < end:
        yield rect((start - line.start_ms) * PX_PER_MS, y, (end - start) * PX_PER_MS, BAR, colour, opacity)
