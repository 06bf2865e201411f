"""Cues as programs write them: without blank lines, with tags, with names before colons, with a stream's clock."""

from pathlib import Path

import pytest

from tools.exchange.formats import read_file

CUES = {
    "a cue right after another": (
        "1\n00:00:01,000 --> 00:00:02,000\n[anna]: hello\n2\n00:00:02,500 --> 00:00:03,000\n[ben]: hi\n\n3\n"
        "00:00:04,000 --> 00:00:05,000\n[anna]: bye\n",
        [("anna", 1000, "hello"), ("anna", 4000, "bye"), ("ben", 2500, "hi")],
        {},
    ),
    "tags of HTML and ASS": (
        '1\n00:00:01,000 --> 00:00:02,000\n{\\an8}<i>hello</i> there\n\n2\n00:00:02,500 --> 00:00:03,000\n'
        '<font color="#ffff00">hi</font> <unk> {x}\n',
        [("", 1000, "hello there"), ("", 2500, "hi <unk> {x}")],
        {"tags of style and timing, left out": 2},
    ),
    "names before colons": (
        "1\n00:00:01,000 --> 00:00:02,000\nAnna Smith: hello there\n\n2\n00:00:02,500 --> 00:00:03,000\nBen Jones: hi\n"
        "\n3\n00:00:04,000 --> 00:00:05,000\nAnna Smith: at 10:30 then\n",
        [("Anna Smith", 1000, "hello there"), ("Anna Smith", 4000, "at 10:30 then"), ("Ben Jones", 2500, "hi")],
        {},
    ),
    "some names before colons": (
        "00:00:01,000 --> 00:00:02,000\nAnna: hello\n\n00:00:02,500 --> 00:00:03,000\nhi\n",
        [("", 1000, "Anna: hello"), ("", 2500, "hi")],
        {"names before a colon, read as text, because not every cue has one": 1},
    ),
    "times without milliseconds, marks and old line ends": (
        "\ufeff1\r00:01 --> 00:02\rhello\r\r\ufeff2\r00:03 --> 00:04\rbye\r",
        [("", 1000, "hello"), ("", 3000, "bye")],
        {},
    ),
}  # fmt: skip


# The tags of ASS and names in brackets are a custom of SRT.
@pytest.mark.parametrize(
    ("name", "form"),
    [(name, form) for name in CUES for form in ("srt", "vtt")
     if form == "srt" or not ("[anna]" in CUES[name][0] or "{" in CUES[name][0])],
)  # fmt: skip
def test_cues_of_other_programs(tmp_path: Path, name: str, form: str) -> None:
    content, expected, losses = CUES[name]
    path = tmp_path / f"s.{form}"
    path.write_text("WEBVTT\n\n" * (form == "vtt") + content, newline="")
    intervals, lost = read_file(path)
    assert ([(one.participant, one.start_ms, one.text) for one in intervals], lost) == (expected, losses)


def test_a_clock_of_a_stream_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "s.vtt"
    path.write_text(
        "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000\n\n00:00:01.000 --> 00:00:02.000\n<v anna>hello\n"
    )
    intervals, losses = read_file(path)
    assert [(one.participant, one.start_ms) for one in intervals] == [("anna", 1000)]
    assert losses == {"X-TIMESTAMP-MAP, not applied: times are those in the file, not of the stream": 1}


@pytest.mark.parametrize("content", ["", "\ufeff", "WEBVTT\n", "\n \n"])
def test_a_file_without_cues_holds_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "s.vtt").write_text(content)
    assert read_file(tmp_path / "s.vtt") == ([], {})
