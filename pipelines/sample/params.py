"""Parameters of the sample, with their bounds."""

from dataclasses import dataclass

from pipelines.conversation.scene_kinds import IN_CORPUS, KINDS
from pipelines.formats.splits import SplitParams
from wanstreamer.bounds import BadValue, bounded, from_one, from_zero, random_seed


@dataclass(frozen=True, kw_only=True)
class SampleParams(SplitParams):
    """How much is made, and the size of the videos."""

    sessions: int = from_one(40)  # complete sessions; with six or more there is another one with a truncated file
    seconds: int = bounded(45, at_least=8, at_most=36_000, why="less holds no exchange of turns")
    seed: int = random_seed()
    # Pixels of one participant's video; ingest makes it smaller.
    width: int = bounded(320, multiple_of=2, at_least=48, at_most=4096)
    height: int = bounded(240, multiple_of=2, at_least=48, at_most=4096)
    pictures: bool = True  # false: audio only
    scenes: int = from_zero(0)  # recordings of two people and others in one file, the kinds in turn; see scenes.py
    # As in ingest, so that the people of a session are in one split; but the sample has people in every split.
    valid_fraction: float = bounded(0.1, above=0, below=1)
    test_fraction: float = bounded(0.2, above=0, below=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        least = max(KINDS[kind].min_seconds for kind in IN_CORPUS)
        if self.scenes and self.seconds < least:
            raise BadValue("seconds", self.seconds, f"{least} or more with scenes ({self.scenes})", "scenes")
