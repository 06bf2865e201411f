"""A conversation generated unit by unit from random weights, with all that is needed to compute it again at once."""

import dataclasses

import pytest
import torch
from torch import Tensor

from wanstreamer.model.duplex import DuplexModel, Noisy, Prefix
from wanstreamer.model.sequence import HistoryLimit
from wanstreamer.streaming.performer import Schedule, perform
from wanstreamer.streaming.state import ConversationState, new_state
from wanstreamer.streaming.thinker import commit, think
from wanstreamer.windows.loader import Batch

STEPS = 3


@dataclasses.dataclass
class Recorded:
    """A conversation as it was generated unit by unit."""

    batch: Batch
    logits_KSV: Tensor
    passes: list[list[tuple[Tensor, Tensor, Tensor, Tensor]]]  # [step][unit]: noisy audio, video, estimates of both
    state: ConversationState


def generate(
    model: DuplexModel,
    user: Batch,
    monkeypatch: pytest.MonkeyPatch,
    history_limit: HistoryLimit | None = None,
    prefix: Prefix | None = None,
) -> Recorded:
    """The streaming loop on user latents, with every performer pass recorded."""
    units = user.agent_text_BKS.shape[1]
    state = new_state(model, max_units=units, seeds=[4], history_limit=history_limit, prefix=prefix)
    schedule = Schedule(model, STEPS)
    seen: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    denoise = model.denoise

    def spy(noisy: Noisy, *others):  # type: ignore[no-untyped-def]
        estimates = denoise(noisy, *others)
        seen.append((noisy.audio_BKNC, noisy.video_BKCHW, *estimates))
        return estimates

    monkeypatch.setattr(model, "denoise", spy)
    agent = dataclasses.replace(user)
    agent.agent_audio_BKNC, agent.agent_video_BKCHW, agent.agent_text_BKS = (
        torch.zeros_like(x) for x in (user.agent_audio_BKNC, user.agent_video_BKCHW, user.agent_text_BKS)
    )
    logits = []
    for unit in range(units):
        heard = user.user_audio_BKNC[:, unit] if user.user_audio_known_BK[0, unit] else None
        watched = user.user_video_BKCHW[:, unit] if user.user_video_known_BK[0, unit] else None
        words = user.user_text_BKS[:, unit].tolist() if user.user_text_known_BK[0, unit] else None
        tokens, unit_logits = think(model, state, heard, watched, words, temperature=1.0)
        audio_BNC, video_BCHW = perform(model, state, schedule)
        commit(model, state, audio_BNC, video_BCHW)
        agent.agent_text_BKS[:, unit] = torch.tensor(tokens)
        agent.agent_audio_BKNC[:, unit], agent.agent_video_BKCHW[:, unit] = audio_BNC, video_BCHW
        logits.append(unit_logits[0])
    return Recorded(agent, torch.stack(logits), [seen[step::STEPS] for step in range(STEPS)], state)


def assert_equals_full_recomputation(
    model: DuplexModel, recorded: Recorded, history_limit: HistoryLimit | None = None, prefix: Prefix | None = None
) -> None:
    """Text logits and every solver step's estimates, to 1e-5."""
    units = len(recorded.logits_KSV)
    with torch.no_grad():
        full = model(recorded.batch, history_limit=history_limit, prefix=prefix)
        torch.testing.assert_close(recorded.logits_KSV, full.text_logits_BKSV[0], atol=1e-5, rtol=0)
        for step, passes in enumerate(recorded.passes):
            audio, video, estimated_audio, estimated_video = (
                torch.cat(column, dim=1) for column in zip(*passes, strict=True)
            )
            tau_BK = torch.full((1, units), Schedule(model, STEPS).taus[step])
            output = model(recorded.batch, Noisy(audio, video, tau_BK), history_limit=history_limit, prefix=prefix)
            torch.testing.assert_close(estimated_audio, output.audio_x0_BKNC, atol=1e-5, rtol=0)
            torch.testing.assert_close(estimated_video, output.video_x0_BKCHW, atol=1e-5, rtol=0)
