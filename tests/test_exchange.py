"""Exchange formats: what is written is read back, and what is lost is said."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.exchange.formats import FORMATS, WRITABLE, read_file
from tools.exchange.intervals import Interval, Losses, in_order
from wanstreamer.errors import InputError

# What has broken readers: blanks, quotes, line breaks, tags, the formats' own marks, and any letter there is.
AWKWARD = (
    "", " ", "red?", 'she said "no"', '""', "a b", " a", "two\nlines", "a\n\nb", "tab\there", "1984", "in\n1984",
    "a\r\nb", "<v b>x", "</v>", "&amp;", "a & b <i>c</i>", "[a]: no", "[]:", "[words@b] x", "item [2]:", "(words)",
    "intervals [1]:", "(speech)", '"IntervalTier"', "<NA>", ";; note", "; note", "<o,f0,unk>", "<o,f0,unk> a",
    "{\\an7}", "a\\Nb", "--> x", "naïve 日本", "\u2028", "\x85", "\x00", "\x1c", "NOTE", "WEBVTT", "a-_b", "!",
    "00:00:01,000 --> 00:00:02,000", "\ufeff",
)  # fmt: skip
NAMES = ("a", "b", "anna b", "a_b", "", "x]", "a@b", "a#2", "q - words", "née", "SPEAKER_MAIN", " a")


def plain(form: str, who: str = "a", start_ms: int = 0, end_ms: int = 900, text: str = "red?") -> Interval:
    """What the format is for, with nothing in it that could be lost."""
    kind = (FORMATS[form].holds or ("words",))[0]
    text = "" if form == "rttm" else text
    return Interval(session_id="s", participant=who, kind=kind, start_ms=start_ms, end_ms=end_ms, text=text)


@st.composite
def plain_lists(draw: st.DrawFn, form: str) -> list[Interval]:
    def one() -> Interval:
        start_ms = draw(st.integers(0, 3_000) | st.integers(0, 400_000_000))
        words = st.sampled_from(("mhm", "red?", "don't", "naïve", '"no"', "42", "<unk>", "[x]"))
        return plain(form, draw(st.sampled_from("ab")), start_ms, start_ms + draw(st.integers(1, 2_000)), draw(words))

    return [one() for _ in range(draw(st.integers(1, 5)))]


@st.composite
def odd_lists(draw: st.DrawFn, form: str) -> list[Interval]:
    """Plain but for one thing, as several losses would hide each other."""
    changed, *rest = draw(plain_lists(form))
    odd: dict[str, st.SearchStrategy[object]] = {
        "text": st.sampled_from(AWKWARD) | st.text(max_size=6),
        "participant": st.sampled_from((*NAMES, *AWKWARD)) | st.text(max_size=3),
        "kind": st.sampled_from(("speech", "words", "segments", "turns", "backchannel", "transition")),
        "confidence": st.floats(0, 1) | st.sampled_from((0.0, 1.0, 1e-7)),
        "end_ms": st.just(changed.start_ms),
    }
    if FORMATS[form].many_sessions:
        odd["session_id"] = st.sampled_from(("monday", "day 2", ";x", "<NA>"))
    name = draw(st.sampled_from(sorted(odd)))
    return [replace(changed, **{name: draw(odd[name])}), *rest]  # type: ignore[arg-type]


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


def check_honest(form: str, given_intervals: list[Interval]) -> None:
    """Equal or a loss is said, never both; and what has survived once survives."""
    try:
        found, losses = round_trip(form, in_order(given_intervals))
    except InputError as error:
        assert "would both be written as" in str(error)
        return
    assert (found == in_order(given_intervals)) == (not losses), losses
    if found:
        assert round_trip(form, found) == (found, Losses())


@pytest.mark.parametrize("form", WRITABLE)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_what_is_lost_is_said_and_what_is_said_is_lost(form: str, data: st.DataObject) -> None:
    check_honest(form, data.draw(odd_lists(form)))


@pytest.mark.parametrize("form", WRITABLE)
def test_awkward_texts_and_names(form: str) -> None:
    for text in AWKWARD:
        for who in ("a", ""):
            check_honest(form, [plain(form, who, 0, 500), replace(plain(form, who, 500, 900), text=text)])
            check_honest(form, [replace(plain(form, who, 0, 500), text=text), plain(form, who, 500, 900)])
    for who in (*NAMES, *AWKWARD):
        check_honest(form, [plain(form, who, 0, 500), plain(form, "b", 500, 900)])


@pytest.mark.parametrize("form", WRITABLE)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_plain_intervals_lose_nothing(form: str, data: st.DataObject) -> None:
    given_intervals = in_order(data.draw(plain_lists(form)))
    assert round_trip(form, given_intervals) == (given_intervals, Losses())
