"""What a user did in a conversation that an agent could or should react to, for any agent.

    turn_end      a turn of the user is over and the floor is the agent's: `start_ms` to `end_ms` is the turn
    pause         the user is silent inside a turn: the span of the silence
    interruption  the user speaks while the agent has the floor, and wants it: the user's speech
    backchannel   the user says "mhm" while the agent has the floor, and does not want it: the "mhm"
    shown         the user holds an object up: from the moment it can be seen until it is gone

Times are milliseconds on the conversation's clock, half-open.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["turn_end", "pause", "interruption", "backchannel", "shown"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, order=True)
class Stimulus:
    kind: Kind
    start_ms: int
    end_ms: int
