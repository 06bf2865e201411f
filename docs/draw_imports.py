"""The pictures of docs/architecture.md: the imports as they are -> `docs/images/imports-*.svg`.

`python -m docs.draw_imports` writes them. Folders stand in the layers that the contracts of pyproject.toml name. An
arrow means that some module of one folder imports a module of the other. An arrow that points up, or a folder in no
layer, is an error. A test checks that the files are what the code is today.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grimp

from pipelines.media.svg import COLOURS, STYLE, rect, text

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "images"

BAR, GAP, LAYER_GAP, HEAD = 28, 14, 26, 30  # heights in px
BOX, BOX_GAP, COLUMN, EDGE = 66, 6, 22, 10  # widths
LABEL = 280  # room for a bar's name and purpose, left of all columns, where nothing stands abreast

PURPOSES = {
    "tools": "commands: query, picture, convert, score, bench, ...",
    "pipelines.params": "checks params.yaml before anything runs",
    "pipelines.conversation": "the script engine, voices, faces, reactive users",
    "pipelines.sources": "folders and manifests of recordings",
    "pipelines.signals": "what is measured: voice activity, faces, offsets, bleed",
    "pipelines.formats": "what is read and written: tars, RTTM, words, tokenizer",
    "pipelines.media": "ffmpeg, probing, tracks, captions, SVG",
    "pipelines.engine": "jobs, parts, tables, stores, Ray, parameters",
    "wanstreamer": "the library (second picture)",
    "schemas": "what lies on disk: tables and views",
    "wanstreamer.streaming": "the live agent",
    "wanstreamer.train": "losses, steps, tasks",
    "wanstreamer.model": "the duplex Transformer",
    "wanstreamer.turns": "the turn rules",
    "wanstreamer.windows": "manifest, shards, batch, loader",
    "wanstreamer.metrics": "measures of quality",
    "wanstreamer.vae": "the causal VAEs",
    "wanstreamer.bootstrap": "intervals of a mean",
    "wanstreamer.checkpoint": "safetensors with metadata",
    "wanstreamer.devices": "where tensors are",
    "wanstreamer.clock": "units, spans, conversions",
    "wanstreamer.bounds": "what a parameter may be",
    "wanstreamer.errors": "InputError",
}

Layers = Sequence[Sequence[str]]  # from the top; an importer stands above what it imports
Edges = set[tuple[str, str]]  # importer, imported


@dataclass(frozen=True, kw_only=True)
class Box:
    """Where a folder stands, and at which x its arrows go down."""

    x: float
    y: float
    width: float
    column: float

    @property
    def bottom(self) -> float:
        return self.y + BAR


def layers_of(contract: str) -> list[list[str]]:
    """The layers of the contract whose layers name the module `contract`."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    for entry in contracts:
        layers = [[name.strip() for name in layer.split("|")] for layer in entry.get("layers", ())]
        if any(contract in layer for layer in layers):
            return layers
    raise ValueError(f"pyproject.toml: no contract has {contract} in a layer")


def folder_edges(folders: Iterable[str], graph: grimp.ImportGraph) -> Edges:
    """Which of the folders imports which. A module belongs to the longest name among them that begins its own."""
    names = sorted(folders, key=len, reverse=True)

    def folder(module: str) -> str | None:
        return next((name for name in names if module == name or module.startswith(f"{name}.")), None)

    edges = set()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            pair = folder(module), folder(imported)
            if None not in pair and pair[0] != pair[1]:
                edges.add((str(pair[0]), str(pair[1])))
    return edges


def check_complete(layers: Layers, package: str, graph: grimp.ImportGraph) -> None:
    """Raises ValueError for a folder or module of the package that stands in no layer."""
    for child in graph.find_children(package):
        path = ROOT / child.replace(".", "/")
        is_here = path.is_dir() or path.with_suffix(".py").is_file()  # commands under old names lie elsewhere
        if is_here and not any(child in layer for layer in layers):
            raise ValueError(f"{child}: in no layer of the contracts in pyproject.toml")


def place(layers: Layers) -> tuple[dict[str, Box], float, float]:
    """Bars one below the other, but layers of many folders side by side; then width and height of all."""
    abreast = max((len(layer) for layer in layers if len(layer) > 4), default=0)
    bars = [name for layer in layers if len(layer) <= 4 for name in layer]
    right = EDGE + abreast * (BOX + BOX_GAP) if abreast else LABEL
    width = right + COLUMN * len(bars) + EDGE
    boxes: dict[str, Box] = {}
    y = HEAD
    for layer in layers:
        for number, name in enumerate(layer):
            if len(layer) > 4:
                x = EDGE + number * (BOX + BOX_GAP)
                boxes[name] = Box(x=x, y=y, width=BOX, column=x + BOX / 2)
            else:
                column = right + COLUMN * (bars.index(name) + 0.5)
                boxes[name] = Box(x=EDGE, y=y, width=width - 2 * EDGE, column=column)
                y += BAR + GAP
        y += BAR + LAYER_GAP if len(layer) > 4 else LAYER_GAP - GAP
    return boxes, width, y - LAYER_GAP + EDGE


def draw(title: str, layers: Layers, edges: Edges) -> str:
    """An SVG document. Raises ValueError for an arrow that points up."""
    boxes, width, height = place(layers)
    rank = {name: number for number, layer in enumerate(layers) for name in layer}
    wrong = sorted((one, other) for one, other in edges if rank[one] >= rank[other])
    if wrong:
        raise ValueError(f"imports against the layers: {wrong}")
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(boxes)}
    lines, heads = [], []
    for name, box in boxes.items():
        below = [boxes[other] for importer, other in sorted(edges) if importer == name]
        down = [other for other in below if other.width == BOX]
        for other in down:  # to one of several boxes that stand abreast: straight down on its column
            x = other.column + 10 * (rank[name] * 2 - 1)
            lines.append(_line(x, box.bottom, other.y, colours[name]))
            heads += [_begin(x, box.bottom, colours[name]), _arrow(x, other.y, colours[name])]
        bars = [other for other in below if other.width != BOX]
        if bars:
            lines.append(_line(box.column, box.bottom, max(other.y for other in bars), colours[name]))
            heads.append(_begin(box.column, box.bottom, colours[name]))
            heads += [_arrow(box.column, other.y, colours[name]) for other in bars]
    drawn = []
    for name, box in boxes.items():
        drawn.append(_outlined(box, colours[name]))
        short = name.removeprefix("pipelines.").removeprefix("wanstreamer.")
        if box.width == BOX:
            drawn.append(text(box.column, box.y + 18, short, "name", anchor="middle"))
        else:
            drawn.append(text(box.x + 8, box.y + 18, short, "name"))
            drawn.append(text(box.x + 92, box.y + 18, PURPOSES.get(name, ""), "quiet"))
    key = (
        "an arrow: some module of the folder above imports one of the folder below; a line without a head passes behind"
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
            f'height="{height:.0f}">',
            f"<title>{title}</title><style>{STYLE} .name {{ font-size: 12px; font-weight: bold }}</style>",
            rect(0, 0, width, height, "#ffffff"),
            text(EDGE, 16, key, "quiet"),
            *lines,
            *drawn,
            *heads,
            "</svg>",
            "",
        ]
    )


def _line(x: float, top: float, bottom: float, colour: str) -> str:
    return f'<path d="M{x:.1f} {top:.1f}V{bottom - 5:.1f}" stroke="{colour}" stroke-width="1.3"/>'


def _arrow(x: float, y: float, colour: str) -> str:
    return f'<path d="M{x:.1f} {y:.1f}l-3.5 -6.5h7z" fill="{colour}"/>'


def _begin(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>'


def _outlined(box: Box, colour: str) -> str:
    return (
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{BAR}" rx="3" fill="#f6f6f6" '
        f'stroke="{colour}" stroke-width="1.2"/>'
    )


def drawings() -> Mapping[Path, str]:
    """File -> SVG document."""
    graph = grimp.build_graph("schemas", "wanstreamer", "pipelines", "tools", cache_dir=None)
    stages = layers_of("pipelines.params")
    library = layers_of("wanstreamer.streaming")
    check_complete(stages, "pipelines", graph)
    check_complete(library, "wanstreamer", graph)
    whole = [["tools"], *stages, ["wanstreamer"], ["schemas"]]
    return {
        FOLDER / "imports-project.svg": draw("Who imports whom: tools, stages and what they share", whole,
                                             folder_edges([name for layer in whole for name in layer], graph)),
        FOLDER / "imports-library.svg": draw("Who imports whom in the library", library,
                                             folder_edges([name for layer in library for name in layer], graph)),
    }  # fmt: skip


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for path, svg in drawings().items():
        path.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
