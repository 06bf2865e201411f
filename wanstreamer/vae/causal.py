"""Streaming pieces: convolutions that see only the past, and the explicit state that carries it.

In: one piece of a stream and the state that the previous piece returned. Out: the piece's result and the next state.
Every layer with a past gets it from a `Carry` by name, so a whole VAE's state is one flat dictionary of tensors: it can
be written as safetensors, moved between processes, or dropped to start again. Modules store nothing.

Shape suffixes: B batch, T time, C channels, K units, H and W height and width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

State = dict[str, Tensor]


class Carry:
    """The stream state during one call: reads the old state, collects the new one.

    `state=None` is the start of a stream: every past is zeros.
    """

    def __init__(self, state: State | None):
        self._past = state
        self.state: State = {}

    def extend(self, key: str, x: Tensor, length: int, *, dim: int = 1) -> Tensor:
        """`x`, with the previous `length` steps prepended along `dim`; the last `length` steps become the next past."""
        if length == 0:
            return x
        shape = list(x.shape)
        shape[dim] = length
        past = x.new_zeros(shape) if self._past is None else self._past[key]
        if list(past.shape) != shape:
            raise ValueError(f"state {key} has shape {list(past.shape)}, this stream needs {shape}")
        extended = torch.cat([past, x], dim=dim)
        # A copy, because a view would keep all of `extended` in memory as long as the state.
        self.state[key] = extended.narrow(dim, extended.shape[dim] - length, length).clone()
        return extended


class CausalConvNeXt(nn.Module):
    """ConvNeXt block over time (arXiv 2201.03545) with a past-only depthwise kernel.

    (B, T, C) -> (B, T, C). The branch outputs zero at the start of training, so a new network equals its linear skip.
    """

    def __init__(self, key: str, channels: int, *, kernel: int = 7, expand: int = 3):
        super().__init__()
        self.key, self.past = key, kernel - 1
        self.mix = nn.Conv1d(channels, channels, kernel, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.up = nn.Linear(channels, expand * channels)
        self.down = nn.Linear(expand * channels, channels)
        zero_(self.down)

    def forward(self, x_BTC: Tensor, carry: Carry) -> Tensor:
        past_BTC = carry.extend(self.key, x_BTC, self.past)
        mixed_BTC = self.mix(past_BTC.transpose(1, 2)).transpose(1, 2)
        return x_BTC + self.down(functional.gelu(self.up(self.norm(mixed_BTC)), approximate="tanh"))


class UnitBlock(nn.Module):
    """Residual block over the frame of a unit; it also sees the same place in the previous unit.

    (B, K, C, H, W) -> (B, K, C, H, W). Two 3x3 convolutions inside the unit; the past enters between them through a
    1x1 convolution of unit k-1. The branch outputs zero at the start of training. Normalised within the unit: without
    this, activations grow a thousandfold within 100 steps and the encoder dies.
    """

    def __init__(self, key: str, channels: int):
        super().__init__()
        self.key = key
        self.norm = nn.GroupNorm(1, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.past = nn.Conv2d(channels, channels, 1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        zero_(self.second)

    def forward(self, x_BKCHW: Tensor, carry: Carry) -> Tensor:
        batch, units = x_BKCHW.shape[:2]
        active_BKCHW = functional.silu(self.norm(x_BKCHW.flatten(0, 1))).unflatten(0, (batch, units))
        before_BKCHW = carry.extend(self.key, active_BKCHW, 1)[:, :units]
        hidden = self.first(active_BKCHW.flatten(0, 1)) + self.past(before_BKCHW.flatten(0, 1))
        return x_BKCHW + self.second(functional.silu(hidden)).unflatten(0, (batch, units))


@torch.no_grad()
def zero_(layer: nn.Module) -> None:
    """Set all parameters of a layer to zero, so that its branch contributes nothing at first."""
    for parameter in layer.parameters():
        parameter.zero_()


@torch.no_grad()
def fill_(layer: nn.Module, weight: Tensor, bias: Tensor) -> None:
    """Set weight and bias of a linear layer or convolution."""
    layer.load_state_dict({"weight": weight, "bias": bias})


def principal_components(rows_NP: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (P), the `count` leading principal directions (count, P) and their standard deviations (count) of the rows.

    Subspace iteration from a fixed start: the full eigendecomposition of 3072 x 3072 takes 15 s, this takes one second.
    """
    mean_P = rows_NP.mean(0)
    centred_NP = rows_NP - mean_P
    covariance_PP = centred_NP.T @ centred_NP / len(rows_NP)
    size = covariance_PP.shape[0]
    start = torch.randn(size, min(size, 2 * count + 16), generator=torch.Generator().manual_seed(0))
    basis = torch.linalg.qr(start.to(rows_NP)).Q
    for _ in range(12):
        basis = torch.linalg.qr(covariance_PP @ basis).Q
    value, vector = torch.linalg.eigh(basis.T @ covariance_PP @ basis)
    leading_CP = (basis @ vector[:, -count:]).flip(1).T
    return mean_P, leading_CP, value[-count:].flip(0).clamp_min(1e-8).sqrt()


def reduced_rank_regression(x_NP: Tensor, y_NQ: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best prediction of y from `count` linear functions of x (Izenman 1975). Returns weight and bias of these
    functions, (count, P) and (count), which have mean 0, variance 1; then those of the prediction, (Q, count), (Q)."""
    x, y = x_NP.double(), y_NQ.double()
    mean_P, mean_Q = x.mean(0), y.mean(0)
    x, y = x - mean_P, y - mean_Q
    covariance_PP = x.T @ x / len(x)
    ridge = 1e-4 * covariance_PP.diagonal().mean()  # neighbouring bands are nearly equal
    weight_PQ = torch.linalg.solve(covariance_PP + ridge * torch.eye(len(mean_P)).to(x), x.T @ y / len(x))
    _, basis_CQ, std_C = principal_components(x @ weight_PQ, count)
    encode_CP = (weight_PQ @ basis_CQ.T / std_C).T
    decode_QC = (basis_CQ * std_C[:, None]).T
    return encode_CP.to(x_NP), -(encode_CP @ mean_P).to(x_NP), decode_QC.to(x_NP), mean_Q.to(x_NP)
