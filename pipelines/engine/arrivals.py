"""Parts on their way into the data folder: those of workers that have it are there; others are taken from the store."""

from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from pipelines.engine.worker import FULL, KeyWorker
from wanstreamer.errors import InputError

AT_ONCE = 8  # parts that are taken at the same time
MOST_WAITING = 64  # with more, the driver waits for some of them before it looks at further outcomes


class Arrivals:
    """Used by one thread. `add` and `rest` return the keys whose parts are in the data folder."""

    def __init__(self, worker: KeyWorker) -> None:
        self.worker = worker
        self.pool: ThreadPoolExecutor | None = None
        self.coming: dict[Future[None], str] = {}

    def __enter__(self) -> "Arrivals":
        return self

    def __exit__(self, *error: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def add(self, outcome: Mapping[str, str]) -> list[str]:
        """An outcome of a worker."""
        key = outcome["key"]
        arrived = []
        if "stalled" in outcome:
            self.worker.give_up(key)
            arrived.append(key)
        elif outcome["away"]:
            self.pool = self.pool or ThreadPoolExecutor(AT_ONCE, "arrivals")
            self.coming[self.pool.submit(self._take_over, dict(outcome))] = key
        else:
            arrived.append(key)
        return arrived + self._done(block=len(self.coming) > MOST_WAITING)

    def rest(self) -> Iterator[str]:
        while self.coming:
            yield from self._done(block=True)

    def _done(self, *, block: bool) -> list[str]:
        if not self.coming:
            return []
        done = wait(self.coming, None if block else 0, FIRST_COMPLETED).done
        for future in done:
            future.result()
        return [self.coming.pop(future) for future in done]

    def _take_over(self, outcome: Mapping[str, str]) -> None:
        try:
            self.worker.take_over(outcome)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise InputError(self.worker.no_space()) from error
