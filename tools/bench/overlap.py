"""A live conversation in the hands of thinker and performer: how long its units take, how long both sides work at once.

`play` gives every user unit as soon as the pipeline takes it: the machine is never idle, and a unit has its wait for
the one before in its latency. Live, a unit is there every 160 ms, and what is done by then waits for the next.
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

Interval = tuple[float, float]  # s, of the clock time.perf_counter
Media = tuple[NDArray[np.uint8], NDArray[np.float32]]
Times = NDArray[np.float64]

TICK_S = 0.005
STALL_S = 0.03  # a thread that sleeps and wakes up so much later than it asked for


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Of every unit, in order; NaN where it is not there yet. In memory from the start: a run of hours adds nothing."""

    heard_s: Times  # when the user's unit was there
    answered_s: Times  # when its answer was decoded
    part_ms: Times  # (units, PARTS)
    thinker: Times  # (2 * units, 2): when it heard a unit, and when it decoded it
    performer: Times  # (units, 2)
    handover_us: Times
    follows: NDArray[np.bool_]  # the unit before was under way or answered just before; else something else ran between

    @property
    def latency_ms(self) -> Times:
        latency_ms: Times = (self.answered_s - self.heard_s) * 1000
        return latency_ms

    @property
    def pace_ms(self) -> Times:
        """From answer to answer; one that does not follow counts from when its unit was there."""
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
    """These units of the media, which repeat, through the pipeline, as many open as its lag allows; none stays open.

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
    said = pipeline.answer(timeout_s)
    ended_s = time.perf_counter()
    if said is None:
        return False
    assert pipeline.last is not None
    timed.answered_s[unit] = ended_s
    timed.part_ms[unit] = [said.part_ms[part] for part in PARTS]
    timed.thinker[2 * unit + 1] = ended_s - said.part_ms["decode"] / 1000, ended_s
    timed.performer[unit] = pipeline.last.began_s, pipeline.last.ended_s
    timed.handover_us[unit] = pipeline.last.handover_us
    return True


def shares(timed: Timed, first: int, stop: int) -> dict[str, float]:
    """Of the time from the answer before `first` to that of stop - 1: thinker at work, performer at work, both."""
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
    """What lies of the intervals inside the interval."""
    parts = ((max(start, interval[0]), min(end, interval[1])) for start, end in intervals)
    return [(start, end) for start, end in parts if start < end]


class StallWatch:
    """Notes when the machine did not run us: a thread that sleeps TICK_S at a time and wakes up late."""

    def __init__(self) -> None:
        self.stalls: list[Interval] = []  # in order, none inside another
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
        """Which of the given times a stall fell into."""
        starts_s, ends_s = np.array([(-np.inf, -np.inf), *self.stalls]).T
        last = np.searchsorted(starts_s, ended_s, side="left") - 1  # the last stall that began before the end
        inside: NDArray[np.bool_] = ends_s[last] > began_s
        return inside

    def figures(self, hit: NDArray[np.bool_]) -> dict[str, float]:
        """How many there were, and how many units they fell into."""
        longest_s = max((end - start for start, end in self.stalls), default=0.0)
        return {"number": len(self.stalls), "longest_ms": round(longest_s * 1000, 1), "units": int(hit.sum())}
