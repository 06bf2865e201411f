"""Parameters that the stages which read recordings share; they stand in the section `ingest`."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.sources.layouts import LAYOUTS
from wanstreamer.bounds import bounded, check_bounds

SAMPLE = "data/sources"  # the path in dvc.yaml


@dataclass(frozen=True, kw_only=True)
class SourceParams:
    """Where the recordings are, and the size of the pictures made from them."""

    source: str = ""  # folder or manifest of recordings; empty: the sample in <data>/sources
    layout: str = bounded("", one_of=("", *LAYOUTS))  # layout of a folder without a manifest; empty: recognised
    # Pixels of the tracks' video; 64 x 48 is for scale tiny, 336 x 192 for the larger scales.
    width: int = bounded(64, multiple_of=16, at_least=16, at_most=8192, why="the video VAE's step")
    # Pixels of the tracks' video.
    height: int = bounded(48, multiple_of=16, at_least=16, at_most=8192, why="the video VAE's step")

    def __post_init__(self) -> None:
        check_bounds(self)


def is_sample(folder: Path) -> bool:
    """Whether a folder is the sample, or in it. The sample may not exist yet.

    >>> is_sample(Path("data/sources/manifest.csv")), is_sample(Path("recordings"))
    (True, False)
    """
    return any(each.parts[-2:] == Path(SAMPLE).parts for each in (folder, *folder.parents))
