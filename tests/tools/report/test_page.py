"""The report: every figure is the answer to the query that it shows; what is not there yet is said; no one is named."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipelines.engine.bucket_files import write_rejections
from pipelines.engine.tables import to_table, write_table
from tests.helpers.annotated_sessions import TALK, write_annotated
from tests.helpers.blank_rows import blank_row
from tests.helpers.numbered_recordings import numbered_folder
from tests.helpers.paths import ROOT
from tools.query import query
from tools.report.__main__ import main, write_report
from tools.report.answers import answers, queries
from tools.report.cells import cell
from tools.report.humans import MEASURES, PUBLISHED, SOURCES
from tools.report.page import HUMANS
from tools.report.sections import OVERVIEW, SECTIONS

SHOWN = {OVERVIEW.query, *(figure.query for section in SECTIONS for figure in section.figures)}


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with speech, turns and events, and what quality measures; without windows."""
    data = tmp_path_factory.mktemp("annotated")
    write_annotated(data, {"s1": TALK, "s2": TALK}, consent={"a": ["train", "show"]}, num_units=180)
    for table in ("quality", "bleed", "hashes"):
        rows = [
            blank_row(
                table,
                session_id=key,
                participant=who,
                **({"snr_db": 30.0, "usable": True} if table == "quality" else {}),
            )
            for key in ("s1", "s2")
            for who in ("a", "b")
        ]
        write_table(data, table, to_table(table, rows))
    write_rejections(data, "ingest", [("lost", "unreadable", "lost.mp4"), ("s1/a", "word_without_time", "")])
    (data / "timings").mkdir()
    (data / "timings" / "annotate.json").write_text('{"cpu_s": 3.0, "wall_s": 2.0, "keys": 2.0, "workers": 2}')
    return data


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with windows and states; without events."""
    return numbered_folder(tmp_path_factory.mktemp("packed"))


class Shown(HTMLParser):
    """The figures of a page, by query and folder: the printed query, and the cells below the figure's title."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.sql: dict[tuple[str, str], str] = {}
        self.cells: dict[tuple[str, int], list[list[str]]] = {}  # query, which side -> rows
        self.named: dict[tuple[str, int], dict[str, str]] = {}  # the same -> column -> cell
        self.sides: dict[str, int] = {}
        self.inside: list[tuple[str, str]] = []
        self.query = ""
        self.column = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = {name: value or "" for name, value in attrs}
        if about.get("class") == "query":
            self.inside = [(about["data-query"], about["data-folder"])]
        elif tag == "pre" and self.inside:
            self.sql[self.inside[0]] = ""
        if tag in ("table", "dl") and "data-query" in about:
            self.query = about["data-query"]
            self.sides[self.query] = self.sides.get(self.query, -1) + 1
        place = self.query, self.sides.get(self.query, 0)
        if tag == "tr":
            self.cells.setdefault(place, []).append([])
        elif tag == "td":
            self.cells[place][-1].append("")
        self.column = about.get("data-column", "") if tag in ("td", "dd") else self.column
        self.tag = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == "details":
            self.inside = []
        self.column = "" if tag in ("td", "dd") else self.column
        self.tag = ""

    def handle_data(self, data: str) -> None:
        place = self.query, self.sides.get(self.query, 0)
        if self.tag == "pre" and self.inside:
            self.sql[self.inside[0]] += data
        if self.tag == "td" and self.query:
            self.cells[place][-1][-1] += data
        if self.column:
            self.named.setdefault(place, {})[self.column] = data


def written(folders: list[Path], out: Path) -> str:
    write_report(folders, out, cpu_hour=0.04)
    return out.read_text(encoding="utf-8")


def test_every_figure_is_the_answer_to_the_query_below_it(annotated: Path, packed: Path, tmp_path: Path) -> None:
    page = written([annotated, packed], tmp_path / "report.html")
    shown = Shown(page)
    assert {name for name, _ in shown.sql} == set(queries()) == SHOWN
    sides: dict[str, int] = {}
    for (name, folder), sql in shown.sql.items():
        columns, rows = query(Path(folder), sql)
        if not rows:
            continue
        side = sides[name] = sides.get(name, -1) + 1
        if (name, side) in shown.named:
            values = dict(zip(columns, rows[0], strict=True))
            for column, text in shown.named[name, side].items():
                assert text == cell(column, values[column]), (name, column)
            if name != HUMANS:
                assert set(shown.named[name, side]) == set(columns)
        else:
            expected = [[cell(column, value) for column, value in zip(columns, row, strict=True)] for row in rows]
            assert [row for row in shown.cells[name, side] if row] == expected, name


def test_figures_are_those_of_a_conversation_in_which_every_turn_is_known(annotated: Path) -> None:
    found = answers(annotated)
    assert found["floor_transfers"].row()["median_ms"] == 210 and found["floor_transfers"].row()["transfers"] == 8
    assert found["floor_transfers"].row()["overlapped_share"] == 0.25
    assert found["overview"].row()["hours"] == pytest.approx(2 * 28.8 / 3600)
    [interruption] = [row for row in found["interruptions"].rows if row[0] == "interruption"]
    assert interruption[:3] == ("interruption", "floor_taking", 2)
    assert dict(found["human_measures"].row())["under_500_ms_share"] == 0.75
    lost = {row[:2]: row[2:5] for row in found["hours_lost"].rows}
    assert lost["ingest", "unreadable"] == (1, None, 0) and lost["ingest", "word_without_time"] == (0, None, 1)
    [time] = found["time"].rows
    assert time[0] == "annotate" and time[7] == pytest.approx(3.0 / (2 * 28.8 / 3600))


def test_hours_of_a_packed_folder(packed: Path) -> None:
    found = answers(packed)
    kept = {row[0]: row[1:] for row in found["hours_kept"].rows}
    assert set(kept) == {"ingest", "pack: in windows"} and kept["ingest"] == kept["pack: in windows"]
    assert {"quality", "state/annotate/b=*.parquet"} <= set(found["hours_kept"].missing)
    [(split, windows, hours, *_)] = found["windows"].rows
    assert (split, windows) == ("train", 14) and hours == pytest.approx(14 * 8 * 0.16 / 3600)
    assert [row[0] for row in found["sizes"].rows] == ["tracks", "tables", "windows", "models"]
    tracks = sum(path.stat().st_size for path in (packed / "tracks").rglob("*.*"))
    assert found["sizes"].rows[0][1:3] == (4, tracks)


def test_what_is_not_there_yet_is_said_with_the_command(packed: Path, tmp_path: Path) -> None:
    page = written([packed], tmp_path / "report.html")
    assert f"python -m pipelines.annotate --data {packed}" in page and "Not yet: events" in page


def test_the_page_needs_nothing_else_and_names_no_one(annotated: Path, packed: Path, tmp_path: Path) -> None:
    page = written([annotated, packed], tmp_path / "report.html")
    assert not re.findall(r"<script|<link|<img|@import|url\(", page)
    links = set(re.findall(r"(?:href|src)='(https?:[^']+)'", page))
    assert links == {source.address for source in SOURCES.values()}
    for private in ("p&amp;", "<p&", "talk-1", "mhm", "lost.mp4"):
        assert private not in page
    assert "prefers-color-scheme: dark" in page and "@media print" in page


def test_every_published_figure_has_a_source_and_a_measure(annotated: Path) -> None:
    columns = answers(annotated)[HUMANS].columns
    assert {published.source for published in PUBLISHED} <= set(SOURCES)
    assert {published.measure for published in PUBLISHED} == set(columns) == set(MEASURES)


def pages_of_docs() -> Iterator[str]:
    yield (ROOT / "docs" / "report.md").read_text(encoding="utf-8")


def test_the_docs_name_every_query() -> None:
    [text] = pages_of_docs()
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == SHOWN


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(["nowhere"], "nowhere: no such data folder"), (["--cpu-hour", "-1"], "--cpu-hour -1.0: expected 0 or more")],
)
def test_a_mistake_is_one_line(
    arguments: list[str],
    error: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2 and error in capsys.readouterr().err


def test_the_report_lies_where_forget_removes_it(annotated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(annotated)])
    assert capsys.readouterr().out == f"{annotated}/reports/report.html: open it in a browser\n"
    assert (annotated / "reports" / "report.html").is_file()
