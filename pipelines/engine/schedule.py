"""Which rows wait, which are under way, and how many of them a worker gets at once.

A feed gives rows, one by one, into a queue of bounded length. Workers take tasks of several rows from it. Without that,
the exchange with the driver costs more than short work; with too many rows in a task, workers wait for each other at
the end. So a task has as many rows as a worker does in some seconds, and fewer when few are left.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from wanstreamer.errors import InputError

Row = dict[str, str]

MOST_ROWS = 1024  # of a task
MOST_QUEUED = 50_000  # rows
TASK_S = (2.0, 60.0)  # the work of a task at the start of a run, and at most; between them a share of the run's time
TASK_SHARE = 1 / 20
CHUNK_S = (0.25, 20.0)  # the same for the work between two reports of outcomes
CHUNK_SHARE = 1 / 100


class Task(NamedTuple):
    """Rows for a worker, which reports outcomes after every `chunk` rows."""

    number: int
    chunk: int
    rows: list[Row]


class Schedule:
    """The rows of one run. Its methods may be called from any thread."""

    def __init__(self, feed: Callable[[], Iterator[Row]], workers: int) -> None:
        self._feed, self._workers = feed, workers
        self._changed = threading.Condition()
        self._waiting: deque[Row] = deque()
        self._ready: deque[Row] = deque()  # outcomes and markers for the caller of map_rows
        self._under_way: dict[int, dict[str, Row]] = {}  # task -> its rows without an outcome, by key
        self._task_of: dict[str, int] = {}  # by key
        self._stuck: dict[str, Row] = {}  # in workers that cannot be ended
        self._fed = self._stopped = self._waking = False
        self._failure: BaseException | None = None
        self._next = 0
        self._began_s = time.monotonic()
        self._worked_s = self._worked_rows = 0.0  # of the last outcomes; old ones count less
        threading.Thread(target=self._pull, name="feed", daemon=True).start()

    def _pull(self) -> None:
        """In its own thread: from the feed into the queue."""
        try:
            for row in self._feed():
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped or self._num_queued < self._most_queued)
                    if self._stopped:
                        return
                    (self._waiting if row["key"] else self._ready).append(row)
                    self._changed.notify_all()
        except BaseException as error:
            self.fail(error)
        finally:
            with self._changed:
                self._fed = True
                self._changed.notify_all()

    @property
    def _num_queued(self) -> int:
        return len(self._waiting) + len(self._ready)

    @property
    def _most_queued(self) -> int:
        """Enough to see the end of the feed before the tasks must become small."""
        return min(MOST_QUEUED, 2 * self._workers * (1 + int(self._rows_in(TASK_S, TASK_SHARE))))

    def _rows_in(self, seconds: tuple[float, float], share: float) -> float:
        """Rows that a worker finishes in a share of the run's time so far, within limits; 1 as long as none is."""
        if not self._worked_rows:
            return 1.0
        least_s, most_s = seconds
        worked_s = min(max((time.monotonic() - self._began_s) * share, least_s), most_s)
        return min(max(worked_s * self._worked_rows / max(self._worked_s, 1e-9), 1.0), MOST_ROWS)

    @property
    def _over(self) -> bool:
        """Nothing is left but what is stuck."""
        return self._fed and not self._waiting and not self._under_way

    def fail(self, error: BaseException) -> None:
        """End the run with this error."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def stop(self) -> None:
        """Give out no more rows."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    @property
    def failure(self) -> BaseException | None:
        return self._failure

    @property
    def is_over(self) -> bool:
        with self._changed:
            return self._over or self._stopped

    def ends_within(self, num_rows: int, wait_s: float) -> bool | None:
        """Whether the feed has at most this many rows; None if that is not known after `wait_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._fed or self._ready or len(self._waiting) > num_rows, wait_s)
            if len(self._waiting) > num_rows:
                return False
            return True if self._fed else None

    def take(self, most_tasks: int | None = None, *, wakes: bool = False) -> Task | None:
        """The next task, as soon as there is one and fewer than `most_tasks` are under way; None: there will be none.

        `wakes`: what waits for outcomes hears of nothing else. When there is something else, it gets a task without
        rows, which is finished at once.
        """
        with self._changed:
            while not self._stopped and not self._failure:
                if self._waiting and (most_tasks is None or len(self._under_way) < most_tasks):
                    # Guided self-scheduling (Polychronopoulos and Kuck 1987), with a limit by time.
                    guided = len(self._waiting) // (2 * self._workers)
                    return self._task(max(1, min(int(self._rows_in(TASK_S, TASK_SHARE)), guided)))
                if wakes and not self._waiting and not self._waking and (self._ready or (self._over and self._stuck)):
                    self._waking = True
                    return self._task(0)
                if self._over and not (wakes and self._waking):
                    return None
                self._changed.wait()
        return None

    def _task(self, num_rows: int) -> Task:
        rows = [self._waiting.popleft() for _ in range(num_rows)]
        chunk = max(1, min(num_rows, int(self._rows_in(CHUNK_S, CHUNK_SHARE))))
        task = Task(self._next, chunk, rows)
        self._next += 1
        for row in rows:
            if row["key"] in self._task_of:
                raise ValueError(f"{row['key']}: two rows have this key")
            self._task_of[row["key"]] = task.number
        if rows:
            self._under_way[task.number] = {row["key"]: row for row in rows}
        self._changed.notify_all()
        return task

    def again(self, number: int) -> Task:
        """A task that was taken before, without the rows that have an outcome; for a reader that lost its place."""
        with self._changed:
            return Task(number, 1, list(self._under_way.get(number, {}).values()))

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_taken(self) -> int:
        return self._next

    def finish(self, outcomes: Sequence[Row], seconds: float) -> None:
        """Rows were worked on for so long in all. The outcomes go to the caller of map_rows, once for each row."""
        with self._changed:
            if not outcomes:
                self._waking = False
            for outcome in outcomes:
                key = outcome["key"]
                number = self._task_of.pop(key, None)
                if number is not None:
                    del self._under_way[number][key]
                    if not self._under_way[number]:
                        del self._under_way[number]
                elif self._stuck.pop(key, None) is None:
                    continue  # a second outcome, of a row that was given to two workers
                self._ready.append(outcome)
            fade = 0.5 ** (len(outcomes) / (8 * self._workers))
            self._worked_s = self._worked_s * fade + seconds
            self._worked_rows = self._worked_rows * fade + len(outcomes)
            self._changed.notify_all()

    def give_back(self, number: int) -> None:
        """The task's worker is gone: its rows go to others."""
        with self._changed:
            rows = self._under_way.pop(number, {})
            for key in rows:
                del self._task_of[key]
            self._waiting.extendleft(reversed(rows.values()))
            self._changed.notify_all()

    def stick(self, key: str, most_stuck: int) -> None:
        """The worker that has this row cannot be ended. Its other rows go to others; with `most_stuck` such workers,
        there is no one left, and the run ends."""
        with self._changed:
            number = self._task_of.get(key)
            if number is None:
                return
            self._stuck[key] = self._under_way[number].pop(key)
            del self._task_of[key]
            self.give_back(number)
            if len(self._stuck) >= most_stuck:
                self.fail(
                    InputError(
                        f"{', '.join(sorted(self._stuck)[:3])}: the {len(self._stuck)} workers on these keys wait for "
                        "a file system that does not answer, and cannot be ended; repair or unmount it, and run the "
                        "same command again"
                    )
                )

    def is_stuck(self, task: Task) -> bool:
        with self._changed:
            return any(row["key"] in self._stuck for row in task.rows)

    def stuck_outcomes(self) -> list[Row]:
        with self._changed:
            return [{"key": key, "stalled": "1"} for key in self._stuck]

    def outcomes(self) -> list[Row]:
        """Those that are ready. Raises what ended the run."""
        with self._changed:
            if self._failure:
                raise self._failure
            ready = list(self._ready)
            self._ready.clear()
            self._changed.notify_all()
            return ready

    def wait(self) -> bool:
        """Wait for outcomes; False if there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._failure or self._over or self._stopped)
            return bool(self._ready or self._failure)
