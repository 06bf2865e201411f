"""The page of the viewer in a real browser: what a person sees, clicks and corrects."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from pipelines.engine.tables import session_rows, to_table, write_table
from tests.helpers.browser import opened, shown, until
from tests.helpers.shown_session import make_shown

pytestmark = pytest.mark.browser
SESSION = "talk-0000"
SECONDS = 30
# Chooses the first speech of a, and shows it: where is its end on the screen?
SHOW_SPEECH = """() => {
  const {timeline} = window.show;
  const item = timeline.items('speech').find(({row}) => row.participant === 'a');
  timeline.choose({kind: 'speech', item});
  timeline.show(item.row.start_ms - 500, item.row.end_ms + 500);
  const box = timeline.canvas.getBoundingClientRect();
  const lane = timeline.laneOf('wave', 'a');
  const x = box.left + timeline.xOf(item.row.end_ms), y = box.top + lane.y + lane.height / 2;
  return {end: item.row.end_ms, x, y, msPerPx: timeline.view.msPerPx};
}"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shown(tmp_path_factory.mktemp("shown"), seconds=SECONDS, sessions=2)


@pytest.fixture(scope="module")
def url(data: Path) -> Iterator[str]:
    with shown(data) as address:
        yield address


def at(url: str, **fragment: object) -> str:
    return f"{url}#" + "&".join(f"{name}={quote(str(value))}" for name, value in fragment.items())


def open_session(page: Any, url: str, session_id: str = SESSION, **fragment: object) -> None:
    """Opens a session and waits until its timeline has all that is in view."""
    page.goto(at(url, session=session_id, **fragment))
    until(page, "window.show && !window.show.data.isLoading()")
    page.wait_for_timeout(150)  # one fetch is started WAIT_MS after the drawing that wanted it
    until(page, "!window.show.data.isLoading()")


def test_the_list_has_the_sessions_and_a_click_opens_one(url: str) -> None:
    with opened(url) as page:
        page.wait_for_selector("table.sessions tbody tr")
        assert page.locator("a.row").all_inner_texts() == [SESSION, "talk-0001"]
        assert "1 to 2 of 2 sessions" in page.inner_text(".count")
        until(page, "[...document.querySelectorAll('td.picture img')].every(i => i.complete && i.naturalWidth)")
        page.locator("a.row").first.click()
        page.wait_for_selector(".timeline canvas")
        assert SESSION in page.title()


@pytest.mark.long
def test_a_condition_filters_and_a_mistake_is_explained_in_place(url: str) -> None:
    with opened(url, errors_expected=True) as page:
        page.wait_for_selector("table.sessions tbody tr")
        page.fill("#where", "session_id = 'talk-0001'")
        page.press("#where", "Enter")
        until(page, "document.querySelectorAll('table.sessions tbody tr').length === 1")
        assert "talk-0001" in page.url
        page.fill("#where", "no_such_figure > 1")
        page.press("#where", "Enter")
        page.wait_for_selector(".problem:not([hidden])")
        assert "no_such_figure" in page.inner_text(".problem")
        page.go_back()
        until(page, "document.querySelectorAll('table.sessions tbody tr').length === 1")


@pytest.mark.long
def test_a_heading_sorts_by_its_figure(url: str) -> None:
    with opened(url) as page:
        page.wait_for_selector("table.sessions tbody tr")
        name = page.locator("thead th.number button").first
        name.click()
        page.wait_for_selector("th[aria-sort='descending']")
        page.locator("th[aria-sort] button").click()
        page.wait_for_selector("th[aria-sort='ascending']")


@pytest.mark.long
def test_find_me_lists_moments_that_open_exactly_there(url: str, data: Path) -> None:
    with opened(url) as page:
        page.wait_for_selector("button.find")
        for find in page.locator("nav.finds ul:last-child button.find").all():
            find.click()
            until(page, "document.querySelector('.count')?.textContent")
            link = page.locator("table.moments a.row")
            if link.count():
                break
        else:
            pytest.fail("no find has a moment in these sessions")
        shown_time = link.first.inner_text()
        link.first.click()
        until(page, "window.show")
        minutes, seconds = shown_time.split(":")
        expected_ms = (int(minutes) * 60 + float(seconds)) * 1000
        assert page.evaluate("window.show.player.positionMs()") == pytest.approx(expected_ms, abs=11)


def test_a_link_opens_a_session_at_its_time(url: str) -> None:
    with opened(url) as page:
        open_session(page, url, t="7.52")
        assert page.evaluate("window.show.player.positionMs()") == 7520
        until(
            page,
            "[...document.querySelectorAll('video')].length === 2 && "
            "[...document.querySelectorAll('video')].every(v => Math.abs(v.currentTime - 7.54) < 0.02)",
        )


@pytest.mark.long
def test_keys_play_zoom_and_show_help(url: str) -> None:
    with opened(url) as page:
        open_session(page, url, t="2")
        page.keyboard.press("Space")
        until(page, "window.show.player.positionMs() > 2500")
        page.keyboard.press("Space")
        assert not page.evaluate("window.show.player.playing")
        before = page.evaluate("window.show.timeline.view.msPerPx")
        page.keyboard.press("ArrowUp")
        assert page.evaluate("window.show.timeline.view.msPerPx") == pytest.approx(0.6 * before)
        page.keyboard.press("1")
        assert page.evaluate("window.show.player.heard") == "a"
        page.keyboard.press("?")
        assert page.locator("dialog[open]").count() == 1
        page.keyboard.press("Escape")
        assert page.locator("dialog[open]").count() == 0


@pytest.mark.long
def test_the_timeline_zooms_from_the_whole_session_to_a_frame(url: str) -> None:
    with opened(url) as page:
        open_session(page, url)
        view = "(({startMs, endMs}) => [startMs, endMs])(window.show.timeline.view)"
        page.keyboard.press("f")
        assert page.evaluate(view) == [0, pytest.approx(page.evaluate("window.show.session.duration_ms"))]
        for _ in range(30):
            page.keyboard.press("ArrowUp")
        start, end = page.evaluate(view)
        assert end - start == pytest.approx(40)
        page.wait_for_timeout(150)
        until(page, "!window.show.data.isLoading()")


def test_an_interruption_is_found_corrected_undone_and_saved(data: Path, url: str) -> None:
    events = [row for key in ("talk-0000", "talk-0001") for row in session_rows(data, "events", key)]
    interruption = next(row for row in events if row["label"] == "interruption")
    session_id = interruption["session_id"]
    file = data / "corrections" / f"{session_id}.jsonl"
    with opened(url) as page:
        open_session(page, url, session_id, t=0)
        page.select_option("#kind", "transition interruption")
        page.locator(".timeline canvas").focus()
        page.keyboard.press("n")
        page.wait_for_selector("#panel-selection input[name='start_ms']")
        assert page.evaluate("window.show.player.positionMs()") == interruption["start_ms"]
        page.keyboard.press("]")
        page.keyboard.press("]")
        assert page.input_value("input[name='start_ms']") == str(interruption["start_ms"] + 20)
        assert page.evaluate("window.show.edits.pending.length") == 1
        page.keyboard.press("Control+z")
        assert page.input_value("input[name='start_ms']") == str(interruption["start_ms"] + 10)
        outcome = "failed" if interruption["outcome"] != "failed" else "floor_taking"
        page.select_option("select[name='outcome']", outcome)
        assert not file.exists(), "nothing is written before it is sent"
        page.locator(".timeline canvas").focus()
        page.keyboard.press("Control+Enter")  # no name yet
        page.fill("#author", "mk")
        page.click("text=Send 1 correction")
        page.wait_for_selector(".lines li.saved")
        assert "pipelines.annotate" in page.inner_text(".next code")
        assert page.evaluate("window.show.edits.pending.length") == 0
    (line,) = [json.loads(text) for text in file.read_text().splitlines()]
    assert (line["stage"], line["kind"], line["action"], line["by"]) == ("annotate", "event", "change", "mk")
    assert line["start_ms"] == interruption["start_ms"] + 10
    assert line["value"]["outcome"] == outcome
    assert line["before"]["start_ms"] == interruption["start_ms"]
    assert line["before"]["outcome"] == interruption["outcome"]


@pytest.mark.long
def test_an_edge_is_dragged_with_the_pointer(data: Path, url: str) -> None:
    with opened(url) as page:
        open_session(page, url, t=0)
        speech = page.evaluate(SHOW_SPEECH)
        page.mouse.move(speech["x"], speech["y"])
        page.mouse.down()
        page.mouse.move(speech["x"] + 30, speech["y"], steps=4)
        page.mouse.up()
        (line,) = page.evaluate("window.show.edits.pending")
        assert line["end_ms"] == pytest.approx(speech["end"] + 30 * speech["msPerPx"], abs=3 * speech["msPerPx"])
        page.keyboard.press("Control+z")
        assert page.evaluate("window.show.edits.pending") == []


@pytest.mark.long
def test_a_person_without_consent_is_a_placeholder_and_silent(tmp_path: Path) -> None:
    hidden = make_shown(tmp_path / "hidden", seconds=12)
    rows = session_rows(hidden, "tracks", SESSION)
    for row in rows:
        row.pop("schema_version", None)
        row["consent"] = ["train"] if row["participant"] == "b" else ["train", "show"]
    write_table(hidden, "tracks", to_table("tracks", rows))
    with shown(hidden) as url, opened(url) as page:
        open_session(page, url)
        assert page.locator("video").count() == 1
        assert page.locator(".placeholder").count() == 1
        assert [voice["participant"] for voice in page.evaluate("window.show.player.voices")] == ["a"]


@pytest.mark.long
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 1920])
def test_nothing_is_cut_off(url: str, tmp_path: Path, width: int, dark: bool) -> None:
    with opened(url, width=width, height=width * 10 // 16, dark=dark) as page:
        page.wait_for_selector("table.sessions tbody tr")
        page.screenshot(path=tmp_path / "list.png")
        assert page.evaluate("document.documentElement.dataset.theme") == ("dark" if dark else "light")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        open_session(page, url, t=5)
        page.screenshot(path=tmp_path / "session.png")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
