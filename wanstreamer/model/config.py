"""Sizes of a duplex model -> one frozen config; the four scales by name.

A config contains everything that its weights depend on. VAEs and tokenizer decide the sizes of latents and vocabulary,
so a named scale leaves these open:

    >>> scaled("base", audio_channels=32, video_channels=64, vocab_size=151672).layout.num_agent
    256
"""

from dataclasses import dataclass
from typing import Any

from wanstreamer.clock import AUDIO_LATENTS_PER_UNIT
from wanstreamer.errors import InputError
from wanstreamer.model.sequence import UnitLayout

PREDICTIONS = ("clean", "velocity")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything that a checkpoint must state to be usable; the defaults are the scale `tiny`."""

    audio_channels: int
    video_channels: int
    video_height: int  # rows of one video latent
    video_width: int
    vocab_size: int
    text_slots: int = 2  # text tokens per unit and party
    user_audio_tokens: int = 1  # the unit's 4 audio latents are packed into this many tokens
    agent_audio_tokens: int = 1
    user_video_tokens: tuple[int, int] = (1, 1)  # rows, columns of tokens that a video latent is packed into
    agent_video_tokens: tuple[int, int] = (1, 1)
    d_model: int = 128
    num_layers: int = 4
    num_heads: int = 4
    num_kv_heads: int = 4  # fewer than num_heads: grouped-query attention
    head_dim: int = 32
    d_ff: int = 352
    d_perception: int = 96  # width of the causal encoder of user latents
    rope_theta: float = 10000.0
    norm_eps: float = 1e-6  # of the trunk's RMSNorms
    prediction: str = "clean"  # output of the flow heads: the clean latent, or the path's velocity as in the paper
    dropout: float = 0.2  # share of the numbers that a block adds
    token_dropout: float = 0.1  # share of clean tokens that lose their content in training
    self_lag: int = 0  # units by which text sees the agent's own latents later; 0 is the paper's equation
    audio_codec: str = ""  # sha256 of the audio VAE whose latents the model uses; empty: none
    video_codec: str = ""
    tokenizer: str = ""  # sha256 of tokenizer.json

    def __post_init__(self) -> None:
        if self.prediction not in PREDICTIONS:
            raise InputError(f"prediction {self.prediction!r}: expected one of {', '.join(PREDICTIONS)}")
        if self.num_heads % self.num_kv_heads:
            raise InputError(f"num_heads {self.num_heads}: expected a multiple of num_kv_heads {self.num_kv_heads}")

    @property
    def layout(self) -> UnitLayout:
        return UnitLayout(
            user_audio=self.user_audio_tokens,
            user_video=self.user_video_tokens,
            text_slots=self.text_slots,
            agent_audio=self.agent_audio_tokens,
            agent_video=self.agent_video_tokens,
        )

    @property
    def audio_shape(self) -> tuple[int, int]:
        """One unit of audio latents: (N, C)."""
        return AUDIO_LATENTS_PER_UNIT, self.audio_channels

    @property
    def video_shape(self) -> tuple[int, int, int]:
        """One unit of video latents: (C, H, W)."""
        return self.video_channels, self.video_height, self.video_width


# 336x192 at 16 pixels per latent: one token per latent for the agent; the user's latents are pooled 2x3.
_AT_192P: dict[str, Any] = {
    "video_height": 12,
    "video_width": 21,
    "user_audio_tokens": 4,
    "agent_audio_tokens": 4,
    "user_video_tokens": (6, 7),
    "agent_video_tokens": (12, 21),
}
# Common to Qwen3's sizes.
_QWEN3: dict[str, Any] = _AT_192P | {
    "num_layers": 28,
    "num_heads": 16,
    "num_kv_heads": 8,
    "head_dim": 128,
    "d_perception": 512,
    "rope_theta": 1e6,
    "dropout": 0.0,
}
SCALES: dict[str, dict[str, Any]] = {
    "tiny": {"video_height": 3, "video_width": 4},  # 64x48; two CPU cores, minutes
    "small": _AT_192P
    | {
        "d_model": 768,
        "num_layers": 12,
        "num_heads": 12,
        "num_kv_heads": 4,
        "head_dim": 64,
        "d_ff": 2048,
        "d_perception": 256,
    },
    "base": _QWEN3 | {"d_model": 1024, "d_ff": 3072},  # the trunk of Qwen3-0.6B
    "large": _QWEN3 | {"d_model": 2048, "d_ff": 6144},  # of Qwen3-1.7B
}


def scaled(scale: str, *, audio_channels: int, video_channels: int, vocab_size: int, **changes: Any) -> ModelConfig:
    """The config of a named scale for these latents and this vocabulary; `changes` replace single fields.

    Raises InputError for a scale that is not in SCALES.
    """
    if scale not in SCALES:
        raise InputError(f"scale {scale!r}: expected one of {', '.join(SCALES)}")
    sizes = {"audio_channels": audio_channels, "video_channels": video_channels, "vocab_size": vocab_size}
    return ModelConfig(**SCALES[scale] | sizes | changes)
