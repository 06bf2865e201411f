"""The model's output for some windows -> the sums from which a step's loss is computed.

Loss: `L = w_text CE + w_audio FM_audio + w_video FM_video` (Wan-Streamer v0.1, arXiv 2606.25041; the weights are ours).
Each part is a sum over text tokens or units, divided by the number of them with loss in the whole step. Sums and counts
add up over ranks and passes, so that the division of a step's windows does not change its loss. Means of means would
change it, because windows have different numbers of known units.

Shape letters as in `model`, and W the three parts, in the order of PARTS.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from wanstreamer.model.duplex import DuplexModel, Output
from wanstreamer.model.flow import velocity_weight
from wanstreamer.model.prior import past_of
from wanstreamer.model.sequence import MISSING
from wanstreamer.windows.manifest import INTERRUPTION_ROLES, LABELS

if TYPE_CHECKING:
    from wanstreamer.windows.loader import Batch

PARTS = ("text", "audio", "video")
INTENDED_UNITS = 2  # an utterance has words, and a breath, this long before its sound


def part_sums(model: DuplexModel, output: Output, batch: "Batch", tau_BK: Tensor, weight_BKW: Tensor) -> Tensor:
    """Weighted sums (W,) over text tokens, audio units and video units.

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
    text_weight_BK, audio_weight_BK, video_weight_BK = weight_BKW.unbind(-1)
    return torch.stack(
        [
            (text.view(spoken_BKS.shape) * text_weight_BK[..., None]).sum(),
            (audio_BK * (batch.agent_audio_known_BK * audio_weight_BK)).sum(),
            (video_BK * (batch.agent_video_known_BK * video_weight_BK)).sum(),
        ]
    )


def part_counts(batch: "Batch", weight_BKW: Tensor) -> Tensor:
    """Numbers of text tokens, audio units and video units with loss: float32 (W,), the divisors of a step's sums."""
    counted_BKW = weight_BKW > 0
    return torch.stack(
        [
            (_spoken(batch) & counted_BKW[..., :1]).sum(),
            (batch.agent_audio_known_BK & counted_BKW[..., 1]).sum(),
            (batch.agent_video_known_BK & counted_BKW[..., 2]).sum(),
        ]
    ).float()


def event_units(labels_BKL: Tensor) -> Tensor:
    """Units, bool (B, K), in which the agent starts to speak, utters a backchannel or takes part in an interruption,
    and those just before and after: conversation turns on them, and they are few."""
    speech_ms, _, backchannel, role = (labels_BKL[..., LABELS.index(name)] for name in LABELS)
    event_BK = (backchannel > 0) | (role > 0)
    event_BK[:, 1:] |= (speech_ms[:, 1:] > 0) & (speech_ms[:, :-1] == 0)
    return functional.max_pool1d(event_BK.float(), 3, stride=1, padding=1) > 0


def interrupting_units(labels_BKL: Tensor) -> Tensor:
    """Units, bool (B, K), in which the agent begins to speak into the user's turn to take it, and the INTENDED_UNITS
    before. Their time is chance, and a model that learns it interrupts at random. What follows is no chance."""
    begins_BK = labels_BKL[..., LABELS.index("agent_interruption_role")] == INTERRUPTION_ROLES["challenger"]
    begins_BK[:, 1:] &= ~begins_BK[:, :-1].clone()
    ahead_BK = functional.pad(begins_BK.float(), (0, INTENDED_UNITS))
    return functional.max_pool1d(ahead_BK, INTENDED_UNITS + 1, stride=1) > 0


def silent_units(labels_BKL: Tensor) -> Tensor:
    """Units, bool (B, K), in which no one speaks: there it is decided whether to begin.

    If words are packed a unit or more before their sound (`pack.text_lead_units`), the sound of both precedes the
    decision of the unit's text, and weighing these units biases no decision.
    """
    return (labels_BKL[..., [LABELS.index("agent_speech_ms"), LABELS.index("user_speech_ms")]] == 0).all(-1)


def _spoken(batch: "Batch") -> Tensor:
    return batch.agent_text_known_BK[..., None] & (batch.agent_text_BKS != MISSING)


def _flow_weight(tau_BK: Tensor, std: Tensor, known_BK: Tensor) -> Tensor:
    """The velocity's weight, relative to the error that the linear estimate leaves at this tau.

    A nearly still picture leaves little: without this scaling, its velocity is learnt at small tau only, and audio
    dominates. This is the weight of Karras et al. 2022 (1 / c_out^2) with the stream's mean prior variance.
    """
    variance_BK = torch.where(known_BK, std.square().mean(), 1.0)
    left_open_BK = variance_BK / ((1 - tau_BK).square() * variance_BK + tau_BK.square())
    return velocity_weight(tau_BK) / left_open_BK
