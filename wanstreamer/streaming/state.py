"""What one live conversation carries from unit to unit, and the same as named tensors that can be stored or sent.

Everything that decides the next unit is here: history cache, encoder and codec states, the agent's last latents and the
random generator. Continuing from stored tensors gives exactly what continuing in memory gives.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from wanstreamer.model import DuplexModel, KVCache
from wanstreamer.model_config import ModelConfig
from wanstreamer.perception import State
from wanstreamer.prior import Past
from wanstreamer.sequence import Tokens, Window

CODECS = ("audio_encoder", "video_encoder", "audio_decoder", "video_decoder")


@dataclass(kw_only=True)
class StreamState:
    """State after `unit` units. The cache's buffers are written in place by the next step; the rest is replaced."""

    unit: int
    cache: KVCache
    hearing: State | None  # perception encoders' pasts; None: start of stream
    seeing: State | None
    past: Past  # the agent's last clean latents and their mean so far
    codecs: dict[str, dict[str, Tensor] | None]  # by name in CODECS; None: start of stream
    generator: torch.Generator  # of sampled text and flow noise


def new_state(
    model: DuplexModel, *, max_units: int, seed: int, window: Window | None = None, delay: int = 0
) -> StreamState:
    """The start of a conversation; memory for the history is reserved now, as `DuplexModel.new_cache` says."""
    return StreamState(
        unit=0,
        cache=model.new_cache(1, max_units, window=window, delay=delay),
        hearing=None,
        seeing=None,
        past=new_past(model.config),
        codecs=dict.fromkeys(CODECS),
        generator=torch.Generator().manual_seed(seed),
    )


def new_past(config: ModelConfig) -> Past:
    """Of the first unit: there is none."""
    absent_BK = torch.zeros(1, 1, dtype=torch.bool)
    audio_BKC, video_BKCHW = torch.zeros(1, 1, config.audio_channels), torch.zeros(1, 1, *config.video_shape)
    return Past(audio_BKC, audio_BKC, absent_BK, video_BKCHW, video_BKCHW, absent_BK)


def state_to_tensors(state: StreamState) -> dict[str, Tensor]:
    """Copies; of the cache only what is valid. Between steps only."""
    tensors = {"unit": torch.tensor(state.unit), "generator": state.generator.get_state()}
    tensors |= named("cache", cache_to_tensors(state.cache))
    tensors |= named("past", {name: value.clone() for name, value in state.past._asdict().items()})
    for name, pasts in (("hearing", state.hearing), ("seeing", state.seeing)):
        tensors |= {f"{name}.{index}": past.clone() for index, past in enumerate(pasts or ())}
    for codec, held in state.codecs.items():
        tensors |= {f"{codec}.{name}": value.clone() for name, value in (held or {}).items()}
    return tensors


def state_from_tensors(
    model: DuplexModel, tensors: dict[str, Tensor], *, max_units: int, window: Window | None = None, delay: int = 0
) -> StreamState:
    """The inverse of `state_to_tensors`, for the same model and window.

    Raises ValueError when the history exceeds `max_units`.
    """
    state = new_state(model, max_units=max_units, seed=0, window=window, delay=delay)
    state.unit = int(tensors["unit"])
    state.generator.set_state(tensors["generator"])
    fill_cache(state.cache, part(tensors, "cache"))
    state.past = Past(**{name: value.clone() for name, value in part(tensors, "past").items()})
    for name in ("hearing", "seeing"):
        pasts = part(tensors, name)
        setattr(state, name, tuple(pasts[str(index)].clone() for index in range(len(pasts))) or None)
    for codec in CODECS:
        state.codecs[codec] = {name: value.clone() for name, value in part(tensors, codec).items()} or None
    return state


def cache_to_tensors(cache: KVCache) -> dict[str, Tensor]:
    """Copies of what is valid, and of which tokens it is."""
    valid = slice(cache.start, cache.stop)
    tensors = {"keys": cache.key_LBHND[:, :, :, valid], "values": cache.value_LBHND[:, :, :, valid]}
    tensors |= named("tokens", cache.tokens.at(valid)._asdict())
    copies = {name: value.clone() for name, value in tensors.items()}
    return copies | {"appended": torch.tensor(cache.appended), "dropped": torch.tensor(cache.dropped)}


def fill_cache(cache: KVCache, tensors: dict[str, Tensor]) -> None:
    """The inverse of `cache_to_tensors`, into an empty cache for the same model, window and order of serving.

    Raises ValueError when there is more than it has places for.
    """
    used, places = tensors["keys"].shape[3], cache.key_LBHND.shape[3]
    if used > places:
        raise ValueError(f"stored history of {used} tokens does not fit into {places}")
    cache.key_LBHND[:, :, :, :used] = tensors["keys"]
    cache.value_LBHND[:, :, :, :used] = tensors["values"]
    cache.appended, cache.dropped = int(tensors["appended"]), int(tensors["dropped"])
    cache.start, cache.stop = 0, used
    cache.describe(Tokens(**part(tensors, "tokens")))


def named(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same under `prefix.name`."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The inverse of `named`."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
