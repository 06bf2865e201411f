"""Users who react -> every agent in conversation with each of them.

A user speaks, pauses, interrupts, says "mhm" and shows things by its own script, but listens to the agent: it
interrupts while the agent speaks, answers a turn that is over, and notes what the agent did. Interruptions and
backchannels therefore meet every agent's own speech, which a recording cannot do. Conversations start without history.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.behaviour.activity import sounding_spans
from pipelines.behaviour.looks import observe_looks
from pipelines.behaviour.play import Played, play
from pipelines.behaviour.players import Ignoring, Model, Player, Shuffled, UserUnit
from pipelines.behaviour.timing import Conversation, Observed, observe
from pipelines.conversation.stimuli import Stimulus
from wanstreamer.clock import UNIT_MS
from wanstreamer.streaming.agent import Agent


class Partner(Protocol):
    """One user who reacts."""

    stimuli: list[Stimulus]  # what it has done so far

    def step(
        self, agent_samples: NDArray[np.float32], *, draw: bool = True
    ) -> tuple[NDArray[np.uint8] | None, NDArray[np.float32]]:
        """Its next unit after the agent's previous one: frames (4, H, W, 3) (None unless drawn) and samples (T,)."""


class SimulatedUsers:
    """B partners, encoded as they go for agents that take latents; `notice(conversation, stimulus)` is called with each
    thing that a partner has just done."""

    def __init__(
        self,
        model_agent: Agent,
        partners: Sequence[Partner],
        *,
        latents: bool,
        notice: Callable[[int, Stimulus], None] | None = None,
    ) -> None:
        self.model_agent, self.partners, self.latents, self.notice = model_agent, partners, latents, notice
        self.known = [0] * len(partners)  # number of stimuli already passed to `notice`
        self.hearing: dict[str, Tensor] | None = None
        self.seeing: dict[str, Tensor] | None = None

    def step(self, unit: int, agent_samples_BT: NDArray[np.float32] | None) -> UserUnit:
        if agent_samples_BT is None:
            agent_samples_BT = np.zeros((len(self.partners), self.model_agent.num_samples), np.float32)
        frames, samples = zip(
            *(
                partner.step(agent_T, draw=self.latents)
                for partner, agent_T in zip(self.partners, agent_samples_BT, strict=True)
            ),
            strict=True,
        )
        for place, partner in enumerate(self.partners):
            fresh, self.known[place] = partner.stimuli[self.known[place] :], len(partner.stimuli)
            if self.notice is not None:
                for stimulus in fresh:
                    self.notice(place, stimulus)
        samples_BT = np.stack(samples)
        audio_BNC = video_BCHW = torch.zeros(len(samples_BT), 0)
        if self.latents:
            audio_BNC, video_BCHW = self._encode(np.stack(frames), samples_BT)
        return UserUnit(unit=unit, audio_BNC=audio_BNC, video_BCHW=video_BCHW, samples_BT=samples_BT)

    @torch.inference_mode()
    def _encode(self, frames_BTHWC: NDArray[np.uint8], samples_BT: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
        video_BTCHW = torch.from_numpy(frames_BTHWC).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
        video_BKCHW, self.seeing = self.model_agent.video_vae.encode(video_BTCHW, self.seeing)
        audio_BNC, self.hearing = self.model_agent.audio_vae.encode(torch.from_numpy(samples_BT), self.hearing)
        return audio_BNC, video_BKCHW[:, 0]


def run_simulated(
    partners: Sequence[Partner],
    model_agent: Agent,
    player: Player,
    *,
    num_units: int,
    seconds: Sequence[int],
    advance: Callable[[], object],
) -> tuple[dict[str, list[Observed]], Played]:
    """One agent with all partners (use them once): user -> observations of its conversation."""
    rate_hz = model_agent.audio_vae.config.rate_hz
    notice = player.notice if isinstance(player, Ignoring) else None
    users = SimulatedUsers(model_agent, partners, latents=isinstance(player, Model | Shuffled), notice=notice)
    played = play(users, player, num_units, advance)
    observed_by_user: dict[str, list[Observed]] = {}
    for place, partner in enumerate(partners):
        samples = played.agent_BT[place]
        conversation = Conversation(
            start_ms=0,
            end_ms=num_units * UNIT_MS,
            user=sounding_spans(played.user_BT[place], rate_hz),
            agent=sounding_spans(samples, rate_hz),
            stimuli=partner.stimuli,
        )
        observed = observe(conversation)
        if played.frames_BTHWC is not None and place < len(played.frames_BTHWC):
            observed |= observe_looks(played.frames_BTHWC[place], samples, rate_hz, start_ms=0, seconds=seconds)
        observed_by_user[f"user-{place:03d}"] = [observed]
    return observed_by_user, replace(played, stimuli=[list(partner.stimuli) for partner in partners])
