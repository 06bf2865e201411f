"""Training of a VAE: it improves on its linear start, resumes to the same weights, and runs as a GPU would run it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from wanstreamer import vae
from wanstreamer.train import vae as train_module
from wanstreamer.train.vae import VaeTrainConfig
from wanstreamer.vae.tracks import encode_track


def small_video() -> vae.VideoVAE:
    torch.manual_seed(0)
    return vae.VideoVAE(vae.VideoVAEConfig(height=32, width=32, channels=4, widths=(16, 24, 32), blocks=(1, 1, 1)))


def clips(count: int, seed: int = 0) -> list[torch.Tensor]:
    """uint8 tracks (T, H, W, 3): one coloured blob each, going to and fro."""
    generator = torch.Generator().manual_seed(seed)
    colour_NC = torch.rand((count, 3), generator=generator)
    centre_T = 16 + 8 * torch.sin(torch.arange(32) / 4)
    x, y = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="xy")
    blob_THW = torch.exp(-((x - centre_T[:, None, None]) ** 2 + (y - 16) ** 2) / 20)
    return list((255 * blob_THW[None, ..., None] * colour_NC[:, None, None, None]).to(torch.uint8))


@pytest.mark.parametrize("held_out", [0, 2])
def test_a_killed_training_ends_with_the_same_weights_and_curve(tmp_path: Path, held_out: int) -> None:
    config = VaeTrainConfig(steps=9, batch=2, clip_units=2, log_every=2, valid_every=4, checkpoint_s=0.0, fit_clips=8)
    state = tmp_path / "state.safetensors"

    def train(fingerprint: str, killed_at: int | None = None) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
        def on_step(step: int) -> None:
            if step == killed_at:
                raise KeyboardInterrupt

        model, curve = train_module.train_vae(
            small_video(),
            clips(3),
            clips(held_out, 9),
            config,
            state_path=state,
            fingerprint=fingerprint,
            on_step=on_step,
        )
        return model.state_dict(), curve

    whole, curve = train("a")
    state.unlink()
    with pytest.raises(KeyboardInterrupt):
        train("a", killed_at=5)
    assert state.is_file()
    steps: list[int] = []
    again, curve_again = train("a")
    assert curve_again == curve
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    # A state of another training is not taken up.
    with pytest.raises(KeyboardInterrupt):
        train("other", killed_at=5)
    model, _ = train_module.train_vae(
        small_video(), clips(3), [], config, state_path=state, fingerprint="a", on_step=steps.append
    )
    assert steps[0] == 0
    assert all(torch.equal(model.state_dict()[name], whole[name]) for name in whole)


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_training_improves_on_the_linear_vae_and_latents_are_normalised(tmp_path: Path, kind: str) -> None:
    model: vae.AudioVAE | vae.VideoVAE
    if kind == "audio":
        torch.manual_seed(0)
        config = vae.AudioVAEConfig(channels=8, encoder_width=16, latent_width=32, decoder_width=32)
        model = vae.AudioVAE(config)
        time_s = torch.arange(16000 * 4) / 16000
        tracks = [0.3 * torch.sin(2 * torch.pi * f * time_s) * torch.sin(3 * time_s) for f in (150.0, 220.0, 310.0)]
    else:
        model, tracks = small_video(), clips(4)
    training = VaeTrainConfig(steps=60, batch=4, clip_units=4, warmup_steps=5, log_every=10, fit_clips=32)
    trained, curve = train_module.train_vae(
        model, tracks, [], training, state_path=tmp_path / "state.safetensors", fingerprint=""
    )
    assert curve[-1]["loss"] < 0.85 * curve[0]["loss"]
    latents = torch.cat([encode_track(trained, track) for track in tracks])
    rows = latents.movedim(-1 if kind == "audio" else 1, -1).flatten(0, -2)
    torch.testing.assert_close(rows.mean(0), torch.zeros(rows.shape[1]), atol=0.02, rtol=0)
    torch.testing.assert_close(rows.std(0), torch.ones(rows.shape[1]), atol=0.05, rtol=0)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["audio", "video"])
def test_passes_can_be_compiled_and_run_in_bfloat16(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU does, as far as a CPU can: whole graphs, lower precision, and about the same curve."""
    training = VaeTrainConfig(steps=4, batch=2, clip_units=2, log_every=1, fit_clips=16)
    tracks = clips(3) if kind == "video" else [0.2 * torch.randn(16000, generator=torch.Generator().manual_seed(1))]

    def train() -> list[dict[str, float]]:
        torch.manual_seed(0)
        model: vae.AudioVAE | vae.VideoVAE = small_video()
        if kind == "audio":
            model = vae.AudioVAE(vae.AudioVAEConfig(channels=8, encoder_width=16, latent_width=32, decoder_width=32))
        trained, curve = train_module.train_vae(
            model, tracks, [], training, state_path=tmp_path / "state.safetensors", fingerprint=""
        )
        assert all(parameter.dtype == torch.float32 for parameter in trained.parameters())
        return curve

    plain = train()
    compiled: list[object] = []

    def compile_eagerly(function: Any) -> Any:
        compiled.append(function)
        return compile_for_real(function, backend="eager", fullgraph=True)

    compile_for_real = torch.compile
    monkeypatch.setattr(torch, "compile", compile_eagerly)
    monkeypatch.setattr(train_module, "_accelerated", lambda device: True)
    fast = train()
    assert len(compiled) == 2
    assert fast != plain
    for row, other in zip(fast, plain, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=0.03)
