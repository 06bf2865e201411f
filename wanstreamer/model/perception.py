"""The user's latents -> tokens for the Transformer: small causal encoders with explicit state, trained with it.

The packing of latents into tokens is here too. Each party's audio and video latents of a unit become the number of
tokens in the config; at the scale `tiny`, few tokens work better than many.

Shape letters: B batch, K units, T latents in time, N latents of a unit, C channels, H W rows and columns, P tokens of a
unit, D model width, E encoder width, X anything.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from wanstreamer.clock import AUDIO_LATENTS_PER_UNIT

State = tuple[Tensor, ...]  # past inputs of every causal layer


class AudioPerception(nn.Module):
    """User audio latents -> tokens, causal over 40 ms latents: each directly sees a few hundred ms of its past."""

    def __init__(self, *, channels: int, num_tokens: int, width: int, d_model: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.inp = nn.Linear(channels, width)
        self.missing = nn.Parameter(torch.randn(width))
        self.mixers = nn.ModuleList(CausalMixer(width, kernel=5) for _ in range(2))
        self.out = nn.Linear(width * AUDIO_LATENTS_PER_UNIT // num_tokens, d_model)

    def forward(self, audio_BKNC: Tensor, known_BK: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Latents (B, K, N, C) -> contents (B, K, tokens, D) and the state from which the next units continue."""
        num_units = audio_BKNC.shape[1]
        x_BKNE = torch.where(known_BK[..., None, None], self.inp(audio_BKNC), self.missing)
        x_BTE, state = _mix(self.mixers, x_BKNE.flatten(1, 2), state)
        return self.out(x_BTE.reshape(len(x_BTE), num_units, self.num_tokens, -1)), state


class VideoPerception(nn.Module):
    """User video latents -> pooled tokens, causal over units."""

    def __init__(self, *, numbers: int, tokens: tuple[int, int], width: int, d_model: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.inp = nn.Linear(numbers // (tokens[0] * tokens[1]), width)
        self.missing = nn.Parameter(torch.randn(width))
        self.mixers = nn.ModuleList([CausalMixer(width, kernel=3)])
        self.out = nn.Linear(width, d_model)

    def forward(self, video_BKCHW: Tensor, known_BK: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Latents (B, K, C, H, W) -> contents (B, K, tokens, D) and the state from which the next units continue."""
        x_BKPE = self.inp(pack_video(video_BKCHW, self.tokens))
        x_BKPE = torch.where(known_BK[..., None, None], x_BKPE, self.missing)
        batch, units, patches, _ = x_BKPE.shape
        x_XKE, state = _mix(self.mixers, x_BKPE.transpose(1, 2).flatten(0, 1), state)
        return self.out(x_XKE.reshape(batch, patches, units, -1).transpose(1, 2)), state


class CausalMixer(nn.Module):
    """Residual causal convolution over time, then a pointwise layer. State: the last kernel - 1 normalised inputs."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.taps = nn.Linear(kernel * width, 2 * width)
        self.out = nn.Linear(2 * width, width)

    def forward(self, x_BTE: Tensor, past_BPE: Tensor | None) -> tuple[Tensor, Tensor]:
        h_BTE = self.norm(x_BTE)
        if past_BPE is None:
            past_BPE = h_BTE.new_zeros(len(h_BTE), self.kernel - 1, h_BTE.shape[2])
        h_BTE = torch.cat([past_BPE, h_BTE], dim=1)
        past_BPE = h_BTE[:, h_BTE.shape[1] - self.kernel + 1 :]
        neighbours_BTX = h_BTE.unfold(1, self.kernel, 1).flatten(2)
        return x_BTE + self.out(functional.silu(self.taps(neighbours_BTX))), past_BPE


def pack_audio(audio_BKNC: Tensor, num_tokens: int) -> Tensor:
    """(B, K, N, C) -> (B, K, tokens, N / tokens * C)."""
    return audio_BKNC.reshape(*audio_BKNC.shape[:2], num_tokens, -1)


def pack_video(video_BKCHW: Tensor, tokens: tuple[int, int]) -> Tensor:
    """(B, K, C, H, W) -> (B, K, rows * columns, C * H / rows * W / columns)."""
    batch, units, channels, height, width = video_BKCHW.shape
    rows, columns = tokens
    x = video_BKCHW.reshape(batch, units, channels, rows, height // rows, columns, width // columns)
    return x.permute(0, 1, 3, 5, 2, 4, 6).reshape(batch, units, rows * columns, -1)


def unpack_video(x_BKPX: Tensor, tokens: tuple[int, int], shape: tuple[int, int, int]) -> Tensor:
    """The inverse of `pack_video`."""
    batch, units = x_BKPX.shape[:2]
    (rows, columns), (channels, height, width) = tokens, shape
    x = x_BKPX.reshape(batch, units, rows, columns, channels, height // rows, width // columns)
    return x.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, units, channels, height, width)


def _mix(mixers: nn.ModuleList, x_BTE: Tensor, state: State | None) -> tuple[Tensor, State]:
    pasts = []
    for index, mixer in enumerate(mixers):
        x_BTE, past = mixer(x_BTE, None if state is None else state[index])
        pasts.append(past)
    return x_BTE, tuple(pasts)
