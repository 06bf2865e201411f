"""The windows of a step -> the model's input: faces moved, words withheld, latents made noisy, parts dropped.

All random numbers come from one generator, are drawn for the windows of all ranks in stream order, and are then divided
among the ranks. What depends on other windows (faces) is gathered from all ranks. Ranks and the size of passes thus
change nothing. The price: each rank draws the noise of all ranks, some 5 ns a number.

Shape letters as in `model`; G windows of all ranks, B of this one.
"""

import dataclasses
import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from wanstreamer.model.dropout import Dropped
from wanstreamer.model.duplex import Noisy
from wanstreamer.model.flow import draw_tau, interpolate
from wanstreamer.train.parallel import ALONE, Ranks

if TYPE_CHECKING:
    from wanstreamer.windows.loader import Batch


class StepInputs(NamedTuple):
    """Input of one pass: windows, their noisy latents, loss weights (B, K, W) and dropout."""

    batch: "Batch"
    noisy: Noisy
    weight_BKW: Tensor
    dropped: Dropped | None

    def take(self, start: int, stop: int) -> "StepInputs":
        return StepInputs(
            self.batch.take(range(start, min(stop, len(self.batch.window_id)))),
            Noisy(*(x[start:stop] for x in self.noisy)),
            self.weight_BKW[start:stop],
            self.dropped.map(lambda x: x[start:stop]) if self.dropped else None,
        )


def drop_text(batch: "Batch", party: str, share: float, generator: torch.Generator, ranks: Ranks = ALONE) -> "Batch":
    """The batch with the words of `party` (user or agent) unknown in at least `share` of its windows, at random."""
    name = f"{party}_text_known_BK"
    num_windows = len(batch.window_id) * ranks.num_ranks
    dropped_G = torch.zeros(num_windows, dtype=torch.bool)
    dropped_G[torch.randperm(num_windows, generator=generator)[: math.ceil(share * num_windows)]] = True
    return dataclasses.replace(batch, **{name: getattr(batch, name) & ~ranks.own(dropped_G)[:, None]})


def move_identities(batch: "Batch", amount: float, generator: torch.Generator, ranks: Ranks = ALONE) -> "Batch":
    """Both parties' video latents, shifted in whole windows by random differences between two windows' faces.

    A face's motion hardly depends on whose face it is, and there are few people to learn it from. The difference comes
    from other windows, so it does not contain a window's own future. Steps of fewer than three windows do not change.
    """
    num_windows = len(batch.window_id) * ranks.num_ranks
    if num_windows < 3:
        return batch
    moved = {}
    for party in ("user", "agent"):
        video_BKCHW, known_BK = getattr(batch, f"{party}_video_BKCHW"), getattr(batch, f"{party}_video_known_BK")
        weight_BK111 = known_BK.float()[..., None, None, None]
        face_B1CHW = (video_BKCHW * weight_BK111).sum(1, keepdim=True) / weight_BK111.sum(1, keepdim=True).clamp(min=1)
        face_G1CHW = ranks.gather(face_B1CHW)
        # Neither roll brings a window to itself.
        start = int(torch.randint(1, num_windows - 1, (), generator=generator))
        share_B = ranks.own(amount * torch.rand(num_windows, 1, 1, 1, 1, generator=generator))
        shift = share_B * ranks.own(face_G1CHW.roll(start + 1, 0) - face_G1CHW.roll(start, 0))
        moved[f"{party}_video_BKCHW"] = video_BKCHW + shift * weight_BK111
    return dataclasses.replace(batch, **moved)


def make_noisy(batch: "Batch", generator: torch.Generator, ranks: Ranks = ALONE) -> Noisy:
    """The agent's latents at random flow times."""
    num_windows, num_units = len(batch.window_id) * ranks.num_ranks, batch.agent_text_BKS.shape[1]
    tau_BK = ranks.own(draw_tau(num_windows, num_units, generator))
    audio = ranks.own(torch.randn(num_windows, *batch.agent_audio_BKNC.shape[1:], generator=generator))
    video = ranks.own(torch.randn(num_windows, *batch.agent_video_BKCHW.shape[1:], generator=generator))
    return Noisy(
        interpolate(batch.agent_audio_BKNC, audio, tau_BK), interpolate(batch.agent_video_BKCHW, video, tau_BK), tau_BK
    )
