"""Whole tracks through a VAE: streamed in pieces with the state carried over, so that length costs no memory.

A track has the content of a track on disk: float32 samples (T,) in [-1, 1], or uint8 frames (T, H, W, 3).

Shape suffixes: B batch, T samples or frames, C channels, H and W height and width.
"""

import torch
from torch import Tensor

from wanstreamer.clock import AUDIO_LATENTS_PER_UNIT, FRAMES_PER_UNIT, samples_per_unit
from wanstreamer.vae.audio import AudioVAE
from wanstreamer.vae.video import VideoVAE

VAE = AudioVAE | VideoVAE

PIECE_UNITS = 25  # 4 s: large enough that the overhead of a call does not matter


def unit_length(model: VAE) -> int:
    """Samples or frames in one unit."""
    return samples_per_unit(model.config.rate_hz) if isinstance(model, AudioVAE) else FRAMES_PER_UNIT


def to_input(model: VAE, track: Tensor) -> Tensor:
    """One track in the form that the VAE takes: samples (1, T), or frames (1, T, 3, H, W) in [-1, 1]."""
    if isinstance(model, AudioVAE):
        return track[None]
    return track.permute(0, 3, 1, 2)[None].float() / 127.5 - 1


@torch.no_grad()
def encode_track(model: VAE, track: Tensor, piece_units: int = PIECE_UNITS) -> Tensor:
    """Normalised latents of one track: (units, 4, C) for audio, (units, C, h, w) for video.

    Samples or frames after the last whole unit are left out.
    """
    length = unit_length(model)
    device = model.latent_mean_C.device
    state = None
    pieces = []
    for piece in track[: len(track) // length * length].split(piece_units * length):
        latent, state = model.encode(to_input(model, piece.to(device)), state)
        pieces.append(latent[0])
    whole = torch.cat(pieces)
    return whole.unflatten(0, (-1, AUDIO_LATENTS_PER_UNIT)) if isinstance(model, AudioVAE) else whole


@torch.no_grad()
def decode_track(model: VAE, latents: Tensor, piece_units: int = PIECE_UNITS) -> Tensor:
    """Latents of `encode_track` -> samples (T,) or frames (T, 3, H, W) in [-1, 1]."""
    state = None
    pieces = []
    for piece in latents.split(piece_units):
        latent = piece.flatten(0, 1) if isinstance(model, AudioVAE) else piece
        decoded, state = model.decode(latent[None], state)
        pieces.append(decoded[0].clamp(-1, 1))
    return torch.cat(pieces)


def reconstruct_track(model: VAE, track: Tensor) -> Tensor:
    """A track, encoded and decoded: samples (T,) or frames (T, 3, H, W) in [-1, 1]."""
    return decode_track(model, encode_track(model, track))
