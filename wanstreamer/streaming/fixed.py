"""A unit's solver passes in fixed shapes: the same kernels on the same memory, however long the history is.

Everything that differs between units is in tensors (`PassInputs`). The history is read from the cache's buffers up to a
*reach*, one of a few lengths, under a bias that hides the invalid part. All passes of a unit are thus one function of
tensors, and a CUDA graph replays it in one launch. On CPUs the function runs directly; the tests compare it with the
plain passes, and replay it operation by operation, as a graph would. No GPU has run it yet.

Shape letters as in `model`; M = 2 A tokens: the agent's A clean ones of the unit before, then the unit's A noisy ones.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wanstreamer.devices import HOST, to_device
from wanstreamer.model.blocks import Block
from wanstreamer.model.cache import KVCache, Places
from wanstreamer.model.duplex import DuplexModel, Noisy
from wanstreamer.model.flow import Latents, solve
from wanstreamer.model.prior import Past
from wanstreamer.model.sequence import Tokens, join, noisy_tokens, rotary_angles, visible_rows
from wanstreamer.streaming.machine import Machine
from wanstreamer.streaming.schedule import Schedule, beside_clean
from wanstreamer.streaming.state import new_past
from wanstreamer.streaming.thinker import clean_content

FIRST_REACH_UNITS = (
    32  # about what a training window holds; reaches grow by a quarter, so no more than that is read in vain
)


class PassInputs(NamedTuple):
    """Inputs of a unit's passes, besides weights, buffers and `Past`."""

    noise_audio_BKNC: Tensor
    noise_video_BKCHW: Tensor
    last_audio_BNC: Tensor  # of the unit before: committed in the first pass
    last_video_BCHW: Tensor
    cos_ME: Tensor
    sin_ME: Tensor
    place_M: Tensor  # int64: where keys and values go
    seen_2N: Tensor  # bool: which places of the reach clean and noisy tokens see


def reaches(cache: KVCache) -> list[int]:
    """Lengths up to which the buffers may be read, in ascending order. With a history limit there is only one: all."""
    places = cache.key_LBHND.shape[3]
    lengths, units = [], FIRST_REACH_UNITS
    while cache.history_limit is None and units * cache.layout.num_clean < places:
        lengths.append(units * cache.layout.num_clean)
        units += units // 4
    return [*lengths, places]


class FixedPasses:
    """The solver's passes of one conversation over the buffers of its cache; graphs are captured now, for all reaches.

    The first unit has no previous unit to commit, and uses plain passes.
    """

    @torch.inference_mode()
    def __init__(self, model: DuplexModel, schedule: Schedule, cache: KVCache, machine: Machine) -> None:
        self.model, self.schedule, self.cache = model, schedule, cache
        self.first_modulation = [beside_clean(m) for m in schedule.modulation[0]]
        self.through = torch.compile(_through) if machine.compile else _through
        self.functions: dict[int, Callable[..., Latents]] = {n: partial(self._solve, n) for n in reaches(cache)}
        if machine.passes == "graphs":
            self.functions = self._captured(cache)

    @torch.inference_mode()
    def __call__(self, noise: Latents, last_latents: Latents, past: Past, unit: int) -> Latents:
        """Clean latents (B, K, ...) of the unit whose users and slots end the cache. Also commits `last_latents`, those
        of the previous unit, (B, ...).
        """
        cache, num_agent = self.cache, self.model.layout.num_agent
        cache.reserve(2 * num_agent)
        clean = cache.next_tokens(num_agent)
        tokens = join(clean, noisy_tokens(self.model.layout, 1, unit, HOST))
        stop = cache.stop + 2 * num_agent
        reach = next(n for n in self.functions if n >= stop)
        inputs = self._inputs(noise, last_latents, tokens, reach)
        latents = self.functions[reach](*past, *inputs)
        cache.advance(num_agent)
        return latents

    def _inputs(self, noise: Latents, last_latents: Latents, tokens: Tokens, reach: int) -> PassInputs:
        cache, config = self.cache, self.model.config
        stop = cache.stop + len(tokens.unit_N)
        seen_2N = torch.zeros(
            2, reach, dtype=torch.bool, device=HOST
        )  # one row for all clean tokens, one for noisy ones
        seen_2N[:, cache.start : stop], _ = visible_rows(
            tokens, join(cache.with_next(0), tokens), config.self_lag, cache.history_limit
        )
        places = torch.arange(cache.stop, stop, device=HOST)
        angles = rotary_angles(tokens.position_N3, config.head_dim, config.rope_theta)
        return PassInputs(*noise, *last_latents, *(to_device(x, self.model.device) for x in (*angles, places, seen_2N)))

    def _solve(self, reach: int, *tensors: Tensor) -> Latents:
        """The unit's passes as a function of `Past` and `PassInputs` alone: no number of a tensor may be read here."""
        model, schedule = self.model, self.schedule
        past, inputs, num_agent = Past(*tensors[:6]), PassInputs(*tensors[6:]), model.layout.num_agent
        bias_2N = torch.zeros(inputs.seen_2N.shape, dtype=model.trunk_dtype, device=model.device)
        bias_2N = bias_2N.masked_fill(~inputs.seen_2N, float("-inf"))

        def estimate(step: int, audio_BKNC: Tensor, video_BKCHW: Tensor) -> Latents:
            noisy = Noisy(audio_BKNC, video_BKCHW, schedule.tau_BK[step])
            x_BND = model.embed_noisy(noisy, past).flatten(1, 2)
            bias_QN, modulation, first = bias_2N[1:].expand(num_agent, -1), schedule.modulation[step], num_agent
            if step == 0:
                clean_BND = clean_content(model, inputs.last_audio_BNC, inputs.last_video_BCHW)
                clean_BND = clean_BND + model.kind_embedding(model.clean_kind_P[-num_agent:])
                x_BND = torch.cat([clean_BND, x_BND], dim=1)
                bias_QN, modulation, first = bias_2N.repeat_interleave(num_agent, dim=0), self.first_modulation, 0
            x_BND = self._blocks(x_BND, inputs, first, bias_QN, modulation, reach)
            return model.flow_head(x_BND[:, None, -num_agent:], noisy, past)

        noise = inputs.noise_audio_BKNC, inputs.noise_video_BKCHW
        return solve(estimate, noise, schedule.taus, model.prior(past))

    def _blocks(
        self, x_BND: Tensor, inputs: PassInputs, first: int, bias_QN: Tensor, modulation: Sequence[Tensor], reach: int
    ) -> Tensor:
        """All blocks, over the tokens from `first` on (of M)."""
        rotary, place_N = (inputs.cos_ME[first:], inputs.sin_ME[first:]), inputs.place_M[first:]
        input_dtype = x_BND.dtype
        x_BND = x_BND.to(self.model.trunk_dtype)
        for layer, block in enumerate(self.model.blocks):
            assert isinstance(block, Block)
            key_BHND, value_BHND = (
                buffer[layer, :, :, :reach] for buffer in (self.cache.key_LBHND, self.cache.value_LBHND)
            )
            x_BND = self.through(
                block, x_BND, rotary, bias_QN, modulation[layer], Places(key_BHND, value_BHND, place_N)
            )
        return x_BND.to(input_dtype)

    def _captured(self, cache: KVCache) -> dict[int, Callable[..., Latents]]:
        """A graph per reach. Warming up writes into the first places of the buffers; their content is then restored."""
        num_places = 2 * self.model.layout.num_agent
        first = [buffer[:, :, :, :num_places] for buffer in (cache.key_LBHND, cache.value_LBHND)]
        before = [places.clone() for places in first]
        pool = torch.cuda.graph_pool_handle()  # one memory pool for all: they never run at the same time
        graphs: dict[int, Callable[..., Latents]] = {
            reach: Graph(function, self._example(reach), pool) for reach, function in self.functions.items()
        }
        for places, contents in zip(first, before, strict=True):
            places.copy_(contents)
        return graphs

    def _example(self, reach: int) -> list[Tensor]:
        """`Past` and `PassInputs` of an example unit."""
        config, device, num_places = self.model.config, self.model.device, 2 * self.model.layout.num_agent
        audio_BNC = torch.zeros(1, *config.audio_shape, device=device)
        video_BCHW = torch.zeros(1, *config.video_shape, device=device)
        angle_ME = torch.zeros(num_places, config.head_dim // 2, device=device)
        place_M = torch.arange(num_places, device=device)
        seen_2N = (torch.arange(reach, device=device) < num_places).repeat(2, 1)
        noise = audio_BNC[:, None], video_BCHW[:, None]
        inputs = PassInputs(*noise, audio_BNC, video_BCHW, angle_ME, angle_ME, place_M, seen_2N)
        return [*new_past(config, device=device), *inputs]


class Graph:
    """A function of tensors, captured once as a CUDA graph: a call copies its arguments in and replays the kernels."""

    def __init__(self, function: Callable[..., Latents], example: Sequence[Tensor], pool: Any) -> None:
        self.inputs = [tensor.clone() for tensor in example]
        stream, here = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(here)
        with torch.cuda.stream(stream):  # kernels must be chosen and compiled before the capture, not during it
            function(*self.inputs)
        here.wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool):
            self.outputs = function(*self.inputs)

    def __call__(self, *inputs: Tensor) -> Latents:
        for buffer, new in zip(self.inputs, inputs, strict=True):
            buffer.copy_(new)
        self.graph.replay()
        audio_BKNC, video_BKCHW = self.outputs
        return audio_BKNC.clone(), video_BKCHW.clone()  # the next unit overwrites the graph's own outputs


def _through(
    block: Block, x_BND: Tensor, rotary: tuple[Tensor, Tensor], bias_QN: Tensor, modulation: Tensor, places: Places
) -> Tensor:
    x_BND, _ = block(x_BND, rotary, bias_QN, modulation, places, "grouped")
    return x_BND
