"""Training loop of the codecs: tracks in memory in, an averaged, normalised audio or video VAE and its curve out.

A step's clips, augmentation and noise depend on the seed and the step's number alone, so that a run that was killed and
resumed ends with the same bytes as one that was not. The caller fixes threads and kernels (one thread, deterministic).

Shape suffixes: B batch, T samples or frames, C channels, H and W height and width.
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
from wanstreamer.clock import FRAMES_PER_UNIT, samples_per_unit
from wanstreamer.metrics import log_mel_l1, psnr_db, ssim
from wanstreamer.vae import AudioVAE, VideoVAE
from wanstreamer.vae.causal import Carry
from wanstreamer.vae.losses import SpectralLoss, latent_pull, pixel_loss

Codec = AudioVAE | VideoVAE
Row = dict[str, float]

_STREAM_UNITS = 25  # units per piece where whole tracks are streamed through a codec


@dataclass(frozen=True, kw_only=True)
class CodecTrainConfig:
    """How one codec is trained."""

    steps: int  # optimiser steps
    batch: int = 8  # clips per step
    clip_units: int = 4  # units of 160 ms per clip; every clip starts a stream
    learning_rate: float = 2e-3  # peak; cosine to zero
    skip_rate: float = 0.05  # of the learning rate, for the linear skip, which is good from the start
    warmup_steps: int = 30  # linear
    weight_decay: float = 0.01
    grad_clip: float = 1.0  # gradient norm
    pull: float = 1e-3  # weight of the latents' KL divergence
    waveform: float = 2.5  # weight of the waveform L1 (audio): sets the phases that spectra leave open
    ema_decay: float = 0.99  # of the weights that are kept
    fit_clips: int = 256  # clips the linear skip is fitted on
    log_every: int = 20  # steps per row of the curve
    valid_every: int = 100  # steps between looks at held-out clips; a multiple of log_every
    checkpoint_s: float = 20.0  # wall time between states for resuming; does not change the result
    seed: int = 0


def train_codec(
    model: Codec,
    tracks: Sequence[Tensor],
    held_out: Sequence[Tensor],
    config: CodecTrainConfig,
    *,
    state_path: Path,
    fingerprint: str,
    on_step: Callable[[int], None] = lambda step: None,
) -> tuple[Codec, list[Row]]:
    """Train `model` in place; returns its averaged weights, normalised, and the curve.

    Args:
        model: Freshly built; its initial weights must depend on the seed alone.
        tracks: Training tracks. Audio: float32 (T,) in [-1, 1] at the codec's rate. Video: uint8 (T, H, W, 3).
        held_out: Tracks that are only looked at, for the curve's `valid_` columns; may be empty.
        config: See its fields.
        state_path: Safetensors file that holds the whole training state while training lasts.
        fingerprint: What this training depends on; a state with another one is ignored.
        on_step: Called after every step with the number of steps done.
    """
    averaged = copy.deepcopy(model)
    optimizer = _optimizer(model, config)
    modules = {"model": model, "averaged": averaged}
    resumed = resume_training(state_path, fingerprint, modules, optimizer) or {}
    step, curve, sums = resumed.get("step", 0), resumed.get("curve", []), resumed.get("sums", {})
    clips = _valid_clips(model, held_out)
    spectral = SpectralLoss(model.config.rate_hz) if isinstance(model, AudioVAE) else None
    if step == 0:
        model.fit_skip(_fit_batch(model, tracks, config))
        averaged.load_state_dict(model.state_dict())
        curve.append({"step": 0.0} | _losses_at_start(model, tracks, config, spectral) | _valid_row(averaged, clips))
    on_step(step)
    saved_s = time.monotonic()
    while step < config.steps:
        generator = _generator(config.seed, step)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * group["factor"] * _schedule(step, config)
        loss, parts = _loss(model, _batch(model, tracks, config, generator), generator, config, spectral)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
        optimizer.step()
        _average(averaged, model, min(config.ema_decay, (1 + step) / (10 + step)))
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
    return averaged.eval().requires_grad_(False), curve


@torch.no_grad()
def fit_normalisation(model: Codec, tracks: Sequence[Tensor], units: int = 4000) -> None:
    """Set the per-channel mean and standard deviation of latents from about `units` units, evenly from all tracks."""
    model.latent_mean_C.zero_()
    model.latent_std_C.fill_(1.0)
    share = max(_STREAM_UNITS, units // len(tracks))
    found = [encode_track(model, track[: share * _unit_length(model)]) for track in tracks]
    channel_axis = -1 if isinstance(model, AudioVAE) else 1
    rows_NC = torch.cat([latent.movedim(channel_axis, -1).flatten(0, -2) for latent in found]).double()
    model.latent_mean_C.copy_(rows_NC.mean(0))
    model.latent_std_C.copy_(rows_NC.std(0).clamp_min(1e-4))


@torch.no_grad()
def encode_track(model: Codec, track: Tensor, piece_units: int = _STREAM_UNITS) -> Tensor:
    """Normalised latents of one track, streamed in pieces: (units, 4, C) for audio, (units, C, h, w) for video.

    Samples or frames after the last whole unit are left out.
    """
    length = _unit_length(model)
    state = None
    pieces = []
    for piece in track[: len(track) // length * length].split(piece_units * length):
        latent, state = model.encode(to_input(model, piece), state)
        pieces.append(latent[0])
    whole = torch.cat(pieces)
    return whole.unflatten(0, (-1, 4)) if isinstance(model, AudioVAE) else whole


@torch.no_grad()
def decode_track(model: Codec, latents: Tensor, piece_units: int = _STREAM_UNITS) -> Tensor:
    """What `encode_track` gave -> samples (T,) or frames (T, 3, H, W) in [-1, 1], streamed in pieces."""
    state = None
    pieces = []
    for piece in latents.split(piece_units):
        latent = piece.flatten(0, 1) if isinstance(model, AudioVAE) else piece
        made, state = model.decode(latent[None], state)
        pieces.append(made[0].clamp(-1, 1))
    return torch.cat(pieces)


def to_input(model: Codec, track: Tensor) -> Tensor:
    """One track as the codec takes it: samples (1, T), or frames (1, T, 3, H, W) in [-1, 1] from uint8 (T, H, W, 3)."""
    if isinstance(model, AudioVAE):
        return track[None]
    return track.permute(0, 3, 1, 2)[None].float() / 127.5 - 1


def evaluate_codec(model: Codec, tracks: Sequence[Tensor], seconds: float = 12.8) -> Row:
    """Mean figures over the beginnings of tracks, reconstructed by streaming. Empty without tracks."""
    rows = []
    for track in tracks:
        length = _unit_length(model) * max(1, int(seconds / 0.16))
        beginning = track[: min(length, len(track) // _unit_length(model) * _unit_length(model))]
        made = decode_track(model, encode_track(model, beginning))
        rows.append(_figures(model, made[None], to_input(model, beginning)))
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]} if rows else {}


def _figures(model: Codec, made: Tensor, true: Tensor) -> Row:
    if isinstance(model, AudioVAE):
        return {"log_mel_l1": log_mel_l1(made, true, model.config.rate_hz)}
    return {"psnr_db": psnr_db(made, true), "ssim": ssim(made, true)}


def _unit_length(model: Codec) -> int:
    """Samples or frames in one unit."""
    return samples_per_unit(model.config.rate_hz) if isinstance(model, AudioVAE) else FRAMES_PER_UNIT


def _loss(
    model: Codec, clips: Tensor, generator: torch.Generator, config: CodecTrainConfig, spectral: SpectralLoss | None
) -> tuple[Tensor, dict[str, Tensor]]:
    mean = model.posterior_mean(clips, Carry(None))
    noise = torch.randn(mean.shape, generator=generator)
    made = model.reconstruct(mean + model.config.posterior_std * noise, Carry(None))
    pull = latent_pull(mean)
    if spectral is None:
        loss = pixel_loss(made, clips) + config.pull * pull
        return loss, {"loss": loss, "pull": pull}
    mel, magnitude = spectral(made, clips)
    wave = (made - clips).abs().mean()
    loss = mel + magnitude + config.waveform * wave + config.pull * pull
    return loss, {"loss": loss, "mel": mel, "magnitude": magnitude, "wave": wave, "pull": pull}


@torch.no_grad()
def _losses_at_start(
    model: Codec, tracks: Sequence[Tensor], config: CodecTrainConfig, spectral: SpectralLoss | None
) -> Row:
    """The curve's row 0: the linear codec alone, on the clips of the first step."""
    generator = _generator(config.seed, 0)
    _, parts = _loss(model, _batch(model, tracks, config, generator), generator, config, spectral)
    return {name: part.item() for name, part in parts.items()} | {"grad_norm": 0.0}


def _generator(seed: int, step: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def _batch(model: Codec, tracks: Sequence[Tensor], config: CodecTrainConfig, generator: torch.Generator) -> Tensor:
    """Augmented clips: samples (B, T) or frames (B, T, 3, H, W)."""
    length = config.clip_units * _unit_length(model)
    augment = _vary_loudness if isinstance(model, AudioVAE) else _vary_colours
    clips = []
    for _ in range(config.batch):
        track = tracks[int(torch.randint(len(tracks), (), generator=generator))]
        start = int(torch.randint(max(1, len(track) - length + 1), (), generator=generator))
        clip = track[start : start + length]
        if len(clip) < length:  # a track shorter than a clip goes round
            clip = torch.cat([clip] * math.ceil(length / len(clip)))[:length]
        clips.append(augment(to_input(model, clip)[0], generator))
    return torch.stack(clips)


def _vary_loudness(audio_T: Tensor, generator: torch.Generator) -> Tensor:
    """-8 to +4 dB, so that level is not part of what a voice sounds like."""
    gain_db = -8 + 12 * torch.rand((), generator=generator)
    return (audio_T * 10 ** (gain_db / 20)).clamp(-1, 1)


def _vary_colours(video_TCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrored, colours swapped, tinted: many people out of few, which is what bounds the quality on unseen ones."""
    if torch.rand((), generator=generator) < 0.5:
        video_TCHW = video_TCHW.flip(-1)
    if torch.rand((), generator=generator) < 0.5:
        video_TCHW = video_TCHW[:, torch.randperm(3, generator=generator)]
    gain_C = 1 + 0.25 * (2 * torch.rand(3, generator=generator) - 1)
    offset_C = 0.2 * (2 * torch.rand(3, generator=generator) - 1)
    return (video_TCHW * gain_C[:, None, None] + offset_C[:, None, None]).clamp(-1, 1)


def _fit_batch(model: Codec, tracks: Sequence[Tensor], config: CodecTrainConfig) -> Tensor:
    """Clips for the linear skip, drawn as in training, from steps that training never reaches."""
    rounds = range(config.steps, config.steps + max(1, config.fit_clips // config.batch))
    return torch.cat([_batch(model, tracks, config, _generator(config.seed, step)) for step in rounds])


def _valid_clips(model: Codec, held_out: Sequence[Tensor]) -> list[Tensor]:
    """A few seconds from the middle of up to six held-out tracks."""
    chosen = [held_out[i * len(held_out) // min(6, len(held_out))] for i in range(min(6, len(held_out)))]
    units = [len(track) // _unit_length(model) for track in chosen]
    return [
        track[max(0, n // 2 - 8) * _unit_length(model) : (n // 2 + 8) * _unit_length(model)]
        for track, n in zip(chosen, units, strict=True)
        if n
    ]


def _valid_row(model: Codec, clips: Sequence[Tensor]) -> Row:
    return {f"valid_{name}": value for name, value in evaluate_codec(model, clips).items()}


def _schedule(step: int, config: CodecTrainConfig) -> float:
    warm = min(1.0, (step + 1) / config.warmup_steps)
    return warm * (0.5 + 0.5 * math.cos(math.pi * step / config.steps))


def _optimizer(model: Codec, config: CodecTrainConfig) -> torch.optim.AdamW:
    slow = {id(parameter) for parameter in model.skip_parameters()}
    learned = [parameter for parameter in model.parameters() if id(parameter) not in slow]
    groups = [
        {"params": learned, "factor": 1.0, "weight_decay": config.weight_decay},
        {"params": model.skip_parameters(), "factor": config.skip_rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


@torch.no_grad()
def _average(averaged: Codec, model: Codec, decay: float) -> None:
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - decay)
