"""Parameters of the vae stage, with their bounds. Imports no torch, so that checking a parameter file is fast."""

from dataclasses import dataclass, field
from pathlib import Path

from wanstreamer.bounds import check_bounds, from_one, from_zero, random_seed
from wanstreamer.errors import InputError
from wanstreamer.train.vae_config import ClipTraining


@dataclass(frozen=True, kw_only=True)
class VaeTrainingParams(ClipTraining):
    """Training of one VAE; for all other settings see VaeTrainConfig. One thread does 2 to 8 steps per second."""

    channels: int = from_one()  # channels of a latent


@dataclass(frozen=True, kw_only=True)
class VaeParams:
    # Clips of 1.28 s contain several syllables.
    audio: VaeTrainingParams = field(
        default_factory=lambda: VaeTrainingParams(channels=16, steps=900, batch=4, clip_units=8)
    )
    # 384 numbers per unit.
    video: VaeTrainingParams = field(default_factory=lambda: VaeTrainingParams(channels=32, steps=300))
    seed: int = random_seed()  # for weights, clips, augmentation and noise
    # Minutes of tracks in memory, taken evenly from all. A minute of 64x48 video takes 14 MB, of 336x192 290 MB.
    max_train_minutes: int = from_one(60)
    weights: str = ""  # folder with finished audio.safetensors and video.safetensors; empty: train
    # Compare finished weights with a linear baseline on the tracks, whenever those change; false: no figures, no films.
    measure: bool = True
    checkpoint_s: float = from_zero(20.0)  # seconds between saved states, from which a killed training resumes

    def __post_init__(self) -> None:
        check_bounds(self)

    def check(self) -> None:
        """Raises InputError if the finished weights do not exist."""
        if self.weights and not Path(self.weights).exists():
            raise InputError(f"vae.weights {self.weights}: no such file or folder; `make repro` makes some")
