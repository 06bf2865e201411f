"""Reading a CTM for the turn rules: what is in it, what is refused, and that `tools.events` finds the same."""

from pathlib import Path

import pytest

from pipelines.annotate.stage import event_rows
from tools.events import annotate_intervals
from tools.exchange.formats import read_file
from wanstreamer.clock import Span
from wanstreamer.errors import InputError
from wanstreamer.turns import Sound, TurnParams, Word, annotate_session
from wanstreamer.turns.ctm import CtmSession, read_ctm

CTM = """;; two calls, not in order
mon b 1.100 0.400 yes. 0.80
mon a 0.000 0.500 so,
mon a 0.500 0.400 red? 0.90
mon a 2.000 1.500 [laughter] 1.20
mon a 1.700 0.300 good
mon b 3.000 0.000 uh
mon b 3.200 0.700 (laughs)
mon c 3.300 0.700 <noise> NA
mon <NA> 5.000 0.500 hello

tue a 0.250 0.500 mhm
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "calls.ctm"
    path.write_text(text)
    return path


def test_words_sounds_and_speech_of_each_session(tmp_path: Path) -> None:
    sessions = read_ctm(write(tmp_path, CTM))
    assert list(sessions) == ["mon", "tue"]
    mon = sessions["mon"]
    assert mon.words["a"] == [
        Word(start_ms=0, end_ms=500, text="so,"),
        Word(start_ms=500, end_ms=900, text="red?"),
        Word(start_ms=1700, end_ms=2000, text="good"),
    ]
    assert mon.speech["a"] == [Span(0, 900), Span(1700, 2000)] and mon.speech[""] == [Span(5000, 5500)]
    assert mon.words["c"] == [] and "c" not in mon.speech
    assert mon.sounds["a"] == [Sound(start_ms=2000, end_ms=3500, label="laughter", confidence=1.0)]
    assert mon.num_skipped == 1 and sessions["tue"].num_skipped == 0
    assert sessions["tue"] == CtmSession(
        speech={"a": [Span(250, 750)]}, words={"a": [Word(start_ms=250, end_ms=750, text="mhm")]}
    )


def test_the_rules_find_what_the_command_finds(tmp_path: Path) -> None:
    path = write(tmp_path, CTM)
    found = [
        row
        for session_id, session in read_ctm(path).items()
        for row in event_rows(
            session_id, annotate_session(session.speech, session.words, TurnParams(), sounds=session.sounds)
        )
    ]
    expected, _ = annotate_intervals(read_file(path)[0], TurnParams())
    assert found == expected and {row["kind"] for row in found} >= {"transition", "state", "non_speech"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("mon a 0.1 red", "line 2: not CTM; expected file channel start duration word"),
        ("mon a 0.1 nan red", "line 2: not CTM"),
        ("mon a 0.1 nan red", "line 2: not CTM: duration `nan`: expected seconds"),
        ("mon a 0.1 0.2 good morning 0.9", "line 2: not CTM: confidence `morning`: expected a number"),
        ("mon a 0.1 0.2 a b c d e", "line 2: not CTM; expected .* it has 9 fields"),
        ("mon a 0.1 1_0 red", "line 2: not CTM: duration `1_0`"),
        ("SPEAKER mon 1 0.1 0.2 <NA> <NA> a <NA> <NA>", "line 2: is RTTM, not CTM"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(InputError, match=f"calls.ctm {said}"):
        read_ctm(write(tmp_path, f"mon a 0.0 0.1 so\n{line}\n"))


def test_a_speaker_in_field_8_is_the_participant_and_blanks_in_words_are_none(tmp_path: Path) -> None:
    lines = (
        "call 1 0.10 0.30 hello 0.9 lex anna\ncall 1 0.45 0.30 there 0.9 lex anna\ncall 1 0.50 0.20 hi NA lex ben\r\n"
        "call 1 1.00 0.20 uh 0.9 fp anna\ncall 2 2.0 0.2 l\u2028id\u00e9e 0.9 lex <NA>\n"
        "call 2 3.0 0.2 pourquoi\u00a0? 0.9\n"
    )
    words = read_ctm(write(tmp_path, lines))["call"].words
    assert {name: [word.text for word in own] for name, own in words.items()} == {
        "anna": ["hello", "there", "uh"],
        "ben": ["hi"],
        "2": ["l\u2028id\u00e9e", "pourquoi\u00a0?"],
    }


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere.ctm: no such file"):
        read_ctm(tmp_path / "nowhere.ctm")
    (tmp_path / "bad.ctm").write_bytes(b"mon a 0 1 \xe9t\xe9\n")
    with pytest.raises(InputError, match=r"bad\.ctm: not text in UTF-8"):
        read_ctm(tmp_path / "bad.ctm")
