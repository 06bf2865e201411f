"""Window shards -> Batch: what the pack stage wrote, checked, in an order fixed by a seed, resumable at any step.

A folder of windows holds `manifest.json` (format version, fields, shards), `index.parquet` (one row per window: split,
shard, byte range, checksum) and one tar per session. A sample is read by its byte range alone, so the order is a
global shuffle and no shard is read through for one window of it.

The shards are plain WebDataset tars; other loaders read them as they are:

    webdataset.WebDataset(paths, shardshuffle=False).decode()                # sample["user_audio.npy"]: numpy array
    datasets.load_dataset("webdataset", data_files=paths, split="train", streaming=True)   # the same field names

(`split="train"` is the only name `datasets` gives to plain files; choose `paths` by `split` in manifest.json.)

Shape suffixes: B windows, K units, N=4 audio latents per unit, C channels, H and W latent rows and columns, S text
slots, L=4 labels. Field layout, fixed by WINDOW_FORMAT: `FIELDS`.
"""

import hashlib
import io
import itertools
import json
import queue
import tarfile
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from wanstreamer.errors import InputError

WINDOW_FORMAT = 1

# Field -> (dtype on disk, dimensions). K units come first everywhere.
FIELDS: dict[str, tuple[str, str]] = {
    "agent_audio": ("float16", "KNC"),
    "agent_audio_known": ("bool", "K"),
    "agent_text": ("int32", "KS"),
    "agent_text_known": ("bool", "K"),
    "agent_video": ("float16", "KCHW"),
    "agent_video_known": ("bool", "K"),
    "labels": ("int32", "KL"),
    "user_audio": ("float16", "KNC"),
    "user_audio_known": ("bool", "K"),
    "user_text": ("int32", "KS"),
    "user_text_known": ("bool", "K"),
    "user_video": ("float16", "KCHW"),
    "user_video_known": ("bool", "K"),
}
LABELS = ("agent_speech_ms", "user_speech_ms", "agent_backchannel", "agent_interruption_role")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What one folder of windows holds; `window_units` K and the text ids are the model's business too."""

    folder: Path
    format_version: int
    window_units: int
    field_shapes: dict[str, tuple[int, ...]]
    vocab_size: int
    text_slots: int
    blank_id: int
    missing_id: int
    begin_id: int
    text_lead_units: int
    tokenizer_sha256: str  # of the tokenizer.json that made the text ids
    audio_codec: str | None  # sha256 of the VAE weights that made the latents; null: no audio in any window
    video_codec: str | None
    index_sha256: str
    shards: tuple[dict[str, Any], ...]  # path, num_windows, num_bytes, sha256, split
    hours: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The windows of one split: a manifest and index rows sorted by window_id."""

    manifest: Manifest
    split: str
    rows: list[dict[str, Any]]


@dataclass(kw_only=True)
class Batch:
    """B windows of K units. Latents float32, text ids int64, `known` bool, labels int64.

    Where a `known` flag is False the arrays hold zeros (text: the MISSING id): masked in the input, no loss.
    `labels_BKL` columns are named by `LABELS`; speech is in ms of the 160, -1 where it is not attributable.
    """

    user_audio_BKNC: torch.Tensor
    user_video_BKCHW: torch.Tensor
    user_text_BKS: torch.Tensor
    agent_audio_BKNC: torch.Tensor
    agent_video_BKCHW: torch.Tensor
    agent_text_BKS: torch.Tensor
    user_audio_known_BK: torch.Tensor
    user_video_known_BK: torch.Tensor
    user_text_known_BK: torch.Tensor
    agent_audio_known_BK: torch.Tensor
    agent_video_known_BK: torch.Tensor
    agent_text_known_BK: torch.Tensor
    labels_BKL: torch.Tensor
    window_id: list[str]

    def to(self, device: torch.device | str) -> "Batch":
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, torch.Tensor)
        }
        return replace(self, **moved)


def read_manifest(folder: Path) -> Manifest:
    """Read and check `manifest.json`.

    Raises InputError, naming the file, what was found and what was expected, when it is missing, unreadable, of
    another format version, or names other fields than `FIELDS`.
    """
    path = folder / "manifest.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        version = found["format_version"]
    except FileNotFoundError as error:
        raise InputError(f"{path}: no window manifest; run the pack stage (it is written last)") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a window manifest ({error}); run the pack stage again") from error
    if version != WINDOW_FORMAT:
        raise InputError(f"{path}: window format {version!r}, expected {WINDOW_FORMAT}; pack the windows again")
    try:
        listed = {name: (item["dtype"], tuple(item["shape"])) for name, item in found["fields"].items()}
        manifest = Manifest(
            folder=folder,
            format_version=version,
            window_units=found["window_units"],
            field_shapes={name: shape for name, (_, shape) in listed.items()},
            vocab_size=found["vocab_size"],
            text_slots=found["text_slots"],
            blank_id=found["blank_id"],
            missing_id=found["missing_id"],
            begin_id=found["begin_id"],
            text_lead_units=found["text_lead_units"],
            tokenizer_sha256=found["tokenizer_sha256"],
            audio_codec=found["audio_codec"],
            video_codec=found["video_codec"],
            index_sha256=found["index_sha256"],
            shards=tuple(found["shards"]),
            hours=found["hours"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: incomplete ({error!r}); run the pack stage again") from error
    if set(listed) != set(FIELDS):
        odd = ", ".join(sorted(set(listed) ^ set(FIELDS)))
        raise InputError(f"{path}: fields differ from format {WINDOW_FORMAT} in: {odd}; pack the windows again")
    for name, (dtype, shape) in listed.items():
        expected, dimensions = FIELDS[name]
        if dtype != expected or len(shape) != len(dimensions) or shape[0] != manifest.window_units:
            wanted = f"{expected} with dimensions {dimensions}, K = {manifest.window_units}"
            raise InputError(
                f"{path}: field {name} is {dtype} {list(shape)}, expected {wanted}; pack the windows again"
            )
    return manifest


def open_windows(folder: Path, split: str) -> Windows:
    """The windows of one split (train, valid or test); no sample is read yet.

    Raises InputError for a folder without a valid manifest or index, or a split without windows.
    """
    manifest = read_manifest(folder)
    path = folder / "index.parquet"
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != manifest.index_sha256:
            raise InputError(
                f"{path}: not the index its manifest names; packing was interrupted: run the pack stage again"
            )
        rows = pq.read_table(pa.BufferReader(content)).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: cannot be read ({type(error).__name__}); run the pack stage again") from error
    found = sorted((row for row in rows if row["split"] == split), key=lambda row: row["window_id"])
    if not found:
        there = ", ".join(sorted({row["split"] for row in rows})) or "none"
        raise InputError(f"{path}: no windows of split {split!r} (splits found: {there}); add sessions and pack again")
    return Windows(manifest=manifest, split=split, rows=found)


def load_sample(windows: Windows, index: int) -> dict[str, np.ndarray]:
    """One window: field -> array as on disk (`FIELDS`), by byte range.

    Raises InputError naming shard and sample when the bytes are missing, damaged, pickled or not of the format.
    """
    row = windows.rows[index]
    path = windows.manifest.folder / row["shard"]
    where = f"{path}: sample {row['window_id']}"
    try:
        with path.open("rb") as shard:
            shard.seek(row["offset"])
            content = shard.read(row["num_bytes"])
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror}); run the pack stage again") from error
    if zlib.crc32(content) != row["crc32"]:
        raise InputError(f"{where}: damaged (checksum differs); delete the shard and run the pack stage again")
    sample = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as members:
            for member in members:
                name = member.name.removeprefix(row["window_id"] + ".").removesuffix(".npy")
                held = members.extractfile(member)
                if held is None or name not in FIELDS:
                    raise InputError(f"{where}: unexpected member {member.name}; pack the windows again")
                sample[name] = np.load(io.BytesIO(held.read()), allow_pickle=False)
    except (tarfile.TarError, ValueError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: not readable as npy members of a tar ({error}); pack the windows again") from error
    for name, (dtype, _) in FIELDS.items():
        if name not in sample:
            raise InputError(f"{where}: field {name} is missing; pack the windows again")
        array, shape = sample[name], windows.manifest.field_shapes[name]
        if array.dtype != dtype or array.shape != shape:
            found, wanted = f"{array.dtype} {list(array.shape)}", f"{dtype} {list(shape)}"
            raise InputError(f"{where}: field {name} is {found}, expected {wanted}; pack the windows again")
    return sample


def collate(samples: Sequence[dict[str, np.ndarray]], window_id: Sequence[str]) -> Batch:
    """Stack samples of equal shape into a Batch."""

    def stack(name: str, dtype: torch.dtype) -> torch.Tensor:
        return torch.from_numpy(np.stack([sample[name] for sample in samples])).to(dtype)

    return Batch(
        user_audio_BKNC=stack("user_audio", torch.float32),
        user_video_BKCHW=stack("user_video", torch.float32),
        user_text_BKS=stack("user_text", torch.int64),
        agent_audio_BKNC=stack("agent_audio", torch.float32),
        agent_video_BKCHW=stack("agent_video", torch.float32),
        agent_text_BKS=stack("agent_text", torch.int64),
        user_audio_known_BK=stack("user_audio_known", torch.bool),
        user_video_known_BK=stack("user_video_known", torch.bool),
        user_text_known_BK=stack("user_text_known", torch.bool),
        agent_audio_known_BK=stack("agent_audio_known", torch.bool),
        agent_video_known_BK=stack("agent_video_known", torch.bool),
        agent_text_known_BK=stack("agent_text_known", torch.bool),
        labels_BKL=stack("labels", torch.int64),
        window_id=list(window_id),
    )


def load_batch(windows: Windows, indices: Sequence[int]) -> Batch:
    samples = [load_sample(windows, index) for index in indices]
    return collate(samples, [windows.rows[index]["window_id"] for index in indices])


@lru_cache(maxsize=2)  # a batch spans two epochs at most, unless the split is smaller than a batch
def epoch_order(num_windows: int, seed: int, epoch: int) -> np.ndarray:
    """The order of one epoch, int64 (num_windows,): a permutation that depends on seed and epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(num_windows)


def step_indices(num_windows: int, batch_size: int, seed: int, step: int) -> list[int]:
    """Which windows are in batch `step`. Epochs follow each other without a seam, so none drops its last windows."""
    places = range(step * batch_size, (step + 1) * batch_size)
    return [int(epoch_order(num_windows, seed, place // num_windows)[place % num_windows]) for place in places]


def batches(
    folder: Path, split: str, batch_size: int, seed: int, start_step: int = 0, prefetch: int = 2
) -> Iterator[Batch]:
    """Endless training batches. Batch n is the same whatever `start_step` the run began with.

    Every window occurs once per epoch; a batch may span two epochs. `prefetch` batches are read ahead in a thread
    (0: none); close the generator to stop it.
    """
    windows = open_windows(folder, split)
    made = _step_batches(windows, batch_size, seed, start_step)
    return _read_ahead(made, prefetch) if prefetch else made


def batches_once(windows: Windows, batch_size: int) -> Iterator[Batch]:
    """Every window once, in index order; the last batch may be smaller."""
    for start in range(0, len(windows.rows), batch_size):
        yield load_batch(windows, range(start, min(start + batch_size, len(windows.rows))))


def _step_batches(windows: Windows, batch_size: int, seed: int, start_step: int) -> Iterator[Batch]:
    for step in itertools.count(start_step):
        yield load_batch(windows, step_indices(len(windows.rows), batch_size, seed, step))


def _read_ahead(made: Iterator[Batch], depth: int) -> Iterator[Batch]:
    """Run `made` in a thread; its exception is raised here, in its place."""
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
                put(next(made))
        except BaseException as error:  # handed over whole, whatever it is
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
