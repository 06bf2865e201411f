"""Parameters of the ingest stage, with their bounds."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.ingest.layouts import LAYOUTS
from wanstreamer.bounds import BadValue, bounded, check_bounds

SAMPLE = "data/sources"  # the path in dvc.yaml


@dataclass(frozen=True, kw_only=True)
class IngestParams:
    """Where the recordings are and what tracks look like."""

    source: str = ""  # folder or manifest of recordings; empty: the sample in <data>/sources
    layout: str = bounded("", one_of=("", *LAYOUTS))  # layout of a folder without a manifest; empty: recognised
    # Pixels of the tracks' video; 64 x 48 is for scale tiny, 336 x 192 for the larger scales.
    width: int = bounded(64, multiple_of=16, at_least=16, why="the video VAE's step")
    # Pixels of the tracks' video.
    height: int = bounded(48, multiple_of=16, at_least=16, why="the video VAE's step")
    # Sample rate of the tracks' audio.
    rate_hz: int = bounded(16000, multiple_of=100, at_least=8000, at_most=192_000, why="the audio VAE's step is 10 ms")
    qp: int = bounded(22, at_least=0, at_most=51)  # x264 quantiser of the tracks; at 64 x 48 it loses less than the VAE
    split_salt: str = "wanstreamer"  # another salt assigns people to other splits
    valid_fraction: float = bounded(0.1, at_least=0, below=1)  # share of people in the split valid
    test_fraction: float = bounded(0.2, at_least=0, below=1)  # share of people in the split test

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.valid_fraction + self.test_fraction >= 1:
            raise BadValue(
                "test_fraction",
                self.test_fraction,
                f"less than 1 with valid_fraction ({self.valid_fraction}), so that sessions are left for training",
                "valid_fraction",
            )

    def check(self) -> None:
        """Raises InputError, before any stage runs, for a source without recordings. The sample may not exist yet."""
        from pipelines.engine.remote import folder_at
        from pipelines.ingest.sources import find_sources

        source = folder_at(self.source or SAMPLE)
        made_by_sample = [folder for folder in (source, *source.parents) if folder.parts[-2:] == Path(SAMPLE).parts]
        if not made_by_sample or source.exists():
            find_sources(source, self.layout, warn=False)
