"""Tracks + their reconstruction by a VAE -> figures by which a person can judge the VAE.

Video: PSNR, SSIM, and `unit_flicker`: how much more the picture jumps between units than within them, relative to the
truth. Audio: `log_mel_l1` (defined in wanstreamer/metrics.py) and STOI, the short-time objective intelligibility of
Taal et al. 2011 (pystoi); the truth has 1. There is no SI-SDR: the latents describe how a voice sounds, not the phases
of its waves, so the decoder invents phases, as any vocoder does. SI-SDR is then about -30 dB for the VAE and its
baseline alike, and shows nothing.
"""

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from wanstreamer.clock import FRAMES_PER_UNIT
from wanstreamer.metrics import log_mel_l1, psnr_db, ssim, unit_flicker
from wanstreamer.train.steps import Scalars
from wanstreamer.vae import AudioVAE
from wanstreamer.vae.tracks import VAE, reconstruct_track, to_input, unit_length

EVALUATED_UNITS = 80  # of each track, from its beginning: 12.8 s

# The truth in [-1, 1] -> its reconstruction, in the same shape: samples (T,) or frames (T, 3, H, W).
Baseline = Callable[[Tensor], Tensor]


def measure(model: VAE, tracks: Sequence[Tensor], baseline: Baseline | None) -> tuple[Scalars, Scalars]:
    """Mean figures of the VAE, streamed, and of the baseline over the beginnings of tracks; empty without tracks."""
    ours, theirs = [], []
    for track in tracks:
        length = unit_length(model)
        beginning = track[: min(EVALUATED_UNITS, len(track) // length) * length]
        true = to_input(model, beginning)[0]
        ours.append(_figures(model, reconstruct_track(model, beginning), true))
        if baseline is not None:
            theirs.append(_figures(model, baseline(true), true))
    return _mean(ours), _mean(theirs)


def _figures(model: VAE, reconstructed: Tensor, true: Tensor) -> Scalars:
    if isinstance(model, AudioVAE):
        rate_hz = model.config.rate_hz
        figures = {"log_mel_l1": log_mel_l1(reconstructed[None], true[None], rate_hz)}
        intelligibility = short_time_intelligibility(reconstructed, true, rate_hz)
        return figures if intelligibility is None else figures | {"stoi": intelligibility}
    reconstructed, true = reconstructed[None], true[None]
    figures = {"psnr_db": psnr_db(reconstructed, true), "ssim": ssim(reconstructed, true)}
    return figures | ({"unit_flicker": unit_flicker(reconstructed, true)} if true.shape[1] > FRAMES_PER_UNIT else {})


def short_time_intelligibility(estimate_T: Tensor, true_T: Tensor, rate_hz: int) -> float | None:
    """STOI of speech; None if less than 0.4 s of the truth is louder than 40 dB below its loudest part."""
    from pystoi import stoi  # brings scipy, a second that only the sound of people needs

    if not true_T.any():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(stoi(true_T.numpy(), estimate_T.numpy(), rate_hz))
        except RuntimeWarning:  # pystoi warns so if there is not enough speech
            return None


def _mean(rows: Sequence[Scalars]) -> Scalars:
    """Mean of each figure over the tracks that have it, rounded: the last digits differ between machines."""
    names = dict.fromkeys(name for row in rows for name in row)
    values_of = {name: torch.tensor([row[name] for row in rows if name in row]).double() for name in names}
    return {name: round(values.mean().item(), 4) for name, values in values_of.items()}
