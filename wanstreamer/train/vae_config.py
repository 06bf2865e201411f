"""Settings of a VAE's training, with their bounds. No torch here, so that checking a file is fast."""

from dataclasses import dataclass

from wanstreamer.bounds import BadValue, bounded, check_bounds, from_one, from_zero, random_seed, share


@dataclass(frozen=True, kw_only=True)
class ClipTraining:
    """Settings that decide the size of a training."""

    steps: int = from_one()  # optimiser steps
    batch: int = from_one(8)  # clips per step
    clip_units: int = from_one(4)  # units of 160 ms per clip; every clip starts a stream
    learning_rate: float = bounded(2e-3, above=0)  # its peak; it decreases to zero along a cosine

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class VaeTrainConfig(ClipTraining):
    """How one VAE is trained."""

    skip_rate: float = share(
        0.05
    )  # learning rate of the linear skip, as a share of the other; the skip is good from the start
    warmup_steps: int = from_one(30)  # steps of linear warm-up
    weight_decay: float = from_zero(0.01)
    grad_clip: float = bounded(1.0, above=0)  # largest norm of a gradient
    pull: float = from_zero(1e-3)  # weight of the latents' KL divergence
    waveform: float = from_zero(2.5)  # weight of the waveform L1 (audio): it decides phases, which spectra do not
    ema_decay: float = share(0.99)  # decay of the averaged weights; these are saved
    fit_clips: int = from_one(256)  # clips on which the linear skip is fitted; fewer if they are large
    log_every: int = from_one(20)  # steps between rows of the curve
    valid_every: int = from_one(100)  # steps between validations on held-out clips; a multiple of log_every
    checkpoint_s: float = from_zero(
        20.0
    )  # seconds between saved states, from which a killed training resumes; does not change the result
    seed: int = random_seed()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.valid_every % self.log_every:
            raise BadValue("valid_every", self.valid_every, f"a multiple of log_every, {self.log_every}")
