"""The performer: noise -> the agent's clean audio and video latents of one unit, given the thinker's history.

`perform` uses the cache that the thinker writes. `Performer` has its own cache: it receives the keys and values of each
unit's users and slots, and commits its own latents in the first solver step of the next unit ("fused").
"""

from typing import NamedTuple

import torch
from torch import Tensor

from wanstreamer.devices import HOST, to_device
from wanstreamer.model.duplex import DuplexModel, Noisy
from wanstreamer.model.flow import Latents, solve
from wanstreamer.model.prior import Past, past_after
from wanstreamer.model.sequence import HistoryLimit, join, noisy_tokens, visible_rows
from wanstreamer.streaming.fixed import FixedPasses
from wanstreamer.streaming.machine import Machine
from wanstreamer.streaming.schedule import Schedule, beside_clean
from wanstreamer.streaming.state import (
    ConversationState,
    cache_from_tensors,
    cache_to_tensors,
    copied,
    named,
    new_past,
    part,
    past_to_tensors,
)
from wanstreamer.streaming.thinker import clean_content

STREAMS = ("audio", "video")


@torch.inference_mode()
def perform(
    model: DuplexModel, state: ConversationState, schedule: Schedule, *, video_temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Audio (B, N, C) and video (B, C, H, W) latents of the unit whose STATE ends the cache. It does not change."""

    def estimate(step: int, audio_BKNC: Tensor, video_BKCHW: Tensor) -> tuple[Tensor, Tensor]:
        noisy = Noisy(audio_BKNC, video_BKCHW, schedule.tau_BK[step])
        return model.denoise(noisy, state.past, schedule.modulation[step], state.unit, state.cache)

    drawn = zip(*(draw_noise(model, generator, video_temperature) for generator in state.generators), strict=True)
    audio_BKNC, video_BKCHW = (torch.stack(noise)[:, None] for noise in drawn)
    audio_BKNC, video_BKCHW = solve(estimate, (audio_BKNC, video_BKCHW), schedule.taus, model.prior(state.past))
    return audio_BKNC[:, 0], video_BKCHW[:, 0]


def draw_noise(model: DuplexModel, generator: torch.Generator, video_temperature: float = 1.0) -> Latents:
    """Normal noise in the shape of one unit's latents; the host's generator gives the same for every device.

    Args:
        video_temperature: Deviation of the picture's noise. Errors of the estimates make a face more restless than
            people are; less noise makes it calmer.
    """
    shapes = model.config.audio_shape, model.config.video_shape
    audio_NC, video_CHW = (torch.randn(shape, generator=generator, device=HOST) for shape in shapes)
    return to_device(audio_NC, model.device), to_device(video_temperature * video_CHW, model.device)


class Slice(NamedTuple):
    """The thinker's message to the performer about a unit: keys and values of its users and slots, and the noise.

    The noise is included so that one generator draws all random numbers, in one order, in any arrangement of processes.
    """

    key_LHND: Tensor  # N = num_user + num_slots
    value_LHND: Tensor
    noise_audio_NC: Tensor
    noise_video_CHW: Tensor


def start_tensors(state: ConversationState) -> dict[str, Tensor]:
    """Input of `Performer.restore` to start from the thinker's state before its first unit."""
    assert state.unit == 0
    return {
        "unit": torch.tensor(0),
        **named("cache", cache_to_tensors(state.cache)),
        **named("past", past_to_tensors(state.past)),
    }


class Performer:
    """One conversation's flow solver with its own history cache; a unit costs as many passes as the solver has steps.

    A unit's clean latents are committed in the first step of the next unit, together with its noisy tokens: that pass
    is twice as wide, and no pass is added. `fused=False` commits them in a separate pass, for comparison.
    """

    def __init__(
        self,
        model: DuplexModel,
        schedule: Schedule,
        *,
        max_units: int,
        history_limit: HistoryLimit | None = None,
        fused: bool = True,
        machine: Machine | None = None,
    ) -> None:
        self.model, self.schedule, self.fused, self.machine = model, schedule, fused, machine or Machine()
        self.max_units, self.history_limit = max_units, history_limit
        self.cache = model.new_cache(1, max_units, history_limit=history_limit, lag=1 if fused else 0)
        self.past = new_past(model.config, device=model.device)
        self.unit = 0
        self.last_latents: Latents | None = None  # of the last unit, to be committed
        self._modulation = [beside_clean(m) for m in schedule.modulation[0]]
        self._fixed = self._fix_passes()

    def to_tensors(self) -> dict[str, Tensor]:
        """Copies of everything that the next unit depends on; call it between units only."""
        last_latents = () if self.last_latents is None else self.last_latents
        return {
            "unit": torch.tensor(self.unit),
            **named("cache", cache_to_tensors(self.cache)),
            **named("past", past_to_tensors(self.past)),
            **named(
                "last_latents",
                {stream: latents.clone() for stream, latents in zip(STREAMS, last_latents, strict=False)},
            ),
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `to_tensors`, for the same model and history limit. Raises ValueError if they do not fit."""
        self.cache = cache_from_tensors(
            self.model,
            part(tensors, "cache"),
            max_units=self.max_units,
            history_limit=self.history_limit,
            lag=self.cache.lag,
        )
        self._fixed = self._fix_passes()  # over the new cache's buffers
        self.past = Past(**copied(part(tensors, "past"), self.model.device))
        self.unit = int(tensors["unit"])
        last_latents = copied(part(tensors, "last_latents"), self.model.device)
        self.last_latents = (last_latents["audio"], last_latents["video"]) if last_latents else None

    @torch.inference_mode()
    def receive(self, slice_: Slice) -> None:
        """Put the next unit's users and slots into the cache. Raises ValueError beyond `max_units`."""
        cache, count = self.cache, slice_.key_LHND.shape[2]
        if cache.max_units is not None and self.unit >= cache.max_units:
            raise ValueError(f"cache is full: {cache.max_units} units")
        cache.next_tokens(count)
        places = slice(cache.stop, cache.stop + count)
        cache.key_LBHND[:, 0, :, places] = slice_.key_LHND
        cache.value_LBHND[:, 0, :, places] = slice_.value_LHND
        cache.advance(count)
        self._noise = slice_.noise_audio_NC[None, None], slice_.noise_video_CHW[None, None]

    @torch.inference_mode()
    def perform(self) -> Latents:
        """Clean latents of the unit whose slice was received."""
        if self._fixed is None or self.last_latents is None:
            latents = solve(self._estimate, self._noise, self.schedule.taus, self.model.prior(self.past))
        else:
            last_audio_NC, last_video_CHW = self.last_latents
            latents = self._fixed(self._noise, (last_audio_NC[None], last_video_CHW[None]), self.past, self.unit)
        audio_BKNC, video_BKCHW = latents
        self.past = past_after(self.past, self.unit, audio_BKNC, video_BKCHW)
        self.unit += 1
        self.last_latents = audio_BKNC[0, 0], video_BKCHW[0, 0]
        if not self.fused:
            self.model.extend(clean_content(self.model, audio_BKNC[:, 0], video_BKCHW[:, 0]), self.cache)
        return self.last_latents

    def _fix_passes(self) -> FixedPasses | None:
        if self.machine.passes == "plain":
            return None
        assert self.fused, "fixed passes commit in the first pass"
        return FixedPasses(self.model, self.schedule, self.cache, self.machine)

    def _estimate(self, step: int, audio_BKNC: Tensor, video_BKCHW: Tensor) -> tuple[Tensor, Tensor]:
        noisy = Noisy(audio_BKNC, video_BKCHW, self.schedule.tau_BK[step])
        if step == 0 and self.fused and self.last_latents is not None:
            return self._commit_and_denoise(noisy, *self.last_latents)
        return self.model.denoise(noisy, self.past, self.schedule.modulation[step], self.unit, self.cache)

    def _commit_and_denoise(self, noisy: Noisy, audio_NC: Tensor, video_CHW: Tensor) -> tuple[Tensor, Tensor]:
        model, cache = self.model, self.cache
        num_agent = model.layout.num_agent
        cache.reserve(2 * num_agent)
        clean = cache.next_tokens(num_agent)
        tokens = join(clean, noisy_tokens(model.layout, 1, self.unit, HOST))
        kind_A = model.clean_kind_P[-num_agent:]
        clean_BND = clean_content(model, audio_NC[None], video_CHW[None]) + model.kind_embedding(kind_A)
        x_BND = torch.cat([clean_BND, model.embed_noisy(noisy, self.past).flatten(1, 2)], dim=1)
        key = join(cache.with_next(0), tokens)
        seen_RK, row_N = visible_rows(tokens, key, model.config.self_lag, cache.history_limit)
        seen_NK = to_device(seen_RK, model.device)[to_device(row_N, model.device)]
        x_BND, _ = model.trunk(x_BND, tokens, seen_NK, self._modulation, cache)
        cache.advance(num_agent)
        return model.flow_head(x_BND[:, None, num_agent:], noisy, self.past)
