"""Parameters of the behaviour stage, with their bounds. Imports no torch, so that checking a parameter file is fast."""

from dataclasses import dataclass

from wanstreamer.bounds import BadValue, bounded, from_one, from_zero, random_seed
from wanstreamer.clock import whole_units_in_ms
from wanstreamer.streaming.config import AgentConfig


@dataclass(frozen=True, kw_only=True)
class BehaviourParams(AgentConfig):
    """Conversations of the agent, and how it is served (AgentConfig). Nothing here changes the model."""

    seconds: int = from_one(64)  # length of a conversation with a recorded user: 60 s of generation after the history
    # Largest number of conversations with recorded users; about what the sample's test split has.
    conversations: int = from_one(16)
    users: int = from_zero(12)  # number of conversations with reactive users; 0: none
    # Length of a conversation with a reactive user; drawing the user takes most of the time.
    user_seconds: int = from_one(40)
    # True history at the start of a recorded conversation: 3.8 s, so that the agent has a face and a voice.
    given_units: int = from_zero(24)
    # Conversations whose video is decoded and judged; decoding takes as long as all the rest.
    watched: int = from_zero(4)
    at_seconds: tuple[int, ...] = bounded(
        (10, 30, 60), at_least=1
    )  # seconds of generation after which drift is measured
    # Units of history that the model sees, about the length of a training window; null: all.
    history_units: int | None = from_one(32)
    # Time of the model from a user's unit to the decoded answer; Wan-Streamer v0.1 reports about 200.
    latency_ms: int = from_zero(200)
    bank_turns: int = from_one(48)  # different turns that the baselines use
    resamples: int = from_one(200)  # resamples of the bootstrap
    seed: int = random_seed()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.given_units >= self.num_units:
            raise BadValue(
                "given_units",
                self.given_units,
                f"fewer than the {self.num_units} units of seconds ({self.seconds})",
                "seconds",
            )
        longest = "seconds" if self.seconds >= self.user_seconds else "user_seconds"
        if self.history_units is None and self.max_conversation_units > self.max_units:
            raise BadValue(
                longest,
                getattr(self, longest),
                f"at most max_units ({self.max_units}) of 160 ms",
                "max_units",
                "history_units",
            )

    @property
    def num_units(self) -> int:
        """Units of a conversation with a recorded user."""
        return whole_units_in_ms(self.seconds * 1000)

    @property
    def max_conversation_units(self) -> int:
        return whole_units_in_ms(max(self.seconds, self.user_seconds) * 1000)
