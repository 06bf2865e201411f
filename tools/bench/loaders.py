"""Other loaders for the same windows, with the settings that their documentation advises for speed on a local disk.

Each returns a dictionary of field -> tensor with the dtypes of our `Batch` (float32, int64, bool). The packed windows
are float16, int32 and bool; each loader converts them where it makes its batches:

- webdataset reads our shards: shards are shuffled, with a buffer of 1000 samples; workers make the batches.
- MosaicML Streaming reads its MDS shards: arrays of fixed dtype and shape (bool as uint8), its default shuffle (py1e).
- LitData reads its 64 MB chunks of tensors in place: `batch_decode=0`, because decoding ahead copies more than it
  saves for arrays of this size.

None of them verifies checksums by default, and the bench does not switch that on. `datasets` also reads our shards,
but serves other purposes.
"""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from wanstreamer.windows.batch import TORCH_DTYPES
from wanstreamer.windows.loader import FIELDS, Windows, load_sample

SHUFFLE_BUFFER = 1000  # samples, as in webdataset's own examples
os.environ.setdefault("LITDATA_DISABLE_VERSION_CHECK", "1")  # it would ask the package index for a newer version

Arrays = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Peer:
    """`convert` writes the windows to a folder in the peer's format; `open` returns the batches of an epoch."""

    module: str
    convert: Callable[[Windows, Path], object]
    open: Callable[[Windows, Path, int, int], Iterable[Arrays]]  # windows, folder, batch size, workers

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.module) is not None


def stack_arrays(samples: Sequence[Mapping[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    return {
        name: torch.from_numpy(np.stack([sample[name] for sample in samples])).to(TORCH_DTYPES[dtype])
        for name, (dtype, _) in FIELDS.items()
    }


def stack_tensors(samples: Sequence[Arrays]) -> dict[str, torch.Tensor]:
    return {
        name: torch.stack([sample[name] for sample in samples]).to(TORCH_DTYPES[dtype])
        for name, (dtype, _) in FIELDS.items()
    }


def webdataset_fields(sample: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: sample[f"{name}.npy"] for name in FIELDS}


def open_webdataset(windows: Windows, folder: Path, batch_size: int, workers: int) -> Iterable[Arrays]:
    del folder
    import webdataset

    of_split = [shard["path"] for shard in windows.manifest.shards if shard["split"] == windows.split]
    paths = [str(windows.manifest.folder / path) for path in of_split]
    samples = webdataset.WebDataset(paths, shardshuffle=len(paths)).shuffle(SHUFFLE_BUFFER).decode()
    batched = samples.map(webdataset_fields).batched(batch_size, collation_fn=stack_arrays)
    loader: Iterable[Arrays] = webdataset.WebLoader(
        batched, batch_size=None, num_workers=workers, persistent_workers=workers > 0
    )
    return loader


def import_streaming() -> ModuleType:
    """Import MosaicML Streaming even without torchvision: only its image datasets, also imported, need that."""
    if importlib.util.find_spec("torchvision") is None:
        sys.modules.setdefault("streaming.vision", ModuleType("streaming.vision"))
    import streaming

    return streaming


def write_mds(windows: Windows, folder: Path) -> None:
    shapes = windows.manifest.field_shapes
    columns = {
        name: f"ndarray:{'uint8' if dtype == 'bool' else dtype}:{','.join(map(str, shapes[name]))}"
        for name, (dtype, _) in FIELDS.items()
    }
    with import_streaming().MDSWriter(out=str(folder), columns=columns) as writer:
        for index in range(len(windows)):
            sample = load_sample(windows, index)
            writer.write({name: array.view("u1") if array.dtype == bool else array for name, array in sample.items()})


def open_mds(windows: Windows, folder: Path, batch_size: int, workers: int) -> Iterable[Arrays]:
    del windows
    streaming = import_streaming()
    streaming.base.util.clean_stale_shared_memory()  # left by runs that were killed
    samples = streaming.StreamingDataset(local=str(folder), shuffle=True, batch_size=batch_size)
    return DataLoader(
        samples, batch_size=batch_size, num_workers=workers, collate_fn=stack_arrays, persistent_workers=workers > 0
    )


def tensors(index: int, *, windows: Windows) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in load_sample(windows, index).items()}


def write_litdata(windows: Windows, folder: Path) -> None:
    import litdata

    litdata.optimize(
        fn=partial(tensors, windows=windows), inputs=list(range(len(windows))), output_dir=str(folder),
        chunk_bytes="64MB", num_workers=1, start_method="fork", verbose=False,
    )  # fmt: skip


def open_litdata(windows: Windows, folder: Path, batch_size: int, workers: int) -> Iterable[Arrays]:
    del windows
    import litdata

    samples = litdata.StreamingDataset(str(folder), shuffle=True, batch_decode=0)
    loader: Iterable[Arrays] = litdata.StreamingDataLoader(
        samples, batch_size=batch_size, num_workers=workers, collate_fn=stack_tensors, persistent_workers=workers > 0
    )
    return loader


PEERS = {
    "webdataset": Peer(module="webdataset", convert=lambda windows, folder: None, open=open_webdataset),
    "MosaicML": Peer(module="streaming", convert=write_mds, open=open_mds),
    "LitData": Peer(module="litdata", convert=write_litdata, open=open_litdata),
}
