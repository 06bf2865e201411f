"""Baselines for a VAE: linear principal components of the same size, fitted on the same tracks.

`LinearVideo` gives each 4 x 16 x 16 patch as many numbers as a latent place has channels. `LinearAudio` gives the
log-mel spectra of each 40 ms as many numbers as an audio latent has, and turns the result into a waveform with
Griffin-Lim. Both are fitted on media without augmentation, and do not stream: Griffin-Lim uses the whole track at once.

Shape suffixes: B batch, T samples or frames, N rows, P numbers in a patch, C components, S spectral frames, F frequency
bins, M mel bands, H and W height and width.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from wanstreamer.clock import FRAMES_PER_UNIT
from wanstreamer.vae import AudioVAEConfig, VideoVAEConfig
from wanstreamer.vae.causal import principal_components
from wanstreamer.vae.mel import mel_filters
from wanstreamer.vae.video import SPATIAL_FACTOR

_VIDEO_ROWS = 16384  # patches that the components are fitted on, taken evenly from all tracks
_AUDIO_ROWS = 65536  # spectra of latents that the components are fitted on: 44 minutes
_FLOOR = 1e-2  # of magnitudes; a lower floor spends components on noise, and STOI falls from .81 to .80
_FRAMES_PER_LATENT = 4  # spectral frames
_MEL_BANDS = 80
_ROUNDS = 32  # of Griffin-Lim
_MOMENTUM = 0.99  # Perraudin et al. 2013, "A fast Griffin-Lim algorithm"


class LinearVideo:
    """Principal components of patches; call it with frames (T, 3, H, W) in [-1, 1] to get their reconstruction."""

    def __init__(self, tracks: Sequence[Tensor], config: VideoVAEConfig):
        places = config.latent_shape[1] * config.latent_shape[2]
        share = max(1, _VIDEO_ROWS // places // len(tracks))
        rows = []
        for track in tracks:
            units = len(track) // FRAMES_PER_UNIT
            for index in range(min(share, units)):
                first = index * units // min(share, units) * FRAMES_PER_UNIT
                frames = track[first : first + FRAMES_PER_UNIT].permute(0, 3, 1, 2).float() / 127.5 - 1
                rows.append(_patches(frames))
        self.mean_P, self.basis_CP, _ = principal_components(torch.cat(rows), config.channels)

    def __call__(self, frames_TCHW: Tensor) -> Tensor:
        height, width = frames_TCHW.shape[-2:]
        projected_NP = _through(_patches(frames_TCHW), self.mean_P, self.basis_CP)
        places = projected_NP.unflatten(0, (-1, height // SPATIAL_FACTOR, width // SPATIAL_FACTOR)).permute(0, 3, 1, 2)
        return functional.pixel_shuffle(places, SPATIAL_FACTOR).reshape(frames_TCHW.shape).clamp(-1, 1)


class LinearAudio:
    """Principal components of log-mel spectra; call it with samples (T,) to get their reconstruction."""

    def __init__(self, tracks: Sequence[Tensor], config: AudioVAEConfig):
        self.size, self.hop = config.window, config.hop
        self.mel_FM = mel_filters(self.size // 2 + 1, config.rate_hz, _MEL_BANDS)
        share = max(1, _AUDIO_ROWS // len(tracks))
        rows_NP = torch.cat([self._log_mel(track[: share * config.samples_per_latent]) for track in tracks])
        self.mean_P, self.basis_CP, _ = principal_components(rows_NP, config.channels)

    def __call__(self, audio_T: Tensor) -> Tensor:
        projected_NP = _through(self._log_mel(audio_T), self.mean_P, self.basis_CP)
        mel_SM = torch.exp(projected_NP.reshape(-1, _MEL_BANDS)) - _FLOOR
        magnitude_SF = (mel_SM.clamp_min(0) @ torch.linalg.pinv(self.mel_FM)).clamp_min(0)
        rebuilt_T = griffin_lim(magnitude_SF.T, self.size, self.hop)[: len(audio_T)]
        return functional.pad(rebuilt_T, (0, len(audio_T) - len(rebuilt_T))).clamp(-1, 1)

    def _log_mel(self, audio_T: Tensor) -> Tensor:
        """(T,) -> (latents, 4 frames x bands); frames are centred on the beginnings of their hops."""
        window = torch.hann_window(self.size)
        spectrum_FS = torch.stft(audio_T, self.size, self.hop, window=window, return_complex=True, pad_mode="constant")
        mel_SM = torch.log(spectrum_FS.abs().T @ self.mel_FM + _FLOOR)
        latents = len(audio_T) // (self.hop * _FRAMES_PER_LATENT)
        return mel_SM[: latents * _FRAMES_PER_LATENT].reshape(latents, -1)


def griffin_lim(magnitude_FS: Tensor, size: int, hop: int) -> Tensor:
    """Samples whose spectra have about these magnitudes (F, S); centred Hann frames, phases from a fixed start."""
    window = torch.hann_window(size)
    generator = torch.Generator().manual_seed(0)
    phase_FS = torch.exp(2j * math.pi * torch.rand(magnitude_FS.shape, generator=generator))
    before_FS = torch.zeros_like(phase_FS)
    for _ in range(_ROUNDS):
        audio_T = torch.istft(magnitude_FS * phase_FS, size, hop, window=window)
        rebuilt_FS = torch.stft(audio_T, size, hop, window=window, return_complex=True)
        ahead_FS = rebuilt_FS - _MOMENTUM / (1 + _MOMENTUM) * before_FS
        phase_FS = ahead_FS / ahead_FS.abs().clamp_min(1e-12)
        before_FS = rebuilt_FS
    return torch.istft(magnitude_FS * phase_FS, size, hop, window=window)


def _patches(frames_TCHW: Tensor) -> Tensor:
    """(4 K, 3, H, W) -> (places, 4 x 3 x 16 x 16)."""
    folded = frames_TCHW.reshape(-1, FRAMES_PER_UNIT * 3, *frames_TCHW.shape[-2:])
    return functional.pixel_unshuffle(folded, SPATIAL_FACTOR).permute(0, 2, 3, 1).flatten(0, 2)


def _through(rows_NP: Tensor, mean_P: Tensor, basis_CP: Tensor) -> Tensor:
    """Rows projected onto the components, and back."""
    return (rows_NP - mean_P) @ basis_CP.T @ basis_CP + mean_P
