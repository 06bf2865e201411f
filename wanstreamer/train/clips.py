"""Training data of a VAE: augmented clips drawn from tracks, and the held-out clips of its curve.

Shape suffixes: B batch, T samples or frames, C channels, H and W height and width.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from wanstreamer.vae import AudioVAE
from wanstreamer.vae.tracks import VAE, to_input, unit_length


def draw_clips(model: VAE, tracks: Sequence[Tensor], count: int, clip_units: int, generator: torch.Generator) -> Tensor:
    """`count` augmented clips from anywhere in the tracks: samples (B, T) or frames (B, T, 3, H, W)."""
    length = clip_units * unit_length(model)
    augment = _vary_loudness if isinstance(model, AudioVAE) else _vary_colours
    clips = []
    for _ in range(count):
        track = tracks[int(torch.randint(len(tracks), (), generator=generator))]
        start = int(torch.randint(max(1, len(track) - length + 1), (), generator=generator))
        clip = track[start : start + length]
        if len(clip) < length:  # a track shorter than a clip is repeated
            clip = torch.cat([clip] * math.ceil(length / len(clip)))[:length]
        clips.append(augment(to_input(model, clip)[0], generator))
    return torch.stack(clips)


def _vary_loudness(audio_T: Tensor, generator: torch.Generator) -> Tensor:
    """Scale by -8 to +4 dB, so that the level is not part of a voice's identity."""
    gain_db = -8 + 12 * torch.rand((), generator=generator)
    return (audio_T * 10 ** (gain_db / 20)).clamp(-1, 1)


def _vary_colours(video_TCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror, swap colours, tint: makes many people out of few, as their number limits the quality on unseen people."""
    if torch.rand((), generator=generator) < 0.5:
        video_TCHW = video_TCHW.flip(-1)
    if torch.rand((), generator=generator) < 0.5:
        video_TCHW = video_TCHW[:, torch.randperm(3, generator=generator)]
    gain_C = 1 + 0.25 * (2 * torch.rand(3, generator=generator) - 1)
    offset_C = 0.2 * (2 * torch.rand(3, generator=generator) - 1)
    return (video_TCHW * gain_C[:, None, None] + offset_C[:, None, None]).clamp(-1, 1)


def held_out_clips(model: VAE, held_out: Sequence[Tensor]) -> list[Tensor]:
    """A few seconds from the middle of up to six held-out tracks."""
    chosen = [held_out[i * len(held_out) // min(6, len(held_out))] for i in range(min(6, len(held_out)))]
    units = [len(track) // unit_length(model) for track in chosen]
    return [
        track[max(0, n // 2 - 8) * unit_length(model) : (n // 2 + 8) * unit_length(model)]
        for track, n in zip(chosen, units, strict=True)
        if n
    ]
