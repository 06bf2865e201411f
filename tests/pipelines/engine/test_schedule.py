"""The queue between a feed and its workers: bounded, complete, and in tasks of sensible size."""

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.engine.schedule import MOST_ROWS, Row, Schedule, Task
from tests.helpers.mapped_rows import Feed
from wanstreamer.errors import InputError


def outcomes_of(task: Task) -> list[Row]:
    return [{"key": row["key"], "error": ""} for row in task.rows]


def settled(feed: Feed) -> int:
    """How many rows were pulled, once no more are."""
    before = -1
    while before != feed.pulled:
        before = feed.pulled
        time.sleep(0.05)
    return before


def test_a_feed_is_asked_only_for_what_workers_will_need_soon() -> None:
    feed = Feed(1_000_000)
    schedule = Schedule(feed, workers=3)
    assert 6 <= settled(feed) < 20  # nothing is known of the work
    done = 0
    for _ in range(200):
        task = schedule.take()
        assert task is not None
        done += len(task.rows)
        schedule.finish(outcomes_of(task), 0.01 * len(task.rows))
        assert len(schedule.outcomes()) == len(task.rows)
    assert settled(feed) - done < 2 * 3 * (200 + 2)  # two tasks of two seconds for each worker
    schedule.stop()
    assert schedule.take() is None and feed.calls == 1


def test_tasks_grow_to_seconds_of_work_and_shrink_at_the_end() -> None:
    schedule = Schedule(Feed(10_000), workers=2)
    sizes = []
    while task := schedule.take():
        sizes.append(len(task.rows))
        assert 1 <= task.chunk <= len(task.rows)
        schedule.finish(outcomes_of(task), 0.01 * len(task.rows))
        assert len(schedule.outcomes()) == len(task.rows)
        time.sleep(0.001)  # the feed fills the queue again
    assert sizes[0] == 1 and 100 <= max(sizes) <= 210 and sizes[-1] == 1
    assert sizes[-4:] == sorted(sizes[-4:], reverse=True)
    assert sum(sizes) == 10_000


def test_long_work_comes_in_single_rows_and_no_work_in_many() -> None:
    for seconds, least, most in ((10.0, 1, 1), (0.0, 100, MOST_ROWS)):
        schedule = Schedule(Feed(100_000), workers=2)
        for _ in range(50):
            task = schedule.take()
            assert task is not None
            schedule.finish(outcomes_of(task), seconds * len(task.rows))
            schedule.outcomes()
            time.sleep(0.001)
        assert least <= len(task.rows) <= most
        schedule.stop()


@given(st.lists(st.sampled_from(["take", "finish", "lose", "stick", "late"]), max_size=60), st.integers(1, 30))
@settings(max_examples=60)
def test_every_row_has_one_outcome_whatever_happens_to_its_workers(events: list[str], num_rows: int) -> None:
    schedule = Schedule(Feed(num_rows), workers=2)
    threading.Event().wait(0.002)
    under_way: list[Task] = []
    lost: list[Task] = []
    got: list[str] = []
    for event in events:
        if event == "take" and not schedule.is_over and schedule.num_waiting and (task := schedule.take()):
            under_way.append(task)
        elif event == "finish" and under_way:
            schedule.finish(outcomes_of(under_way.pop(0)), 1.0)
        elif event == "lose" and under_way:
            lost.append(under_way.pop())
            schedule.give_back(lost[-1].number)
        elif event == "stick" and under_way:
            lost.append(under_way.pop())
            schedule.stick(lost[-1].rows[0]["key"], most_stuck=1000)
        elif event == "late" and lost:
            schedule.finish(outcomes_of(lost.pop()), 1.0)  # it was not dead
        got += [row["key"] for row in schedule.outcomes()]
    for task in under_way:
        schedule.finish(outcomes_of(task), 1.0)
    while task := schedule.take():
        schedule.finish(outcomes_of(task), 1.0)
        got += [row["key"] for row in schedule.outcomes()]
    got += [row["key"] for row in (*schedule.outcomes(), *schedule.stuck_outcomes())]
    assert sorted(got) == [f"k{number:07d}" for number in range(num_rows)]


def test_messages_of_the_feed_pass_at_once_and_wake_whoever_waits_for_tasks_only() -> None:
    schedule = Schedule(Feed([{"key": "", "text": "hello"}, {"key": "", "text": "again"}]), workers=1)
    task = schedule.take(wakes=True)
    assert task is not None and task.rows == []
    schedule.finish([], 0.0)
    assert [row["text"] for row in schedule.outcomes()] == ["hello", "again"]
    assert schedule.take(wakes=True) is None and schedule.is_over


def test_a_reader_that_starts_again_gets_what_it_had_without_what_is_finished() -> None:
    schedule = Schedule(Feed(3), workers=1)
    tasks = [schedule.take() for _ in range(2)]
    assert all(tasks) and schedule.num_taken == 2
    schedule.finish(outcomes_of(tasks[0]), 1.0)  # type: ignore[arg-type]
    assert schedule.again(0).rows == [] and schedule.again(1).rows == tasks[1].rows  # type: ignore[union-attr]


def test_what_fails_in_the_feed_ends_the_run() -> None:
    def fails() -> Iterator[Row]:
        yield {"key": "a"}
        raise ZeroDivisionError("a bug of the feed")

    for feed, error in ((fails, ZeroDivisionError), (Feed([{"key": "a"}] * 2), ValueError)):
        schedule = Schedule(feed, workers=1)
        with pytest.raises(error):
            while True:
                schedule.take()
                schedule.outcomes()


def test_when_all_workers_are_stuck_the_run_says_so() -> None:
    schedule = Schedule(Feed(5), workers=2)
    for _ in range(2):
        task = schedule.take()
        assert task is not None
        schedule.stick(task.rows[0]["key"], most_stuck=2)
    with pytest.raises(InputError, match="k0000000, k0000001: the 2 workers .* repair or unmount it"):
        schedule.outcomes()
