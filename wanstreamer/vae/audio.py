"""Audio VAE: waveform in, 25 latents per second out, and back; causal, with explicit streaming state.

Spectra of past samples go in, and spectra come out through an inverse STFT (as in Vocos, arXiv 2306.00814): networks on
spectra train an order of magnitude faster than networks on samples. In both directions, a linear map of each latent's
log-mel spectra runs in parallel with the convolutions. It starts as the best map of its rank from the spectra that the
encoder sees to those that the decoder must produce; the decoder's frames begin where the encoder's frames end.

Decoded sample i depends on no latent later than the one that covers i: no delay is added. The last hop of each output
frame overlaps the next frame and is carried as state.

Shape suffixes: B batch, T samples, S spectral frames, N latents (S / fold), C channels, F frequency bins, M mel bands.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wanstreamer.clock import AUDIO_LATENTS_PER_UNIT, samples_per_unit
from wanstreamer.vae.causal import Carry, CausalConvNeXt, State, fill_, reduced_rank_regression, zero_
from wanstreamer.vae.mel import mel_filters

_FOLD = 4  # spectral frames per latent: the hop is 10 ms
_FLOOR = 1e-3  # magnitudes below this count as equal; a full-scale sine has 160 in 40 ms at 16 kHz: -104 dB


@dataclass(frozen=True, kw_only=True)
class AudioVAEConfig:
    rate_hz: int = 16000  # samples per second; a multiple of 100
    channels: int = 16  # latent channels
    mel_bands: int = 80  # of the linear skip
    encoder_width: int = 128  # features at 100 frames/s, before the fold
    latent_width: int = 256  # features at 25 frames/s, on both sides
    decoder_width: int = 192  # features at 100 frames/s, after the unfold
    encoder_blocks: tuple[int, int] = (1, 2)  # ConvNeXt blocks before and after the fold
    decoder_blocks: tuple[int, int] = (2, 4)  # ConvNeXt blocks before and after the unfold
    posterior_std: float = 0.1  # noise on latents in training; fixed, so that the latent space cannot become brittle

    def __post_init__(self) -> None:
        if self.hop * _FOLD * AUDIO_LATENTS_PER_UNIT != samples_per_unit(self.rate_hz):
            raise ValueError(f"{self.rate_hz} Hz has no whole number of samples in 10 ms; use a multiple of 100 Hz")

    @property
    def samples_per_latent(self) -> int:
        return samples_per_unit(self.rate_hz) // AUDIO_LATENTS_PER_UNIT

    @property
    def hop(self) -> int:
        """Samples between spectral frames: 10 ms."""
        return self.rate_hz // 100

    @property
    def window(self) -> int:
        """Samples of one long analysis frame: 40 ms, all past; long enough to separate harmonics."""
        return 4 * self.hop

    @property
    def short_window(self) -> int:
        """Samples of one short analysis frame, all past, and of one output frame: 20 ms."""
        return 2 * self.hop


class AudioVAE(nn.Module):
    """Causal audio VAE; see the module's docstring.

    >>> vae = AudioVAE(AudioVAEConfig())
    >>> latent_BNC, state = vae.encode(torch.zeros(1, 2560))  # one unit of 160 ms
    >>> latent_BNC.shape
    torch.Size([1, 4, 16])
    """

    latent_mean_C: Tensor
    latent_std_C: Tensor
    long_window: Tensor
    short_window: Tensor
    mel_FM: Tensor
    unmel_MF: Tensor

    def __init__(self, config: AudioVAEConfig):
        super().__init__()
        self.config = config
        bins_long, bins = config.window // 2 + 1, config.short_window // 2 + 1
        early, wide, late = config.encoder_width, config.latent_width, config.decoder_width
        before, after = config.encoder_blocks

        self.skip_in = nn.Linear(_FOLD * config.mel_bands, config.channels)
        self.skip_out = nn.Linear(config.channels, _FOLD * config.mel_bands)

        self.enter = nn.Linear(bins_long + bins, early)
        self.encode_1 = nn.ModuleList(CausalConvNeXt(f"encode_1_{i}", early) for i in range(before))
        self.fold = nn.Linear(_FOLD * early, wide)
        self.encode_2 = nn.ModuleList(CausalConvNeXt(f"encode_2_{i}", wide) for i in range(after))
        self.encode_norm = nn.LayerNorm(wide)
        self.to_latent = nn.Linear(wide, config.channels)

        before, after = config.decoder_blocks
        self.from_latent = nn.Linear(config.channels, wide)
        self.decode_2 = nn.ModuleList(CausalConvNeXt(f"decode_2_{i}", wide) for i in range(before))
        self.unfold = nn.Linear(wide, _FOLD * late)
        self.decode_1 = nn.ModuleList(CausalConvNeXt(f"decode_1_{i}", late) for i in range(after))
        self.decode_norm = nn.LayerNorm(late)
        self.to_magnitude = nn.Linear(late, bins)
        self.to_phase = nn.Linear(late, 2 * bins)
        for last in (self.to_latent, self.to_magnitude):
            zero_(last)

        # Fixed by the configuration, so not stored with the weights.
        self.register_buffer("long_window", torch.hann_window(config.window), persistent=False)
        # A sine: its squares sum to one over frames, so that frames with unrelated phases keep their total power.
        self.register_buffer("short_window", torch.hann_window(config.short_window).sqrt(), persistent=False)
        mel_FM = mel_filters(bins, config.rate_hz, config.mel_bands)
        self.register_buffer("mel_FM", mel_FM, persistent=False)
        unmel_FM = mel_FM + 1e-6
        self.register_buffer("unmel_MF", (unmel_FM / unmel_FM.sum(1, keepdim=True)).T.contiguous(), persistent=False)
        # Statistics of the posterior means on the training tracks; encode and decode use normalised latents.
        self.register_buffer("latent_mean_C", torch.zeros(config.channels))
        self.register_buffer("latent_std_C", torch.ones(config.channels))

    def encode(self, audio_BT: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Samples (B, T) in [-1, 1], T whole latents -> normalised posterior means (B, N, channels), next state."""
        carry = Carry(state)
        return (self.posterior_mean(audio_BT, carry) - self.latent_mean_C) / self.latent_std_C, carry.state

    def decode(self, latent_BNC: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Normalised latents (B, N, channels) -> samples (B, N x samples_per_latent), next state."""
        carry = Carry(state)
        return self.reconstruct(latent_BNC * self.latent_std_C + self.latent_mean_C, carry), carry.state

    def posterior_mean(self, audio_BT: Tensor, carry: Carry) -> Tensor:
        """Latents before normalisation, for the training loop."""
        long_BSF, short_BSF = self._spectra(audio_BT, carry)
        x = self.enter(torch.log(torch.cat([long_BSF, short_BSF], dim=-1) + _FLOOR))
        for block in self.encode_1:
            x = block(x, carry)
        x = self.fold(x.unflatten(1, (-1, _FOLD)).flatten(2))
        for block in self.encode_2:
            x = block(x, carry)
        return self.to_latent(self.encode_norm(x)) + self.skip_in(self._folded_mel(short_BSF))

    def reconstruct(self, mean_BNC: Tensor, carry: Carry) -> Tensor:
        """Samples from latents before normalisation."""
        x = self.from_latent(mean_BNC)
        for block in self.decode_2:
            x = block(x, carry)
        x = self.unfold(x).unflatten(2, (_FOLD, -1)).flatten(1, 2)
        for block in self.decode_1:
            x = block(x, carry)
        x = self.decode_norm(x)
        log_mel_BSM = self.skip_out(mean_BNC).unflatten(2, (_FOLD, -1)).flatten(1, 2)
        log_magnitude_BSF = self.to_magnitude(x) + log_mel_BSM @ self.unmel_MF
        real, imaginary = self.to_phase(x).to(mean_BNC.dtype).chunk(2, dim=-1)  # no complex numbers in bfloat16
        # The clamp prevents an overflow of an untrained or badly conditioned head.
        scale = torch.exp(log_magnitude_BSF.clamp(max=6.0)) * torch.rsqrt(real**2 + imaginary**2 + 1e-6)
        return self._overlap_add(torch.complex(scale * real, scale * imaginary), carry)

    def _spectra(self, audio_BT: Tensor, carry: Carry) -> tuple[Tensor, Tensor]:
        """Magnitudes (B, S, F) of long and of short frames; a frame ends where its hop ends."""
        config = self.config
        if audio_BT.ndim != 2 or audio_BT.shape[1] % config.samples_per_latent:
            raise ValueError(
                f"audio of shape {tuple(audio_BT.shape)}: expected (B, T), T a multiple of {config.samples_per_latent}"
            )
        past_BT = carry.extend("samples", audio_BT, config.window - config.hop)
        long_BST = past_BT.unfold(1, config.window, config.hop) * self.long_window
        recent_BT = past_BT[:, config.window - config.short_window :]
        short_BST = recent_BT.unfold(1, config.short_window, config.hop) * self.short_window
        return torch.fft.rfft(long_BST).abs(), torch.fft.rfft(short_BST).abs()

    def _folded_mel(self, magnitude_BSF: Tensor) -> Tensor:
        """Log-mel spectra (B, N, fold x M) of each latent's frames."""
        return torch.log(magnitude_BSF @ self.mel_FM + _FLOOR).unflatten(1, (-1, _FOLD)).flatten(2)

    def _overlap_add(self, spectrum_BSF: Tensor, carry: Carry) -> Tensor:
        """Frames of two hops, each beginning where its own hop begins; the second half waits for the next frame."""
        hop = self.config.hop
        frames_BST = torch.fft.irfft(spectrum_BSF, n=2 * hop) * self.short_window
        first_BSH, second_BSH = frames_BST.split(hop, dim=-1)
        before_BSH = carry.extend("overlap", second_BSH, 1)[:, :-1]
        return (first_BSH + before_BSH).flatten(1)

    @torch.no_grad()
    def fit_skip(self, audio_BT: Tensor) -> None:
        """Start the linear skip as the regression from the encoder's to the decoder's spectra of training audio.

        Clips (B, T) of two latents or more: the last output frame extends past the last latent's samples.
        """
        config = self.config
        input_BNP = self._folded_mel(self._spectra(audio_BT, Carry(None))[1])[:, :-1]
        output_BST = audio_BT.unfold(1, config.short_window, config.hop) * self.short_window
        output_BNP = self._folded_mel(torch.fft.rfft(output_BST).abs()[:, : input_BNP.shape[1] * _FOLD])
        fitted = reduced_rank_regression(input_BNP.flatten(0, 1), output_BNP.flatten(0, 1), config.channels)
        fill_(self.skip_in, *fitted[:2])
        fill_(self.skip_out, *fitted[2:])

    def skip_parameters(self) -> list[nn.Parameter]:
        """Parameters that are good before training, and therefore get a smaller learning rate."""
        return [*self.skip_in.parameters(), *self.skip_out.parameters()]
