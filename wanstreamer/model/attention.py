"""Queries, keys, values and who may see whom -> attended values: one function, several backends, one result.

| backend | for | mask | where |
|---|---|---|---|
| `sdpa` | training on CPUs, cached steps | boolean tensor or bias, or None: all is visible | everywhere |
| `flex` | training on GPUs: empty blocks of the mask are skipped | BlockMask | GPU; on the CPU forward only, and slow |
| `grouped` | the same as `sdpa`, and on GPUs where heads share keys | tensor, or None | everywhere |
| `flash` | cached steps on GPUs: flash-attn's kernel for a kv cache | None | GPU, bfloat16 or float16, extra `gpu` |

All of them do grouped-query attention. The tests compare `sdpa` and, on the CPU, `flex` with softmax(QK^T)V in float64.
Compiled `flex`, its backward pass and `flash` need a CUDA device and have not been run yet.

Shape letters: B batch, H heads, N tokens, D head dimension, Q query and K key tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from wanstreamer.errors import InputError
from wanstreamer.model.sequence import (
    HistoryLimit,
    PrefixLayout,
    Tokens,
    UnitLayout,
    clean_tokens,
    join,
    may_see,
    noisy_tokens,
    prefix_tokens,
    visible,
)

Mask = Tensor | BlockMask | None

NO_PREFIX = PrefixLayout()


@dataclass(frozen=True, kw_only=True)
class Attention:
    """The backend for each use. It depends on the machine, not on the model: no checkpoint contains it."""

    windows: str = "sdpa"  # whole windows, under a mask: sdpa or flex
    cached: str = "sdpa"  # steps against a cache that need no mask: sdpa or flash; masked steps are sdpa's

    def __post_init__(self) -> None:
        for name, value, known in (
            ("windows", self.windows, ("sdpa", "flex")),
            ("cached", self.cached, ("sdpa", "flash")),
        ):
            if value not in known:
                raise InputError(f"attention backend {value!r} for {name}: expected one of {', '.join(known)}")


def attend(q_BHND: Tensor, k_BHND: Tensor, v_BHND: Tensor, mask: Mask, backend: str = "sdpa") -> Tensor:
    """softmax(Q K^T / sqrt(D)) V per head, (B, H, Q, D); k and v may have fewer heads, each serving a group.

    Raises InputError if flash-attn is requested but not installed, TypeError for a mask that the backend cannot take.
    """
    grouped = k_BHND.shape[1] != q_BHND.shape[1]
    if backend == "grouped" or (backend == "sdpa" and grouped and q_BHND.is_cuda):
        if not isinstance(mask, BlockMask):
            return _grouped(q_BHND, k_BHND, v_BHND, mask)
    elif backend == "sdpa" and not isinstance(mask, BlockMask):
        return functional.scaled_dot_product_attention(q_BHND, k_BHND, v_BHND, attn_mask=mask, enable_gqa=grouped)
    if backend == "flex" and isinstance(mask, BlockMask):
        flex = _on(q_BHND.device, flex_attention)
        attended: Tensor = flex(q_BHND, k_BHND, v_BHND, block_mask=mask, enable_gqa=grouped)
        return attended
    if backend == "flash" and mask is None:
        return _flash(q_BHND, k_BHND, v_BHND)
    raise TypeError(f"attention backend {backend!r} takes no mask of type {type(mask).__name__}")


def window_mask(
    layout: UnitLayout,
    num_units: int,
    self_lag: int,
    prefix: PrefixLayout = NO_PREFIX,
    history_limit: HistoryLimit | None = None,
    *,
    noisy: bool,
    backend: str,
    device: torch.device,
) -> Mask:
    """Mask of whole windows: clean tokens over clean tokens, or noisy tokens over clean, then noisy ones.

    The prefix counts as clean and comes first.
    """
    if backend == "flex":
        return _kept_block_mask(layout, num_units, self_lag, prefix, history_limit, noisy, device)
    return visible(*_of_windows(layout, num_units, prefix, noisy, device), self_lag, history_limit)


@lru_cache(maxsize=8)  # every step of a training uses the same two
def _kept_block_mask(
    layout: UnitLayout,
    num_units: int,
    self_lag: int,
    prefix: PrefixLayout,
    history_limit: HistoryLimit | None,
    noisy: bool,
    device: torch.device,
) -> BlockMask:
    with torch.inference_mode(False):  # cached for training too, even if the first caller is in inference mode
        return block_mask(*_of_windows(layout, num_units, prefix, noisy, device), self_lag, history_limit)


def _of_windows(
    layout: UnitLayout, num_units: int, prefix: PrefixLayout, noisy: bool, device: torch.device
) -> tuple[Tokens, Tokens]:
    """Queries and keys."""
    clean = join(prefix_tokens(layout, prefix, device), clean_tokens(layout, num_units, device=device))
    if not noisy:
        return clean, clean
    query = noisy_tokens(layout, num_units, device=device)
    return query, join(clean, query)


def block_mask(query: Tokens, key: Tokens, self_lag: int, history_limit: HistoryLimit | None = None) -> BlockMask:
    """`visible` in FlexAttention's form."""

    def allowed(batch: Tensor, head: Tensor, query_index: Tensor, key_index: Tensor) -> Tensor:
        return may_see(query.at(query_index), key.at(key_index), self_lag, history_limit)

    device = query.unit_N.device
    create = _on(device, create_block_mask)
    mask: BlockMask = create(allowed, None, None, len(query.unit_N), len(key.unit_N), device=device)
    return mask


def _on(device: torch.device, function: Callable[..., Any]) -> Callable[..., Any]:
    """Once compiled, FlexAttention is a fused kernel. On the CPU, compiling takes half a minute and gains nothing."""
    return _compiled(function) if device.type == "cuda" else function


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function)


def _grouped(q_BHND: Tensor, k_BHND: Tensor, v_BHND: Tensor, mask_QK: Tensor | None) -> Tensor:
    """Heads that share keys are adjacent and the keys have stride 0: otherwise PyTorch copies the keys under a mask."""
    (batch, heads, queries, _), kv_heads = q_BHND.shape, k_BHND.shape[1]
    q = q_BHND.unflatten(1, (kv_heads, -1)).flatten(0, 1)  # (B kv_heads, group, Q, D)
    k, v = (x_BHND.flatten(0, 1)[:, None].expand(-1, heads // kv_heads, -1, -1) for x_BHND in (k_BHND, v_BHND))
    attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask_QK)
    return attended.reshape(batch, heads, queries, -1)


def _flash(q_BHND: Tensor, k_BHND: Tensor, v_BHND: Tensor) -> Tensor:
    try:
        from flash_attn import flash_attn_with_kvcache
    except ImportError as error:
        raise InputError(
            "attention backend 'flash': flash-attn is not installed; install the extra `gpu` on a CUDA machine, or use "
            "'sdpa'"
        ) from error
    attended_BNHD: Tensor = flash_attn_with_kvcache(*(x_BHND.transpose(1, 2) for x_BHND in (q_BHND, k_BHND, v_BHND)))
    return attended_BNHD.transpose(1, 2)
