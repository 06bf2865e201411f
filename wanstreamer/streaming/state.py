"""The state of a live conversation from unit to unit, also as named tensors that can be stored or sent.

Everything that decides the next unit is here: history cache, encoder and VAE states, the agent's last latents and the
random generator. A conversation restored from stored tensors continues exactly like one in memory.

B conversations side by side share a state: they are at the same unit, and each has its own generator.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wanstreamer.devices import HOST
from wanstreamer.model.cache import KVCache
from wanstreamer.model.config import ModelConfig
from wanstreamer.model.duplex import DuplexModel, Prefix
from wanstreamer.model.perception import State
from wanstreamer.model.prior import Past
from wanstreamer.model.sequence import HistoryLimit, Tokens, served_tokens

VAE_PARTS = ("audio_encoder", "video_encoder", "audio_decoder", "video_decoder")


@dataclass(kw_only=True)
class ConversationState:
    """State after `unit` units. The cache's buffers are written in place by the next step; the rest is replaced."""

    unit: int
    cache: KVCache
    hearing: State | None  # pasts of the perception encoders; None: start of stream
    seeing: State | None
    past: Past  # the agent's last clean latents and their mean so far
    vae_states: dict[str, dict[str, Tensor] | None]  # by name in VAE_PARTS; None: start of stream
    generators: list[torch.Generator]  # of sampled text and flow noise, one per conversation


def new_state(
    model: DuplexModel,
    *,
    max_units: int,
    seeds: Sequence[int],
    history_limit: HistoryLimit | None = None,
    lag: int = 0,
    prefix: Prefix | None = None,
) -> ConversationState:
    """The start of one conversation per seed, after the prefix; memory is reserved now.

    Each conversation depends only on its own seed and user. `max_units`, `history_limit` and `lag` are those of
    `DuplexModel.new_cache`.
    """
    num_prefix = 0 if prefix is None else prefix.layout.num_tokens(model.layout)
    cache = model.new_cache(len(seeds), max_units, history_limit=history_limit, lag=lag, num_prefix=num_prefix)
    if prefix is not None:
        with torch.inference_mode():
            model.write_prefix(prefix, cache)
    return ConversationState(
        unit=0,
        cache=cache,
        hearing=None,
        seeing=None,
        past=new_past(model.config, len(seeds), model.device),
        vae_states=dict.fromkeys(VAE_PARTS),
        generators=[torch.Generator().manual_seed(seed) for seed in seeds],
    )


def new_past(config: ModelConfig, batch_size: int = 1, device: torch.device = HOST) -> Past:
    """The past of the first unit: nothing is known."""
    absent_BK = torch.zeros(batch_size, 1, dtype=torch.bool, device=device)
    audio_BKC = torch.zeros(batch_size, 1, config.audio_channels, device=device)
    video_BKCHW = torch.zeros(batch_size, 1, *config.video_shape, device=device)
    return Past(audio_BKC, audio_BKC, absent_BK, video_BKCHW, video_BKCHW, absent_BK)


def state_to_tensors(state: ConversationState) -> dict[str, Tensor]:
    """Copies; only the valid part of the cache. Call it between steps only."""
    tensors = {
        "unit": torch.tensor(state.unit),
        "generators": torch.stack([generator.get_state() for generator in state.generators]),
    }
    tensors |= named("cache", cache_to_tensors(state.cache))
    tensors |= named("past", past_to_tensors(state.past))
    for name, pasts in (("hearing", state.hearing), ("seeing", state.seeing)):
        tensors |= {f"{name}.{index}": past.clone() for index, past in enumerate(pasts or ())}
    for vae_part, vae_state in state.vae_states.items():
        tensors |= {f"{vae_part}.{name}": value.clone() for name, value in (vae_state or {}).items()}
    return tensors


def state_from_tensors(
    model: DuplexModel,
    tensors: dict[str, Tensor],
    *,
    max_units: int,
    history_limit: HistoryLimit | None = None,
    lag: int = 0,
) -> ConversationState:
    """The inverse of `state_to_tensors`, for the same model and history limit.

    Raises ValueError if the history exceeds `max_units`, or is in another order of serving.
    """
    state = new_state(model, max_units=1, seeds=[0] * len(tensors["generators"]))
    state.unit = int(tensors["unit"])
    for generator, generator_state in zip(state.generators, tensors["generators"], strict=True):
        generator.set_state(generator_state.clone())  # a copy, not a view into the stack
    state.cache = cache_from_tensors(
        model, part(tensors, "cache"), max_units=max_units, history_limit=history_limit, lag=lag
    )
    state.past = Past(**copied(part(tensors, "past"), model.device))
    for name in ("hearing", "seeing"):
        pasts = copied(part(tensors, name), model.device)
        setattr(state, name, tuple(pasts[str(index)] for index in range(len(pasts))) or None)
    for vae_part in VAE_PARTS:
        state.vae_states[vae_part] = copied(part(tensors, vae_part), model.device) or None
    return state


def cache_to_tensors(cache: KVCache) -> dict[str, Tensor]:
    """Copies of the valid part, and of its tokens."""
    valid = slice(cache.start, cache.stop)
    tensors = {"keys": cache.key_LBHND[:, :, :, valid], "values": cache.value_LBHND[:, :, :, valid]}
    tensors |= named("tokens", cache.tokens.at(valid)._asdict())
    copies = {name: value.clone() for name, value in tensors.items()}
    numbers = {"appended": cache.appended, "dropped": cache.dropped}
    return copies | {name: torch.tensor(number) for name, number in numbers.items()}


def cache_from_tensors(
    model: DuplexModel,
    tensors: dict[str, Tensor],
    *,
    max_units: int,
    history_limit: HistoryLimit | None = None,
    lag: int = 0,
) -> KVCache:
    """The inverse of `cache_to_tensors`, for the same model and history limit.

    Raises ValueError if the history exceeds `max_units`, or is in another order of serving.
    """
    tokens = Tokens(**copied(part(tensors, "tokens"), HOST))
    num_prefix = int((tokens.unit_N < 0).sum())
    batch_size = tensors["keys"].shape[1]
    cache = model.new_cache(batch_size, max_units, history_limit=history_limit, lag=lag, num_prefix=num_prefix)
    used, places = len(tokens.unit_N), cache.key_LBHND.shape[3]
    if used > places:
        raise ValueError(f"stored history of {used} tokens does not fit into {places}")
    cache.key_LBHND[:, :, :, :used] = tensors["keys"]
    cache.value_LBHND[:, :, :, :used] = tensors["values"]
    cache.stop, cache.appended, cache.dropped = used, int(tensors["appended"]), int(tensors["dropped"])
    cache.describe(tokens)
    if cache.appended:
        last = served_tokens(model.layout, lag, cache.appended - 1, 1, HOST)
        if (last.unit_N, last.order_N) != (tokens.unit_N[-1], tokens.order_N[-1]):
            raise ValueError("stored history is in another order of serving")
    return cache


def past_to_tensors(past: Past) -> dict[str, Tensor]:
    """Copies."""
    return {name: value.clone() for name, value in past._asdict().items()}


def copied(tensors: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The same tensors on the device, each with its own memory."""
    return {name: value.to(device, copy=True) for name, value in tensors.items()}


def named(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, named `prefix.name`."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The inverse of `named`."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
