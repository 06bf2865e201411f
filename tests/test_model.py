"""Causality of the whole model, that it uses what it may, preconditioning, unknown units, files."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.duplex_fixtures import CONFIG, random_batch, random_model
from wanstreamer.checkpoint import save_tensors
from wanstreamer.data import Batch
from wanstreamer.errors import InputError
from wanstreamer.flow import add_noise
from wanstreamer.model import (
    DuplexModel,
    Output,
    load_model,
    save_model,
    text_logits,
)
from wanstreamer.perception import pack_video, unpack_video
from wanstreamer.prior import Gaussian, precondition

PACKED_CONFIG = dataclasses.replace(
    CONFIG,
    num_kv_heads=1,
    user_audio_tokens=2,
    agent_audio_tokens=4,
    user_video_tokens=(1, 2),
    agent_video_tokens=(2, 4),
)
UNITS, CHANGED = 6, 3


def run(model: DuplexModel, batch: Batch) -> Output:
    """Logits and clean-latent estimates under fixed noise."""
    tau_BK = torch.full(batch.agent_text_BKS.shape[:2], 0.8)
    with torch.no_grad():
        return model(batch, add_noise(batch, tau_BK, torch.Generator().manual_seed(1)))


def estimate_only(model: DuplexModel, clean: Batch, noised: Batch) -> Output:
    """Context from `clean`, noisy latents from `noised`."""
    tau_BK = torch.full(clean.agent_text_BKS.shape[:2], 0.8)
    with torch.no_grad():
        return model(clean, add_noise(noised, tau_BK, torch.Generator().manual_seed(1)))


def changed(batch: Batch, name: str, unit: int, amount: float = 1.0) -> Batch:
    """One stream of one unit perturbed."""
    value = getattr(batch, name).clone()
    if value.dtype == torch.int64:
        value[:, unit] = 3 + (value[:, unit] - 3 + 1) % (CONFIG.vocab_size - 3)
    else:
        value[:, unit] += amount
    return dataclasses.replace(batch, **{name: value})


STREAMS = [
    "user_audio_BKNC",
    "user_video_BKCHW",
    "user_text_BKS",
    "agent_text_BKS",
    "agent_audio_BKNC",
    "agent_video_BKCHW",
]


@pytest.mark.parametrize(
    "config", [CONFIG, dataclasses.replace(CONFIG, self_lag=1), PACKED_CONFIG], ids=["0", "1", "packed"]
)
@pytest.mark.parametrize("stream", STREAMS)
def test_the_future_changes_nothing_before_it(config, stream: str) -> None:
    model, batch = random_model(config), random_batch(config, units=UNITS)
    before, after = run(model, batch), run(model, changed(batch, stream, CHANGED))
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one[:, :CHANGED], other[:, :CHANGED])
        assert not torch.equal(one[:, CHANGED:], other[:, CHANGED:])


@pytest.mark.parametrize("stream", STREAMS[3:])
def test_a_unit_is_estimated_without_its_own_clean_latents(stream: str) -> None:
    """Text of unit k may reach the latents of k; clean latents of k may not reach their own estimate."""
    model, batch = random_model(), random_batch(units=UNITS)
    before = estimate_only(model, batch, batch)
    after = estimate_only(model, changed(batch, stream, CHANGED), batch)
    for one, other in zip(before[1:], after[1:], strict=True):
        same = torch.equal(one[:, CHANGED], other[:, CHANGED])
        assert same == (stream != "agent_text_BKS")


def test_text_logits_of_a_slot_do_not_see_its_own_token() -> None:
    model, batch = random_model(), random_batch(units=UNITS)
    text = batch.agent_text_BKS.clone()
    text[:, CHANGED, 1] = 3 + (text[:, CHANGED, 1] - 2) % (CONFIG.vocab_size - 3)
    before = text_logits(model, batch)
    after = text_logits(model, dataclasses.replace(batch, agent_text_BKS=text))
    assert torch.equal(before[:, CHANGED], after[:, CHANGED])
    assert not torch.equal(before[:, CHANGED + 1], after[:, CHANGED + 1])


@pytest.mark.parametrize("self_lag", [0, 1])
@pytest.mark.parametrize(
    ("stream", "unit"),
    [
        ("user_audio_BKNC", UNITS - 1),
        ("user_video_BKCHW", UNITS - 1),
        ("user_text_BKS", UNITS - 1),
        ("agent_audio_BKNC", UNITS - 2),
        ("agent_video_BKCHW", UNITS - 2),
        ("user_audio_BKNC", 0),
        ("user_video_BKCHW", 0),
        ("agent_audio_BKNC", 0),
    ],
)
def test_the_last_unit_uses_what_it_may(self_lag: int, stream: str, unit: int) -> None:
    config = dataclasses.replace(CONFIG, self_lag=self_lag)
    model, batch = random_model(config), random_batch(config, units=UNITS)
    before, after = estimate_only(model, batch, batch), estimate_only(model, changed(batch, stream, unit), batch)
    for one, other in zip(before[1:], after[1:], strict=True):
        assert (one[:, -1] - other[:, -1]).abs().max() > 1e-4


def test_the_last_text_token_reaches_the_performer_through_state() -> None:
    model, batch = random_model(), random_batch(units=UNITS)
    text = batch.agent_text_BKS.clone()
    text[:, -1, -1] = 3 + (text[:, -1, -1] - 2) % (CONFIG.vocab_size - 3)
    before = estimate_only(model, batch, batch)
    after = estimate_only(model, dataclasses.replace(batch, agent_text_BKS=text), batch)
    assert (before.audio_x0_BKNC[:, -1] - after.audio_x0_BKNC[:, -1]).abs().max() > 1e-4
    assert (before.video_x0_BKCHW[:, -1] - after.video_x0_BKCHW[:, -1]).abs().max() > 1e-4


def test_language_of_a_unit_lags_the_agents_own_latents_when_asked() -> None:
    for self_lag in (0, 1):
        config = dataclasses.replace(CONFIG, self_lag=self_lag)
        model, batch = random_model(config), random_batch(config, units=UNITS)
        before = text_logits(model, batch)
        after = text_logits(model, changed(batch, "agent_audio_BKNC", UNITS - 2))
        assert torch.equal(before[:, -1], after[:, -1]) == (self_lag == 1)


@pytest.mark.parametrize(
    "stream", ["user_audio", "user_video", "user_text", "agent_audio", "agent_video", "agent_text"]
)
def test_what_is_unknown_is_not_read(stream: str) -> None:
    model, batch = random_model(), random_batch(units=UNITS)
    field = next(name for name in STREAMS if name.startswith(stream))
    known = torch.ones(2, UNITS, dtype=torch.bool)
    known[:, CHANGED] = False
    batch = dataclasses.replace(batch, **{f"{stream}_known_BK": known})
    clean = dataclasses.replace(batch)
    before, after = estimate_only(model, clean, batch), estimate_only(model, changed(clean, field, CHANGED), batch)
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one, other)


def test_precondition_is_the_best_linear_estimate() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, std, tau = torch.tensor(0.7), torch.tensor(0.3), torch.tensor(0.6)
    clean = mean + std * torch.randn(200_000, generator=generator)
    z = (1 - tau) * clean + tau * torch.randn(200_000, generator=generator)
    given = precondition(z, tau, Gaussian(mean, std))
    assert given.innovation.std() == pytest.approx(1, abs=0.01)
    error = clean - given.estimate
    assert error.std() == pytest.approx(float(given.scale), abs=0.01)
    assert abs((error * z).mean() - error.mean() * z.mean()) < 1e-3  # nothing linear is left


@pytest.mark.parametrize(("tau", "expected"), [(0.0, "z"), (1.0, "mean")])
def test_precondition_at_the_ends(tau: float, expected: str) -> None:
    z, mean, std = torch.randn(10), torch.randn(10), torch.rand(10) + 0.1
    given = precondition(z, torch.tensor(tau), Gaussian(mean, std))
    torch.testing.assert_close(given.estimate, z if expected == "z" else mean)
    torch.testing.assert_close(given.scale, torch.zeros(10) if expected == "z" else std)


def test_untrained_model_returns_the_linear_estimate() -> None:
    model, batch = DuplexModel(CONFIG).eval(), random_batch(units=UNITS)
    output = run(model, batch)
    tau = torch.tensor(0.8)
    noisy = add_noise(batch, torch.full((2, UNITS), 0.8), torch.Generator().manual_seed(1))
    expected = precondition(noisy.audio_BKNC, tau, Gaussian(torch.tensor(0.0), torch.tensor(1.0))).estimate
    torch.testing.assert_close(output.audio_x0_BKNC, expected)


def test_unpack_video_inverts_pack_video() -> None:
    video_BKCHW = torch.randn(2, 3, 5, 4, 6)
    packed = pack_video(video_BKCHW, (2, 3))
    assert packed.shape == (2, 3, 6, 20)
    assert torch.equal(packed[0, 0, 1], video_BKCHW[0, 0, :, 0:2, 2:4].flatten())
    assert torch.equal(unpack_video(packed, (2, 3), (5, 4, 6)), video_BKCHW)


def test_save_and_load_give_the_same_model_and_the_same_bytes(tmp_path: Path) -> None:
    model = random_model(PACKED_CONFIG)
    save_model(model, tmp_path / "one.safetensors")
    loaded = load_model(tmp_path / "one.safetensors")
    assert loaded.config == PACKED_CONFIG
    batch = random_batch(PACKED_CONFIG)
    assert torch.equal(run(model, batch).audio_x0_BKNC, run(loaded, batch).audio_x0_BKNC)
    save_model(loaded, tmp_path / "two.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b"not a checkpoint"), "not a checkpoint"),
        (lambda path: save_tensors(path, {}, {"format": "other"}), "format 'other'"),
    ],
)
def test_a_wrong_model_file_is_one_clear_line(tmp_path: Path, spoil: Callable[[Path], None], said: str) -> None:
    path = tmp_path / "model.safetensors"
    spoil(path)
    with pytest.raises(InputError, match=said) as caught:
        load_model(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
