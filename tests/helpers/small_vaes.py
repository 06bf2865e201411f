"""VAEs small enough to test, with every weight at work."""

import math
from typing import TypeVar

import torch
from torch import nn

from wanstreamer.vae import AudioVAE, AudioVAEConfig, VideoVAE, VideoVAEConfig

AnyVAE = TypeVar("AnyVAE", AudioVAE, VideoVAE)


def small_vae(kind: str, dtype: torch.dtype = torch.float32) -> AudioVAE | VideoVAE:
    if kind == "audio":
        config = AudioVAEConfig(channels=6, encoder_width=16, latent_width=24, decoder_width=20, decoder_blocks=(1, 2))
        return awake(AudioVAE(config), dtype)
    return awake(VideoVAE(VideoVAEConfig(height=32, width=32, channels=5, widths=(8, 12, 16), blocks=(1, 1, 2))), dtype)


def awake(model: AnyVAE, dtype: torch.dtype) -> AnyVAE:
    """The VAE with every weight at work: branches that start at zero are set at random."""
    torch.manual_seed(1)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d)):
                fan_in = layer.weight[0].numel()
                layer.weight.normal_(0, 0.7 / math.sqrt(fan_in))
                if layer.bias is not None:
                    layer.bias.normal_(0, 0.1)
        model.latent_mean_C.normal_()
        model.latent_std_C.uniform_(0.5, 2)
    return model.to(dtype).eval().requires_grad_(False)
