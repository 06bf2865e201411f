"""Colours, fonts and two shapes for all drawings of conversations, as SVG text."""

from html import escape

RED, INK, GREY, AMBER = "#b00020", "#222222", "#767676", "#f0a830"
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#8e4a94",
    "#7a6a00",
    "#4b5fbd",
)  # colour-blind people can distinguish them too


STYLE = """
text { font: 11px 'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif; fill: #222222 }
.word { font-size: 10.5px } .note { font-size: 9.5px; paint-order: stroke; stroke: #ffffff; stroke-width: 2.5px }
.figure { font-size: 8.5px; fill: #767676 } .title { font-size: 15px; font-weight: bold }
.who { font-size: 13px; font-weight: bold } .quiet { fill: #767676; font-size: 10px }
"""


def rect(x: float, y: float, width: float, height: float, fill: str, opacity: float = 1) -> str:
    faint = "" if opacity == 1 else f' fill-opacity="{opacity}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"{faint}/>'


def text(x: float, y: float, content: str, style: str, *, anchor: str = "start", fill: str = "") -> str:
    more = (f' text-anchor="{anchor}"' if anchor != "start" else "") + (f' style="fill: {fill}"' if fill else "")
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}"{more}>{escape(content)}</text>'
