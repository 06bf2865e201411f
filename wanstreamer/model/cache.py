"""Keys and values of the clean history, in buffers that are allocated once and written in place.

A cache keeps the full history, up to `max_units`, or, with a `HistoryLimit`, the part that the limit leaves visible:
memory and time per unit then stay constant for the whole conversation.

Positions are absolute and part of the keys, so dropping a unit needs no recomputation. The valid part is always one
contiguous stretch of the buffers, because attention without a mask needs that:

    ... dropped | sink | the last units | to come ...

A unit behind the sink is dropped by moving the sink onto its place. When the stretch reaches the end of the buffers, it
is copied to the front, once per quarter of the limit: the cost per unit does not depend on the limit.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from wanstreamer.devices import HOST, to_device
from wanstreamer.model.sequence import HistoryLimit, Tokens, UnitLayout, join, served_tokens, take


class KeysValues(NamedTuple):
    """Keys and values of one layer: (B, heads, N, head_dim) each."""

    key_BHND: Tensor
    value_BHND: Tensor


class LayerCache(NamedTuple):
    """One layer's buffers in a cache: valid from `start` to `stop`; the next keys and values go to `stop`."""

    key_BHND: Tensor
    value_BHND: Tensor
    start: int
    stop: int


class Places(NamedTuple):
    """One layer's whole buffers, attended to under a bias; the next keys and values go to `place_N`."""

    key_BHND: Tensor
    value_BHND: Tensor
    place_N: Tensor


@dataclass(kw_only=True)
class KVCache:
    """Keys and values of the clean history in the order of serving, and which places of the buffers are valid.

    The buffers are written in place, so that a step copies no history. Places beyond `stop` are scratch.
    """

    key_LBHND: Tensor
    value_LBHND: Tensor
    tokens: Tokens  # on the host, of every place: valid tokens, and beyond `stop` future ones
    layout: UnitLayout
    lag: int  # of the agent's tokens behind the same unit's users and slots; see `served_order`
    max_units: int | None  # None: any number, as a history limit drops old units
    history_limit: HistoryLimit | None
    start: int = 0
    stop: int = 0
    appended: int = 0  # tokens of units so far, including dropped ones
    dropped: int = 0  # units before this one are gone, except the sink

    @property
    def length(self) -> int:
        """Number of valid tokens."""
        return self.stop - self.start

    def next_tokens(self, count: int) -> Tokens:
        """The next `count` tokens, after making room for them: tokens that they no longer see are dropped.

        Raises ValueError beyond `max_units`.
        """
        self.reserve(count)
        tokens = take(self.tokens, self.stop, self.stop + count)
        if self.history_limit is not None:
            self._drop(int(tokens.unit_N.max()) + 1 - self.history_limit.units, self.history_limit.sink_units)
        return tokens

    def with_next(self, count: int) -> Tokens:
        """The valid tokens and the next `count` tokens."""
        return take(self.tokens, self.start, self.stop + count)

    def advance(self, count: int) -> None:
        """Count the next `count` tokens as written."""
        self.stop += count
        self.appended += count

    def reserve(self, count: int) -> None:
        """Make room for `count` tokens behind the valid ones. Raises ValueError beyond `max_units`."""
        places = self.key_LBHND.shape[3]
        if self.stop + count <= places:
            return
        if self.history_limit is None or self.length + count > places:
            raise ValueError(f"cache is full: {self.max_units} units")
        self._move(torch.arange(self.start, self.stop, device=HOST), 0)
        self.start, self.stop = 0, self.length
        self.describe(take(self.tokens, 0, self.stop))

    def describe(self, there: Tokens) -> None:
        """Set `tokens`: `there` from the first place on, then the future ones."""
        num_coming = self.key_LBHND.shape[3] - len(there.unit_N)
        self.tokens = join(there, served_tokens(self.layout, self.lag, self.appended, num_coming, HOST))

    def _drop(self, before_unit: int, sink_units: int) -> None:
        if before_unit <= self.dropped:
            return
        self.dropped = before_unit
        unit_N = self.tokens.unit_N[self.start : self.stop]
        gone_N = (unit_N < before_unit) & (unit_N >= sink_units)
        last = gone_N.nonzero()[-1:]
        if not len(last):
            return
        stop = int(last) + 1
        remaining = (~gone_N[:stop]).nonzero()[:, 0]
        first = self.start + stop - len(remaining)
        self._move(self.start + remaining, first)
        self.start = first

    def _move(self, places: Tensor, first: int) -> None:
        """Move the content of these places to `first` and the following places."""
        stop = first + len(places)
        place_N = to_device(places, self.key_LBHND.device)
        for buffer in (*self.key_LBHND, *self.value_LBHND):
            buffer[:, :, first:stop] = buffer[:, :, place_N]  # indexing copies, so that the two may overlap
        for column in self.tokens:
            column[first:stop] = column[places]


def with_history(
    key_BHND: Tensor, value_BHND: Tensor, before: KeysValues | LayerCache | Places | None
) -> tuple[Tensor, Tensor]:
    """Keys and values of the history, then the new ones; the new ones are written into buffers, if there are any."""
    if isinstance(before, Places):
        before.key_BHND.index_copy_(2, before.place_N, key_BHND)
        before.value_BHND.index_copy_(2, before.place_N, value_BHND)
        return before.key_BHND, before.value_BHND
    if isinstance(before, LayerCache):
        start, stop = before.stop, before.stop + key_BHND.shape[2]
        before.key_BHND[:, :, start:stop] = key_BHND
        before.value_BHND[:, :, start:stop] = value_BHND
        return before.key_BHND[:, :, before.start : stop], before.value_BHND[:, :, before.start : stop]
    if before is None:
        return key_BHND, value_BHND
    return torch.cat([before.key_BHND, key_BHND], dim=2), torch.cat([before.value_BHND, value_BHND], dim=2)
