"""Training loop of the VAEs: tracks in memory in, an averaged, normalised audio or video VAE and its curve out.

A step's clips, augmentation and noise depend only on the seed and the step's number, so that a killed and resumed run
ends with the same bytes as an uninterrupted one. The caller fixes threads and kernels (one thread, deterministic).

On a GPU, the passes through the VAE run compiled and in bfloat16; weights, losses and the optimiser stay float32.
"""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from wanstreamer.checkpoint import resume_training, save_training
from wanstreamer.metrics import log_mel_l1, psnr_db, ssim
from wanstreamer.train.clips import draw_clips, held_out_clips
from wanstreamer.train.steps import Scalars, average_weights, step_generator
from wanstreamer.train.vae_config import VaeTrainConfig
from wanstreamer.vae import AudioVAE
from wanstreamer.vae.causal import Carry
from wanstreamer.vae.losses import SpectralLoss, latent_pull, pixel_loss
from wanstreamer.vae.tracks import PIECE_UNITS, VAE, encode_track, reconstruct_track, to_input, unit_length

Pass = Callable[[Tensor, Carry], Tensor]  # media -> latents before normalisation, or back

_FIT_NUMBERS = 2**26  # about the most samples or pixels that the linear skip is fitted on: 256 MB


def train_vae(
    model: VAE,
    tracks: Sequence[Tensor],
    held_out: Sequence[Tensor],
    config: VaeTrainConfig,
    *,
    state_path: Path,
    fingerprint: str,
    on_step: Callable[[int], None] = lambda step: None,
    device: str = "cpu",
) -> tuple[VAE, list[Scalars]]:
    """Train `model` in place; returns its averaged weights, normalised, and the curve.

    Args:
        model: Newly built; its initial weights must depend only on the seed.
        tracks: Training tracks. Audio: float32 (T,) in [-1, 1] at the VAE's rate. Video: uint8 (T, H, W, 3).
        held_out: Tracks that are only evaluated, for the curve's `valid_` columns; may be empty.
        config: See its fields.
        state_path: Safetensors file that contains the whole training state during training.
        fingerprint: Of everything this training depends on; a state with another fingerprint is ignored.
        on_step: Called after every step with the number of steps done.
        device: Where the VAE is trained; the returned VAE is on the CPU.
    """
    model.to(device)
    averaged = copy.deepcopy(model)
    optimizer = _optimizer(model, config)
    modules = {"model": model, "averaged": averaged}
    resumed = resume_training(state_path, fingerprint, modules, optimizer) or {}
    step, curve, sums = resumed.get("step", 0), resumed.get("curve", []), resumed.get("sums", {})
    clips = held_out_clips(model, held_out)
    objective = _objective(model, config, device)
    if step == 0:
        model.fit_skip(_fit_batch(model, tracks, config).to(device))
        averaged.load_state_dict(model.state_dict())
        curve.append({"step": 0.0} | _losses_at_start(objective, tracks) | _valid_row(averaged, clips))
    on_step(step)
    saved_s = time.monotonic()
    while step < config.steps:
        generator = step_generator(config.seed, step)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * group["factor"] * _schedule(step, config)
        batch = draw_clips(model, tracks, config.batch, config.clip_units, generator)
        loss, parts = _loss(objective, batch, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
        optimizer.step()
        average_weights(averaged, model, decay=config.ema_decay, step=step)
        step += 1
        for name, value in {**parts, "grad_norm": norm}.items():
            sums[name] = sums.get(name, 0.0) + value.item()
        if step % config.log_every == 0 or step == config.steps:
            count = (step - 1) % config.log_every + 1
            row = {"step": float(step)} | {name: total / count for name, total in sums.items()}
            looks = step % config.valid_every == 0 or step == config.steps
            curve.append(row | (_valid_row(averaged, clips) if looks else {}))
            sums = {}
        if time.monotonic() - saved_s > config.checkpoint_s and step < config.steps:
            progress = {"step": step, "curve": curve, "sums": sums}
            save_training(state_path, fingerprint, modules, optimizer, progress)
            saved_s = time.monotonic()
        on_step(step)
    fit_normalisation(averaged, tracks)
    return averaged.to("cpu").eval().requires_grad_(False), curve


@torch.no_grad()
def fit_normalisation(model: VAE, tracks: Sequence[Tensor], units: int = 4000) -> None:
    """Set the per-channel mean and standard deviation of latents from about `units` units, evenly from all tracks."""
    model.latent_mean_C.zero_()
    model.latent_std_C.fill_(1.0)
    share = max(PIECE_UNITS, units // len(tracks))
    latents = [encode_track(model, track[: share * unit_length(model)]) for track in tracks]
    channel_axis = -1 if isinstance(model, AudioVAE) else 1
    rows_NC = torch.cat([latent.movedim(channel_axis, -1).flatten(0, -2) for latent in latents]).double()
    model.latent_mean_C.copy_(rows_NC.mean(0))
    model.latent_std_C.copy_(rows_NC.std(0).clamp_min(1e-4))


@dataclass(frozen=True, kw_only=True)
class _Objective:
    """The passes through a VAE in training, and the losses of their results."""

    encode: Pass
    decode: Pass
    model: VAE
    config: VaeTrainConfig
    device: str
    spectral: SpectralLoss | None  # of audio


def _objective(model: VAE, config: VaeTrainConfig, device: str) -> _Objective:
    encode: Pass = model.posterior_mean
    decode: Pass = model.reconstruct
    if _accelerated(device):
        encode, decode = torch.compile(encode), torch.compile(decode)
    spectral = SpectralLoss(model.config.rate_hz, device) if isinstance(model, AudioVAE) else None
    return _Objective(encode=encode, decode=decode, model=model, config=config, device=device, spectral=spectral)


def _accelerated(device: str) -> bool:
    """Whether passes run compiled and in bfloat16. On a CPU, neither pays off within minutes."""
    return device.startswith("cuda")


def _loss(objective: _Objective, clips: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    config = objective.config
    clips = clips.to(objective.device)
    with torch.autocast(clips.device.type, torch.bfloat16, enabled=_accelerated(objective.device)):
        mean = objective.encode(clips, Carry(None)).float()
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        decoded = objective.decode(mean + objective.model.config.posterior_std * noise, Carry(None)).float()
    pull = latent_pull(mean)
    if objective.spectral is None:
        loss = pixel_loss(decoded, clips) + config.pull * pull
        return loss, {"loss": loss, "pull": pull}
    mel, magnitude = objective.spectral(decoded, clips)
    wave = (decoded - clips).abs().mean()
    loss = mel + magnitude + config.waveform * wave + config.pull * pull
    return loss, {"loss": loss, "mel": mel, "magnitude": magnitude, "wave": wave, "pull": pull}


@torch.no_grad()
def _losses_at_start(objective: _Objective, tracks: Sequence[Tensor]) -> Scalars:
    """Row 0 of the curve: the linear VAE alone, on the clips of the first step."""
    config = objective.config
    generator = step_generator(config.seed, 0)
    batch = draw_clips(objective.model, tracks, config.batch, config.clip_units, generator)
    _, parts = _loss(objective, batch, generator)
    return {name: part.item() for name, part in parts.items()} | {"grad_norm": 0.0}


def _fit_batch(model: VAE, tracks: Sequence[Tensor], config: VaeTrainConfig) -> Tensor:
    """Clips for the linear skip, drawn as in training, for step numbers that training never reaches."""
    drawn: list[Tensor] = []
    for step in range(config.steps, config.steps + max(1, config.fit_clips // config.batch)):
        generator = step_generator(config.seed, step)
        drawn.append(draw_clips(model, tracks, config.batch, config.clip_units, generator))
        if sum(clips.numel() for clips in drawn) > _FIT_NUMBERS:
            break
    return torch.cat(drawn)


def _valid_row(model: VAE, clips: Sequence[Tensor]) -> Scalars:
    """Mean figures of held-out clips, reconstructed by streaming. Empty without clips."""
    rows = []
    for clip in clips:
        decoded, true = reconstruct_track(model, clip)[None].cpu(), to_input(model, clip)
        if isinstance(model, AudioVAE):
            rows.append({"valid_log_mel_l1": log_mel_l1(decoded, true, model.config.rate_hz)})
        else:
            rows.append({"valid_psnr_db": psnr_db(decoded, true), "valid_ssim": ssim(decoded, true)})
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]} if rows else {}


def _schedule(step: int, config: VaeTrainConfig) -> float:
    warm = min(1.0, (step + 1) / config.warmup_steps)
    return warm * (0.5 + 0.5 * math.cos(math.pi * step / config.steps))


def _optimizer(model: VAE, config: VaeTrainConfig) -> torch.optim.AdamW:
    slow = {id(parameter) for parameter in model.skip_parameters()}
    learned = [parameter for parameter in model.parameters() if id(parameter) not in slow]
    groups = [
        {"params": learned, "factor": 1.0, "weight_decay": config.weight_decay},
        {"params": model.skip_parameters(), "factor": config.skip_rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)
