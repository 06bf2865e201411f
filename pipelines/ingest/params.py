"""Parameters of the ingest stage, with their bounds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.formats.splits import SplitParams
from pipelines.sources.layouts import LAYOUTS
from wanstreamer.bounds import bounded, shown
from wanstreamer.errors import InputError

SAMPLE = "data/sources"  # the path in dvc.yaml


@dataclass(frozen=True, kw_only=True)
class IngestParams(SplitParams):
    """Where the recordings are, what tracks look like, and how people are assigned to splits."""

    source: str = ""  # folder or manifest of recordings; empty: the sample in <data>/sources
    layout: str = bounded("", one_of=("", *LAYOUTS))  # layout of a folder without a manifest; empty: recognised
    # Pixels of the tracks' video; 64 x 48 is for scale tiny, 336 x 192 for the larger scales.
    width: int = bounded(64, multiple_of=16, at_least=16, at_most=8192, why="the video VAE's step")
    # Pixels of the tracks' video.
    height: int = bounded(48, multiple_of=16, at_least=16, at_most=8192, why="the video VAE's step")
    # How a picture of another shape fits. cut: it loses its edges, but not the face; pad: it gets a grey border.
    fit: Literal["cut", "pad"] = "cut"
    # Sample rate of the tracks' audio.
    rate_hz: int = bounded(16000, multiple_of=100, at_least=8000, at_most=192_000, why="the audio VAE's step is 10 ms")
    # Put recordings of one sound (by a camera and a recorder, by two recorders in a room) on one clock, if their offset
    # and drift could be measured. The measurements are in tracks.camera_clock and tracks.partner_clock in any case.
    align_recorders: bool = False
    qp: int = bounded(22, at_least=0, at_most=51)  # x264 quantiser of the tracks; at 64 x 48 it loses less than the VAE

    def check(self) -> None:
        """Raises InputError, before any stage runs, for a source without recordings, or a split that the sample lacks.

        The sample may not exist yet.
        """
        from pipelines.engine.remote import folder_at
        from pipelines.sources.find import find_sources

        source = folder_at(self.source or SAMPLE)
        made_by_sample = [folder for folder in (source, *source.parents) if folder.parts[-2:] == Path(SAMPLE).parts]
        for name in ("valid_fraction", "test_fraction") if made_by_sample else ():
            if getattr(self, name) == 0:
                raise InputError(
                    f"ingest.{name}: {shown(getattr(self, name))}; expected more than 0 for the sample, which has "
                    "people in every split; 0 is for recordings of your own (ingest.source)"
                )
        if not made_by_sample or source.exists():
            find_sources(source, self.layout, warn=False)
