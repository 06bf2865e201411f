"""Small models and random windows for the tests of sequence, model, flow, training and streaming."""

from pathlib import Path

import torch

from wanstreamer.model.attention import Attention
from wanstreamer.model.duplex import DuplexModel, ModelConfig, save_model
from wanstreamer.windows.loader import Batch, open_windows

CONFIG = ModelConfig(
    audio_channels=5,
    video_channels=6,
    video_height=2,
    video_width=4,
    vocab_size=20,
    d_model=32,
    num_layers=2,
    num_heads=2,
    num_kv_heads=2,
    head_dim=16,
    d_ff=48,
    d_perception=16,
)


def random_model(config: ModelConfig = CONFIG, seed: int = 0, attention: Attention | None = None) -> DuplexModel:
    """Every weight random, the zero-initialised ones too: what is zero can hide a leak."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DuplexModel(config, attention)
        with torch.no_grad():
            for weight in model.state_dict().values():  # the prior's statistics too
                weight.add_(0.15 * torch.randn_like(weight))
    return model.eval()


def save_small_model(data: Path) -> None:
    """An untrained duplex model that fits the windows and the small VAEs of a data folder, where evaluate reads it."""
    manifest = open_windows(data / "windows", "test").manifest
    torch.manual_seed(1)
    config = ModelConfig(
        audio_channels=16,
        video_channels=32,
        video_height=3,
        video_width=4,
        vocab_size=manifest.vocab_size,
        d_model=32,
        num_layers=1,
        d_ff=32,
        d_perception=16,
        audio_codec=manifest.audio_codec,
        video_codec=manifest.video_codec,
        tokenizer=manifest.tokenizer_sha256,
    )
    save_model(DuplexModel(config), data / "models" / "duplex" / "model.safetensors")


def random_batch(config: ModelConfig = CONFIG, *, windows: int = 2, units: int = 7, seed: int = 0) -> Batch:
    """Windows of smooth random latents and random text; everything is known."""
    generator = torch.Generator().manual_seed(seed)

    def walk(*shape: int) -> torch.Tensor:
        steps = torch.randn(windows, units, *shape, generator=generator)
        return 0.7 * steps + 0.5 * torch.cumsum(steps, dim=1) / units**0.5

    def text() -> torch.Tensor:
        return torch.randint(3, config.vocab_size, (windows, units, config.text_slots), generator=generator)

    known = torch.ones(windows, units, dtype=torch.bool)
    return Batch(
        user_audio_BKNC=walk(*config.audio_shape),
        user_video_BKCHW=walk(*config.video_shape),
        user_text_BKS=text(),
        agent_audio_BKNC=walk(*config.audio_shape),
        agent_video_BKCHW=walk(*config.video_shape),
        agent_text_BKS=text(),
        user_audio_known_BK=known.clone(),
        user_video_known_BK=known.clone(),
        user_text_known_BK=known.clone(),
        agent_audio_known_BK=known.clone(),
        agent_video_known_BK=known.clone(),
        agent_text_known_BK=known.clone(),
        labels_BKL=torch.zeros(windows, units, 4, dtype=torch.int64),
        window_id=[f"window-{index}" for index in range(windows)],
    )
