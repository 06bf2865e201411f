"""Floating-point operations of a training step of the duplex model, counted without computing them.

A multiplication with an addition counts as two; the backward pass counts twice the forward pass; attention counts only
the pairs that the mask allows, even if a kernel computes more.
"""

import torch
from torch import Tensor, nn

from wanstreamer.model.duplex import DuplexModel, ModelConfig, Noisy
from wanstreamer.model.sequence import FIRST_WORD, Tokens, clean_tokens, join, noisy_tokens, take, visible
from wanstreamer.windows.loader import LABELS, Batch


def step_flops(config: ModelConfig, num_windows: int, num_units: int) -> float:
    """Floating-point operations of one step, forward and backward; see the module's docstring."""
    return 3.0 * num_windows * (_linear_flops(config, num_units) + _attention_flops(config, num_units))


def visible_pairs(query: Tokens, key: Tokens, self_lag: int) -> int:
    """Number of (query, key) pairs that the mask allows; computed for 1024 queries at a time."""
    count = len(query.unit_N)
    return sum(int(visible(take(query, n, n + 1024), key, self_lag).sum()) for n in range(0, count, 1024))


def _attention_flops(config: ModelConfig, num_units: int) -> float:
    clean, noisy = clean_tokens(config.layout, num_units), noisy_tokens(config.layout, num_units)
    pairs = visible_pairs(clean, clean, config.self_lag) + visible_pairs(noisy, join(clean, noisy), config.self_lag)
    return 4.0 * config.num_layers * config.num_heads * config.head_dim * pairs  # QK^T and its product with V


def _linear_flops(config: ModelConfig, num_units: int) -> float:
    """Operations of all linear layers in one window's forward pass. Counted by a pass on `meta`, without computing."""
    flops = 2.0 * num_units * config.text_slots * config.d_model * config.vocab_size  # the tied text head

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal flops
        assert isinstance(module, nn.Linear)
        flops += 2.0 * inputs[0].numel() * module.out_features

    with torch.device("meta"):
        model = DuplexModel(config)
        batch = random_batch(config, 1, num_units)
        noisy = Noisy(batch.agent_audio_BKNC, batch.agent_video_BKCHW, torch.empty(1, num_units))
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(count)
    model(batch, noisy)
    return flops


def random_batch(config: ModelConfig, num_windows: int, num_units: int) -> Batch:
    """Windows of noise without any mask."""
    text = (num_windows, num_units, config.text_slots)
    flags = {
        f"{party}_{stream}_known_BK": torch.ones(num_windows, num_units, dtype=torch.bool)
        for party in ("user", "agent")
        for stream in ("audio", "video", "text")
    }
    return Batch(
        user_audio_BKNC=torch.randn(num_windows, num_units, *config.audio_shape),
        user_video_BKCHW=torch.randn(num_windows, num_units, *config.video_shape),
        user_text_BKS=torch.randint(FIRST_WORD, config.vocab_size, text),
        agent_audio_BKNC=torch.randn(num_windows, num_units, *config.audio_shape),
        agent_video_BKCHW=torch.randn(num_windows, num_units, *config.video_shape),
        agent_text_BKS=torch.randint(FIRST_WORD, config.vocab_size, text),
        labels_BKL=torch.zeros(num_windows, num_units, len(LABELS), dtype=torch.int64),
        window_id=[str(number) for number in range(num_windows)],
        **flags,
    )
