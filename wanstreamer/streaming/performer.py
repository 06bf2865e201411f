"""The performer: noise -> the agent's clean audio and video latents of one unit, given the thinker's history."""

import torch
from torch import Tensor

from wanstreamer.flow import solve, solver_taus
from wanstreamer.model import DuplexModel, Noisy
from wanstreamer.streaming.state import StreamState


class Schedule:
    """Solver steps and what depends on their flow times alone, computed once per model."""

    @torch.inference_mode()
    def __init__(self, model: DuplexModel, steps: int) -> None:
        self.taus = solver_taus(steps)
        self.tau_BK = [torch.full((1, 1), tau) for tau in self.taus]
        self.modulation = [model.flow_time(tau_BK) for tau_BK in self.tau_BK[:-1]]


@torch.inference_mode()
def perform(model: DuplexModel, state: StreamState, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """Audio (N, C) and video (C, H, W) latents of the unit whose STATE the cache ends with; the cache stays."""

    def estimate(step: int, audio_BKNC: Tensor, video_BKCHW: Tensor) -> tuple[Tensor, Tensor]:
        noisy = Noisy(audio_BKNC, video_BKCHW, schedule.tau_BK[step])
        return model.denoise(noisy, state.past, schedule.modulation[step], state.unit, state.cache)

    noise = (
        torch.randn(1, 1, *model.config.audio_shape, generator=state.generator),
        torch.randn(1, 1, *model.config.video_shape, generator=state.generator),
    )
    audio_BKNC, video_BKCHW = solve(estimate, noise, schedule.taus, model.prior(state.past))
    return audio_BKNC[0, 0], video_BKCHW[0, 0]
