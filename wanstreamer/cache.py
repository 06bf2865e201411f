"""Keys and values of the clean history, in buffers that are allocated once and written in place."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from wanstreamer.sequence import Tokens


class KeysValues(NamedTuple):
    """Of one layer: (B, heads, N, head_dim) each."""

    key_BHND: Tensor
    value_BHND: Tensor


class Slot(NamedTuple):
    """One layer's buffers in a cache and where the next keys and values go."""

    key_BHND: Tensor
    value_BHND: Tensor
    start: int


@dataclass(kw_only=True)
class KVCache:
    """Keys and values of the clean history, one contiguous slice per unit, and how many tokens are valid.

    The buffers are written in place, so a step copies no history. What lies beyond `length` is scratch.
    """

    key_LBHND: Tensor
    value_LBHND: Tensor
    tokens: Tokens  # of the whole capacity
    length: int = 0

    @property
    def capacity_units(self) -> int:
        return int(self.tokens.unit_N[-1]) + 1


def with_history(key_BHND: Tensor, value_BHND: Tensor, before: KeysValues | Slot | None) -> tuple[Tensor, Tensor]:
    """Keys and values of the history and then the new ones; a slot's buffers take the new ones."""
    if isinstance(before, Slot):
        stop = before.start + key_BHND.shape[2]
        before.key_BHND[:, :, before.start : stop] = key_BHND
        before.value_BHND[:, :, before.start : stop] = value_BHND
        return before.key_BHND[:, :, :stop], before.value_BHND[:, :, :stop]
    if before is None:
        return key_BHND, value_BHND
    return torch.cat([before.key_BHND, key_BHND], dim=2), torch.cat([before.value_BHND, value_BHND], dim=2)
