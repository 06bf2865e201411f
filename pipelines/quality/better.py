"""Sessions with the same recording -> the one that is kept, and why each other is worse.

The facts are compared one after the other: those sessions stay that are about as good as the best. If several are left
at the end, the first by its id is kept. The result depends on the set of sessions only, not on their order.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Facts = Mapping[str, Any]  # of a track: its row of `quality`, columns of `tracks`, and `broken`, a number of thresholds


class Fact(NamedTuple):
    """What is compared. Two values count as equal within `share` of the larger, or within `step`."""

    words: str  # with the values of the better and of the worse session
    value: Callable[[Facts], float | None]  # higher is better; None: unknown, worse than any value
    share: float = 0.0
    step: float = 0.0
    shown: Callable[[float], float] = float


def _column(name: str) -> Callable[[Facts], float | None]:
    return lambda facts: facts[name]


def _negative(name: str) -> Callable[[Facts], float | None]:
    return lambda facts: None if facts[name] is None else -facts[name]


# The first four decide whether there is enough to train on; the others how well it was recorded.
FACTS = (
    Fact("breaks fewer thresholds: {:g} instead of {:g}", _negative("broken"), shown=abs),
    Fact("has more of sound and picture: {:g} instead of {:g}", lambda facts: sum(
        facts[path] is not None for path in ("audio_path", "video_path"))),
    Fact("is longer: {:.2f} s instead of {:.2f} s", lambda facts: 0.16 * facts["num_units"], share=0.05),
    Fact("has fewer gaps in its sound: {:g} ms instead of {:g} ms", _negative("audio_filled_ms"), step=1000, shown=abs),
    Fact("has a larger picture: {:g} pixels instead of {:g}", lambda facts: None
         if facts["source_width"] is None else facts["source_width"] * facts["source_height"], share=0.1),
    Fact("has more high frequencies: up to {:g} Hz instead of {:g} Hz", _column("bandwidth_hz"), share=0.1),
    Fact("is clipped less: a share of {:g} instead of {:g}", _negative("clipped_share"), step=0.001, shown=abs),
    Fact("has less noise: SNR {:.1f} dB instead of {:.1f} dB", _column("snr_db"), step=3),
    Fact("has a sharper picture: detail {:.3f} instead of {:.3f}", _column("detail"), share=0.1),
    Fact("stands still less: a share of {:g} instead of {:g}", _negative("frozen_share"), step=0.05, shown=abs),
    Fact("shows a face more often: a share of {:g} instead of {:g}", _column("face_share"), step=0.05),
)  # fmt: skip


class Choice(NamedTuple):
    session: str  # the one that is kept
    why: dict[str, str]  # each other session -> in what the kept one is better


def best_of(sessions: Mapping[str, Sequence[Facts]]) -> Choice:
    """The session to keep, of those with the same recording. `sessions`: the facts of the tracks that others have too.

    >>> track = dict.fromkeys(("video_path", "audio_filled_ms", "source_width", "detail", "frozen_share", "face_share"))
    >>> track |= {"broken": 0, "audio_path": "a.wav", "num_units": 100, "clipped_share": 0.0, "snr_db": 40.0}
    >>> best_of({"one": [track | {"bandwidth_hz": 3900.0}], "two": [track | {"bandwidth_hz": 7900.0}]})
    Choice(session='two', why={'one': 'has more high frequencies: up to 7900 Hz instead of 3900 Hz'})
    """
    left = dict(sorted(sessions.items()))
    lost_by: dict[str, Fact] = {}
    for fact in FACTS:
        values = {session: _mean(fact, tracks) for session, tracks in left.items()}
        known = [value for value in values.values() if value is not None]
        for session, value in values.items() if known else ():
            if value is None or max(known) - value > max(fact.step, fact.share * abs(max(known))):
                lost_by[session] = fact
                del left[session]
    kept, *as_good = left
    why = dict.fromkeys(as_good, "is as good and has the first id")
    return Choice(
        kept, why | {session: _why(fact, sessions[kept], sessions[session]) for session, fact in lost_by.items()}
    )


def _why(fact: Fact, kept: Sequence[Facts], lost: Sequence[Facts]) -> str:
    values = [_mean(fact, tracks) for tracks in (kept, lost)]
    shown = [fact.shown(value) for value in values if value is not None]
    return fact.words.format(*shown) if len(shown) == 2 else fact.words.partition(":")[0]


def _mean(fact: Fact, tracks: Sequence[Facts]) -> float | None:
    values = [value for track in tracks if (value := fact.value(track)) is not None]
    return sum(values) / len(values) if values else None
