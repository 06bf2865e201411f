"""Users and agents of B conversations -> the speech of both and the looks of the agents: one loop, unit by unit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.behaviour.players import Player, UserUnit
from pipelines.conversation.stimuli import Stimulus


class Users(Protocol):
    """The other side of the conversations, recorded or reacting."""

    def step(self, unit: int, agent_samples_BT: NDArray[np.float32] | None) -> UserUnit:
        """The users' unit, after the agents' samples of the previous unit (None for the first unit)."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """B whole conversations of K units."""

    user_BT: NDArray[np.float32]
    agent_BT: NDArray[np.float32]
    frames_BTHWC: NDArray[np.uint8] | None  # of the watched agents
    tokens_BKS: NDArray[np.int64] | None  # of agents that have words
    stimuli: Sequence[Sequence[Stimulus]] = ()  # what each user did, if users decide while they talk


def play(users: Users, player: Player, num_units: int, advance: Callable[[], object]) -> Played:
    """Let them talk for `num_units`; call `advance` after each."""
    user_samples, agent_samples, frames, tokens = [], [], [], []
    samples_BT = None
    for unit in range(num_units):
        user = users.step(unit, samples_BT)
        agent = player.step(user)
        samples_BT = agent.samples_BT
        user_samples.append(user.samples_BT)
        agent_samples.append(samples_BT)
        if agent.frames_BTHWC is not None:
            frames.append(agent.frames_BTHWC)
        if agent.tokens_BS is not None:
            tokens.append(agent.tokens_BS)
        advance()
    return Played(
        user_BT=np.concatenate(user_samples, axis=1),
        agent_BT=np.concatenate(agent_samples, axis=1),
        frames_BTHWC=np.concatenate(frames, axis=1) if frames else None,
        tokens_BKS=np.stack([np.array(tokens_BS) for tokens_BS in tokens], axis=1) if tokens else None,
    )
