"""A session of over ten minutes in a real browser: pictures and sound stay in step, and a correction reaches DuckDB."""

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.browser import opened, shown, until
from tests.helpers.shown_session import annotate_again, make_shown
from tools.query import query
from wanstreamer.clock import FRAME_MS

pytestmark = [pytest.mark.browser, pytest.mark.long]
SESSION = "talk-0000"
SECONDS = 640
PLAYED_S = 20
SETTLED_S = 2  # after a start, before the distances count

# How far the sound that leaves the page is from the clock: the newest 0.5 s of a voice, found in its samples.
SOUND_APART_MS = """async () => {
  const {player, session} = window.show;
  const {context, gains, delayS} = player.graph();
  const analysers = new Map([...gains].map(([key, gain]) => {
    const analyser = new AnalyserNode(context, {fftSize: 8192});
    gain.connect(analyser);
    return [key, analyser];
  }));
  for (let attempt = 0; attempt < 40; attempt++) {
    await new Promise(done => setTimeout(done, 600));
    for (const [key, analyser] of analysers) {
      const position = player.positionMs() + delayS * 1000;
      const heard = new Float32Array(8192);
      analyser.getFloatTimeDomainData(heard);
      const {rateHz, participant} = player.voices.find(voice => voice.key === key);
      if (Math.max(...heard.map(Math.abs)) < 0.02) continue;
      const from = Math.max(0, Math.floor(position) - 700);
      const query = new URLSearchParams({session: session.session_id, participant, start_ms: from, end_ms: from + 900});
      const samples = new Int16Array(await (await fetch(`/media/samples?${query}`)).arrayBuffer());
      let best = 0, place = 0;
      for (let start = 0; start + heard.length <= samples.length; start += 1) {
        let sum = 0;
        for (let i = 0; i < heard.length; i += 8) sum += heard[i] * samples[start + i];
        if (sum > best) { best = sum; place = start; }
      }
      return from + (place + heard.length) / rateHz * 1000 - position;
    }
  }
  return null;
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    make_shown(folder, seconds=SECONDS)
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with shown(folder / "data") as address:
        yield address


def go_to(page: Any, url: str, seconds: float) -> None:
    page.goto(f"{url}#session={SESSION}&t={seconds}")
    until(page, "window.show && !window.show.data.isLoading()")


@pytest.mark.parametrize("minute", [0, 1, 5, 10])
def test_pictures_and_sound_stay_within_a_frame(url: str, minute: int) -> None:
    with opened(url) as page:
        go_to(page, url, 60 * minute)
        page.keyboard.press("Space")
        until(page, f"window.show.player.positionMs() > {60_000 * minute + 1000 * SETTLED_S}")
        apart_ms: list[list[float]] = [[], []]
        for _ in range(2 * (PLAYED_S - SETTLED_S)):
            page.wait_for_timeout(500)
            for place, video in enumerate(page.evaluate("window.show.player.apart().videos")):
                apart_ms[place].append(video["apartMs"])
        position_ms = page.evaluate("window.show.player.positionMs()")
        sound_ms = page.evaluate(SOUND_APART_MS) if minute < 10 else 0.0
        medians, largest = ([round(of(map(abs, own)), 1) for own in apart_ms] for of in (statistics.median, max))
        print(f"minute {minute}: videos {medians} ms from the clock (median), {largest} ms (largest); sound {sound_ms}")
    assert position_ms > 60_000 * minute + 1000 * 0.8 * PLAYED_S, "it plays in real time"
    for own in apart_ms:
        assert statistics.median(map(abs, own)) < FRAME_MS
    assert statistics.median(abs(one - two) for one, two in zip(*apart_ms, strict=True)) < FRAME_MS
    assert sound_ms is not None, "no voice was heard"
    assert abs(sound_ms) < FRAME_MS


def test_a_corrected_interruption_is_in_duckdb_after_annotate(folder: Path, url: str) -> None:
    sql = f"SELECT start_ms, outcome FROM interruptions WHERE session_id = '{SESSION}' ORDER BY start_ms"
    before = query(folder / "data", sql)[1]
    with opened(url) as page:
        go_to(page, url, before[0][0] / 1000 - 3)
        page.select_option("#kind", "transition interruption")
        page.click("button[name='next']")
        page.wait_for_selector("select[name='outcome']")
        outcome = "failed" if before[0][1] != "failed" else "both_stop"
        page.select_option("select[name='outcome']", outcome)
        page.click("#tab-corrections")
        page.fill("#author", "mk")
        page.click("text=Send 1 correction")
        page.wait_for_selector(".lines li.saved")
    done = annotate_again(folder)
    assert done == [SESSION]
    after = query(folder / "data", sql)[1]
    assert after[0] == (before[0][0], outcome)
    assert after[1:] == before[1:]
    with opened(url) as page:
        go_to(page, url, before[0][0] / 1000)
        page.click("#tab-corrections")
        page.wait_for_selector(".lines li.applied")
