"""Parameters of the ingest stage, with their bounds."""

from dataclasses import dataclass
from typing import Literal

from pipelines.formats.splits import SplitParams
from pipelines.sources.params import SAMPLE, SourceParams, is_sample
from wanstreamer.bounds import bounded, shown
from wanstreamer.errors import InputError


@dataclass(frozen=True, kw_only=True)
class IngestParams(SourceParams, SplitParams):
    """Where the recordings are, what tracks look like, and how people are assigned to splits."""

    # How a picture of another shape fits. cut: it loses its edges, but not the face; pad: it gets a grey border.
    fit: Literal["cut", "pad"] = "cut"
    # Sample rate of the tracks' audio.
    rate_hz: int = bounded(16000, multiple_of=100, at_least=8000, at_most=192_000, why="the audio VAE's step is 10 ms")
    # Put recordings of one sound (by a camera and a recorder, by two recorders in a room) on one clock, if their offset
    # and drift could be measured. The measurements are in tracks.camera_clock and tracks.partner_clock in any case.
    align_recorders: bool = False
    qp: int = bounded(22, at_least=0, at_most=51)  # x264 quantiser of the tracks; at 64 x 48 it loses less than the VAE

    def __post_init__(self) -> None:
        SplitParams.__post_init__(self)  # checks all bounds

    def check(self) -> None:
        """Raises InputError, before any stage runs, for a source without recordings, or a split that the sample lacks.

        The sample may not exist yet.
        """
        from pipelines.engine.remote import folder_at
        from pipelines.sources.find import find_sources

        source = folder_at(self.source or SAMPLE)
        made_by_sample = is_sample(source)
        for name in ("valid_fraction", "test_fraction") if made_by_sample else ():
            if getattr(self, name) == 0:
                raise InputError(
                    f"ingest.{name}: {shown(getattr(self, name))}; expected more than 0 for the sample, which has "
                    "people in every split; 0 is for recordings of your own (ingest.source)"
                )
        if not made_by_sample or source.exists():
            find_sources(source, self.layout, warn=False)
