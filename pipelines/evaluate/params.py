"""What can be set of evaluate, with bounds; no torch, so that it is checked at once."""

from dataclasses import dataclass

from wanstreamer.bounds import BadValue, bounded, from_one, random_seed
from wanstreamer.streaming.config import AgentConfig


@dataclass(frozen=True, kw_only=True)
class EvaluateParams(AgentConfig):
    """What is measured and drawn, and how the agent of the rendered continuation is served (AgentConfig)."""

    # Flow times. At 0.25 the noisy unit shows nearly all that a partner's stream could tell of it.
    taus: tuple[float, ...] = bounded((0.5, 0.75, 1.0), above=0, at_most=1, not_empty=True)
    # Of each window, not counted: without history all guess.
    warmup_units: int = bounded(4, at_least=1, why="unit 0 has no unit before")
    batch_size: int = from_one(8)  # windows; fixed, as sums in float32 depend on it
    # With whom each window is judged instead of its own, on average: one alone may fit by chance.
    other_users: int = from_one(3)
    resamples: int = from_one(2000)  # of the bootstrap
    seed: int = random_seed()
    # Train windows, drawn at random, that the text baselines are fitted on.
    unigram_windows: int = from_one(4096)
    given_units: int = from_one(32)  # of the rendered continuation: true history, 5.1 s
    free_units: int = from_one(64)  # then the model alone for 10.2 s
    reports: bool = True  # write reconstruction.mp4, continuation.mp4 and its contact sheet

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.history_units is None and self.given_units + self.free_units > self.max_units:
            raise BadValue(
                "free_units",
                self.free_units,
                f"at most max_units ({self.max_units}) together with given_units",
                "given_units",
                "max_units",
            )
