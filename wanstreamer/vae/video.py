"""Video VAE: frames in, one latent frame per unit out, and back; causal, with explicit streaming state.

16 times smaller in height and width, 4 frames to 1 latent, no special first frame. The 4 frames of a unit are folded
into channels, so that every convolution is two-dimensional, and the past enters as the previous unit. In both
directions, a linear map of each 4 x 16 x 16 patch runs in parallel with the convolutions. It starts as a whitened
principal component analysis of the training clips: a working VAE before the first step. The convolutions learn what it
misses.

Shape suffixes: B batch, T frames, K = T / 4 units, C channels, H and W height and width in pixels, h and w in latents.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from wanstreamer.clock import FRAMES_PER_UNIT
from wanstreamer.vae.causal import Carry, State, UnitBlock, fill_, principal_components, zero_

SPATIAL_FACTOR = 16
_FOLD = 4  # pixels per side that are folded into channels before the first convolution


@dataclass(frozen=True, kw_only=True)
class VideoVAEConfig:
    height: int = 48  # pixels, a multiple of 16
    width: int = 64  # pixels, a multiple of 16
    channels: int = 32  # latent channels per place; tokens cost the Transformer, channels hardly do
    widths: tuple[int, int, int] = (64, 128, 192)  # feature channels at 1/4, 1/8 and 1/16 of the size
    blocks: tuple[int, int, int] = (1, 2, 2)  # residual blocks at each of the sizes, in encoder and decoder alike
    posterior_std: float = 0.1  # noise on latents in training; fixed, so that the latent space cannot become brittle

    def __post_init__(self) -> None:
        if self.height % SPATIAL_FACTOR or self.width % SPATIAL_FACTOR:
            raise ValueError(f"{self.width}x{self.height}: expected multiples of {SPATIAL_FACTOR} pixels")

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one unit's latent."""
        return self.channels, self.height // SPATIAL_FACTOR, self.width // SPATIAL_FACTOR


class VideoVAE(nn.Module):
    """Causal video VAE; see the module's docstring.

    >>> vae = VideoVAE(VideoVAEConfig())
    >>> latent_BKCHW, state = vae.encode(torch.zeros(1, 8, 3, 48, 64))  # 2 units
    >>> latent_BKCHW.shape
    torch.Size([1, 2, 32, 3, 4])
    """

    latent_mean_C: Tensor
    latent_std_C: Tensor

    def __init__(self, config: VideoVAEConfig):
        super().__init__()
        self.config = config
        w1, w2, w3 = config.widths
        b1, b2, b3 = config.blocks
        pixels = FRAMES_PER_UNIT * 3 * _FOLD * _FOLD
        patch = FRAMES_PER_UNIT * 3 * SPATIAL_FACTOR * SPATIAL_FACTOR

        self.skip_in = nn.Conv2d(patch, config.channels, 1)
        self.skip_out = nn.Conv2d(config.channels, patch, 1)

        self.enter = nn.Conv2d(pixels, w1, 1)
        self.encode_1 = nn.ModuleList(UnitBlock(f"encode_1_{i}", w1) for i in range(b1))
        self.shrink_1 = nn.Conv2d(4 * w1, w2, 1)
        self.encode_2 = nn.ModuleList(UnitBlock(f"encode_2_{i}", w2) for i in range(b2))
        self.shrink_2 = nn.Conv2d(4 * w2, w3, 1)
        self.encode_3 = nn.ModuleList(UnitBlock(f"encode_3_{i}", w3) for i in range(b3))
        self.encode_norm = nn.GroupNorm(1, w3)
        self.to_latent = nn.Conv2d(w3, config.channels, 1)

        self.from_latent = nn.Conv2d(config.channels, w3, 1)
        self.decode_3 = nn.ModuleList(UnitBlock(f"decode_3_{i}", w3) for i in range(b3))
        self.grow_2 = nn.Conv2d(w3, 4 * w2, 1)
        self.decode_2 = nn.ModuleList(UnitBlock(f"decode_2_{i}", w2) for i in range(b2))
        self.grow_1 = nn.Conv2d(w2, 4 * w1, 1)
        self.decode_1 = nn.ModuleList(UnitBlock(f"decode_1_{i}", w1) for i in range(b1))
        self.decode_norm = nn.GroupNorm(1, w1)
        self.leave = nn.Conv2d(w1, pixels, 3, padding=1)
        for last in (self.to_latent, self.leave):
            zero_(last)

        # Statistics of the posterior means on the training tracks; encode and decode use normalised latents.
        self.register_buffer("latent_mean_C", torch.zeros(config.channels))
        self.register_buffer("latent_std_C", torch.ones(config.channels))

    def encode(self, video_BTCHW: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Frames (B, 4 K, 3, H, W) in [-1, 1] -> normalised posterior means (B, K, C, H/16, W/16), next state."""
        carry = Carry(state)
        mean_BKCHW = self.posterior_mean(video_BTCHW, carry)
        return (mean_BKCHW - self.latent_mean_C[:, None, None]) / self.latent_std_C[:, None, None], carry.state

    def decode(self, latent_BKCHW: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Normalised latents (B, K, C, H/16, W/16) -> frames (B, 4 K, 3, H, W), nominally [-1, 1], next state."""
        carry = Carry(state)
        mean_BKCHW = latent_BKCHW * self.latent_std_C[:, None, None] + self.latent_mean_C[:, None, None]
        return self.reconstruct(mean_BKCHW, carry), carry.state

    def posterior_mean(self, video_BTCHW: Tensor, carry: Carry) -> Tensor:
        """Latents before normalisation, for the training loop."""
        config = self.config
        batch, frames, _, height, width = video_BTCHW.shape
        if frames % FRAMES_PER_UNIT or (height, width) != (config.height, config.width):
            raise ValueError(
                f"video of {frames} frames of {width}x{height}: this VAE takes whole units of {FRAMES_PER_UNIT} "
                f"frames of {config.width}x{config.height}"
            )
        units = frames // FRAMES_PER_UNIT
        folded = video_BTCHW.reshape(batch * units, FRAMES_PER_UNIT * 3, height, width)

        x = self.enter(functional.pixel_unshuffle(folded, _FOLD)).unflatten(0, (batch, units))
        x = _run(self.encode_1, x, carry)
        x = self.shrink_1(functional.pixel_unshuffle(x.flatten(0, 1), 2)).unflatten(0, (batch, units))
        x = _run(self.encode_2, x, carry)
        x = self.shrink_2(functional.pixel_unshuffle(x.flatten(0, 1), 2)).unflatten(0, (batch, units))
        x = _run(self.encode_3, x, carry)
        learned = self.to_latent(self.encode_norm(x.flatten(0, 1)))
        return (learned + self.skip_in(functional.pixel_unshuffle(folded, SPATIAL_FACTOR))).unflatten(0, (batch, units))

    def reconstruct(self, mean_BKCHW: Tensor, carry: Carry) -> Tensor:
        """Frames from latents before normalisation."""
        batch, units = mean_BKCHW.shape[:2]
        latent = mean_BKCHW.flatten(0, 1)
        x = self.from_latent(latent).unflatten(0, (batch, units))
        x = _run(self.decode_3, x, carry)
        x = functional.pixel_shuffle(self.grow_2(x.flatten(0, 1)), 2).unflatten(0, (batch, units))
        x = _run(self.decode_2, x, carry)
        x = functional.pixel_shuffle(self.grow_1(x.flatten(0, 1)), 2).unflatten(0, (batch, units))
        x = _run(self.decode_1, x, carry)
        learned = functional.pixel_shuffle(self.leave(functional.silu(self.decode_norm(x.flatten(0, 1)))), _FOLD)
        video = learned + functional.pixel_shuffle(self.skip_out(latent), SPATIAL_FACTOR)
        return video.reshape(batch, units * FRAMES_PER_UNIT, 3, *video.shape[-2:])

    @torch.no_grad()
    def fit_skip(self, video_BTCHW: Tensor) -> None:
        """Start the linear skip as a whitened principal component analysis of the patches of these training frames.

        The untrained `decode(encode(x))` is then the best linear VAE of its size, and latents have unit variance.
        """
        height, width = video_BTCHW.shape[-2:]
        folded = video_BTCHW.reshape(-1, FRAMES_PER_UNIT * 3, height, width)
        patches_NP = functional.pixel_unshuffle(folded, SPATIAL_FACTOR).permute(0, 2, 3, 1).flatten(0, 2)
        mean_P, basis_CP, std_C = principal_components(patches_NP, self.config.channels)
        analysis_CP = basis_CP / std_C[:, None]
        fill_(self.skip_in, analysis_CP[:, :, None, None], -(analysis_CP @ mean_P))
        fill_(self.skip_out, (basis_CP * std_C[:, None]).T[:, :, None, None], mean_P)

    def skip_parameters(self) -> list[nn.Parameter]:
        """Parameters that are good before training, and therefore get a smaller learning rate."""
        return [*self.skip_in.parameters(), *self.skip_out.parameters()]


def _run(blocks: nn.ModuleList, x_BKCHW: Tensor, carry: Carry) -> Tensor:
    for block in blocks:
        x_BKCHW = block(x_BKCHW, carry)
    return x_BKCHW
