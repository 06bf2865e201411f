"""VAEs: streamed equals offline, the past knows nothing of the future, the past counts, state is plain tensors."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from tests.helpers.small_vaes import awake, small_vae
from wanstreamer import vae
from wanstreamer.errors import InputError
from wanstreamer.metrics import log_mel_l1, psnr_db, ssim, unit_flicker
from wanstreamer.vae import AudioVAE, AudioVAEConfig, State, VideoVAE, VideoVAEConfig
from wanstreamer.vae.causal import reduced_rank_regression

SAMPLES, FRAMES = 2560, 4  # per unit
KINDS = ("audio", "video")


def media(kind: str, units: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (1, units * SAMPLES) if kind == "audio" else (1, units * FRAMES, 3, 32, 32)
    return (torch.rand(shape, generator=generator) * 2 - 1).to(dtype)


def step(kind: str) -> int:
    """The smallest piece of media a VAE takes: one latent."""
    return 640 if kind == "audio" else FRAMES


def pieces(x: Tensor, sizes: list[int], length: int) -> list[Tensor]:
    """Split time (axis 1) into pieces of the given sizes, counted in `length`; the last takes the rest."""
    cuts, done = [], 0
    for size in sizes:
        cuts.append(x[:, done * length : (done + size) * length])
        done += size
    return [piece for piece in [*cuts, x[:, done * length :]] if piece.shape[1]]


def run_streamed(call, parts: list[Tensor]) -> Tensor:  # type: ignore[no-untyped-def]
    outputs, state = [], None
    for part in parts:
        out, state = call(part, state)
        outputs.append(out)
    return torch.cat(outputs, dim=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
@settings(max_examples=12, deadline=None)
@given(sizes=st.lists(st.integers(1, 4), max_size=6), seed=st.integers(0, 99))
def test_streamed_equals_offline_for_any_chunking(
    kind: str, dtype: torch.dtype, tolerance: float, sizes: list[int], seed: int
) -> None:
    model, x = small_vae(kind, dtype), media(kind, 5, seed, dtype)
    latent, _ = model.encode(x)
    decoded, _ = model.decode(latent)
    assert decoded.abs().max() > 0.1
    torch.testing.assert_close(run_streamed(model.encode, pieces(x, sizes, step(kind))), latent, atol=tolerance, rtol=0)
    torch.testing.assert_close(run_streamed(model.decode, pieces(latent, sizes, 1)), decoded, atol=tolerance, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(cut=st.integers(1, 4), seed=st.integers(0, 99))
def test_the_future_leaves_the_past_bitwise_unchanged(kind: str, cut: int, seed: int) -> None:
    model = small_vae(kind)
    length = SAMPLES if kind == "audio" else FRAMES
    per_unit = 4 if kind == "audio" else 1
    x, other = media(kind, 5, seed), media(kind, 5, seed + 1000)
    changed = torch.cat([x[:, : cut * length], other[:, cut * length :]], dim=1)
    latent, _ = model.encode(x)
    latent_changed, _ = model.encode(changed)
    assert torch.equal(latent[:, : cut * per_unit], latent_changed[:, : cut * per_unit])
    assert not torch.equal(latent[:, cut * per_unit], latent_changed[:, cut * per_unit])
    mixed = torch.cat([latent[:, : cut * per_unit], torch.randn_like(latent[:, cut * per_unit :])], dim=1)
    decoded, _ = model.decode(latent)
    decoded_mixed, _ = model.decode(mixed)
    assert torch.equal(decoded[:, : cut * length], decoded_mixed[:, : cut * length])
    assert not torch.equal(decoded[:, cut * length :], decoded_mixed[:, cut * length :])


@pytest.mark.parametrize("kind", KINDS)
def test_the_unit_before_counts(kind: str) -> None:
    model = small_vae(kind)
    length = SAMPLES if kind == "audio" else FRAMES
    per_unit = 4 if kind == "audio" else 1
    x, other = media(kind, 2, 0), media(kind, 2, 1)
    changed = torch.cat([other[:, :length], x[:, length:]], dim=1)
    latent, _ = model.encode(x)
    latent_changed, _ = model.encode(changed)
    assert (latent[:, per_unit:] - latent_changed[:, per_unit:]).abs().max() > 1e-4
    mixed = torch.cat([torch.randn_like(latent[:, :per_unit]), latent[:, per_unit:]], dim=1)
    decoded, decoded_mixed = model.decode(latent)[0], model.decode(mixed)[0]
    assert (decoded[:, length:] - decoded_mixed[:, length:]).abs().max() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_state_survives_a_file_and_two_streams_do_not_meet(kind: str) -> None:
    model = small_vae(kind)
    length = SAMPLES if kind == "audio" else FRAMES
    x, other = media(kind, 4, 0), media(kind, 4, 1)
    latent, _ = model.encode(x)
    decoded, _ = model.decode(latent)

    def reload(state: State) -> State:
        return load(save(state))

    _, encoder = model.encode(x[:, : 2 * length])
    encoder = reload(encoder)
    model.encode(other)  # another stream through the same module in between
    rest, _ = model.encode(x[:, 2 * length :], encoder)
    half = latent.shape[1] // 2
    torch.testing.assert_close(rest, latent[:, half:], atol=1e-4, rtol=0)
    _, decoder = model.decode(latent[:, :half])
    decoder = reload(decoder)
    model.decode(latent * 2)
    tail, _ = model.decode(latent[:, half:], decoder)
    torch.testing.assert_close(tail, decoded[:, 2 * length :], atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_of_equal_shape_give_equal_bits_whatever_came_before(kind: str) -> None:
    """Unit by unit: again from the start; from a state that was written and read; and after a past of another length,
    once it lies further back than a VAE sees (1.4 s)."""
    model = small_vae(kind)
    length, per_unit = (SAMPLES, 4) if kind == "audio" else (FRAMES, 1)
    x = media(kind, 24, 0)
    latent = run_streamed(model.encode, list(x.split(length, dim=1)))
    decoded = run_streamed(model.decode, list(latent.split(per_unit, dim=1)))
    assert torch.equal(run_streamed(model.encode, list(x.split(length, dim=1))), latent)
    assert torch.equal(run_streamed(model.decode, list(latent.split(per_unit, dim=1))), decoded)
    state, again = None, []
    for piece in x.split(length, dim=1):
        out, state = model.encode(piece, None if state is None else load(save(state)))
        again.append(out)
    assert torch.equal(torch.cat(again, dim=1), latent)
    skipped, settled = 5, 12
    later = run_streamed(model.encode, list(x[:, skipped * length :].split(length, dim=1)))
    assert torch.equal(later[:, settled * per_unit :], latent[:, (skipped + settled) * per_unit :])
    later = run_streamed(model.decode, list(latent[:, skipped * per_unit :].split(per_unit, dim=1)))
    assert torch.equal(later[:, settled * length :], decoded[:, (skipped + settled) * length :])


@pytest.mark.parametrize("kind", KINDS)
def test_state_takes_the_same_memory_however_long_a_stream_was(kind: str) -> None:
    """A state owns its numbers and no more: not the pieces they were cut from."""
    model = small_vae(kind)

    def owned_numbers(state: State) -> dict[str, int]:
        return {name: tensor.untyped_storage().nbytes() for name, tensor in state.items()}

    states = []
    for units in (1, 30):
        latent, encoder = model.encode(media(kind, units, 0))
        _, decoder = model.decode(latent)
        states.append((owned_numbers(encoder), owned_numbers(decoder)))
        assert owned_numbers(encoder) == {name: tensor.numel() * 4 for name, tensor in encoder.items()}
    assert states[0] == states[1]


@pytest.mark.parametrize("rate_hz", [24000, 48000])
def test_other_sample_rates_stream_exactly(rate_hz: int) -> None:
    config = AudioVAEConfig(
        rate_hz=rate_hz, channels=6, encoder_width=16, latent_width=24, decoder_width=20, decoder_blocks=(1, 2)
    )
    model = awake(AudioVAE(config), torch.float32)
    unit = rate_hz * 160 // 1000
    x = torch.rand(1, 3 * unit, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latent, _ = model.encode(x)
    decoded, _ = model.decode(latent)
    assert latent.shape == (1, 12, 6) and decoded.shape == x.shape
    torch.testing.assert_close(run_streamed(model.encode, list(x.split(unit, dim=1))), latent, atol=1e-4, rtol=0)
    torch.testing.assert_close(run_streamed(model.decode, list(latent.split(4, dim=1))), decoded, atol=1e-4, rtol=0)


def test_a_large_picture_streams_exactly() -> None:
    """336x192, as the larger models see it, with few features."""
    config = VideoVAEConfig(height=192, width=336, channels=5, widths=(8, 12, 16), blocks=(1, 1, 2))
    model = awake(VideoVAE(config), torch.float32)
    x = torch.rand(1, 12, 3, 192, 336, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latent, _ = model.encode(x)
    decoded, _ = model.decode(latent)
    assert latent.shape == (1, 3, 5, 12, 21) and decoded.shape == x.shape
    torch.testing.assert_close(run_streamed(model.encode, list(x.split(4, dim=1))), latent, atol=1e-4, rtol=0)
    torch.testing.assert_close(run_streamed(model.decode, list(latent.split(1, dim=1))), decoded, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_given_state_is_not_changed(kind: str) -> None:
    """A branch of a stream (a rollout, a retry) may start from the same state twice."""
    model, x = small_vae(kind), media(kind, 2, 0)
    _, state = model.encode(x)
    before = {name: value.clone() for name, value in state.items()}
    first, _ = model.encode(x, state)
    second, _ = model.encode(x, state)
    assert torch.equal(first, second)
    assert all(torch.equal(state[name], before[name]) for name in before)


@pytest.mark.parametrize("kind", KINDS)
def test_batch_members_do_not_meet(kind: str) -> None:
    model = small_vae(kind)
    x = torch.cat([media(kind, 2, 0), media(kind, 2, 1)])
    both, _ = model.encode(x)
    torch.testing.assert_close(both[1:], model.encode(x[1:])[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(model.decode(both)[0][1:], model.decode(both[1:])[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_file_holds_config_and_normalisation_and_gives_equal_bytes(kind: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    model, x = small_vae(kind), media(kind, 2, 0)
    vae.save(model, tmp_path / "one.safetensors", {"training": "abc"})
    vae.save(model, tmp_path / "two.safetensors", {"training": "abc"})
    assert vae.weights_hash(tmp_path / "one.safetensors") == vae.weights_hash(tmp_path / "two.safetensors")
    loader = vae.load_audio_vae if kind == "audio" else vae.load_video_vae
    loaded = loader(tmp_path / "one.safetensors")
    assert loaded.config == model.config
    assert torch.equal(loaded.encode(x)[0], model.encode(x)[0])
    meta = vae.read_meta(tmp_path / "one.safetensors")
    assert meta["training"] == "abc"
    assert json.loads(json.dumps(meta["config"]))["channels"] == model.config.channels
    other = vae.load_video_vae if kind == "audio" else vae.load_audio_vae
    with pytest.raises(InputError, match=f"its model is {kind}, expected the .* VAE of this version"):
        other(tmp_path / "one.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"\x80\x04pickle?")
    with pytest.raises(InputError, match="bad.safetensors"):
        loader(tmp_path / "bad.safetensors")
    assert vae.read_meta(tmp_path / "bad.safetensors") == {}


def test_shapes_and_their_mistakes() -> None:
    audio, video = small_vae("audio"), small_vae("video")
    assert audio.encode(torch.zeros(2, 2 * SAMPLES))[0].shape == (2, 8, 6)
    assert audio.decode(torch.zeros(2, 8, 6))[0].shape == (2, 2 * SAMPLES)
    assert video.encode(torch.zeros(2, 8, 3, 32, 32))[0].shape == (2, 2, 5, 2, 2)
    assert video.decode(torch.zeros(2, 2, 5, 2, 2))[0].shape == (2, 8, 3, 32, 32)
    with pytest.raises(ValueError, match="multiple of 640"):
        audio.encode(torch.zeros(1, 700))
    with pytest.raises(ValueError, match="whole units"):
        video.encode(torch.zeros(1, 6, 3, 32, 32))
    with pytest.raises(ValueError, match="multiples of 16"):
        VideoVAEConfig(width=60)
    with pytest.raises(ValueError, match="this stream needs"):
        audio.encode(torch.zeros(1, 640), audio.encode(torch.zeros(2, 640))[1])


def test_the_linear_skip_alone_is_a_vae_with_unit_latents() -> None:
    """Pictures of few degrees of freedom: an untrained VAE with a fitted skip gives them back."""
    torch.manual_seed(0)
    basis = torch.randn(4, 4 * 3 * 32 * 32)
    clips = (torch.randn(300, 4) @ basis).reshape(300, 4, 3, 32, 32) / 8
    model = VideoVAE(VideoVAEConfig(height=32, width=32, channels=16, widths=(8, 8, 8))).requires_grad_(False)
    model.fit_skip(clips)
    latent, _ = model.encode(clips)
    decoded, _ = model.decode(latent)
    assert (decoded - clips).pow(2).mean() < 1e-3 * clips.pow(2).mean()
    torch.testing.assert_close(latent.std(dim=(0, 1, 3, 4))[:4], torch.ones(4), atol=0.1, rtol=0)


def test_the_audio_skip_writes_what_it_heard_when_it_was() -> None:
    """Noise in bursts: an untrained VAE with a fitted skip has their loudness at the right time, hop by hop."""
    generator = torch.Generator().manual_seed(0)
    steps = torch.rand(8, 100, generator=generator).repeat_interleave(320, dim=1)  # another loudness every 20 ms
    clips = 0.3 * steps**2 * torch.randn(8, 32000, generator=generator)
    model = AudioVAE(AudioVAEConfig(encoder_width=16, latent_width=24, decoder_width=20)).requires_grad_(False)
    model.fit_skip(clips)
    latent, _ = model.encode(clips)
    decoded, _ = model.decode(latent)
    heard, written = (x.unfold(1, 160, 160).square().mean(2).sqrt() for x in (clips, decoded))

    def agreement(late_hops: int) -> float:
        pair = torch.stack([heard[:, 10:-10].flatten(), written.roll(-late_hops, dims=1)[:, 10:-10].flatten()])
        return torch.corrcoef(pair)[0, 1].item()

    assert agreement(0) > 0.75
    assert max(agreement(-1), agreement(1)) < agreement(0) - 0.1


def test_reduced_rank_regression_finds_the_plan_of_its_data() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 12, generator=generator) + 3
    y = (x[:, :2] @ torch.randn(2, 7, generator=generator)) - 1
    encode, offset, decode, mean = reduced_rank_regression(x, y, 2)
    plan = x @ encode.T + offset
    torch.testing.assert_close(plan @ decode.T + mean, y, atol=2e-3, rtol=0)
    torch.testing.assert_close(plan.mean(0), torch.zeros(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(plan.std(0), torch.ones(2), atol=0.01, rtol=0)


def test_flicker_is_what_happens_between_units_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    moving = torch.rand(1, 16, 3, 8, 8, generator=generator) - 0.5
    assert unit_flicker(moving, moving) == pytest.approx(1)
    assert unit_flicker(moving / 3, moving) == pytest.approx(1, abs=1e-3)
    steps = moving + 0.5 * (torch.arange(16) // 4 % 2)[:, None, None, None]  # each unit in a light of its own
    assert unit_flicker(steps, moving) > 1.3
    still = moving[:, :1].expand_as(moving)
    assert unit_flicker(still, still) == pytest.approx(1)


def test_metrics_know_equal_from_different() -> None:
    generator = torch.Generator().manual_seed(0)
    video = torch.rand(1, 4, 3, 32, 32, generator=generator) * 2 - 1
    noise = torch.randn(video.shape, generator=generator)
    assert psnr_db(video, video) > 100
    assert psnr_db((video * 0 + 0.2), video * 0) == pytest.approx(10 * math.log10(4 / 0.04), abs=1e-4)
    assert ssim(video, video) == pytest.approx(1, abs=1e-4)
    assert ssim(video + 0.5 * noise, video) < ssim(video + 0.1 * noise, video) < 0.99
    audio = 0.1 * torch.randn(1, 16000, generator=generator)
    assert log_mel_l1(audio, audio, 16000) == 0
    assert log_mel_l1(2 * audio, audio, 16000) == pytest.approx(math.log(2), abs=1e-3)
