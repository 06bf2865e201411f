"""Exchange formats: what is written is read back, and what is lost is said."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tools.exchange.formats import FORMATS, WRITABLE, read_file
from tools.exchange.intervals import Interval, Losses, in_order
from wanstreamer.errors import InputError

KINDS = ("speech", "words", "segments", "turns", "backchannel", "transition")
# What has broken readers: blanks, quotes, line breaks, tags, the formats' own marks, and any letter there is.
AWKWARD = (
    "", " ", "red?", 'she said "no"', '""', "a b", " a", "two\nlines", "a\n\nb", "tab\there", "1984", "in\n1984",
    "a\r\nb", "<v b>x", "</v>", "&amp;", "a & b <i>c</i>", "[a]: no", "[]:", "[words@b] x", "item [2]:", "(words)",
    "intervals [1]:", "(speech)", '"IntervalTier"', "<NA>", ";; note", "; note", "<o,f0,unk>", "<o,f0,unk> a",
    "{\\an7}", "a\\Nb", "--> x", "naïve 日本", "\u2028", "\x85", "\x00", "\x1c", "NOTE", "WEBVTT", "a-_b", "!",
    "00:00:01,000 --> 00:00:02,000", "\ufeff",
)  # fmt: skip
TEXTS = st.sampled_from(AWKWARD) | st.text(max_size=6)
NAMES = st.sampled_from(("a", "b", "anna b", "a_b", "", "x]", "a@b", "a#2", "q - words", "née", "SPEAKER_MAIN", " a"))
CONFIDENCES = st.none() | st.floats(0, 1) | st.sampled_from((0.0, 1.0, 1e-7))


@st.composite
def intervals(draw: st.DrawFn, session: bool = True) -> list[Interval]:
    start_ms = draw(st.integers(0, 3_000) | st.integers(0, 400_000_000))
    found = Interval(
        session_id=draw(st.sampled_from(("monday", "day 2", ";x"))) if session else "s",
        participant=draw(NAMES | st.text(max_size=3)),
        kind=draw(st.sampled_from(KINDS)),
        start_ms=start_ms,
        end_ms=start_ms + draw(st.integers(0, 2_000)),
        text=draw(TEXTS),
        confidence=draw(CONFIDENCES),
    )
    return [found]


def plain(kind: str, with_text: bool) -> st.SearchStrategy[list[Interval]]:
    """What every format of that kind holds: so that a round trip without losses is put to the test, too."""
    words = st.sampled_from(("mhm", "red?", "don't", "naïve", '"no"', "42", "<unk>", "[x]"))
    one = st.builds(
        lambda who, start_ms, lasts_ms, text: Interval(
            session_id="s", participant=who, kind=kind, start_ms=start_ms, end_ms=start_ms + lasts_ms, text=text
        ),
        st.sampled_from(("a", "b")),
        st.integers(0, 10_000),
        st.integers(1, 1_000),
        words if with_text else st.just(""),
    )
    return st.lists(one, min_size=1, max_size=6)


def round_trip(form: str, given_intervals: list[Interval]) -> tuple[list[Interval], Losses]:
    write = FORMATS[form].write
    assert write
    text, losses = write(given_intervals)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"s{FORMATS[form].suffix}"
        path.write_bytes(text.encode())
        found, unread = read_file(path, form)
    assert not unread, "reading our own file loses nothing more"
    return found, losses


@pytest.mark.parametrize("form", WRITABLE)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_what_is_lost_is_said_and_what_is_said_is_lost(form: str, data: st.DataObject) -> None:
    several = st.lists(intervals(session=FORMATS[form].many_sessions), min_size=1, max_size=5)
    held = plain((FORMATS[form].holds or ("words",))[0], with_text=form != "rttm")
    given_intervals = in_order(data.draw(held | several.map(lambda parts: [one for part in parts for one in part])))
    try:
        found, losses = round_trip(form, given_intervals)
    except InputError as error:
        assert "would both be written as" in str(error)
        assume(False)
    assert (found == given_intervals) == (not losses), losses
    assume(found)
    again, more = round_trip(form, found)
    assert again == found and not more, "what has survived once survives"


@pytest.mark.parametrize("form", WRITABLE)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_plain_intervals_lose_nothing(form: str, data: st.DataObject) -> None:
    given_intervals = in_order(data.draw(plain((FORMATS[form].holds or ("words",))[0], with_text=form != "rttm")))
    assert round_trip(form, given_intervals) == (given_intervals, Losses())
