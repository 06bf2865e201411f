"""Windows side by side as tensors: what a model trains on.

Shape suffixes: B windows, K units, N=4 audio latents per unit, C channels, H and W latent rows and columns, S text
slots, L=4 labels. Field layout, fixed by WINDOW_FORMAT: `FIELDS`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from wanstreamer.windows.manifest import FIELDS

TORCH_DTYPES = {"float16": torch.float32, "int32": torch.int64, "bool": torch.bool}  # on disk -> in a batch


@dataclass(kw_only=True)
class Batch:
    """B windows of K units. Latents float32, text ids int64, `known` bool, labels int64.

    Where a `known` flag is False, the arrays contain zeros (text: the MISSING id): masked in the input, no loss.
    `LABELS` names the columns of `labels_BKL`; speech is in ms of the 160, -1 if it cannot be attributed.
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

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """With `non_blocking`, a pinned batch is copied to a GPU while this process goes on."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=non_blocking)
            for name, value in vars(self).items()
            if isinstance(value, torch.Tensor)
        }
        return replace(self, **moved)

    def take(self, rows: Sequence[int]) -> "Batch":
        """The windows at `rows`, in this order."""
        index = torch.as_tensor(rows, dtype=torch.int64)
        taken: dict[str, Any] = {
            name: value[index.to(value.device)] for name, value in vars(self).items() if isinstance(value, torch.Tensor)
        }
        return replace(self, **taken, window_id=[self.window_id[row] for row in rows])


def join(batches: Sequence[Batch]) -> Batch:
    """The windows of several batches, one after the other."""
    joined: dict[str, Any] = {
        name: torch.cat([getattr(batch, name) for batch in batches])
        for name, value in vars(batches[0]).items()
        if isinstance(value, torch.Tensor)
    }
    return Batch(**joined, window_id=[name for batch in batches for name in batch.window_id])


def make_batch(records: np.ndarray, window_id: list[str], *, pin_memory: bool) -> Batch:
    """A batch with its own memory, from records that may be overwritten afterwards."""
    tensors: dict[str, Any] = {}
    for name, (dtype, dimensions) in FIELDS.items():
        field = torch.from_numpy(records[name])
        tensors[f"{name}_B{dimensions}"] = torch.empty(
            field.shape, dtype=TORCH_DTYPES[dtype], pin_memory=pin_memory
        ).copy_(field)
    return Batch(**tensors, window_id=window_id)
