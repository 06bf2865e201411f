"""What can be set of encode, with bounds; no torch, so that it is checked at once."""

from dataclasses import dataclass

from wanstreamer.bounds import check_bounds, from_one


@dataclass(frozen=True, kw_only=True)
class EncodeParams:
    # Units per call of a VAE (4 s); other values change latents by rounding errors only.
    piece_units: int = from_one(25)

    def __post_init__(self) -> None:
        check_bounds(self)
