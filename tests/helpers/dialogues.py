"""Spoken intervals with words spread over them, by hand and by hypothesis."""

from hypothesis import strategies as st

from wanstreamer.clock import Span
from wanstreamer.turns import TurnParams, Word

PARAMS = TurnParams()


def spread(start_ms: int, end_ms: int, text: str) -> list[Word]:
    parts = text.split()
    step = (end_ms - start_ms) / max(1, len(parts))
    return [
        Word(start_ms=round(start_ms + i * step), end_ms=round(start_ms + (i + 1) * step), text=part)
        for i, part in enumerate(parts)
    ]


VOCABULARY = [
    "yeah.",
    "mhm",
    "okay",
    "so",
    "we",
    "go",
    "there?",
    "the",
    "boat.",
    "is",
    "it",
    "red?",
    "well,",
    "um",
    "lo-",
]


@st.composite
def conversations(draw: st.DrawFn, names: tuple[str, ...] = ("a", "b")) -> tuple[dict, dict]:
    """Speech and words per participant; on the coarse grid, edges of different participants often coincide."""
    speech: dict[str, list[Span]] = {}
    words: dict[str, list[Word] | None] = {}
    transcribed = draw(st.booleans())
    grid = draw(st.sampled_from([1, 100, 500]))
    lengths = st.sampled_from([1, 60, 200, 350, 900, 1000, 2000, 5000]) | st.integers(1, 4000)
    gaps = st.sampled_from([0, 150, 200, 201, 400, 999, 1000, 1499, 1500, 3000]) | st.integers(0, 9000)
    for name in names:
        at, spans, timed = draw(st.integers(0, 3000)) // grid * grid, [], []
        for _ in range(draw(st.integers(0, 12))):
            length = -(-draw(lengths) // grid) * grid
            spans.append(Span(at, at + length))
            text = " ".join(draw(st.lists(st.sampled_from(VOCABULARY), max_size=4)))
            timed += spread(at, at + length, text)
            at += length + draw(gaps) // grid * grid
        speech[name] = spans
        words[name] = timed if transcribed else None
    return speech, words
