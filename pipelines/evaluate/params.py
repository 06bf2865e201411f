"""Parameters of the evaluate stage, with their bounds. Imports no torch, so that checking a parameter file is fast."""

from dataclasses import dataclass

from wanstreamer.bounds import BadValue, bounded, from_one, random_seed
from wanstreamer.streaming.config import AgentConfig


@dataclass(frozen=True, kw_only=True)
class EvaluateParams(AgentConfig):
    """What is measured and drawn, and the agent of the rendered continuation (AgentConfig)."""

    # Flow times. At 0.25 the noisy unit already contains almost everything that the partner's stream could add.
    taus: tuple[float, ...] = bounded((0.5, 0.75, 1.0), above=0, at_most=1, not_empty=True)
    # First units of each window that are not counted: without history all models guess.
    warmup_units: int = bounded(4, at_least=1, why="unit 0 has no unit before")
    batch_size: int = from_one(8)  # windows per batch; fixed, because float32 sums depend on it
    # Each window is also judged with this many other users, and the mean is used: one may fit by chance.
    other_users: int = from_one(3)
    resamples: int = from_one(2000)  # resamples of the bootstrap
    seed: int = random_seed()
    # Train windows, chosen at random, on which the text baselines are fitted.
    unigram_windows: int = from_one(4096)
    given_units: int = from_one(32)  # true history of the rendered continuation: 5.1 s
    free_units: int = from_one(64)  # then the model generates this much: 10.2 s
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
