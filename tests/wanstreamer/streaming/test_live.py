"""Against the clock: a late answer is held over and counted, and what is said later is as on a fast machine."""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from tests.helpers.live_fixtures import media, small_agent
from wanstreamer.errors import InputError
from wanstreamer.streaming.agent import AgentUnit
from wanstreamer.streaming.live import Live, Played
from wanstreamer.streaming.performer import Slice
from wanstreamer.streaming.pipeline import LocalPerformer, Performed, Pipeline, open_pipeline

UNITS = 8


class Gated:
    """A performer that waits for a permit before each unit: a machine as slow as the test wants it."""

    def __init__(self, link: LocalPerformer) -> None:
        self.link, self.permits = link, threading.Semaphore(0)

    def ensure_open(self) -> None:
        pass

    def send(self, slice_: Slice) -> None:
        self.link.send(slice_)

    def receive(self, timeout_s: float | None) -> Performed | None:
        return self.link.receive(timeout_s) if self.permits.acquire(timeout=timeout_s) else None

    def close(self) -> None:
        self.link.close()


def gated(lag: int) -> tuple[Pipeline, Gated]:
    pipeline = open_pipeline(small_agent({"self_lag": lag}, max_units=16), seed=3)
    assert isinstance(pipeline.link, LocalPerformer)
    pipeline.link = gate = Gated(pipeline.link)
    return pipeline, gate


def unhurried(lag: int, gaps: tuple[int, ...] = ()) -> list[AgentUnit | None]:
    """What a fast machine says to each unit; units in `gaps` are not given to it."""
    pipeline = open_pipeline(small_agent({"self_lag": lag}, max_units=16), seed=3)
    answers: list[AgentUnit | None] = []
    for unit, (frames, samples) in enumerate(media(UNITS)):
        if unit in gaps:
            answers.append(None)
            continue
        if unit - 1 in gaps:
            pipeline.restart_user()
        pipeline.hear(frames, samples)
        answers.append(pipeline.answer())
    return answers


def until_answered(live: Live, tick: int) -> None:
    """Until the answer to the user's unit of that tick is ready to be played."""
    until = time.monotonic() + 20
    while tick not in live._answers:
        assert time.monotonic() < until and live._error is None, live._error
        time.sleep(0.002)


def until_taken(live: Live) -> None:
    """Until no unit of the user waits."""
    until = time.monotonic() + 20
    while live._waiting:
        assert time.monotonic() < until and live._error is None, live._error
        time.sleep(0.002)


def same(played: Played, unit: AgentUnit | None) -> bool:
    assert unit is not None
    return played.unit is not None and np.array_equal(played.unit.samples, unit.samples)


@pytest.mark.parametrize("lag", [0, 1])
def test_late_answers_are_held_over_and_change_nothing_said_later(lag: int) -> None:
    pipeline, gate = gated(lag)
    truth = unhurried(lag)
    played = []
    with Live(pipeline) as live:
        for unit, (frames, samples) in enumerate(media(UNITS)):
            played.append(live.tick(frames, samples))
            if unit in (2, 3):  # the performer stalls: nothing comes back
                continue
            gate.permits.release(3 if unit == 4 else 1)
            until_answered(live, unit)
        assert (live.counts.ticks, live.counts.early, live.counts.late, live.counts.unheard) == (UNITS, 1, 2, 0)
        assert live.counts.played == UNITS - 3
    assert played[0].unit is None and not played[0].frames.any() and not played[0].samples.any()
    for tick in (1, 2, 5, 6, 7):
        assert same(played[tick], truth[tick - 1])
    before, first, second, after = played[2:6]
    assert first.unit is None and second.unit is None
    assert all(np.array_equal(frame, before.frames[-1]) for late_unit in (first, second) for frame in late_unit.frames)
    assert first.samples[0] == pytest.approx(before.samples[-1]) and first.samples[:300].any()
    np.testing.assert_allclose(first.samples[:320], before.samples[: -320 - 1 : -1] * np.linspace(1, 0, 320), atol=1e-6)
    assert not first.samples[320:].any() and not second.samples.any()
    assert after.samples[0] == 0 and np.array_equal(after.samples[320:], truth[4].samples[320:])  # type: ignore[union-attr]
    assert np.array_equal(played[6].samples, truth[5].samples)  # type: ignore[union-attr]


@pytest.mark.parametrize("lag", [0, 1])
def test_beyond_the_queue_the_user_is_unheard_and_counted(lag: int) -> None:
    """The model then says what it says to one who fell silent in between: the history holds whole units only."""
    pipeline, gate = gated(lag)
    played = []
    with Live(pipeline, max_waiting=1) as live:
        for unit, (frames, samples) in enumerate(media(UNITS)):
            played.append(live.tick(frames, samples))
            if unit < 2 or unit >= 6:
                gate.permits.release()
                until_answered(live, unit)
            elif unit == 5:
                gate.permits.release(6 - 2 - live.counts.unheard)
                until_answered(live, 5 - live.counts.unheard)
            elif unit <= 2 + lag:  # stalled: as many as lag allows are open; of the rest one waits
                until_taken(live)
        counts = live.counts
    gaps = tuple(range(4 + lag, 6))
    assert counts.unheard == len(gaps) and counts.ticks == UNITS == counts.played + counts.late + counts.early
    truth = unhurried(lag, gaps)
    assert same(played[7], truth[6])
    assert not same(played[7], unhurried(lag)[6])


def test_an_error_of_the_pipeline_reaches_the_caller() -> None:
    pipeline = open_pipeline(small_agent(max_units=1), seed=0)
    with Live(pipeline) as live, pytest.raises(RuntimeError, match="conversation is over: agent: the history of 1"):
        for _ in ticks():
            live.tick(None, None)
    with Live(open_pipeline(small_agent(), seed=0)) as live, pytest.raises(InputError, match="samples are"):
        live.tick(None, np.zeros(3, np.float32))
    with pytest.raises(InputError, match="due_after_units 0"):
        Live(pipeline, due_after_units=0)


def ticks() -> Iterator[None]:
    for _ in range(200):
        yield
        time.sleep(0.02)


def test_closing_waits_for_no_one() -> None:
    """Not for a performer that never answers."""
    pipeline, _ = gated(0)
    live = Live(pipeline)
    live.tick(None, None)
    time.sleep(0.1)  # it is at work
    began_s = time.monotonic()
    live.close()
    assert time.monotonic() - began_s < 5 and not live._thread.is_alive()
