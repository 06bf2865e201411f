"""Pictures of annotations: everything is drawn where it happened, in well-formed SVG, and only what may be shown."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pipelines.media.svg import AMBER, GREY, RED
from tests.helpers.annotated_sessions import TALK, write_annotated
from tools.picture import __main__ as picture
from tools.picture.drawing import BAR_HEIGHT, LANE, LINE_MS, LINES_PER_PAGE, PX_PER_MS, pages, strip
from tools.picture.session import read_pictures
from wanstreamer.clock import UNIT_MS, Span

SHOW = {"a": ["train", "show"], "b": ["train", "show"]}
SVG = "{http://www.w3.org/2000/svg}"


def drawn(path: Path) -> ElementTree.Element:
    return ElementTree.fromstring(path.read_text(encoding="utf-8"))


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(one.itertext()) for one in root.iter(f"{SVG}text")]


def test_a_session_is_drawn_with_its_words_and_events(tmp_path: Path) -> None:
    write_annotated(tmp_path, {"s1": TALK}, consent=SHOW, num_units=180)
    (path,) = picture.draw(tmp_path, tmp_path / "out", [])
    assert path.name == "s1.svg"
    said = texts(drawn(path))
    assert {"is", "red?", "well", "mhm", "wait", "anyway", "late."} <= set(said)
    assert {"<p&a>", "<p&b>", "initiation", "hold", "interrupts a, takes the floor", "both start, goes on"} <= set(said)
    assert "+400" in said and "500" in said  # an answer's offset; how long both spoke


def test_speech_lies_where_it_was(tmp_path: Path) -> None:
    write_annotated(tmp_path, {"s1": TALK}, consent=SHOW, num_units=180)
    (page,) = pages(next(read_pictures(tmp_path, ["s1"], 1)))
    bars = [
        (float(one.get("x", 0)), float(one.get("width", 0)))
        for one in ElementTree.fromstring(page).iter(f"{SVG}rect")
        if float(one.get("height", 0)) == BAR_HEIGHT and one.get("fill-opacity") is None and one.get("rx") is None
    ]
    # `a`: across the end of the first line of 12 s the bar goes on at the left of the next one.
    assert (10_500 * PX_PER_MS, pytest.approx((LINE_MS - 10_500) * PX_PER_MS)) in bars
    assert (0, pytest.approx((12_500 - LINE_MS) * PX_PER_MS)) in bars
    total_ms = sum(end - start for own in TALK.values() for start, end, text in own if text != "mhm")
    assert sum(width for _, width in bars) == pytest.approx(total_ms * PX_PER_MS, abs=1)


def test_sounds_have_their_colour_and_label(tmp_path: Path) -> None:
    said = {"a": [(0, 2000, "so he fell.")], "b": [(2500, 3500, "[laughter]"), (4000, 5000, "no!")]}
    write_annotated(tmp_path, {"s1": said}, consent=SHOW, num_units=40)
    (page,) = pages(next(read_pictures(tmp_path, ["s1"], 1)))
    root = ElementTree.fromstring(page)
    legend, bar = [one for one in root.iter(f"{SVG}rect") if one.get("fill") == AMBER]
    assert (float(bar.get("x", 0)), float(bar.get("width", 0))) == (2500 * PX_PER_MS, 1000 * PX_PER_MS)
    assert {"laughter, noise", "[laughter]", "no!"} <= set(texts(root))


@pytest.mark.parametrize("consent", [None, [], ["train", "share"]])
def test_words_and_names_of_those_who_did_not_agree_are_withheld(tmp_path: Path, consent: list[str] | None) -> None:
    write_annotated(tmp_path, {"s1": TALK}, consent=SHOW | {"b": consent}, num_units=180)
    (path,) = picture.draw(tmp_path, tmp_path / "out", ["s1"])
    said = texts(drawn(path))
    assert "red?" in said and "<p&a>" in said
    assert not {"mhm", "anyway", "wait", "<p&b>"} & set(said)
    assert any("words of b withheld" in one for one in said)
    assert "interrupts a, takes the floor" in said


def test_a_note_at_the_end_of_a_line_ends_with_it(tmp_path: Path) -> None:
    late = {"a": [(11_600, 13_000, "so then -")], "b": [(11_650, 12_000, "i was -")]}
    write_annotated(tmp_path, {"s1": late}, consent=SHOW, num_units=160)
    (path,) = picture.draw(tmp_path, tmp_path / "out", [])
    notes = [
        one for one in drawn(path).iter(f"{SVG}text") if one.get("class") == "note" and "start" in (one.text or "")
    ]
    assert len(notes) == 2
    assert {(note.get("x"), note.get("text-anchor")) for note in notes} == {("1480.0", "end")}


def test_silence_and_overlap_between_no_one_are_shaded_like_the_others(tmp_path: Path) -> None:
    both = {who: [(1000, 2000, "well"), (4000, 5000, "then")] for who in "ab"}
    write_annotated(tmp_path, {"s1": both}, consent=SHOW, num_units=60)
    (path,) = picture.draw(tmp_path, tmp_path / "out", [])
    height = str(float(2 * LANE))
    columns = [one for one in drawn(path).iter(f"{SVG}rect") if one.get("height") == height and one.get("fill-opacity")]
    shades = [(one.get("fill"), one.get("x"), one.get("width")) for one in columns]
    assert shades == [(RED, "120.0", "120.0"), (GREY, "240.0", "240.0"), (RED, "480.0", "120.0")]


def test_a_strip_shows_one_stretch_and_its_marks(tmp_path: Path) -> None:
    write_annotated(tmp_path, {"s1": TALK}, consent=SHOW, num_units=180)
    picture_of_s1 = next(read_pictures(tmp_path, ["s1"], 1))
    marks = [(Span(2200, 2600), "the gap"), (Span(2600, 2600), "the answer"), (Span(2000, 9000), "beyond the end")]
    root = ElementTree.fromstring(strip(picture_of_s1, Span(2000, 6000), "a question", marks))
    shown = texts(root)
    assert {"blue.", "mhm", "the gap", "the answer", "beyond the end"} <= set(shown) and "is" not in shown
    brackets = [path.get("d", "") for path in root.iter(f"{SVG}path") if path.get("stroke-width") == "1.2"]
    assert [re.findall(r"M([\d.]+) .*h([\d.]+)v", bracket)[0] for bracket in brackets] == [
        (f"{200 * PX_PER_MS:.1f}", f"{400 * PX_PER_MS:.1f}"),
        ("0.0", f"{4000 * PX_PER_MS:.1f}"),
    ]


def test_a_long_session_has_pages_and_loses_nothing(tmp_path: Path) -> None:
    num_units = 2 * LINES_PER_PAGE * LINE_MS // UNIT_MS + 10
    late_ms = 2 * LINES_PER_PAGE * LINE_MS + 200
    said = {who: [*own, (late_ms, late_ms + 900, f"last-{who}")] for who, own in TALK.items()}
    write_annotated(tmp_path, {"long": said}, consent=SHOW, num_units=num_units)
    paths = picture.draw(tmp_path, tmp_path / "out", [])
    assert [path.name for path in paths] == ["long-01.svg", "long-02.svg", "long-03.svg"]
    words = [re.findall(r'class="word"[^>]*>([^<]*)<', path.read_text()) for path in paths]
    assert [len(some) for some in words] == [sum(len(t.split()) for own in TALK.values() for *_, t in own), 0, 2]


def test_a_meeting_has_a_lane_for_everybody_and_no_transcript_is_no_mistake(tmp_path: Path) -> None:
    said = {who: [(3000 * n + 500, 3000 * n + 2500, None)] for n, who in enumerate("abcdefgh")}
    write_annotated(tmp_path, {"s1": said}, consent={}, num_units=160)
    (path,) = picture.draw(tmp_path, tmp_path / "out", [])
    root = drawn(path)
    names = [one.text for one in root.iter(f"{SVG}text") if one.get("class") == "who"]
    assert names == [*"abcdefgh"] * 3  # lines
    assert not any("withheld" in one for one in texts(root))


def test_mistakes_are_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    absent = tmp_path / "absent"
    write_annotated(tmp_path / "data", {"s1": TALK}, consent=SHOW, num_units=180)
    for arguments, told in (
        (["--data", str(absent)], f"{absent}: no such data folder; pass --data DIR"),
        (["--data", str(tmp_path)], f"the data folder is {tmp_path / 'data'}"),
        (["--data", str(tmp_path / "data"), "--session", "s9"], "no session s9"),
        (["--data", str(tmp_path / "data"), "--limit", "0"], "--limit 0"),
    ):
        with pytest.raises(SystemExit) as ended:
            picture.main(arguments)
        said = capsys.readouterr().err
        assert ended.value.code == 2 and told in said and said.count("\n") == 1
    assert not absent.exists()
