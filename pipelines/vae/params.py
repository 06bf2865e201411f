"""What can be set of the two VAEs, with bounds; no torch, so that it is checked at once."""

from dataclasses import dataclass, field
from pathlib import Path

from wanstreamer.bounds import check_bounds, from_one, from_zero, random_seed
from wanstreamer.errors import InputError
from wanstreamer.train.vae_config import ClipTraining


@dataclass(frozen=True, kw_only=True)
class VaeTrainingParams(ClipTraining):
    """Training of one VAE; see VaeTrainConfig for what is not named here. One thread does 2 to 8 steps a second."""

    channels: int = from_one()  # of a latent


@dataclass(frozen=True, kw_only=True)
class VaeParams:
    # A clip of 1.28 s holds several syllables.
    audio: VaeTrainingParams = field(
        default_factory=lambda: VaeTrainingParams(channels=16, steps=900, batch=4, clip_units=8)
    )
    # 384 numbers a unit.
    video: VaeTrainingParams = field(default_factory=lambda: VaeTrainingParams(channels=32, steps=300))
    seed: int = random_seed()  # of weights, clips, augmentation and noise
    # Of tracks held in memory, evenly from all. A minute of 64x48 video takes 14 MB, of 336x192 290 MB.
    max_train_minutes: int = from_one(60)
    weights: str = ""  # folder with finished audio.safetensors and video.safetensors; empty: train
    checkpoint_s: float = from_zero(20.0)  # between states that a killed training resumes from

    def __post_init__(self) -> None:
        check_bounds(self)

    def check(self) -> None:
        """Raises InputError where the finished weights are not there."""
        if self.weights and not Path(self.weights).exists():
            raise InputError(f"vae.weights {self.weights}: no such file or folder; `make repro` makes some")
