"""An agent of random weights, and media to play into it."""

import dataclasses
from typing import Any

import numpy as np
import torch

from tests.helpers.duplex_fixtures import CONFIG, random_model
from wanstreamer.streaming.agent import Agent, AgentConfig
from wanstreamer.vae import AudioVAE, AudioVAEConfig, VideoVAE, VideoVAEConfig


def small_agent(changes: dict[str, Any] | None = None, **settings: Any) -> Agent:
    """Random weights; `changes` of the duplex model's config, `settings` of the agent's."""
    torch.manual_seed(0)
    audio_vae, video_vae = AudioVAE(AudioVAEConfig()), VideoVAE(VideoVAEConfig())
    channels, height, width = video_vae.config.latent_shape
    config = dataclasses.replace(
        CONFIG,
        audio_channels=audio_vae.config.channels,
        video_channels=channels,
        video_height=height,
        video_width=width,
        **(changes or {}),
    )
    return Agent(
        random_model(config), audio_vae, video_vae, config=AgentConfig(**{"steps": 2, "max_units": 8} | settings)
    )


def media(units: int) -> list[tuple[np.ndarray, np.ndarray]]:
    generator = np.random.default_rng(0)
    return [
        (
            generator.integers(0, 256, (4, 48, 64, 3), dtype=np.uint8),
            generator.uniform(-0.3, 0.3, 2560).astype(np.float32),
        )
        for _ in range(units)
    ]
