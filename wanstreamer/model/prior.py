"""The expected latents of an agent's unit from the units before it, and the linear estimate under noise.

A talking face mostly looks as it did 160 ms ago and as it did on average, and this still detail does not fit through
one token. So a Gaussian prior carries it around the Transformer, which adds what the prior cannot predict: the
preconditioning of Karras et al. 2022 (arXiv 2206.00364, table 1), with a mean. This is ours; the paper has no such
part.

Shape letters: B batch, K units, N audio latents of a unit, C channels, H W latent rows and columns.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from wanstreamer.windows.loader import Batch


class Past(NamedTuple):
    """Inputs of a unit's prior: the agent's clean latents just before it, and their mean over all units before it.

    `known` is False if the previous unit does not exist or was not recorded; the other fields then do not count.
    """

    audio_last_BKC: Tensor  # the latent right before the unit
    audio_mean_BKC: Tensor
    audio_known_BK: Tensor
    video_last_BKCHW: Tensor
    video_mean_BKCHW: Tensor
    video_known_BK: Tensor


class Gaussian(NamedTuple):
    """Independent normal distributions, one per number of a unit's latents."""

    mean: Tensor
    std: Tensor


class Preconditioned(NamedTuple):
    innovation: Tensor  # network input: about unit variance at every tau
    estimate: Tensor  # best linear estimate of the clean latent
    scale: Tensor  # of the network's output: the standard deviation of the estimate's error


def expected(mean: Tensor, std: Tensor, known_BK: Tensor) -> Gaussian:
    """The prior N(mean, std^2) where the previous unit is known, a standard normal elsewhere."""
    known = known_BK.reshape(*known_BK.shape, *[1] * (mean.dim() - 2))
    return Gaussian(torch.where(known, mean, 0.0), torch.where(known, std, 1.0))


def precondition(z: Tensor, tau: Tensor, prior: Gaussian) -> Preconditioned:
    """Linear estimate of z_0 from z = (1 - tau) z_0 + tau eps under the prior, and the network's input and output
    scale.

    With mean 0 and std 1 this is EDM's preconditioning for the straight path; at tau = 1 the estimate is the mean.
    """
    keep = 1 - tau
    variance = (keep * prior.std).square() + tau.square()
    residual = z - keep * prior.mean
    return Preconditioned(
        innovation=residual * variance.rsqrt(),
        estimate=prior.mean + keep * prior.std.square() / variance * residual,
        scale=prior.std * tau * variance.rsqrt(),
    )


def past_of(batch: "Batch") -> Past:
    """The past of every unit of a batch; the first units have none."""

    def before(x: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)

    def mean_before(x: Tensor, known_BK: Tensor) -> Tensor:
        weight = known_BK.to(x.dtype).reshape(*known_BK.shape, *[1] * (x.dim() - 2))
        return before((x * weight).cumsum(1) / weight.cumsum(1).clamp(min=1))

    return Past(
        before(batch.agent_audio_BKNC[:, :, -1]),
        mean_before(batch.agent_audio_BKNC.mean(2), batch.agent_audio_known_BK),
        before(batch.agent_audio_known_BK),
        before(batch.agent_video_BKCHW),
        mean_before(batch.agent_video_BKCHW, batch.agent_video_known_BK),
        before(batch.agent_video_known_BK),
    )


def past_after(past: Past, units: int, audio_BKNC: Tensor, video_BKCHW: Tensor) -> Past:
    """The past one unit later, after the agent's clean latents of that unit (K = 1).

    `units` is the number of units before it.
    """
    known = torch.ones_like(past.audio_known_BK)
    return Past(
        audio_BKNC[:, :, -1],
        past.audio_mean_BKC + (audio_BKNC.mean(2) - past.audio_mean_BKC) / (units + 1),
        known,
        video_BKCHW,
        past.video_mean_BKCHW + (video_BKCHW - past.video_mean_BKCHW) / (units + 1),
        known,
    )
