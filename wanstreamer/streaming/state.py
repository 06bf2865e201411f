"""What a live conversation carries from unit to unit, and the same as named tensors that can be stored or sent.

Everything that decides the next unit is here: history cache, encoder and codec states, the agent's last latents and the
random generator. Continuing from stored tensors gives exactly what continuing in memory gives.

B conversations side by side share a state: they are at the same unit, and each has a generator of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wanstreamer.model import DuplexModel, KVCache
from wanstreamer.model_config import ModelConfig
from wanstreamer.perception import State
from wanstreamer.prior import Past

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
    generators: list[torch.Generator]  # of sampled text and flow noise, one per conversation


def new_state(model: DuplexModel, *, max_units: int, seeds: Sequence[int]) -> StreamState:
    """The start of as many conversations as there are seeds; memory for `max_units` of history is reserved now.

    What a conversation becomes depends on its own seed and user alone.
    """
    return StreamState(
        unit=0,
        cache=model.new_cache(len(seeds), max_units),
        hearing=None,
        seeing=None,
        past=new_past(model.config, len(seeds)),
        codecs=dict.fromkeys(CODECS),
        generators=[torch.Generator().manual_seed(seed) for seed in seeds],
    )


def new_past(config: ModelConfig, batch_size: int = 1) -> Past:
    """Of the first unit: there is none."""
    absent_BK = torch.zeros(batch_size, 1, dtype=torch.bool)
    audio_BKC = torch.zeros(batch_size, 1, config.audio_channels)
    video_BKCHW = torch.zeros(batch_size, 1, *config.video_shape)
    return Past(audio_BKC, audio_BKC, absent_BK, video_BKCHW, video_BKCHW, absent_BK)


def served_cache(model: DuplexModel, max_units: int, *, delay: int) -> KVCache:
    """An empty cache in the order of serving: unit k's clean latents come behind users and slots of unit k + delay.

    Attention does not mind the order; the tokens' descriptions, which decide mask and positions, are in it too.
    """
    cache = model.new_cache(1, max_units)
    index = served_order(model.layout.num_clean, model.layout.num_agent, max_units, delay)
    return replace(cache, tokens=cache.tokens.at(index))


def served_order(num_clean: int, num_agent: int, max_units: int, delay: int) -> Tensor:
    """Where the tokens of a cache in the order of serving stand in the history: int64 (max_units * num_clean,)."""
    index_KP = torch.arange(max_units * num_clean).reshape(max_units, num_clean)
    language, agent = index_KP[:, : num_clean - num_agent], index_KP[:, num_clean - num_agent :]
    pieces = []
    for unit in range(max_units + delay):
        pieces += [language[unit]] if unit < max_units else []
        pieces += [agent[unit - delay]] if unit >= delay else []
    return torch.cat(pieces)


def state_to_tensors(state: StreamState) -> dict[str, Tensor]:
    """Copies; of the cache only what is valid. Between steps only: the cache then ends with a whole unit."""
    used = state.cache.length
    tensors = {
        "unit": torch.tensor(state.unit),
        "generators": torch.stack([generator.get_state() for generator in state.generators]),
        "cache.keys": state.cache.key_LBHND[:, :, :, :used].clone(),
        "cache.values": state.cache.value_LBHND[:, :, :, :used].clone(),
    }
    tensors |= {f"past.{name}": value.clone() for name, value in state.past._asdict().items()}
    for name, pasts in (("hearing", state.hearing), ("seeing", state.seeing)):
        tensors |= {f"{name}.{index}": past.clone() for index, past in enumerate(pasts or ())}
    for codec, held in state.codecs.items():
        tensors |= {f"{codec}.{name}": value.clone() for name, value in (held or {}).items()}
    return tensors


def state_from_tensors(model: DuplexModel, tensors: dict[str, Tensor], *, max_units: int) -> StreamState:
    """The inverse of `state_to_tensors`, for the same model. Raises ValueError when the history exceeds `max_units`."""
    state = new_state(model, max_units=max_units, seeds=[0] * len(tensors["generators"]))
    state.unit = int(tensors["unit"])
    for generator, held in zip(state.generators, tensors["generators"], strict=True):
        generator.set_state(held.clone())  # not a view into all of them
    if state.unit > max_units:
        raise ValueError(f"stored history of {state.unit} units does not fit into {max_units}")
    used = state.unit * model.layout.num_clean
    state.cache.key_LBHND[:, :, :, :used] = tensors["cache.keys"]
    state.cache.value_LBHND[:, :, :, :used] = tensors["cache.values"]
    state.cache.length = used
    state.past = Past(**{name: tensors[f"past.{name}"].clone() for name in Past._fields})

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(f"{prefix}."): v.clone() for k, v in tensors.items() if k.startswith(f"{prefix}.")}

    for name in ("hearing", "seeing"):
        pasts = part(name)
        setattr(state, name, tuple(pasts[str(index)] for index in range(len(pasts))) or None)
    state.codecs = {codec: part(codec) or None for codec in CODECS}
    return state
