"""Tensor metrics of reconstructions and generations: two tensors in, one figure out.

Shape suffixes: B batch, T samples or frames, C channels, H and W height and width.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from wanstreamer.clock import FRAMES_PER_UNIT
from wanstreamer.vae.mel import mel_filters

_LOG_MEL_FLOOR = 1e-2  # of a 1024-point Hann STFT: about -88 dB of full scale, below the noise of real rooms


def psnr_db(estimate: Tensor, true: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pixels in [-1, 1] (peak to peak 2); the estimate is clipped to that range."""
    error = torch.mean((estimate.clamp(-1, 1) - true).double() ** 2).item()
    return 10 * math.log10(4 / max(error, 1e-12))


def ssim(estimate_BTCHW: Tensor, true_BTCHW: Tensor) -> float:
    """Structural similarity of pixels in [-1, 1], mean over frames and channels; 1 is equal.

    Wang et al. 2004, "Image quality assessment": Gaussian window of 11 pixels, sigma 1.5, K1 = .01, K2 = .03, range 2.
    """
    height, width = true_BTCHW.shape[-2:]
    estimate = estimate_BTCHW.clamp(-1, 1).reshape(-1, 1, height, width)
    true = true_BTCHW.reshape(-1, 1, height, width)
    offset = torch.arange(11) - 5.0
    line = torch.exp(-(offset**2) / (2 * 1.5**2))
    line = (line / line.sum()).to(true.dtype)
    window = (line[:, None] * line)[None, None]
    mean_estimate, mean_true = functional.conv2d(estimate, window), functional.conv2d(true, window)
    var_estimate = functional.conv2d(estimate * estimate, window) - mean_estimate**2
    var_true = functional.conv2d(true * true, window) - mean_true**2
    covariance = functional.conv2d(estimate * true, window) - mean_estimate * mean_true
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    above = (2 * mean_estimate * mean_true + c1) * (2 * covariance + c2)
    return torch.mean(above / ((mean_estimate**2 + mean_true**2 + c1) * (var_estimate + var_true + c2))).item()


def unit_flicker(estimate_BTCHW: Tensor, true_BTCHW: Tensor) -> float:
    """How many times more the picture jumps between units than within them, relative to the truth; 1 means no seam.

    A jump is the mean absolute difference of neighbouring frames. Needs two units. Ours; we found no standard measure.
    """

    def jumps(x_BTCHW: Tensor) -> tuple[float, float]:
        jump_T = x_BTCHW.double().diff(dim=1).abs().mean(dim=(0, 2, 3, 4))
        between = torch.arange(1, len(jump_T) + 1) % FRAMES_PER_UNIT == 0
        return jump_T[between].mean().item(), jump_T[~between].mean().item()

    estimate_between, estimate_within = jumps(estimate_BTCHW.clamp(-1, 1))
    true_between, true_within = jumps(true_BTCHW)
    floor = 1e-6  # still pictures have no seam
    return (estimate_between + floor) * (true_within + floor) / ((estimate_within + floor) * (true_between + floor))


def log_mel_l1(estimate_BT: Tensor, true_BT: Tensor, rate_hz: int) -> float:
    """Mean absolute difference of natural-log mel spectra: 64 ms Hann window, 16 ms hop, 80 bands, floor -88 dB.

    Needs at least 64 ms. 0 is equal; 0.1 is a difference of 0.87 dB.
    """
    size = 1024 * rate_hz // 16000
    mel_FM = mel_filters(size // 2 + 1, rate_hz, 80).to(true_BT.dtype)
    window = torch.hann_window(size, dtype=true_BT.dtype)
    estimate, true = (
        torch.log(
            torch.stft(x, size, size // 4, window=window, center=False, return_complex=True)
            .abs()
            .transpose(1, 2)
            .matmul(mel_FM)
            .clamp_min(_LOG_MEL_FLOOR)
        )
        for x in (estimate_BT, true_BT)
    )
    return torch.mean(torch.abs(estimate - true)).item()
