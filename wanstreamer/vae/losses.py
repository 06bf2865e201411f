"""Training losses of the VAEs, between a reconstruction and the truth. They are differentiable scalars.

Shape suffixes: B batch, T samples or frames, C channels, F frequency bins, S spectral frames, M mel bands.
"""

import torch
from torch import Tensor

from wanstreamer.vae.mel import mel_filters

_MEL_FFTS = ((256, 40), (512, 64), (1024, 80))  # FFT size in samples at 16 kHz, mel bands


class SpectralLoss:
    """Distance of two waveforms, roughly as the ear hears it.

    Log-mel L1 at three time-frequency resolutions, and L1 of compressed magnitudes: these weigh loud parts more and
    prevent silence from dominating (multi-resolution spectra: arXiv 1910.11480). Contains only the fixed filters.
    """

    def __init__(self, rate_hz: int, device: str = "cpu"):
        self._scales: list[tuple[int, Tensor, Tensor]] = []
        for size, bands in _MEL_FFTS:
            size = size * rate_hz // 16000
            mel_FM = mel_filters(size // 2 + 1, rate_hz, bands)
            self._scales.append((size, torch.hann_window(size).to(device), mel_FM.to(device)))

    def __call__(self, estimate_BT: Tensor, true_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel L1 (natural logarithm, mean over scales) and compressed-magnitude L1."""
        mel_loss = estimate_BT.new_zeros(())
        magnitude_loss = estimate_BT.new_zeros(())
        for size, window, mel_FM in self._scales:
            estimate_BFS, true_BFS = (_magnitude(x, size, window) for x in (estimate_BT, true_BT))
            estimate_BSM, true_BSM = (x.transpose(1, 2) @ mel_FM for x in (estimate_BFS, true_BFS))
            mel_loss = mel_loss + (torch.log(estimate_BSM + 1e-3) - torch.log(true_BSM + 1e-3)).abs().mean()
            magnitude_loss = magnitude_loss + (estimate_BFS**0.3 - true_BFS**0.3).abs().mean()
        return mel_loss / len(self._scales), magnitude_loss / len(self._scales)


def _magnitude(audio_BT: Tensor, size: int, window: Tensor) -> Tensor:
    spectrum = torch.stft(audio_BT, size, size // 4, window=window, center=False, return_complex=True)
    # The offset avoids zero, where the gradient of a magnitude is not a number.
    return torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-8)


def pixel_loss(estimate: Tensor, true: Tensor) -> Tensor:
    """L1 + 2 MSE of pixels in [-1, 1]: the first term gives sharp edges, the second avoids large errors."""
    difference = estimate - true
    return difference.abs().mean() + 2 * (difference**2).mean()


def latent_pull(mean: Tensor) -> Tensor:
    """KL divergence of N(mean, fixed variance) to N(0, 1), up to a constant: it only bounds the latents' size."""
    return 0.5 * (mean**2).mean()
