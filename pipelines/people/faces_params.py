"""Parameters of faces, with their bounds. Imports no numpy, so that checking a parameter file is fast."""

from dataclasses import dataclass

from wanstreamer.bounds import bounded, check_bounds, from_zero, share


@dataclass(frozen=True, kw_only=True)
class FacesParams:
    """How faces are found in a recording, and how they become people."""

    # Pictures are scaled to this before faces are looked for; faces under 10 pixels in them are not found.
    picture_side: int = bounded(640, at_least=160, at_most=1920, multiple_of=2)
    looks_per_s: float = bounded(1.0, above=0, at_most=25)  # how often the whole picture is looked at for new faces
    faces_per_s: float = bounded(5.0, above=0, at_most=25)  # how often a known face is looked for around its place
    max_lost_ms: int = from_zero(1000)  # a face that is not found for longer ends its track
    min_track_ms: int = from_zero(600)  # shorter tracks are false detections, or people who pass by
    cut_change: float = bounded(8.0, above=0, at_most=255)  # mean change of a picture at a cut, in grey levels
    still_change: float = share(
        0.25
    )  # change within a second, in contrasts of the face, below which a face is a poster
    copy_correlation: float = share(
        0.35
    )  # of the mouths of two faces from which on one is a copy: a mirror, for example

    def __post_init__(self) -> None:
        check_bounds(self)
