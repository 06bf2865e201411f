"""Times a live conversation of thinker and performer: how long its units take, and how long both work at once.

`play` gives the next user unit as soon as the pipeline can take it: the machine is never idle, and a unit's latency
includes its wait for the unit before. Live, a user unit comes every 160 ms, and a pipeline that is ready earlier waits.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wanstreamer.clock import UNIT_MS
from wanstreamer.streaming.agent import PARTS
from wanstreamer.streaming.pipeline import Pipeline

Interval = tuple[float, float]  # start and end in s of time.perf_counter
Media = tuple[NDArray[np.uint8], NDArray[np.float32]]
Times = NDArray[np.float64]

TICK_S = 0.005
STALL_S = 0.03  # a stall: a sleeping thread wakes up more than this too late


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Times of every unit, in order; NaN until it is timed. Allocated at the start, so that memory does not grow."""

    heard_s: Times  # when the user's unit was available
    answered_s: Times  # when its answer was decoded
    part_ms: Times  # (units, PARTS)
    thinker: Times  # (2 * units, 2): start and end of hearing a unit, then of decoding it
    performer: Times  # (units, 2)
    handover_us: Times
    follows: NDArray[np.bool_]  # the unit before was running or just answered; False: something else ran in between

    @property
    def latency_ms(self) -> Times:
        latency_ms: Times = (self.answered_s - self.heard_s) * 1000
        return latency_ms

    @property
    def pace_ms(self) -> Times:
        """From answer to answer; if a unit does not follow, from when the unit was available."""
        before_s = np.where(self.follows, np.roll(self.answered_s, 1), self.heard_s)
        pace_ms: Times = (self.answered_s - before_s) * 1000
        return pace_ms


def not_timed(units: int) -> Timed:
    return Timed(
        heard_s=np.full(units, np.nan),
        answered_s=np.full(units, np.nan),
        part_ms=np.full((units, len(PARTS)), np.nan),
        thinker=np.full((2 * units, 2), np.nan),
        performer=np.full((units, 2), np.nan),
        handover_us=np.full(units, np.nan),
        follows=np.ones(units, dtype=bool),
    )


def play(
    pipeline: Pipeline,
    media: Sequence[Media],
    timed: Timed,
    units: range,
    *,
    live: bool,
    at_unit: Callable[[int], None] = lambda unit: None,
) -> None:
    """Play these units through the pipeline, with as many units open as its lag allows; none stays open at the end.

    The media repeat if they are shorter.

    `at_unit` is called before each unit is heard.
    """
    timed.follows[units.start] = False
    start_s = time.perf_counter()
    answered = units.start
    for unit in units:
        at_unit(unit)
        there_s = start_s + (unit - units.start) * UNIT_MS / 1000 if live else time.perf_counter()
        while (left_s := there_s - time.perf_counter()) > 0:
            if pipeline.open:
                answered += _answer(pipeline, timed, answered, left_s)
            else:
                time.sleep(left_s)
        began_s = time.perf_counter()
        pipeline.hear(*media[unit % len(media)])
        timed.heard_s[unit] = there_s
        timed.thinker[2 * unit] = began_s, time.perf_counter()
        while len(pipeline.open) > pipeline.lag:
            answered += _answer(pipeline, timed, answered)
    while pipeline.open:
        answered += _answer(pipeline, timed, answered)


def _answer(pipeline: Pipeline, timed: Timed, unit: int, timeout_s: float | None = None) -> bool:
    answer = pipeline.answer(timeout_s)
    ended_s = time.perf_counter()
    if answer is None:
        return False
    assert pipeline.last is not None
    timed.answered_s[unit] = ended_s
    timed.part_ms[unit] = [answer.part_ms[part] for part in PARTS]
    timed.thinker[2 * unit + 1] = ended_s - answer.part_ms["decode"] / 1000, ended_s
    timed.performer[unit] = pipeline.last.began_s, pipeline.last.ended_s
    timed.handover_us[unit] = pipeline.last.handover_us
    return True


def shares(timed: Timed, first: int, stop: int) -> dict[str, float]:
    """Shares of the time that the thinker, the performer, and both at once work, from the answer before `first` to the
    answer of stop - 1."""
    starts = [first, *(unit for unit in range(first + 1, stop) if not timed.follows[unit])]
    whole_s, work_s = 0.0, {"thinker": 0.0, "performer": 0.0, "both": 0.0}
    for start, end in zip(starts, [*starts[1:], stop], strict=True):
        began_s = timed.answered_s[start - 1] if timed.follows[start] else timed.heard_s[start]
        interval = began_s, timed.answered_s[end - 1]
        thinker, performer = clipped(timed.thinker, interval), clipped(timed.performer, interval)
        both = [part for at_work in thinker for part in clipped(performer, at_work)]
        whole_s += interval[1] - interval[0]
        for name, intervals in (("thinker", thinker), ("performer", performer), ("both", both)):
            work_s[name] += sum(end_s - start_s for start_s, end_s in intervals)
    return {name: round(float(s / whole_s), 3) for name, s in work_s.items()}


def clipped(intervals: Iterable[Interval] | Times, interval: Interval) -> list[Interval]:
    """The parts of the intervals that lie inside `interval`."""
    parts = ((max(start, interval[0]), min(end, interval[1])) for start, end in intervals)
    return [(start, end) for start, end in parts if start < end]


class StallWatch:
    """Records when the machine did not run this program: a thread sleeps for TICK_S and notes if it wakes late."""

    def __init__(self) -> None:
        self.stalls: list[Interval] = []  # in order, without overlaps
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "StallWatch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        asked_s = time.perf_counter()
        while not self._stop.wait(TICK_S):
            now_s = time.perf_counter()
            if now_s - asked_s > TICK_S + STALL_S:
                self.stalls.append((asked_s + TICK_S, now_s))
            asked_s = time.perf_counter()

    def hit(self, began_s: Times, ended_s: Times) -> NDArray[np.bool_]:
        """Which of the times from began_s to ended_s contain a stall."""
        starts_s, ends_s = np.array([(-np.inf, -np.inf), *self.stalls]).T
        last = np.searchsorted(starts_s, ended_s, side="left") - 1  # the last stall that began before the end
        inside: NDArray[np.bool_] = ends_s[last] > began_s
        return inside

    def figures(self, hit: NDArray[np.bool_]) -> dict[str, float]:
        """Number of stalls, the longest one, and the number of units with a stall."""
        longest_s = max((end - start for start, end in self.stalls), default=0.0)
        return {"number": len(self.stalls), "longest_ms": round(longest_s * 1000, 1), "units": int(hit.sum())}
