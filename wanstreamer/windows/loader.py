"""Window shards -> Batch: what the pack stage wrote, in an order fixed by a seed, resumable at any sample.

Training is one endless stream of windows, epoch after epoch. Each epoch is a permutation of the split that depends on
the seed and the epoch's number alone. A position in the stream is the count of windows that all ranks together have
taken. Every step takes `num_ranks * batch_size` windows; rank r gets the r-th `batch_size` of them. The next windows
therefore depend on neither ranks, batch size nor workers, and all of these may change when a run is resumed. Epochs
follow each other without a seam: no epoch drops or pads its last windows, and a batch may contain the end of one epoch
and the start of the next.

The shards are plain WebDataset tars; other loaders can read them directly:

    webdataset.WebDataset(paths, shardshuffle=False).decode()                # sample["user_audio.npy"]: numpy array
    datasets.load_dataset("webdataset", data_files=paths, split="train", streaming=True)   # the same field names

(`split="train"` is the only name `datasets` gives to plain files; choose `paths` by `split` in manifest.json.)
"""

import os
import queue
import threading
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from wanstreamer.errors import InputError
from wanstreamer.windows.batch import Batch, make_batch
from wanstreamer.windows.manifest import (
    FIELDS,
    LABELS,
    WINDOW_FORMAT,
    Manifest,
    Windows,
    open_windows,
    read_manifest,
    uses_fsspec,
)
from wanstreamer.windows.shards import ShardReader, load_sample

__all__ = [
    "FIELDS", "LABELS", "WINDOW_FORMAT", "Batch", "Loader", "Manifest", "Windows", "batches", "batches_once",
    "epoch_order", "load_batch", "load_sample", "open_windows", "read_manifest", "stream_indices",
]  # fmt: skip

ANNOUNCED_BATCHES = 2  # to the kernel, before they are read


def load_batch(windows: Windows, indices: Sequence[int]) -> Batch:
    with ShardReader(windows) as reader:
        return _read_batch(reader, np.empty(len(indices), reader.record_dtype), indices)


@lru_cache(maxsize=2)  # a batch spans two epochs at most, unless the split is smaller than a batch
def epoch_order(num_windows: int, seed: int, epoch: int) -> np.ndarray:
    """The order of one epoch, int64 (num_windows,): a permutation that depends only on seed and epoch."""
    return np.random.default_rng([seed, epoch]).permutation(num_windows)


def stream_indices(num_windows: int, seed: int, start: int, stop: int) -> list[int]:
    """The windows at the places `start` to `stop` (exclusive) of the stream."""
    return [
        int(epoch_order(num_windows, seed, place // num_windows)[place % num_windows]) for place in range(start, stop)
    ]


class Loader:
    """Endless training batches of one rank; batch n is the same after a resume at any position.

    Args:
        windows: What to read.
        batch_size: Windows per batch and rank. If the split has fewer, a batch contains windows several times, as the
            stream goes on with the next epoch.
        seed: Of the order.
        rank: Of this process among `num_ranks`; all must continue from the same position.
        num_ranks: Processes that share the stream.
        workers: Processes that read. 0: this process reads, in a thread unless `prefetch` is 0.
        prefetch: Batches that are read ahead, by each worker if there are workers (then at least 1).
        pin_memory: Whether batches lie in pinned memory; by default if CUDA is available.

    Raises InputError for a batch of less than one window, or of more than this machine's memory.
    """

    def __init__(
        self,
        windows: Windows,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        num_ranks: int = 1,
        workers: int = 0,
        prefetch: int = 2,
        pin_memory: bool | None = None,
    ) -> None:
        if not 0 <= rank < num_ranks:
            raise ValueError(f"rank {rank} of {num_ranks}")
        _check_batch_size(windows, batch_size)
        self.windows = windows
        self.batch_size, self.seed, self.rank, self.num_ranks = batch_size, seed, rank, num_ranks
        self.workers, self.prefetch = workers, prefetch
        self.pin_memory = torch.cuda.is_available() if pin_memory is None else pin_memory
        self.position = 0  # windows that all ranks together have taken from the stream

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch: a JSON object, equal on all ranks."""
        return self._stream() | {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`, which any number of ranks, batch size and workers may have written.

        Raises InputError if it belongs to another stream: other windows, split or seed.
        """
        for name, value in self._stream().items():
            if state[name] != value:
                raise InputError(
                    f"{self.windows.manifest.folder}: {name} is {value!r}, but the state to resume from was made with "
                    f"{state[name]!r}; resume with the same windows and seed, or start again"
                )
        self.position = state["position"]

    def _stream(self) -> dict[str, Any]:
        return {
            "index_sha256": self.windows.manifest.index_sha256,
            "split": self.windows.split,
            "num_windows": len(self.windows.rows),
            "seed": self.seed,
        }

    def __iter__(self) -> Generator[Batch, None, None]:
        """Batches from `position` on. Close the iterator (or drop it) to stop reading ahead."""
        if self.workers:
            stream = _with_workers(self, max(1, self.prefetch))
        else:
            stream = _in_process(self)
            if self.prefetch:
                stream = _read_ahead(stream, self.prefetch)
        try:
            for batch in stream:
                self.position += self.num_ranks * self.batch_size
                yield batch
        finally:
            stream.close()

    def _indices(self, reader: ShardReader) -> Generator[list[int], None, None]:
        """Batches from `position` on; their windows are announced to `reader` some batches earlier."""
        waiting: deque[list[int]] = deque()
        for start in count(self.position + self.rank * self.batch_size, self.num_ranks * self.batch_size):
            waiting.append(stream_indices(len(self.windows.rows), self.seed, start, start + self.batch_size))
            reader.announce(waiting[-1])
            if len(waiting) > ANNOUNCED_BATCHES:
                yield waiting.popleft()


def batches(
    folder: str | Path, split: str, *, batch_size: int, seed: int, position: int = 0, prefetch: int = 2
) -> Iterator[Batch]:
    """Batches of a one-rank `Loader` in this process, from the window at `position` on."""
    loader = Loader(open_windows(folder, split), batch_size=batch_size, seed=seed, prefetch=prefetch)
    loader.position = position
    return iter(loader)


def batches_once(windows: Windows, batch_size: int, *, rank: int = 0, num_ranks: int = 1) -> Iterator[Batch]:
    """Every window once over all ranks, in index order and without padding.

    All ranks make equally many batches, so that they meet in collective operations. The last windows are shared evenly:
    the last batches are smaller, and empty on some ranks if fewer windows than ranks are left. Weigh by
    `len(batch.window_id)`.
    """
    _check_batch_size(windows, batch_size)
    share = num_ranks * batch_size
    with ShardReader(windows) as reader:
        for start in range(0, len(windows.rows), share):
            left = min(share, len(windows.rows) - start)
            indices = range(start + left * rank // num_ranks, start + left * (rank + 1) // num_ranks)
            yield _read_batch(reader, np.empty(len(indices), reader.record_dtype), indices)


def _check_batch_size(windows: Windows, batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"batch_size {batch_size}: expected 1 or more windows")
    batch_bytes = batch_size * ShardReader(windows).record_dtype.itemsize
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if batch_bytes > memory_bytes:
        raise InputError(
            f"batch_size {batch_size}: a batch takes {batch_bytes / 1e9:,.0f} GB of the {memory_bytes / 1e9:,.0f} GB "
            "of this machine; take fewer windows"
        )


def _read_batch(reader: ShardReader, records: np.ndarray, indices: Sequence[int], *, pin_memory: bool = False) -> Batch:
    reader.read(indices, records)
    return make_batch(records, [reader.windows.rows[index]["window_id"] for index in indices], pin_memory=pin_memory)


def _in_process(loader: Loader) -> Generator[Batch, None, None]:
    with ShardReader(loader.windows) as reader:
        records = np.empty(loader.batch_size, reader.record_dtype)
        for indices in loader._indices(reader):
            yield _read_batch(reader, records, indices, pin_memory=loader.pin_memory)


class _BufferReader:
    """A worker's task: read windows into a buffer of shared memory.

    Only numbers pass between the processes: `DataLoader` would share new memory for the tensors of every batch, at
    several times the cost of reading.
    """

    def __init__(self, windows: Windows, buffers: torch.Tensor) -> None:
        self.windows, self.buffers = windows, buffers
        self.reader: ShardReader | None = None  # of the worker; open files cannot be shared

    def __getitem__(self, task: tuple[int, list[int]]) -> tuple[int, list[int], InputError | None]:
        buffer, indices = task
        if self.reader is None:
            self.reader = ShardReader(self.windows)
        try:
            self.reader.read(indices, self.buffers[buffer].numpy().view(self.reader.record_dtype))
        except InputError as error:  # if raised here, DataLoader would wrap it in the worker's traceback
            return buffer, indices, error
        return buffer, indices, None


def _as_it_is(read: Any) -> Any:
    return read


def _with_workers(loader: Loader, prefetch: int) -> Generator[Batch, None, None]:
    """Batches that worker processes read, converted here.

    A buffer is free again once its batch is made. DataLoader hands out a task for each result before it returns the
    result, so one buffer more than `prefetch` per worker is in use.
    """
    windows = loader.windows
    reader = ShardReader(windows)  # to announce what workers will read
    record_dtype = reader.record_dtype
    num_buffers = prefetch * loader.workers + 1
    buffers = torch.empty(num_buffers, loader.batch_size * record_dtype.itemsize, dtype=torch.uint8).share_memory_()
    results: DataLoader[Any] = DataLoader(
        _BufferReader(windows, buffers),  # type: ignore[arg-type]
        sampler=((number % num_buffers, indices) for number, indices in enumerate(loader._indices(reader))),  # type: ignore[arg-type]
        batch_size=None,
        num_workers=loader.workers,
        prefetch_factor=prefetch,
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # otherwise it would draw from the global one
        # fsspec's threads and connections do not survive a fork.
        multiprocessing_context="spawn" if uses_fsspec(windows.manifest.folder) else None,
    )
    with reader:
        for buffer, indices, error in results:
            if error is not None:
                raise error
            records = buffers[buffer].numpy().view(record_dtype)
            yield make_batch(
                records, [windows.rows[index]["window_id"] for index in indices], pin_memory=loader.pin_memory
            )


def _read_ahead(batches: Generator[Batch, None, None], depth: int) -> Generator[Batch, None, None]:
    """Run `batches` in a thread; its exception is raised here, in its place."""
    ready: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(item: Batch | BaseException) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
                break
            except queue.Full:
                continue

    def read() -> None:
        try:
            while not stopped.is_set():
                put(next(batches))
        except BaseException as error:  # every error is passed to the caller
            put(error)

    thread = threading.Thread(target=read, name="window-reader", daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()


def session_text(windows: Windows, session_id: str, agent: str, num_units: int) -> np.ndarray:
    """The agent's text ids of a session's first units, int32 (num_units, S), assembled from its windows."""
    slots = windows.manifest.text_slots
    text_KS = np.full((num_units, slots), windows.manifest.missing_id, dtype=np.int32)
    for index, row in enumerate(windows.rows):
        if (row["session_id"], row["agent"]) == (session_id, agent) and row["start_unit"] < num_units:
            part = load_sample(windows, index)["agent_text"][: num_units - row["start_unit"]]
            text_KS[row["start_unit"] : row["start_unit"] + len(part)] = part
    return text_KS
