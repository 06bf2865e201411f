"""Intervals that a format can hold without a loss, for tests of exchange formats."""

from hypothesis import strategies as st

from tools.exchange.formats import FORMATS
from tools.exchange.intervals import Interval


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
