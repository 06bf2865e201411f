"""The mel filters of VAE, losses and metrics."""

import torch
from torch import Tensor


def mel_filters(num_bins: int, rate_hz: int, num_bands: int) -> Tensor:
    """Triangular filters (num_bins, num_bands), evenly spaced on the mel scale up to rate_hz / 2, each summing to 1.

    O'Shaughnessy's mel, 2595 log10(1 + f / 700). Bands narrower than one bin are widened to it, so that none is empty.
    They are on the CPU, also inside `torch.device`: `transformers` replaces `torch.linspace` while torch lists the
    functions that follow a device, and a later linspace does not.
    """
    frequency_F = torch.linspace(0, rate_hz / 2, num_bins, dtype=torch.float64, device="cpu")
    top_mel = 2595 * torch.log10(torch.tensor(1 + rate_hz / 2 / 700, dtype=torch.float64, device="cpu"))
    edge_hz = 700 * (
        10 ** (torch.linspace(0, 1, num_bands + 2, dtype=torch.float64, device="cpu") * top_mel / 2595) - 1
    )
    bin_hz = rate_hz / 2 / (num_bins - 1)
    centre = edge_hz[1:-1]
    below = (centre - edge_hz[:-2]).clamp_min(bin_hz)
    above = (edge_hz[2:] - centre).clamp_min(bin_hz)
    distance_FM = frequency_F[:, None] - centre
    filters_FM = torch.where(distance_FM < 0, 1 + distance_FM / below, 1 - distance_FM / above).clamp_min(0)
    return (filters_FM / filters_FM.sum(0)).float()
