"""Parameters of the encode stage, with their bounds. Imports no torch, so that checking a parameter file is fast."""

from dataclasses import dataclass

from wanstreamer.bounds import check_bounds, from_one


@dataclass(frozen=True, kw_only=True)
class EncodeParams:
    # Units per call of a VAE (4 s); other values change latents by rounding errors only.
    piece_units: int = from_one(25)

    def __post_init__(self) -> None:
        check_bounds(self)
