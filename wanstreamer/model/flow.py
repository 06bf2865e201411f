"""Flow matching: the straight path from clean latents to noise, its loss weight, and the solver back.

Wan-Streamer v0.1 (arXiv 2606.25041): `z_tau = (1 - tau) z_0 + tau eps` with one tau for a unit's audio and video, and
velocity target `eps - z_0`. Our network estimates z_0 instead, which gives the velocity `(z_tau - z_0) / tau`; a
squared error of z_0 divided by tau^2 is the squared error of the velocity. This choice, and the clip of the weight, are
ours.

Shape letters as in `model`: B batch, K units, N audio latents, C channels, H W rows and columns.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wanstreamer.model.duplex import DuplexModel, Noisy
from wanstreamer.model.prior import Gaussian

if TYPE_CHECKING:
    from wanstreamer.windows.loader import Batch

TAU_CLIP = 0.1  # below it, the weight 1 / tau^2 stays constant: otherwise nearly clean latents would dominate
MIDDLE_STD = 0.4  # between the deviations of the priors of video (0.2) and audio (0.9)

Latents = tuple[Tensor, Tensor]  # audio and video


def interpolate(clean: Tensor, noise: Tensor, tau_BK: Tensor) -> Tensor:
    """The path at tau; `clean` and `noise` are (B, K, ...)."""
    tau = tau_BK.reshape(*tau_BK.shape, *[1] * (clean.dim() - 2))
    return torch.lerp(clean, noise, tau)


def velocity_weight(tau_BK: Tensor) -> Tensor:
    """Weight that turns a squared error of the clean latent into one of the velocity; clipped."""
    return tau_BK.clamp(min=TAU_CLIP).square().reciprocal()


def draw_tau(num_windows: int, num_units: int, generator: torch.Generator) -> Tensor:
    """Flow times (B, K), uniform in (0, 1], one per unit and stratified over the batch."""
    count = num_windows * num_units
    strata = torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)
    return (1 - strata / count).reshape(num_windows, num_units)


def add_noise(batch: "Batch", tau_BK: Tensor, generator: torch.Generator) -> Noisy:
    """The agent's latents at the flow times `tau_BK`."""
    audio = torch.randn(batch.agent_audio_BKNC.shape, generator=generator)
    video = torch.randn(batch.agent_video_BKCHW.shape, generator=generator)
    return Noisy(
        interpolate(batch.agent_audio_BKNC, audio, tau_BK), interpolate(batch.agent_video_BKCHW, video, tau_BK), tau_BK
    )


@torch.no_grad()
def denoise_at(model: DuplexModel, batch: "Batch", tau: float, generator: torch.Generator) -> Latents:
    """Estimated clean latents of every agent unit from noise level tau, with the true clean history.

    Args:
        tau: Flow time in (0, 1]; at 1 the noisy latents carry no information, and the estimate is the expected
            continuation.

    Returns:
        Audio (B, K, N, C) and video (B, K, C, H, W), float32. Units with unknown latents are estimated from noise
        around zero: ignore them.
    """
    tau_BK = torch.full(batch.agent_text_BKS.shape[:2], tau)
    output = model(batch, add_noise(batch, tau_BK, generator))
    return output.audio_x0_BKNC, output.video_x0_BKCHW


def solver_taus(steps: int) -> list[float]:
    """The steps + 1 flow times from 1 to 0: equal steps of the angle that `solve` follows, for a middle prior."""
    inner = [MIDDLE_STD * math.tan(math.pi / 2 * (1 - step / steps)) for step in range(1, steps)]
    return [1.0, *(ratio / (1 + ratio) for ratio in inner), 0.0]


def solve(
    estimate: Callable[[int, Tensor, Tensor], Latents],
    noise: Latents,
    taus: Sequence[float],
    priors: tuple[Gaussian, Gaussian],
) -> Latents:
    """Follow the velocity field from tau = 1 to 0 in `len(taus) - 1` evaluations.

    Without the prior N(mean, std^2), z = (1 - tau) mean + radius n, and the field is dn/dangle = -drift with
    angle = atan2(tau, (1 - tau) std). If the network adds nothing to the prior, the drift is zero, and any number of
    steps is exact. Euler steps in tau would shrink it: six leave 0.63 of a deviation of 0.2. Two-step Adams-Bashforth.

    Args:
        estimate: `estimate(step, audio, video)` returns the clean latents estimated at taus[step].
        noise: Standard normal, the latents at tau = 1.
        priors: Of audio and video, from `DuplexModel.prior`.
    """
    latents = list(noise)
    drifts: list[list[Tensor]] = [[], []]
    angles = [[torch.atan2(prior.std.new_full((), tau), (1 - tau) * prior.std) for tau in taus] for prior in priors]
    for step, (tau, after) in enumerate(zip(taus, taus[1:], strict=False)):
        estimated = estimate(step, *latents)
        for stream, prior in enumerate(priors):
            angle = angles[stream]
            n = (latents[stream] - (1 - tau) * prior.mean) / _radius(tau, prior.std)
            drift = ((estimated[stream] - prior.mean) / prior.std - angle[step].cos() * n) / angle[step].sin()
            turn = angle[step] - angle[step + 1]
            ahead = drift
            if step:
                ahead = drift + (drift - drifts[stream][-1]) * turn / (2 * (angle[step - 1] - angle[step]))
            drifts[stream].append(drift)
            latents[stream] = (1 - after) * prior.mean + _radius(after, prior.std) * (n + turn * ahead)
    return latents[0], latents[1]


def _radius(tau: float, std: Tensor) -> Tensor:
    return (((1 - tau) * std).square() + tau**2).sqrt()
