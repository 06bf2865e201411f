"""What the model said about some windows -> the sums that a step's loss is made of.

Loss: `L = w_text CE + w_audio FM_audio + w_video FM_video` (Wan-Streamer v0.1, arXiv 2606.25041; the weights are ours),
and, ours, `w_activity BCE`: at every unit the trunk says who will sound in the units that follow, as Voice Activity
Projection does (Ekstedt & Skantze 2022, arXiv 2205.09812): when to speak hangs on it, and onsets are few.
Each part is a sum over text tokens or units divided by how many of them carry loss in the whole step. Sums and counts
add up over ranks and over passes, so that how a step's windows are dealt out does not change its loss; means of means
would, as windows know more or less.

Shape letters as in `model`, and W the parts, in the order of PARTS.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from wanstreamer.clock import UNIT_MS
from wanstreamer.flow import velocity_weight
from wanstreamer.model import DuplexModel, Output
from wanstreamer.prior import past_of
from wanstreamer.sequence import MISSING
from wanstreamer.windows import LABELS

if TYPE_CHECKING:
    from wanstreamer.data import Batch

PARTS = ("text", "audio", "video", "activity")


def part_sums(model: DuplexModel, output: Output, batch: "Batch", tau_BK: Tensor, weight_BKW: Tensor) -> Tensor:
    """Weighted sums (W,) over text tokens, audio units, video units and what is said of units to come.

    Text that is MISSING and agent streams that are unknown carry no loss.
    """
    assert output.audio_x0_BKNC is not None and output.video_x0_BKCHW is not None
    spoken_BKS = _spoken(batch)
    targets = torch.where(spoken_BKS, batch.agent_text_BKS, -100).flatten()
    logits = output.text_logits_BKSV.flatten(0, 2).float()
    text = functional.cross_entropy(logits, targets, ignore_index=-100, reduction="none")
    past = past_of(batch)
    audio_BK = (output.audio_x0_BKNC.float() - batch.agent_audio_BKNC).square().mean((2, 3))
    video_BK = (output.video_x0_BKCHW.float() - batch.agent_video_BKCHW).square().mean((2, 3, 4))
    audio_BK = audio_BK * _flow_weight(tau_BK, model.audio_std, past.audio_known_BK)
    video_BK = video_BK * _flow_weight(tau_BK, model.video_std, past.video_known_BK)
    text_weight_BK, audio_weight_BK, video_weight_BK, activity_weight_BK = weight_BKW.unbind(-1)
    activity = text.new_zeros(())
    if output.activity_BK2F is not None:
        sounds_BK2F, known_BK2F = activity_targets(batch, output.activity_BK2F.shape[-1])
        wrong_BK2F = functional.binary_cross_entropy_with_logits(
            output.activity_BK2F.float(), sounds_BK2F.float(), reduction="none"
        )
        activity = (wrong_BK2F * known_BK2F * activity_weight_BK[..., None, None]).sum()
    return torch.stack(
        [
            (text.view(spoken_BKS.shape) * text_weight_BK[..., None]).sum(),
            (audio_BK * (batch.agent_audio_known_BK * audio_weight_BK)).sum(),
            (video_BK * (batch.agent_video_known_BK * video_weight_BK)).sum(),
            activity,
        ]
    )


def part_counts(batch: "Batch", weight_BKW: Tensor, activity_units: int) -> Tensor:
    """How many text tokens, audio units, video units and units to come carry loss: float32 (W,), to divide the sums of
    a step by."""
    counted_BKW = weight_BKW > 0
    _, known_BK2F = activity_targets(batch, activity_units)
    return torch.stack(
        [
            (_spoken(batch) & counted_BKW[..., :1]).sum(),
            (batch.agent_audio_known_BK & counted_BKW[..., 1]).sum(),
            (batch.agent_video_known_BK & counted_BKW[..., 2]).sum(),
            (known_BK2F & counted_BKW[..., 3, None, None]).sum(),
        ]
    ).float()


def activity_targets(batch: "Batch", num_ahead: int) -> tuple[Tensor, Tensor]:
    """Whether agent and user sound in most of each of the `num_ahead` units after a unit, and whether that is known.

    Both bool (B, K, 2, F). Units behind the window's end and units of a party whose sound is unknown are not.
    """
    names = ("agent_speech_ms", "user_speech_ms")
    sounds_BK2 = torch.stack([batch.labels_BKL[..., LABELS.index(name)] > UNIT_MS // 2 for name in names], dim=-1)
    known_BK2 = torch.stack([batch.agent_audio_known_BK, batch.user_audio_known_BK], dim=-1)

    def ahead(x_BK2: Tensor) -> Tensor:
        return functional.pad(x_BK2[:, 1:], (0, 0, 0, num_ahead)).unfold(1, num_ahead, 1)

    return ahead(sounds_BK2), ahead(known_BK2)


def event_units(labels_BKL: Tensor) -> Tensor:
    """Units, bool (B, K), in which the agent starts to speak, utters a backchannel or takes part in an interruption,
    and those just before and after: what conversation turns on, and few of all units."""
    speech_ms, _, backchannel, role = (labels_BKL[..., LABELS.index(name)] for name in LABELS)
    event_BK = (backchannel > 0) | (role > 0)
    event_BK[:, 1:] |= (speech_ms[:, 1:] > 0) & (speech_ms[:, :-1] == 0)
    return functional.max_pool1d(event_BK.float(), 3, stride=1, padding=1) > 0


def _spoken(batch: "Batch") -> Tensor:
    return batch.agent_text_known_BK[..., None] & (batch.agent_text_BKS != MISSING)


def _flow_weight(tau_BK: Tensor, std: Tensor, known_BK: Tensor) -> Tensor:
    """The velocity's weight in units of what the linear estimate leaves open at this tau.

    A nearly still picture leaves little: without the units its velocity is learnt at small tau only, and drowns beside
    audio. This is the weight of Karras et al. 2022 (1 / c_out^2) with the stream's mean prior variance.
    """
    variance_BK = torch.where(known_BK, std.square().mean(), 1.0)
    left_open_BK = variance_BK / ((1 - tau_BK).square() * variance_BK + tau_BK.square())
    return velocity_weight(tau_BK) / left_open_BK
