"""A live session in the hands of thinker and performer: how long its units take, how long both sides work at once.

`play` gives every user unit as soon as the pipeline takes it: the machine is never idle, and a unit has its wait for
the one before in its latency. Live, a unit is there every 160 ms, and what is done by then waits for the next.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wanstreamer.clock import UNIT_MS
from wanstreamer.streaming.pipeline import Pipeline

Interval = tuple[float, float]  # s, of the clock time.perf_counter
Media = tuple[NDArray[np.uint8], NDArray[np.float32]]

TICK_S = 0.005
STALL_S = 0.03  # a thread that sleeps and wakes up so much later than it asked for


@dataclass(kw_only=True)
class Timed:
    """Of every unit, in order."""

    heard_s: list[float] = field(default_factory=list)  # when the user's unit was there
    answered_s: list[float] = field(default_factory=list)  # when its answer was decoded
    part_ms: list[dict[str, float]] = field(default_factory=list)
    thinker: list[Interval] = field(default_factory=list)  # at work; several per unit
    performer: list[Interval] = field(default_factory=list)
    handover_us: list[float] = field(default_factory=list)

    @property
    def latency_ms(self) -> NDArray[np.float64]:
        return (np.array(self.answered_s) - np.array(self.heard_s)) * 1000

    @property
    def pace_ms(self) -> NDArray[np.float64]:
        """From answer to answer; the first counts from when its unit was there."""
        return np.diff(self.answered_s, prepend=self.heard_s[0]) * 1000


def play(pipeline: Pipeline, media: Sequence[Media], *, live: bool) -> Timed:
    """The whole of the media through the pipeline, as many units open as its lag allows."""
    timed = Timed()
    start_s = time.perf_counter()
    for unit, (frames, samples) in enumerate(media):
        there_s = start_s + unit * UNIT_MS / 1000 if live else time.perf_counter()
        while (left_s := there_s - time.perf_counter()) > 0:
            if pipeline.open:
                _answer(pipeline, timed, left_s)
            else:
                time.sleep(left_s)
        began_s = time.perf_counter()
        pipeline.hear(frames, samples)
        timed.heard_s.append(there_s)
        timed.thinker.append((began_s, time.perf_counter()))
        while len(pipeline.open) > pipeline.lag:
            _answer(pipeline, timed)
    while pipeline.open:
        _answer(pipeline, timed)
    return timed


def _answer(pipeline: Pipeline, timed: Timed, timeout_s: float | None = None) -> None:
    said = pipeline.answer(timeout_s)
    ended_s = time.perf_counter()
    if said is None:
        return
    assert pipeline.last is not None
    timed.answered_s.append(ended_s)
    timed.part_ms.append(said.part_ms)
    timed.thinker.append((ended_s - said.part_ms["decode"] / 1000, ended_s))
    timed.performer.append((pipeline.last.began_s, pipeline.last.ended_s))
    timed.handover_us.append(pipeline.last.handover_us)


def shares(timed: Timed, first: int, stop: int) -> dict[str, float]:
    """Of the time from the answer before `first` to that of stop - 1: thinker at work, performer at work, both."""
    window = timed.answered_s[first - 1] if first else timed.heard_s[0], timed.answered_s[stop - 1]
    thinker, performer = clipped(timed.thinker, window), clipped(timed.performer, window)
    both = [part for at_work in thinker for part in clipped(performer, at_work)]
    whole_s = window[1] - window[0]
    return {
        name: round(sum(end - start for start, end in intervals) / whole_s, 3)
        for name, intervals in (("thinker", thinker), ("performer", performer), ("both", both))
    }


def clipped(intervals: Iterable[Interval], window: Interval) -> list[Interval]:
    """What lies of the intervals inside the window."""
    parts = ((max(start, window[0]), min(end, window[1])) for start, end in intervals)
    return [(start, end) for start, end in parts if start < end]


class StallWatch:
    """Notes when the machine did not run us: a thread that sleeps TICK_S at a time and wakes up late."""

    def __init__(self) -> None:
        self.stalls: list[Interval] = []
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

    def hit(self, began_s: Sequence[float], ended_s: Sequence[float]) -> NDArray[np.bool_]:
        """Which of the given times a stall fell into."""
        return np.array([bool(clipped(self.stalls, span)) for span in zip(began_s, ended_s, strict=True)])
