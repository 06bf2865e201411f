"""Users who react -> every agent in conversation with each of them.

A user speaks, pauses, interrupts, says "mhm" and shows things by its own script, but listens to the agent: it
interrupts while the agent speaks, answers what is over, and takes note of what it did. So interruptions and
backchannels meet every agent's own speech, which a recording cannot do. Nobody has any history at the start.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tools.behaviour.activity import sounding_spans
from tools.behaviour.agents import Agent, UserUnit
from tools.behaviour.looks import observe_looks
from tools.behaviour.play import Played, play
from tools.behaviour.timing import Conversation, Observed, observe
from tools.sample.prompts import Prompt
from wanstreamer.clock import UNIT_MS
from wanstreamer.streaming.session import Session


class Partner(Protocol):
    """One user who reacts."""

    prompts: list[Prompt]  # what it has done so far

    def step(self, agent_samples: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Its next unit, frames (4, H, W, 3) and samples (T,), having heard the agent's unit before."""


class SimulatedUsers:
    """B partners, encoded as they go; `notice(conversation, prompt)` is told what each has just done."""

    def __init__(
        self, session: Session, partners: Sequence[Partner], notice: Callable[[int, Prompt], None] | None = None
    ) -> None:
        self.session, self.partners, self.notice = session, partners, notice
        self.known = [0] * len(partners)  # prompts told of
        self.hearing: dict[str, Tensor] | None = None
        self.seeing: dict[str, Tensor] | None = None

    @torch.inference_mode()
    def step(self, unit: int, agent_samples_BT: NDArray[np.float32] | None) -> UserUnit:
        if agent_samples_BT is None:
            agent_samples_BT = np.zeros((len(self.partners), self.session.num_samples), np.float32)
        media = [partner.step(heard) for partner, heard in zip(self.partners, agent_samples_BT, strict=True)]
        frames_BTHWC, samples_BT = (np.stack(stream) for stream in zip(*media, strict=True))
        video_BTCHW = torch.from_numpy(frames_BTHWC).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
        video_BKCHW, self.seeing = self.session.video_vae.encode(video_BTCHW, self.seeing)
        audio_BNC, self.hearing = self.session.audio_vae.encode(torch.from_numpy(samples_BT), self.hearing)
        for place, partner in enumerate(self.partners):
            fresh, self.known[place] = partner.prompts[self.known[place] :], len(partner.prompts)
            for prompt in fresh if self.notice else ():
                self.notice(place, prompt)
        return UserUnit(unit=unit, audio_BNC=audio_BNC, video_BCHW=video_BKCHW[:, 0], samples_BT=samples_BT)


def run_simulated(
    partners: Sequence[Partner],
    session: Session,
    agent: Agent,
    *,
    num_units: int,
    seconds: Sequence[int],
    notice: Callable[[int, Prompt], None] | None = None,
    advance: Callable[[], object],
) -> tuple[dict[str, list[Observed]], Played]:
    """One agent with all partners, which are used up: user -> observations of its conversation."""
    rate_hz = session.audio_vae.config.rate_hz
    played = play(SimulatedUsers(session, partners, notice), agent, num_units, advance)
    found: dict[str, list[Observed]] = {}
    for place, partner in enumerate(partners):
        samples = played.agent_BT[place]
        conversation = Conversation(
            start_ms=0,
            end_ms=num_units * UNIT_MS,
            user=sounding_spans(played.user_BT[place], rate_hz),
            agent=sounding_spans(samples, rate_hz),
            prompts=partner.prompts,
        )
        observed = observe(conversation)
        if played.frames_BTHWC is not None and place < len(played.frames_BTHWC):
            observed |= observe_looks(played.frames_BTHWC[place], samples, rate_hz, start_ms=0, seconds=seconds)
        found[f"user-{place:03d}"] = [observed]
    return found, played
