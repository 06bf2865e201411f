"""The path, its velocity, the solver's exactness on a known field, and estimates at a noise level."""

import math

import pytest
import torch

from tests.helpers.duplex_fixtures import random_batch, random_model
from wanstreamer.model.flow import (
    TAU_CLIP,
    add_noise,
    denoise_at,
    draw_tau,
    interpolate,
    solve,
    solver_taus,
    velocity_weight,
)
from wanstreamer.model.prior import Gaussian


def test_path_runs_from_clean_to_noise() -> None:
    clean, noise = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    tau_BK = torch.tensor([[0.0, 1.0, 0.25]]).expand(2, 3)
    z = interpolate(clean, noise, tau_BK)
    assert torch.equal(z[:, 0], clean[:, 0]) and torch.equal(z[:, 1], noise[:, 1])
    torch.testing.assert_close(z[:, 2], 0.75 * clean[:, 2] + 0.25 * noise[:, 2])


def test_weight_turns_clean_errors_into_velocity_errors() -> None:
    """v = (z - z_0) / tau, so at equal z an error e of z_0 is an error e / tau of the velocity."""
    clean, noise, tau = torch.randn(100), torch.randn(100), 0.4
    z = (1 - tau) * clean + tau * noise
    guess = clean + 0.1 * torch.randn(100)
    velocity_error = ((z - guess) / tau - (noise - clean)).square().mean()
    weighted = velocity_weight(torch.tensor(tau)) * (guess - clean).square().mean()
    torch.testing.assert_close(velocity_error, weighted)
    assert velocity_weight(torch.tensor(0.001)) == pytest.approx(1 / TAU_CLIP**2)


def test_flow_times_are_stratified_over_the_batch() -> None:
    tau_BK = draw_tau(4, 8, torch.Generator().manual_seed(0))
    assert tau_BK.shape == (4, 8) and tau_BK.min() > 0 and tau_BK.max() <= 1
    edges = torch.arange(32) / 32
    ordered = tau_BK.flatten().sort().values
    assert (ordered >= edges).all() and (ordered <= edges + 1 / 32).all()


def field_of(mean: float, std: float, taus: list[float]):  # type: ignore[no-untyped-def]
    """The exact estimate of latents that are N(mean, std^2); its flow carries noise to mean + std * noise."""

    def estimate(step: int, audio: torch.Tensor, video: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        keep, tau = 1 - taus[step], taus[step]
        gain = keep * std**2 / (keep**2 * std**2 + tau**2)
        return mean + gain * (audio - keep * mean), mean + gain * (video - keep * mean)

    return estimate


def gaussian(mean: float, std: float) -> Gaussian:
    return Gaussian(torch.tensor(mean), torch.tensor(std))


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_solver_is_exact_where_the_prior_says_all(steps: int) -> None:
    noise = torch.randn(1, 1, 1000, generator=torch.Generator().manual_seed(0))
    taus = solver_taus(steps)
    assert taus[0] == 1 and taus[-1] == 0 and len(taus) == steps + 1 and taus == sorted(taus, reverse=True)
    priors = gaussian(0.5, 0.2), gaussian(0.5, 0.2)
    audio, video = solve(field_of(0.5, 0.2, taus), (noise, -noise), taus, priors)
    torch.testing.assert_close(audio, 0.5 + 0.2 * noise)
    torch.testing.assert_close(video, 0.5 - 0.2 * noise)


@pytest.mark.parametrize("prior", [(0.0, 1.0), (0.3, 0.9), (-0.2, 0.3)])
@pytest.mark.parametrize("truth", [(0.5, 0.6), (0.5, 0.001), (0.0, 0.2)])
@pytest.mark.parametrize(("steps", "atol"), [(6, 0.06), (50, 0.002)])
def test_solver_finds_what_the_prior_does_not_know(
    prior: tuple[float, float], truth: tuple[float, float], steps: int, atol: float
) -> None:
    """Up to a known clean latent (deviation near 0); errors in units of the prior's deviation."""
    noise = torch.randn(1, 1, 1000, generator=torch.Generator().manual_seed(0))
    taus = solver_taus(steps)
    audio, _ = solve(field_of(*truth, taus), (noise, noise), taus, (gaussian(*prior), gaussian(*prior)))
    error = (audio - (truth[0] + truth[1] * noise)).square().mean().sqrt() / prior[1]
    assert error < atol * max(1, abs(truth[0] - prior[0]) / prior[1])


def test_denoise_at_is_the_models_estimate_and_repeats() -> None:
    model, batch = random_model(), random_batch()
    first = denoise_at(model, batch, 0.5, torch.Generator().manual_seed(3))
    again = denoise_at(model, batch, 0.5, torch.Generator().manual_seed(3))
    assert first[0].shape == batch.agent_audio_BKNC.shape and first[1].shape == batch.agent_video_BKCHW.shape
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    noisy = add_noise(batch, torch.full((2, 7), 0.5), torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert torch.equal(first[0], model(batch, noisy).audio_x0_BKNC)


def test_denoise_at_low_noise_is_near_the_truth() -> None:
    model, batch = random_model(), random_batch()
    audio, video = denoise_at(model, batch, 0.01, torch.Generator().manual_seed(0))
    assert (audio - batch.agent_audio_BKNC).square().mean() < 0.01
    assert (video - batch.agent_video_BKCHW).square().mean() < 0.01
    assert math.isfinite(float(audio.sum()))
