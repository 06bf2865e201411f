"""Maps rows over worker processes, on this machine or on a cluster: rows in, one outcome for each, in any order.

A million rows need no more memory than a thousand: they are pulled from the feed as workers need them. A worker that
dies costs time only, because its rows are given to another; one that makes no progress is ended (watchdog.py). An
exception in a worker is a bug and ends the run.
"""

import json
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing import connection, get_context, process
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.engine.desk import Desk, opened, read_tasks
from pipelines.engine.ray import ONE_THREAD, NoRay, environment, ray_session
from pipelines.engine.schedule import Row, Schedule, Task
from pipelines.engine.watchdog import Watch, watching

Worker = Callable[[Row], Row]

HANDFUL = 8  # rows, for which plain processes are faster than a start of Ray
MOST_STARTS = 3  # of a process that ends before it can take a row
LOOK_S = 1.0  # between two looks at a process that reports nothing
TASKS_PER_WORKER = 2  # with Ray: one is worked on, and one waits, so that a worker gets its next one at once
MOST_LOST = 100  # workers one after the other, each lost while it starts: its machine is gone, or Ray gave it up
MOST_BLOCKS = 32  # that a task of Ray may be ahead of the driver


def map_rows(
    feed: Callable[[], Iterator[Row]],
    worker: Worker,
    *,
    workers: int,
    builds: bool = False,
    spreads: bool = False,
    uses_gpu: bool = False,
    ray: bool | None = None,
    watch: Watch,
) -> Iterator[Row]:
    """The outcomes of `worker(row)` for all rows, in the order in which they finish.

    Args:
        feed: Called once, in a thread of this process. Each row has a "key" that no other row has. A row with the key
            "" is a message to the caller of this function: it is passed on as it is.
        worker: Called in worker processes; it is pickled. Its outcome has the row's "key". After the death of a worker
            rows may be worked on again, also finished ones.
        workers: How many processes. A cluster that has fewer cores grows, if it can.
        builds: The worker holds what takes long to load: there is one for each process, and it gets many rows.
        spreads: The worker calls `spread` and gives up its core meanwhile; there is one for each task.
        uses_gpu: The workers share the GPUs evenly, if there are any; each sees one. On a cluster, only nodes with GPUs
            work then. Needs `builds`.
        ray: With Ray, or with plain processes; None: plain processes if the rows are a handful, and no Ray runs that
            RAY_ADDRESS names, and there are no idle cores for a worker that spreads.
        watch: When a row has stalled.

    Yields:
        Outcomes; at the end {"key": ..., "stalled": "1"} for each row whose worker cannot be ended.

    Raises:
        InputError: The cluster cannot be used, or all workers are stuck. If a local Ray does not start, plain
            processes do the work.
    """
    schedule = Schedule(feed, workers)
    try:
        while (few := schedule.ends_within(min(2 * workers, HANDFUL), wait_s=1.0)) is None:
            yield from schedule.outcomes()
        yield from schedule.outcomes()
        if schedule.is_over:
            return
        if ray is None:
            ray = not few or "RAY_ADDRESS" in os.environ or (spreads and schedule.num_waiting < workers)
        if ray:
            try:
                yield from _map_ray(
                    schedule, worker, workers, builds=builds and not spreads, uses_gpu=uses_gpu, watch=watch
                )
            except NoRay as error:  # before any row has been given out
                print(f"{error}\nThis run goes on without Ray, in processes of this machine", file=sys.stderr)
                ray = False
        if not ray:
            yield from _map_processes(schedule, worker, workers, uses_gpu=uses_gpu, watch=watch)
        yield from schedule.outcomes()
        yield from schedule.stuck_outcomes()
    finally:
        schedule.stop()


class _Mapper:
    """Runs in the worker processes: a task, as JSON -> outcomes of its rows, as JSON, a chunk at a time.

    The chunks depend on the task only: when Ray runs a task again, it drops the first n of them if it has had n before.
    """

    def __init__(self, worker: Worker, watch: Watch) -> None:
        self.worker, self.watch = worker, watch

    def __call__(self, row: dict[str, str], is_stopped: Callable[[], bool] = bool) -> Iterator[dict[str, str]]:
        task = Task(*json.loads(row["task"]))
        for start in range(0, max(1, len(task.rows)), task.chunk):
            began_s = time.monotonic()
            outcomes = []
            for each in task.rows[start : start + task.chunk]:
                if is_stopped():
                    break
                with watching(self.watch, each["key"]):
                    outcomes.append(self.worker(each))
            yield {"done": json.dumps([outcomes, time.monotonic() - began_s])}


def _map_ray(
    schedule: Schedule, worker: Worker, workers: int, *, builds: bool, uses_gpu: bool, watch: Watch
) -> Iterator[Row]:
    """An exception in a worker is a bug and stops the run."""
    with ray_session(workers) as size:
        import ray
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.execution_no_progress_timeout_s = -1  # a row may take an hour
        context.memory_usage_poll_interval_s = None  # its thread in the worker would look like progress
        context.target_max_block_size = 1  # byte: each task and each chunk of outcomes is sent on its own, at once
        context.max_consecutive_actor_init_deaths = MOST_LOST
        context._max_num_blocks_in_streaming_gen_buffer = MOST_BLOCKS

        def most_stuck() -> int:
            return min(size, max(1, int(ray.cluster_resources().get("CPU", 1))))

        num_gpus = 0.0
        if uses_gpu:
            size, num_gpus = gpu_workers(gpu_nodes(size), size)
        # Without limits, Ray Data asks an autoscaler for one more node of every kind, also for GPUs that no one uses.
        context.execution_options.resource_limits = context.execution_options.resource_limits.copy(
            cpu=size, gpu=math.ceil(size * num_gpus)
        )
        desk = Desk(schedule, most_tasks=TASKS_PER_WORKER * size, most_stuck=most_stuck)
        with opened(desk, ray.util.get_node_ip_address()) as address:
            tasks = ray.data.read_datasource(_source(address), override_num_blocks=1, num_cpus=0)
            watch = replace(watch, report_to=address)
            if builds:
                mapper: Any = _Mapper  # a class; the type stubs of flat_map expect a function
                pool = ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1)
                mapped = tasks.flat_map(
                    mapper, fn_constructor_args=(worker, watch), compute=pool, num_cpus=1, num_gpus=num_gpus
                )
            else:
                mapped = tasks.flat_map(
                    _Mapper(worker, watch).__call__, compute=ray.data.TaskPoolStrategy(size=size), num_cpus=1
                )
            try:
                # Not iter_rows: it prefetches, and so holds back the last blocks.
                for batch in mapped.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                    for done in batch["done"].to_pylist():
                        schedule.finish(*json.loads(done))
                    yield from schedule.outcomes()
                    if schedule.is_over and schedule.stuck_outcomes():
                        break  # the tasks of the stuck ones never end
            except Exception:
                if schedule.failure:
                    raise schedule.failure from None
                raise
        if not schedule.is_over:
            raise RuntimeError("Ray has ended, and rows have no outcome")


def _source(address: str) -> Any:
    """A source of Ray Data: one task that reads what the desk gives out, on the driver's machine."""
    from ray.data import Datasource, ReadTask
    from ray.data.block import BlockMetadata

    class Tasks(Datasource):
        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, *args: Any, **options: Any) -> list[ReadTask]:
            return [ReadTask(partial(_read, address), BlockMetadata(None, None, None, None))]

        @property
        def supports_distributed_reads(self) -> bool:
            return False

    return Tasks()


def _read(address: str) -> Iterator[pa.Table]:
    for task in read_tasks(address):
        yield pa.table({"task": [json.dumps(task)]})


def gpu_nodes(workers: int) -> list[tuple[int, int]]:
    """(cores, GPUs) of the cluster's nodes with GPUs: of those that run, and of those that an autoscaler may start."""
    import ray
    from ray._private.state import state

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    config = state.get_cluster_config()
    for group in config.node_group_configs if config else ():
        resources = dict(group.resources)
        running = sum(
            all(node.get(name) == resources[name] for name in ("CPU", "GPU") if name in resources) for node in nodes
        )
        most = workers if group.max_count < 0 else min(group.max_count, workers)
        nodes += [resources] * max(0, most - running)
    return [size for size in map(_size, nodes) if size[1]]


def _size(node: Mapping[str, float]) -> tuple[int, int]:
    """Cores and GPUs."""
    return int(node.get("CPU", 0)), int(node.get("GPU", 0))


def gpu_workers(nodes: Sequence[tuple[int, int]], workers: int) -> tuple[int, float]:
    """How many of the workers use the GPUs, and the share of a GPU for each: the same number of workers for every GPU.

    `nodes`: cores and GPUs of each node that has GPUs. A worker needs a core of the node too. Without such nodes, all
    workers work without a GPU. Ray counts shares in ten-thousandths.

    >>> gpu_workers([(16, 1)], 16), gpu_workers([(16, 8)], 2), gpu_workers([(8, 2)], 3), gpu_workers([], 4)
    ((16, 0.0625), (2, 1.0), (3, 0.5), (4, 0.0))
    >>> gpu_workers([(16, 8), (4, 1)], 180)  # of a cluster with 160 other cores
    (18, 0.5)
    """
    nodes = [(cores, gpus) for cores, gpus in nodes if cores]
    if not nodes:
        return workers, 0.0
    cores_each = min(math.ceil(cores / gpus) for cores, gpus in nodes)
    for_each_gpu = min(cores_each, math.ceil(workers / sum(gpus for _, gpus in nodes)))
    size = min(workers, sum(min(cores, gpus * for_each_gpu) for cores, gpus in nodes))
    return size, math.floor(10_000 / for_each_gpu) / 10_000


def _map_processes(schedule: Schedule, worker: Worker, workers: int, *, uses_gpu: bool, watch: Watch) -> Iterator[Row]:
    """Each process is fed by a thread of its own, which starts another one when it dies."""
    gpus = _gpus() if uses_gpu else []
    desk = Desk(schedule, most_tasks=0, most_stuck=lambda: 2 * workers)  # a stuck process is replaced, too
    with environment(ONE_THREAD), opened(desk, "127.0.0.1") as address:
        mapper = _Mapper(worker, replace(watch, report_to=address))
        threads = [
            threading.Thread(
                target=_feed_processes, args=(schedule, mapper, gpus[number % len(gpus)] if gpus else ""), daemon=True
            )
            for number in range(workers)
        ]
        for thread in threads:
            thread.start()
        try:
            while schedule.wait():
                yield from schedule.outcomes()
        finally:
            schedule.stop()
            for thread in threads:
                thread.join()  # each process finishes its row and no other


def _gpus() -> list[str]:
    """Names of this machine's GPUs, as CUDA_VISIBLE_DEVICES has them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    return [str(number) for number in range(len(list(Path("/proc/driver/nvidia/gpus").glob("*"))))]


def _feed_processes(schedule: Schedule, mapper: _Mapper, gpu: str) -> None:
    """In a thread of the driver: give tasks to one process at a time, as long as there are any."""
    child: _Child | None = None
    try:
        while (task := schedule.take()) is not None:
            child = child or _Child(mapper, gpu)
            if not child.work(schedule, task):
                child = None
    except BaseException as error:
        schedule.fail(error)
    finally:
        if child:
            child.leave()


class _Child:
    """A worker process."""

    def __init__(self, mapper: _Mapper, gpu: str) -> None:
        for _ in range(MOST_STARTS):
            self.pipe, theirs = connection.Pipe()
            self.process = get_context("spawn").Process(target=_work_on, args=(theirs, mapper, gpu))
            self.process.start()
            theirs.close()
            with suppress(EOFError, OSError):
                self.pipe.recv()  # it has started
                return
            self.process.join()
        raise RuntimeError(f"{MOST_STARTS} worker processes ended at their start, with code {self.process.exitcode}")

    def work(self, schedule: Schedule, task: Task) -> bool:
        """Have the task done. False if the process is gone; its rows are given back then."""
        with suppress(OSError):
            self.pipe.send_bytes(json.dumps(task).encode())
        while True:
            ready = connection.wait([self.pipe, self.process.sentinel], timeout=LOOK_S)
            if self.pipe in ready:
                try:
                    message = self.pipe.recv()
                except (EOFError, OSError):
                    break
                if isinstance(message, BaseException):
                    raise message
                if message is None:
                    return True
                schedule.finish(*json.loads(message["done"]))
            elif ready:
                break
            elif schedule.is_stuck(task):
                process._children.discard(self.process)  # type: ignore[attr-defined]  # else Python waits for it at exit
                return False
            elif schedule.is_over:
                self._stop()
        self.process.join()
        schedule.give_back(task.number)
        return False

    def _stop(self) -> None:
        with suppress(OSError):
            self.pipe.send_bytes(b"")

    def leave(self) -> None:
        """The process ends after the row that it works on."""
        self._stop()
        self.process.join()


def _work_on(pipe: connection.Connection, mapper: _Mapper, gpu: str) -> None:
    """In a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # at Ctrl-C, only the process that started it stops
    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    with suppress(EOFError, OSError):  # the driver is gone
        pipe.send(None)
        while message := pipe.recv_bytes():
            try:
                for outcomes in mapper({"task": message.decode()}, pipe.poll):
                    pipe.send(outcomes)
            except Exception as error:
                pipe.send(_sendable(error))
                return
            pipe.send(None)


def _sendable(error: Exception) -> Exception:
    """The error with its traceback, which would be lost; an error that cannot be pickled becomes another one."""
    text = "".join(traceback.format_exception(error))
    try:
        error.add_note(text)
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        return RuntimeError(text)
    return error
