"""The trunk's parts: a language model's block, and the flow time that modulates it on noisy tokens.

Clean tokens pass an ordinary block (RMSNorm, QK-norm, rotary embedding, SwiGLU, grouped-query attention), so that a
language model's weights fit unchanged.

Shape letters: B batch, K units, A agent tokens of a unit, N tokens, H heads, E half a head's dimensions, D model width
or head dimension.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from wanstreamer.model.attention import Mask, attend
from wanstreamer.model.cache import KeysValues, LayerCache, Places, with_history
from wanstreamer.model.config import ModelConfig


class Block(nn.Module):
    """Attention and SwiGLU, each behind RMSNorm; noisy tokens are modulated by the flow time."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        d, heads, kv_heads, head_dim = config.d_model, config.num_heads, config.num_kv_heads, config.head_dim
        eps = config.norm_eps
        self.attention_norm, self.feed_norm = nn.RMSNorm(d, eps=eps), nn.RMSNorm(d, eps=eps)
        self.qkv = nn.Linear(d, (heads + 2 * kv_heads) * head_dim, bias=False)
        self.q_norm, self.k_norm = nn.RMSNorm(head_dim, eps=eps), nn.RMSNorm(head_dim, eps=eps)
        self.attention_out = nn.Linear(heads * head_dim, d, bias=False)
        self.feed_in = nn.Linear(d, 2 * config.d_ff, bias=False)
        self.feed_out = nn.Linear(config.d_ff, d, bias=False)

    def forward(
        self,
        x_BND: Tensor,
        rotary: tuple[Tensor, Tensor],
        mask: Mask,
        modulation_BKA6D: Tensor | None,
        before: KeysValues | LayerCache | Places | None,
        backend: str,
        dropped_B2D: Tensor | None = None,
    ) -> tuple[Tensor, KeysValues]:
        shift1, scale1, gate1, shift2, scale2, gate2 = (
            (None,) * 6 if modulation_BKA6D is None else modulation_BKA6D.unbind(dim=3)
        )
        h_BND = _modulate(self.attention_norm(x_BND), scale1, shift1)
        h_BND, keys_values = self._attend(h_BND, rotary, mask, before, backend)
        x_BND = x_BND + _drop(_modulate(h_BND, gate1, None), dropped_B2D, 0)
        h_BND = _modulate(self.feed_norm(x_BND), scale2, shift2)
        gate_BND, up_BND = self.feed_in(h_BND).chunk(2, dim=-1)
        h_BND = self.feed_out(functional.silu(gate_BND) * up_BND)
        return x_BND + _drop(_modulate(h_BND, gate2, None), dropped_B2D, 1), keys_values

    def _attend(
        self,
        h_BND: Tensor,
        rotary: tuple[Tensor, Tensor],
        mask: Mask,
        before: KeysValues | LayerCache | Places | None,
        backend: str,
    ) -> tuple[Tensor, KeysValues]:
        config = self.config
        heads, kv_heads = config.num_heads, config.num_kv_heads
        qkv = self.qkv(h_BND).unflatten(-1, (heads + 2 * kv_heads, config.head_dim)).transpose(1, 2)
        q_BHND, k_BHND, v_BHND = qkv.split([heads, kv_heads, kv_heads], dim=1)
        q_BHND = _rotate(self.q_norm(q_BHND), rotary).type_as(v_BHND)  # under autocast, norms give float32
        k_BHND = _rotate(self.k_norm(k_BHND), rotary).type_as(v_BHND)
        k_BHND, v_BHND = with_history(k_BHND, v_BHND, before)
        attended_BHND = attend(q_BHND, k_BHND, v_BHND, mask, backend)
        return self.attention_out(attended_BHND.transpose(1, 2).flatten(2)), KeysValues(k_BHND, v_BHND)


class FlowTime(nn.Module):
    """Flow time -> shifts, scales and gates of every layer (PixArt-alpha's shared adaptive norm, arXiv 2310.00426)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.d_model
        self.features = 32
        self.num_agent = config.layout.num_agent
        self.hidden = nn.Linear(2 * self.features, d)
        self.out = nn.Linear(d, 6 * d)
        self.layers = nn.Parameter(torch.zeros(config.num_layers, 6, d))

    def forward(self, tau_BK: Tensor) -> list[Tensor]:
        """tau in [0, 1], (B, K) -> per layer (B, K, num_agent, 6, D); the solver calls this once per distinct tau.

        Each unit is in memory once: its tokens are views.
        """
        # A quarter turn to 8 turns over [0, 1].
        frequency = torch.pi / 2 * torch.logspace(0, 1.5, self.features, device=tau_BK.device)
        angle = tau_BK[..., None] * frequency
        h = functional.silu(self.hidden(torch.cat([angle.cos(), angle.sin()], dim=-1)))
        base_BK16D = self.out(h).unflatten(-1, (6, -1))[:, :, None]
        return [(base_BK16D + layer_6D).expand(-1, -1, self.num_agent, -1, -1) for layer_6D in self.layers]


def _modulate(x_BND: Tensor, scale_BKAD: Tensor | None, shift_BKAD: Tensor | None) -> Tensor:
    """(1 + scale) x + shift; clean tokens have neither and pass unchanged."""
    if scale_BKAD is None:
        return x_BND
    x_BKAD = x_BND.unflatten(1, scale_BKAD.shape[1:3])
    return torch.addcmul(x_BKAD if shift_BKAD is None else x_BKAD + shift_BKAD, x_BKAD, scale_BKAD).flatten(1, 2)


def _drop(x_BND: Tensor, dropped_B2D: Tensor | None, part: int) -> Tensor:
    return x_BND if dropped_B2D is None else x_BND * dropped_B2D[:, None, part]


def _rotate(x_BHND: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    cos_NE, sin_NE = rotary
    first, second = x_BHND.chunk(2, dim=-1)
    return torch.cat([first * cos_NE - second * sin_NE, second * cos_NE + first * sin_NE], dim=-1).type_as(x_BHND)
