"""Users and agents of B conversations -> what both said and what the agents looked like: one loop, unit by unit."""

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
        """The users' unit, given what the agents said in the unit before (None: there was none)."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """B whole conversations of K units."""

    user_BT: NDArray[np.float32]
    agent_BT: NDArray[np.float32]
    frames_BTHWC: NDArray[np.uint8] | None  # of the agents that were watched
    tokens_BKS: NDArray[np.int64] | None  # of agents that have words
    stimuli: Sequence[Sequence[Stimulus]] = ()  # what each user did, where users decide while they talk


def play(users: Users, player: Player, num_units: int, advance: Callable[[], object]) -> Played:
    """Let them talk for `num_units`; `advance` is called after each."""
    heard, said, seen, tokens = [], [], [], []
    samples_BT = None
    for unit in range(num_units):
        user = users.step(unit, samples_BT)
        made = player.step(user)
        samples_BT = made.samples_BT
        heard.append(user.samples_BT)
        said.append(samples_BT)
        if made.frames_BTHWC is not None:
            seen.append(made.frames_BTHWC)
        if made.tokens_BS is not None:
            tokens.append(made.tokens_BS)
        advance()
    return Played(
        user_BT=np.concatenate(heard, axis=1),
        agent_BT=np.concatenate(said, axis=1),
        frames_BTHWC=np.concatenate(seen, axis=1) if seen else None,
        tokens_BKS=np.stack([np.array(one) for one in tokens], axis=1) if tokens else None,
    )
