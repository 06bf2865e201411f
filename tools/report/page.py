"""The report as one HTML page: no script, no other file, light and dark, and fit to be printed."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.media.svg import COLOURS
from tools.report.answers import Answer, queries, stages_of
from tools.report.cells import cell, heading
from tools.report.charts import Bar, Mark, bars, histogram
from tools.report.humans import MEASURES, NOTES, OFFSET_MARKS_MS, PUBLISHED, SOURCES
from tools.report.sections import AXES, OVERVIEW, SECTIONS, Figure

LIGHT = {
    "ground": "#ffffff", "card": "#f7f8fa", "ink": "#1c2430", "quiet": "#5b6675", "rule": "#d9dee6", "room": "#e8ebf0",
}  # fmt: skip
DARK = {
    "ground": "#12161c", "card": "#1a2028", "ink": "#e6eaf0", "quiet": "#9aa6b5", "rule": "#2f3844", "room": "#262e39",
}  # fmt: skip
DARK_COLOURS = ("#5aa9e6", "#f28e52", "#41c79b", "#c993cd", "#cdb95b", "#94a1f2")
HUMANS = "human_measures"


class Folder(NamedTuple):
    """One data folder of a report."""

    name: str  # the path, as the user wrote it
    answers: Mapping[str, Answer]


def page(folders: Sequence[Folder], made: str) -> str:
    """The page for one folder, or for two side by side. `made`: the date and the version."""
    title = "WanStreamer report: " + " and ".join(folder.name for folder in folders)
    links = "".join(f'<a href="#{section.name}">{escape(section.title)}</a>' for section in SECTIONS)
    parts = [
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title>",
        f"<meta name='viewport' content='width=device-width'><style>{_style()}</style></head><body>",
        f"<header><h1>{escape(title)}</h1><p>{escape(made)}. It names no person, and has no words and no pictures.</p>",
        '<p>Every figure is the answer to the query below it. <code>python -m tools.query --data FOLDER "QUERY"</code> '
        "gives the same answer.</p></header>",
        f"<nav>{links}</nav><main>",
        *_figure(OVERVIEW, folders),
    ]
    for section in SECTIONS:
        parts.append(f"<section id='{section.name}'><h2>{escape(section.title)}</h2><p>{_marked(section.about)}</p>")
        for figure in section.figures:
            parts += _figure(figure, folders)
        parts.append("</section>")
    parts += ["</main></body></html>", ""]
    return "\n".join(parts)


def _figure(figure: Figure, folders: Sequence[Folder]) -> Iterator[str]:
    yield f"<figure id='figure-{figure.query}'><figcaption><h3>{escape(figure.title)}</h3>"
    yield f"<p>{escape(queries()[figure.query].meaning)}</p></figcaption>"
    yield f"<div class='sides sides-{len(folders)}'>"
    most = max((_most(figure, folder.answers[figure.query]) for folder in folders), default=0.0)
    for folder in folders:
        answer = folder.answers[figure.query]
        yield "<div class='side'>"
        if len(folders) > 1:
            yield f"<p class='folder'>{escape(folder.name)}</p>"
        if not answer.sql:
            yield _not_yet(answer, folder.name)
        elif not answer.rows:
            yield "<p class='empty'>None.</p>"
        else:
            yield "<div class='drawn'>"
            yield from _drawn(figure, answer, most)
            yield "</div>"
        if answer.sql and answer.missing:
            yield _not_yet(answer, folder.name)
        if answer.sql:
            yield (
                f"<details class='query' data-query='{figure.query}' data-folder='{escape(folder.name)}'>"
                f"<summary>query {figure.query}</summary><pre>{escape(answer.sql)}</pre></details>"
            )
        yield "</div>"
    yield "</div></figure>"


def _not_yet(answer: Answer, folder: str) -> str:
    stages = stages_of(answer.missing)
    missing = ", ".join(answer.missing)
    if not stages:
        return f"<p class='missing'>Not there: {escape(missing)}.</p>"
    commands = "; ".join(f"<code>python -m pipelines.{stage} --data {escape(folder)}</code>" for stage in stages)
    return f"<p class='missing'>Not yet: {escape(missing)}. To make it: {commands}</p>"


def _drawn(figure: Figure, answer: Answer, most: float) -> Iterator[str]:
    if figure.query == HUMANS:
        yield _humans(answer)
        return
    if figure.row:
        yield _row_table(answer)
        return
    if figure.chart == "bars":
        yield bars([_bar(figure, answer, row) for row in answer.rows], most)
    if figure.chart == "histogram":
        yield _histogram(figure, answer, most)
        yield f"<details class='numbers'><summary>numbers</summary>{_table(answer)}</details>"
    else:
        yield _table(answer)


def _most(figure: Figure, answer: Answer) -> float:
    """The highest value that a chart has to show."""
    if not figure.chart or not answer.rows:
        return 0.0
    place = answer.columns.index(figure.value)
    return max((float(row[place] or 0) for row in answer.rows), default=0.0)


def _bar(figure: Figure, answer: Answer, row: Sequence[Any]) -> Bar:
    named = dict(zip(answer.columns, row, strict=True))
    value = named[figure.value]
    label = " ".join(str(named[column]) for column in figure.labels)
    return Bar(label, float(value or 0), cell(figure.value, value))


def _histogram(figure: Figure, answer: Answer, most: float) -> str:
    axis = AXES[figure.query]
    series: dict[str, dict[float, float]] = {}
    for row in answer.rows:
        named = dict(zip(answer.columns, row, strict=True))
        label = " ".join(str(named[column]) for column in figure.labels)
        series.setdefault(label, {})[float(named[axis.begin])] = float(named[figure.value])
    is_offsets = figure.query == "floor_transfer_histogram"
    marks = [Mark(label, at) for label, at in OFFSET_MARKS_MS] if is_offsets else []
    return histogram(series, axis.span, axis.bin_width, most, unit=axis.unit, marks=marks, ticks=axis.ticks)


def _table(answer: Answer) -> str:
    numeric = [
        all(isinstance(row[place], int | float | None) for row in answer.rows) for place in range(len(answer.columns))
    ]
    heads = "".join(
        f"<th{_number(is_number)}>{escape(heading(column))}</th>"
        for column, is_number in zip(answer.columns, numeric, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td{_number(is_number)}>{escape(cell(column, value))}</td>"
            for column, value, is_number in zip(answer.columns, row, numeric, strict=True)
        )
        + "</tr>"
        for row in answer.rows
    )
    head = f"<thead><tr>{heads}</tr></thead>"
    return f"<div class='wide'><table data-query='{answer.name}'>{head}<tbody>{rows}</tbody></table></div>"


def _row_table(answer: Answer) -> str:
    """An answer of one row: a name and a value per line."""
    values = "".join(
        f"<div><dt>{escape(heading(column))}</dt><dd data-column='{column}'>{escape(cell(column, value))}</dd></div>"
        for column, value in answer.row().items()
    )
    return f"<dl data-query='{answer.name}'>{values}</dl>"


def _humans(answer: Answer) -> str:
    """What was measured here beside what was published, with the kind of talk that it holds for."""
    values = answer.row()
    rows = ""
    for measure, published, source in PUBLISHED:
        rows += (
            f"<tr><td>{escape(MEASURES[measure])}</td>"
            f"<td class='number' data-column='{measure}'>{escape(cell(measure, values[measure]))}</td>"
            f"<td class='number'>{escape(published)}</td>"
            f"<td>{escape(SOURCES[source].talk)} <a class='cited' href='#{source}'>{source}</a></td></tr>"
        )
    notes = "".join(f"<li>{escape(note)}</li>" for note in NOTES)
    sources = "".join(
        f"<li id='{name}'>{escape(source.cited)}. <a href='{escape(source.address)}'>{escape(source.address)}</a></li>"
        for name, source in SOURCES.items()
    )
    return (
        "<div class='wide'><table data-query='human_measures'><thead><tr><th>measure</th><th class='number'>here</th>"
        f"<th class='number'>published</th><th>for</th></tr></thead><tbody>{rows}</tbody></table></div>"
        f"<ul class='notes'>{notes}</ul><details class='sources'><summary>sources</summary><ul>{sources}</ul></details>"
    )


def _number(is_number: bool) -> str:
    return " class='number'" if is_number else ""


def _marked(text: str) -> str:
    """Text with `code` in it."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces))


def _style() -> str:
    """The style sheet, with the colours of light and dark pages."""
    classes = "\n".join(
        f".series-{number} {{ fill: var(--series-{number}) }}\n"
        f".line-{number} {{ fill: none; stroke: var(--series-{number}); stroke-width: 2 }}"
        for number in range(len(COLOURS))
    )
    style = (Path(__file__).with_name("page.css")).read_text(encoding="utf-8")
    for name, palette, colours in (("light", LIGHT, COLOURS), ("dark", DARK, DARK_COLOURS)):
        series = {f"series-{number}": colour for number, colour in enumerate(colours)}
        variables = " ".join(f"--{variable}: {colour};" for variable, colour in {**palette, **series}.items())
        style = style.replace(f"/* {name} */", variables)
    return style + classes
