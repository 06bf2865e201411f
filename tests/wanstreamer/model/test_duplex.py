"""Preconditioning, what the heads say, packed latents, files. Who may influence whom: test_influence."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.helpers.duplex_fixtures import CONFIG, random_batch, random_model
from wanstreamer.checkpoint import save_tensors
from wanstreamer.errors import InputError
from wanstreamer.model.duplex import ADDED, FORMAT, DuplexModel, Noisy, Output, load_model, save_model
from wanstreamer.model.flow import add_noise
from wanstreamer.model.perception import pack_video, unpack_video
from wanstreamer.model.prior import Gaussian, precondition
from wanstreamer.windows.loader import Batch

PACKED_CONFIG = dataclasses.replace(
    CONFIG,
    num_kv_heads=1,
    user_audio_tokens=2,
    agent_audio_tokens=4,
    user_video_tokens=(1, 2),
    agent_video_tokens=(2, 4),
)
UNITS = 6


def run(model: DuplexModel, batch: Batch) -> Output:
    """Logits and clean-latent estimates under fixed noise."""
    return model(batch, noisy_of(batch))


def noisy_of(batch: Batch) -> Noisy:
    tau_BK = torch.full(batch.agent_text_BKS.shape[:2], 0.8)
    return add_noise(batch, tau_BK, torch.Generator().manual_seed(1))


def test_precondition_is_the_best_linear_estimate() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, std, tau = torch.tensor(0.7), torch.tensor(0.3), torch.tensor(0.6)
    clean = mean + std * torch.randn(200_000, generator=generator)
    z = (1 - tau) * clean + tau * torch.randn(200_000, generator=generator)
    preconditioned = precondition(z, tau, Gaussian(mean, std))
    assert preconditioned.innovation.std() == pytest.approx(1, abs=0.01)
    error = clean - preconditioned.estimate
    assert error.std() == pytest.approx(float(preconditioned.scale), abs=0.01)
    assert abs((error * z).mean() - error.mean() * z.mean()) < 1e-3  # nothing linear is left


@pytest.mark.parametrize(("tau", "expected"), [(0.0, "z"), (1.0, "mean")])
def test_precondition_at_the_ends(tau: float, expected: str) -> None:
    z, mean, std = torch.randn(10), torch.randn(10), torch.rand(10) + 0.1
    preconditioned = precondition(z, torch.tensor(tau), Gaussian(mean, std))
    torch.testing.assert_close(preconditioned.estimate, z if expected == "z" else mean)
    torch.testing.assert_close(preconditioned.scale, torch.zeros(10) if expected == "z" else std)


def test_untrained_model_returns_the_linear_estimate() -> None:
    model, batch = DuplexModel(CONFIG).eval(), random_batch(units=UNITS)
    output = run(model, batch)
    standard = Gaussian(torch.tensor(0.0), torch.tensor(1.0))
    expected = precondition(noisy_of(batch).audio_BKNC, torch.tensor(0.8), standard).estimate
    torch.testing.assert_close(output.audio_x0_BKNC, expected)


def test_velocity_heads_say_how_the_path_runs() -> None:
    """x_0 = z - tau v: an untrained model stands still, and a head that says one thing everywhere moves all by tau."""
    model = DuplexModel(dataclasses.replace(CONFIG, prediction="velocity")).eval()
    batch = random_batch(units=UNITS)
    noisy = noisy_of(batch)
    still = run(model, batch)
    assert torch.equal(still.audio_x0_BKNC, noisy.audio_BKNC) and torch.equal(still.video_x0_BKCHW, noisy.video_BKCHW)
    with torch.no_grad():
        model.audio_out.bias.fill_(0.5)
        model.video_out.bias.fill_(-2.0)
    moved = run(model, batch)
    torch.testing.assert_close(moved.audio_x0_BKNC, noisy.audio_BKNC - 0.8 * 0.5)
    torch.testing.assert_close(moved.video_x0_BKCHW, noisy.video_BKCHW + 0.8 * 2.0)


@torch.no_grad()
def test_the_two_heads_differ_in_nothing_else() -> None:
    models = [random_model(dataclasses.replace(CONFIG, prediction=p)) for p in ("clean", "velocity")]
    batch = random_batch(units=UNITS)
    outputs = [run(model, batch) for model in models]
    assert torch.equal(outputs[0].text_logits_BKSV, outputs[1].text_logits_BKSV)
    assert (outputs[0].audio_x0_BKNC - outputs[1].audio_x0_BKNC).abs().max() > 0.1


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


def test_a_file_from_before_a_field_was_added_loads_as_it_was_trained(tmp_path: Path) -> None:
    path, model = tmp_path / "model.safetensors", random_model()
    config = {name: value for name, value in dataclasses.asdict(CONFIG).items() if name not in ADDED}
    save_tensors(path, model.state_dict(), {"format": FORMAT, "config": config})
    assert load_model(path).config == CONFIG
    save_tensors(path, model.state_dict(), {"format": FORMAT, "config": config | {"width": 3}})
    with pytest.raises(InputError, match="config differs from this version in width"):
        load_model(path)
    del config["rope_theta"]
    save_tensors(path, model.state_dict(), {"format": FORMAT, "config": config})
    with pytest.raises(InputError, match="config differs from this version in rope_theta"):
        load_model(path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b"not a checkpoint"), "not a checkpoint"),
        (lambda path: save_tensors(path, {}, {"format": "other"}), "format 'other'"),
    ],
)
def test_a_wrong_model_file_is_one_clear_line(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "model.safetensors"
    spoil(path)
    with pytest.raises(InputError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
