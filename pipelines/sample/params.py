"""Parameters of the sample, with their bounds."""

from dataclasses import dataclass

from wanstreamer.bounds import BadValue, bounded, check_bounds, from_one, random_seed


@dataclass(frozen=True, kw_only=True)
class SampleParams:
    """How much is made, and the size of the videos."""

    sessions: int = from_one(40)  # complete sessions; with six or more there is another one with a truncated file
    seconds: int = bounded(45, at_least=8, why="less holds no exchange of turns")
    seed: int = random_seed()
    # Pixels of one participant's video; ingest makes it smaller.
    width: int = bounded(320, multiple_of=2, at_least=48)
    height: int = bounded(240, multiple_of=2, at_least=48)
    pictures: bool = True  # false: audio only
    split_salt: str = "wanstreamer"  # as in ingest, so that the people of a session are in one split
    valid_fraction: float = bounded(0.1, above=0, below=1)
    test_fraction: float = bounded(0.2, above=0, below=1)

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.valid_fraction + self.test_fraction >= 1:
            raise BadValue(
                "test_fraction",
                self.test_fraction,
                f"less than 1 together with valid_fraction, {self.valid_fraction}",
                "valid_fraction",
            )
