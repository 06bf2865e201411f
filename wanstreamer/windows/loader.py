"""Window shards -> Batch: what the pack stage wrote, in an order fixed by a seed, resumable at any sample.

Training is one endless stream of windows, epoch after epoch. Each epoch is a permutation of the split that depends on
the seed and the epoch's number alone (wanstreamer/windows/order.py has another one, for very large splits). A position
in the stream is the count of windows that all ranks together have taken. Every step takes `num_ranks * batch_size`
windows; rank r gets the r-th `batch_size` of them. The next windows therefore depend on neither ranks, batch size nor
workers, and all of these may change when a run is resumed. Epochs follow each other without a seam: no epoch drops or
pads its last windows, and a batch may contain the end of one epoch and the start of the next.

The shards are plain WebDataset tars; other loaders can read them directly:

    webdataset.WebDataset(paths, shardshuffle=False).decode()                # sample["user_audio.npy"]: numpy array
    datasets.load_dataset("webdataset", data_files=paths, split="train", streaming=True)   # the same field names

(`split="train"` is the only name `datasets` gives to plain files; choose `paths` by `split` in manifest.json.)
"""

import os
import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader

from wanstreamer.errors import InputError
from wanstreamer.windows.batch import Batch, make_batch
from wanstreamer.windows.blend import Blend, BlendOrder, BlendReader, blend_places, seed_of_set
from wanstreamer.windows.index import Place, Windows, open_windows
from wanstreamer.windows.manifest import FIELDS, LABELS, WINDOW_FORMAT, Manifest, read_manifest, uses_fsspec
from wanstreamer.windows.order import ExactOrder, ShardOrder, epoch_order, stream_indices
from wanstreamer.windows.shards import ShardReader, load_sample

__all__ = [
    "FIELDS", "LABELS", "WINDOW_FORMAT", "Batch", "Blend", "Loader", "Manifest", "Windows", "batches", "batches_once",
    "epoch_order", "load_batch", "load_sample", "open_windows", "read_manifest", "stream_indices",
]  # fmt: skip

ANNOUNCED_BATCHES = 2  # to the kernel, before they are read


def load_batch(windows: Windows, indices: Sequence[int]) -> Batch:
    with ShardReader(windows.manifest) as reader:
        return _read_batch(reader, np.empty(len(indices), reader.record_dtype), windows.rows.places(indices)).batch


class Loader:
    """Endless training batches of one rank; batch n is the same after a resume at any position.

    Args:
        windows: What to read: the windows of one folder, or several sets with weights (wanstreamer/windows/blend.py).
        batch_size: Windows per batch and rank. If the split has fewer, a batch contains windows several times, as the
            stream goes on with the next epoch.
        seed: Of the order.
        rank: Of this process among `num_ranks`; all must continue from the same position.
        num_ranks: Processes that share the stream.
        workers: Processes that read. 0: this process reads, in a thread unless `prefetch` is 0.
        prefetch: Batches that are read ahead, by each worker if there are workers (then at least 1).
        pin_memory: Whether batches lie in pinned memory; by default if CUDA is available.
        shuffle: "exact" permutes all windows of an epoch, whatever shards they lie in, and needs 4 bytes per window.
            "shards" permutes the shards and then the windows of `buffer_shards` shards at a time: it reads from few
            files at a time and needs no memory per window, but mixes less, and its order depends on the shards.
        buffer_shards: How many shards "shards" mixes.
        skip_damaged: Whether a window whose bytes are missing or damaged is masked (all `known` False, text MISSING,
            labels -1: no loss) and counted in `damaged`, instead of raising InputError.

    Attributes:
        damaged: Masked windows of the batches taken so far, by shard; of a blend, by the shard's whole path.

    Raises InputError for a batch of less than one window, or of more than this machine's memory.
    """

    def __init__(
        self,
        windows: Windows | Blend,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        num_ranks: int = 1,
        workers: int = 0,
        prefetch: int = 2,
        pin_memory: bool | None = None,
        shuffle: Literal["exact", "shards"] = "exact",
        buffer_shards: int = 8,
        skip_damaged: bool = False,
    ) -> None:
        if not 0 <= rank < num_ranks:
            raise ValueError(f"rank {rank} of {num_ranks}")
        if shuffle not in ("exact", "shards"):
            raise InputError(f"shuffle {shuffle!r}: expected exact or shards")
        if buffer_shards < 1:
            raise InputError(f"buffer_shards {buffer_shards}: expected 1 or more shards")
        _check_batch_size(windows, batch_size)
        self.windows = windows
        self.batch_size, self.seed, self.rank, self.num_ranks = batch_size, seed, rank, num_ranks
        self.workers, self.prefetch = workers, prefetch
        self.pin_memory = torch.cuda.is_available() if pin_memory is None else pin_memory
        self.shuffle, self.buffer_shards, self.skip_damaged = shuffle, buffer_shards, skip_damaged
        self.damaged: Counter[str] = Counter()
        self.position = 0  # windows that all ranks together have taken from the stream

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch: a JSON object, equal on all ranks."""
        return self._stream() | {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`, which any number of ranks, batch size and workers may have written.

        Raises InputError if it belongs to another stream: other windows, split, seed or shuffle.
        """
        ours = self._stream()
        for name in [*ours, *sorted(state.keys() - ours.keys() - {"position"})]:
            if state.get(name) != ours.get(name):
                folder = _manifests(self.windows)[0].folder
                raise InputError(
                    f"{folder}: {name} is {ours.get(name)!r}, but the state to resume from was "
                    f"made with {state.get(name)!r}; resume with the same windows, seed and shuffle, or start again"
                )
        self.position = state["position"]

    def _stream(self) -> dict[str, Any]:
        """What the order depends on. The exact order does not depend on the shards that the windows lie in."""
        stream: dict[str, Any] = {"split": self.windows.split, "seed": self.seed, "shuffle": self.shuffle}
        if self.shuffle == "shards":
            layouts = [
                ShardOrder(windows.rows.segments(), self.seed, self.buffer_shards).layout_sha256()
                for windows in _sets(self.windows)
            ]
            stream |= {"buffer_shards": self.buffer_shards, "layout_sha256": " ".join(layouts)}
        if isinstance(self.windows, Blend):
            return stream | {"sets": self.windows.stream()}
        return stream | {"num_windows": len(self.windows), "content_sha256": self.windows.content_sha256}

    def __iter__(self) -> Generator[Batch, None, None]:
        """Batches from `position` on. Close the iterator (or drop it) to stop reading ahead."""
        if self.workers:
            stream = _with_workers(self, max(1, self.prefetch))
        else:
            stream = _in_process(self)
            if self.prefetch:
                stream = _read_ahead(stream, self.prefetch)
        try:
            for batch, masked in stream:
                self.position += self.num_ranks * self.batch_size
                self.damaged.update(masked)
                yield batch
        finally:
            stream.close()

    def _places(self, reader: ShardReader | BlendReader) -> Generator[list[Place], None, None]:
        """Of the batches from `position` on; their windows are announced to `reader` some batches earlier."""
        places_of = self._lookup()
        waiting: deque[list[Place] | InputError] = deque()
        for start in count(self.position + self.rank * self.batch_size, self.num_ranks * self.batch_size):
            try:
                places = places_of(start, start + self.batch_size)
                reader.announce(places)
                waiting.append(places)
            except InputError as error:
                waiting.append(error)
            if len(waiting) > ANNOUNCED_BATCHES:
                batch = waiting.popleft()
                if isinstance(batch, InputError):  # in its turn, after the batches before it
                    raise batch
                yield batch

    def _lookup(self) -> Callable[[int, int], list[Place]]:
        """A function (start, stop) -> where the windows at these places of the stream lie."""
        blend, skip = self.windows, self.skip_damaged
        if isinstance(blend, Windows):
            rows, order = blend.rows, self._order(blend, self.seed)
            return lambda start, stop: rows.places(order.take(start, stop), skip_damaged=skip)
        orders = [self._order(windows, seed_of_set(windows, self.seed)) for windows in blend.sets]
        of_blend = BlendOrder(orders, blend.weights, self.seed)
        return lambda start, stop: blend_places(blend, of_blend.take(start, stop), skip_damaged=skip)

    def _order(self, windows: Windows, seed: int) -> ExactOrder | ShardOrder:
        if self.shuffle == "shards":
            return ShardOrder(windows.rows.segments(), seed, self.buffer_shards)
        return ExactOrder(len(windows), seed)


def _sets(windows: Windows | Blend) -> Sequence[Windows]:
    return windows.sets if isinstance(windows, Blend) else (windows,)


def _manifests(windows: Windows | Blend) -> list[Manifest]:
    """Of each set; all have the same shapes."""
    return [windows_of_set.manifest for windows_of_set in _sets(windows)]


def _open_reader(manifests: Sequence[Manifest], *, skip_damaged: bool = False) -> ShardReader | BlendReader:
    if len(manifests) == 1:
        return ShardReader(manifests[0], skip_damaged=skip_damaged)
    return BlendReader(manifests, skip_damaged=skip_damaged)


class _Read(NamedTuple):
    """A batch, and the shards of its windows that were masked because they are damaged."""

    batch: Batch
    masked: list[str]


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
    with ShardReader(windows.manifest) as reader:
        for start in range(0, len(windows), share):
            left = min(share, len(windows) - start)
            places = windows.rows.places(
                range(start + left * rank // num_ranks, start + left * (rank + 1) // num_ranks)
            )
            yield _read_batch(reader, np.empty(len(places), reader.record_dtype), places).batch


def _check_batch_size(windows: Windows | Blend, batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"batch_size {batch_size}: expected 1 or more windows")
    batch_bytes = batch_size * ShardReader(_manifests(windows)[0]).record_dtype.itemsize
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if batch_bytes > memory_bytes:
        raise InputError(
            f"batch_size {batch_size}: a batch takes {batch_bytes / 1e9:,.0f} GB of the {memory_bytes / 1e9:,.0f} GB "
            "of this machine; take fewer windows"
        )


def _read_batch(
    reader: ShardReader | BlendReader, records: np.ndarray, places: Sequence[Place], *, pin_memory: bool = False
) -> _Read:
    masked = reader.read(places, records)
    return _Read(make_batch(records, [place.window_id for place in places], pin_memory=pin_memory), masked)


def _in_process(loader: Loader) -> Generator[_Read, None, None]:
    with _open_reader(_manifests(loader.windows), skip_damaged=loader.skip_damaged) as reader:
        records = np.empty(loader.batch_size, reader.record_dtype)
        for places in loader._places(reader):
            yield _read_batch(reader, records, places, pin_memory=loader.pin_memory)


class _Task(NamedTuple):
    """What a worker is to read, and the number of the buffer to read it into; or why it cannot be read."""

    buffer: int
    places: list[Place]
    error: InputError | None = None


class _BufferReader:
    """A worker's task: read windows into a buffer of shared memory.

    Only numbers pass between the processes: `DataLoader` would share new memory for the tensors of every batch, at
    several times the cost of reading. The worker needs no index: a task says where the windows lie.
    """

    def __init__(self, manifests: Sequence[Manifest], skip_damaged: bool, buffers: torch.Tensor) -> None:
        self.manifests = [replace(manifest, shards=()) for manifest in manifests]
        self.skip_damaged, self.buffers = skip_damaged, buffers
        self.reader: ShardReader | BlendReader | None = None  # of the worker; open files cannot be shared

    def __getitem__(self, task: _Task) -> tuple[_Task, list[str], InputError | None]:
        if task.error is not None:
            return task, [], task.error
        if self.reader is None:
            self.reader = _open_reader(self.manifests, skip_damaged=self.skip_damaged)
        try:
            masked = self.reader.read(task.places, self.buffers[task.buffer].numpy().view(self.reader.record_dtype))
        except InputError as error:  # if raised here, DataLoader would wrap it in the worker's traceback
            return task, [], error
        return task, masked, None


def _tasks(batches: Iterator[list[Place]], num_buffers: int) -> Iterator[_Task]:
    """DataLoader does not expect an error here: it becomes the last task."""
    for number in count():
        try:
            yield _Task(number % num_buffers, next(batches))
        except InputError as error:
            yield _Task(number % num_buffers, [], error)
            break


def _as_it_is(read: Any) -> Any:
    return read


def _with_workers(loader: Loader, prefetch: int) -> Generator[_Read, None, None]:
    """Batches that worker processes read, converted here.

    A buffer is free again once its batch is made. DataLoader hands out a task for each result before it returns the
    result, so one buffer more than `prefetch` per worker is in use.
    """
    manifests = _manifests(loader.windows)
    reader = _open_reader(manifests)  # to announce what workers will read
    record_dtype = reader.record_dtype
    num_buffers = prefetch * loader.workers + 1
    buffers = torch.empty(num_buffers, loader.batch_size * record_dtype.itemsize, dtype=torch.uint8).share_memory_()
    results: DataLoader[Any] = DataLoader(
        _BufferReader(manifests, loader.skip_damaged, buffers),  # type: ignore[arg-type]
        sampler=_tasks(loader._places(reader), num_buffers),  # type: ignore[arg-type]
        batch_size=None,
        num_workers=loader.workers,
        prefetch_factor=prefetch,
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # otherwise it would draw from the global one
        # fsspec's threads and connections do not survive a fork.
        multiprocessing_context="spawn" if any(uses_fsspec(manifest.folder) for manifest in manifests) else None,
    )
    with reader:
        for task, masked, error in results:
            if error is not None:
                raise error
            records = buffers[task.buffer].numpy().view(record_dtype)
            window_ids = [place.window_id for place in task.places]
            yield _Read(make_batch(records, window_ids, pin_memory=loader.pin_memory), masked)


def _read_ahead(batches: Generator[_Read, None, None], depth: int) -> Generator[_Read, None, None]:
    """Run `batches` in a thread; its exception is raised here, in its place."""
    ready: queue.Queue[_Read | BaseException] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(item: _Read | BaseException) -> None:
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
    places = windows.rows.of_session(session_id)
    for place, row in zip(places, windows.rows.take(places), strict=True):
        if row["agent"] == agent and row["start_unit"] < num_units:
            part = load_sample(windows, place)["agent_text"][: num_units - row["start_unit"]]
            text_KS[row["start_unit"] : row["start_unit"] + len(part)] = part
    return text_KS
