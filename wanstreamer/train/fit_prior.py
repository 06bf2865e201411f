"""Windows of the train split -> the statistics of a model's prior (wanstreamer/model/prior.py), by least squares."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wanstreamer.model.duplex import DuplexModel
from wanstreamer.model.prior import past_of

if TYPE_CHECKING:
    from wanstreamer.windows.loader import Batch

# Largest gain of the previous latent in the prior. Some still elements fit best above 1: in a minute without other
# input, they run away. The clip costs a held-out error of 0.03 %.
MAX_LAST_GAIN = 0.95


@torch.no_grad()
def fit_prior(model: DuplexModel, batches: Sequence["Batch"]) -> None:
    """Least-squares gains and residual deviation of each latent, from the last latent and the mean so far."""
    pasts = [past_of(batch) for batch in batches]
    known = [past.audio_known_BK & batch.agent_audio_known_BK for past, batch in zip(pasts, batches, strict=True)]
    audio = torch.cat([batch.agent_audio_BKNC[on] for batch, on in zip(batches, known, strict=True)])
    last = torch.cat([past.audio_last_BKC[on] for past, on in zip(pasts, known, strict=True)])
    mean = torch.cat([past.audio_mean_BKC[on] for past, on in zip(pasts, known, strict=True)])
    fitted = _regress(audio, last[:, None].expand_as(audio), mean[:, None].expand_as(audio))
    for buffer, value in zip((model.audio_last_gain, model.audio_mean_gain, model.audio_std), fitted, strict=False):
        buffer.copy_(value)
    known = [past.video_known_BK & batch.agent_video_known_BK for past, batch in zip(pasts, batches, strict=True)]
    video = torch.cat([batch.agent_video_BKCHW[on] for batch, on in zip(batches, known, strict=True)])
    last = torch.cat([past.video_last_BKCHW[on] for past, on in zip(pasts, known, strict=True)])
    mean = torch.cat([past.video_mean_BKCHW[on] for past, on in zip(pasts, known, strict=True)])
    fitted = _regress(video, last, mean)
    for buffer, value in zip((model.video_last_gain, model.video_mean_gain, model.video_std), fitted, strict=False):
        buffer.copy_(value)


def _regress(target: Tensor, last: Tensor, mean: Tensor) -> tuple[Tensor, ...]:
    """Per element over the first dimension: gains of `last` and `mean`, residual deviation; empty without examples."""
    if len(target) < 2:
        return ()  # this stream is known nowhere; it is not trained either
    features = torch.stack([last, mean], dim=-1).double()
    gram = torch.einsum("n...f,n...g->...fg", features, features) / len(target)
    gram += 1e-4 * torch.eye(2, dtype=torch.float64)  # in a window's second unit, `last` and `mean` are equal
    moment = torch.einsum("n...f,n...->...f", features, target.double()) / len(target)
    first = torch.linalg.solve(gram, moment)[..., 0].clamp(0, MAX_LAST_GAIN)
    second = (moment[..., 1] - first * gram[..., 0, 1]) / gram[..., 1, 1]  # the best gain for this first one
    second = torch.minimum(second, 1 - first)
    residual = target - first * last - second * mean
    return first, second, residual.square().mean(0).clamp(min=1e-4).sqrt()
