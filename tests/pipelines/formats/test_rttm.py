"""RTTM: lines are read as spans, and a bad one is named."""

from pathlib import Path

import pytest

from pipelines.formats.rttm import read_rttm, rttm_lines
from wanstreamer.clock import Span
from wanstreamer.errors import InputError


def test_rttm_lines_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "x.rttm"
    path.write_text("SPEAKER x 1 0.25 1.5 <NA> <NA> a <NA> <NA>\nSPEAKER x 1 1.0 1.0 <NA> <NA> a <NA> <NA>\n")
    assert read_rttm(path) == {"a": [Span(250, 2000)]}
    path.write_text("SPEAKER x 1 zero 1.5 <NA> <NA> a\n")
    with pytest.raises(InputError, match="line 1"):
        read_rttm(path)


LINE = "SPEAKER {} 1 {} 0.500 <NA> <NA> {} <NA> <NA>"


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16", "crlf", "tabs", "joined"])
def test_marks_line_ends_and_blanks_change_nothing(tmp_path: Path, mark: str) -> None:
    lines = [LINE.format("call", 0.9, "anna"), LINE.format("call", 2.9, "ben")]
    text = {
        "crlf": "\r\n".join(lines),
        "tabs": "\n\n".join(line.replace(" ", "\t \t") for line in lines),
        "joined": ";; by hand\n\ufeff" + "\n\ufeff".join(lines) + "\n",
    }.get(mark, "\n".join(lines) + "\n")
    (tmp_path / "call.rttm").write_bytes(text.encode(mark if mark.startswith("utf") else "utf-8"))
    assert read_rttm(tmp_path / "call.rttm") == {"anna": [Span(900, 1400)], "ben": [Span(2900, 3400)]}


def test_names_with_blanks_are_read_from_both_ends(tmp_path: Path) -> None:
    path = tmp_path / "x.rttm"
    path.write_text(
        "SPEAKER my call 1 10.500 1.000 <NA> <NA> anna <NA> <NA>\n"
        "SPEAKER my call 1 12.0 1.0 <NA> <NA> Anna Smith 0.9 <NA>\nSPEAKER my call 1 14.000 0.500 <NA> <NA> anna\n"
    )
    lines = [(line.file, line.start_s, line.speaker, line.confidence) for line in rttm_lines(path.read_text(), "x")]
    assert lines == [
        ("my call", 10.5, "anna", "<NA>"),
        ("my call", 12.0, "Anna Smith", "0.9"),
        ("my call", 14.0, "anna", "<NA>"),
    ]
    assert list(read_rttm(path, ("my call.wav",))) == ["anna", "Anna Smith"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("SPEAKER my call 1 10.5 1.0 anna <NA> <NA>", "field 6 `1.0`: expected <NA>"),
        ("SPEAKER call 1 10.5 1.0", "5 fields"),
        ("SPEAKER call 1 10.5 1.0 <NA> <NA>", "7 fields"),
        ("SPEAKER call 1 10.5 long <NA> <NA> anna", "duration `long`: expected seconds"),
        ("SPEAKER call 1 10.5 1.0 anna ben <NA> <NA>", "field 6 `anna`: expected <NA>"),
        ("SPEAKER f 1 2 3 <NA> 4 5 <NA> <NA> a", "can be read in two ways"),
        ("speaker call 1 10.5 1.0 <NA> <NA> anna", "type `speaker`: expected SPEAKER"),
        ("SPEAKER call 1 10.5 -1.0 <NA> <NA> anna", "duration `-1.0`: expected seconds, 0 or more"),
        ("SPEAKER call 1 1e12 1.0 <NA> <NA> anna", "expected seconds below"),
    ],
)
def test_a_line_that_is_none_is_named_with_its_field(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "x.rttm"
    path.write_text(LINE.format("call", 0.9, "anna") + "\n" + line + "\n")
    with pytest.raises(InputError, match=f"x.rttm line 2: .*{said}"):
        read_rttm(path)


def test_of_many_recordings_only_the_lines_of_this_one(tmp_path: Path) -> None:
    path = tmp_path / "all.rttm"
    path.write_text(
        "\n".join(LINE.format(name, 0.9, "anna") for name in ("2024.01.02", "2024.01.03", "calls/b c", "d"))
    )
    spans = {"anna": [Span(900, 1400)]}
    for name in ("2024.01.02.wav", "calls/b c.mkv", "b_c.mp4", "d"):
        assert read_rttm(path, (name, "session")) == spans
    with pytest.raises(
        InputError, match=r"no lines of this recording, e\.wav; it has those of 2024\.01\.02, 2024.01.03"
    ):
        read_rttm(path, ("e.wav",))
    path.write_text(LINE.format("a/d", 0.9, "anna") + "\n" + LINE.format("b/d", 0.9, "anna"))
    with pytest.raises(InputError, match="a/d and b/d may both be d.wav"):
        read_rttm(path, ("d.wav",))


def test_one_recording_under_a_program_s_name_belongs_to_the_file_of_the_same_name(tmp_path: Path) -> None:
    for name in ("call", "other"):
        (tmp_path / f"{name}.rttm").write_text(LINE.format("waveform", 0.9, "anna"))
    assert list(read_rttm(tmp_path / "call.rttm", ("call.wav",))) == ["anna"]
    with pytest.raises(InputError, match="no lines of this recording, call.wav; it has those of waveform"):
        read_rttm(tmp_path / "other.rttm", ("call.wav",))
