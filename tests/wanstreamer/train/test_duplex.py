"""Training: what carries loss, exact resume, determinism, and that it learns."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.helpers.duplex_fixtures import CONFIG, random_batch, random_model
from tests.helpers.training_fixtures import RandomSource, fresh, prior
from wanstreamer.model.duplex import save_model
from wanstreamer.model.sequence import MISSING
from wanstreamer.train import duplex
from wanstreamer.train.draws import drop_text, move_identities
from wanstreamer.train.duplex import (
    Passes,
    TrainConfig,
    draw_inputs,
    duplex_loss,
    evaluate,
    make_optimizer,
    train,
    train_step,
)
from wanstreamer.train.fit_prior import fit_prior
from wanstreamer.train.loss import event_units, interrupting_units, part_sums
from wanstreamer.train.steps import Scalars
from wanstreamer.windows.loader import LABELS, Batch

TINY = TrainConfig(
    steps=14, batch_size=2, warmup_steps=3, prior_batches=2, log_every=4, checkpoint_s=0.0, threads=1,
    audio_weight=3.0, interrupting_weight=1.0, silence_weight=1.0,
)  # fmt: skip


def run(
    folder: Path,
    *,
    config: TrainConfig = TINY,
    on_step: Callable[[int, Scalars], None] = lambda step, parts: None,
    fingerprint: str = "f",
) -> tuple[bytes, list[Scalars]]:
    model, history = train(
        fresh(),
        config,
        source=RandomSource(config.batch_size),
        prior=prior,
        valid=[random_batch(units=5, seed=99)],
        state_path=folder / "state.safetensors",
        fingerprint=fingerprint,
        on_step=on_step,
    )
    save_model(model, folder / "model.safetensors")
    return (folder / "model.safetensors").read_bytes(), history


class KilledError(Exception):
    pass


def kill_at(stop: int) -> Callable[[int, Scalars], None]:
    def on_step(step: int, parts: Scalars) -> None:
        if step == stop:
            raise KilledError

    return on_step


@pytest.mark.parametrize("stops", [[1], [4], [6, 9], [13]])
def test_a_killed_run_ends_with_the_bytes_of_an_unbroken_one(tmp_path: Path, stops: list[int]) -> None:
    (tmp_path / "whole").mkdir()
    whole, history = run(tmp_path / "whole", config=dataclasses.replace(TINY, checkpoint_s=1e9))
    steps: list[int] = []
    for stop in stops:
        with pytest.raises(KilledError):
            run(tmp_path, on_step=kill_at(stop))
        torch.rand(3)  # whatever happens to the global generator between runs
    again, resumed = run(tmp_path, on_step=lambda step, parts: steps.append(step))
    assert steps[0] == stops[-1] + 1  # nothing is done twice
    assert again == whole
    assert resumed == history


def test_a_state_of_another_run_is_not_continued(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        run(tmp_path, on_step=kill_at(6))
    steps: list[int] = []
    run(tmp_path, fingerprint="other", on_step=lambda step, parts: steps.append(step))
    assert steps[0] == 1


def test_training_leaves_the_global_generator_and_settings_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    run(tmp_path, config=dataclasses.replace(TINY, steps=2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads and not torch.are_deterministic_algorithms_enabled()


def test_history_has_a_row_per_log_with_every_curve(tmp_path: Path) -> None:
    _, history = run(tmp_path)
    assert [row["step"] for row in history] == [4, 8, 12, 14]
    wanted = {"loss", "text", "audio", "video", "grad_text", "grad_audio", "grad_video", "grad_norm", "valid_loss"}
    assert all(wanted <= set(row) for row in history[:-1])


def test_it_learns(tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, steps=150, log_every=50, checkpoint_s=1e9, learning_rate=5e-3)
    _, history = run(tmp_path, config=config)
    assert history[-1]["text"] < 0.5 * history[0]["text"]
    assert history[-1]["audio"] < 0.97 * history[0]["audio"]
    assert history[-1]["video"] < 0.97 * history[0]["video"]


def loss_parts(batch: Batch, seed: int = 0) -> dict[str, float]:
    _, parts_W = duplex_loss(random_model(), batch, torch.Generator().manual_seed(seed), TINY)
    return dict(zip(("text", "audio", "video"), parts_W.tolist(), strict=True))


@pytest.mark.parametrize("stream", ["audio", "video", "text"])
def test_unknown_agent_units_carry_no_loss(stream: str) -> None:
    batch = random_batch()
    known = torch.ones(2, 7, dtype=torch.bool)
    known[0, 3:] = False
    batch = dataclasses.replace(batch, **{f"agent_{stream}_known_BK": known})
    field = next(f.name for f in dataclasses.fields(batch) if f.name.startswith(f"agent_{stream}_BK"))
    other = getattr(batch, field).clone()
    other[0, 3:] = 7
    assert loss_parts(batch)[stream] == loss_parts(dataclasses.replace(batch, **{field: other}))[stream]


def test_nothing_known_is_no_loss_and_no_nan() -> None:
    batch, none = random_batch(), torch.zeros(2, 7, dtype=torch.bool)
    batch = dataclasses.replace(
        batch, **{f"{party}_{s}_known_BK": none for party in ("user", "agent") for s in ("audio", "video", "text")}
    )
    model = random_model()
    loss, parts_W = duplex_loss(model, batch, torch.Generator().manual_seed(0), TINY)
    assert parts_W.tolist() == [0.0, 0.0, 0.0]
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_missing_text_carries_no_loss_even_where_the_unit_is_known() -> None:
    batch = random_batch()
    text = batch.agent_text_BKS.clone()
    text[:, 2:] = MISSING
    short = dataclasses.replace(batch, agent_text_BKS=text)
    model = random_model()
    _, parts_W = duplex_loss(model, short, torch.Generator().manual_seed(0), TINY)
    logits = model(short).text_logits_BKSV[:, :2].log_softmax(-1)
    expected = -logits.gather(-1, text[:, :2, :, None]).mean()
    torch.testing.assert_close(parts_W[0], expected)


def labelled(batch: Batch, **events: list[int]) -> Batch:
    """The batch with labels of one window's units set: name -> values by unit."""
    labels_BKL = torch.zeros_like(batch.labels_BKL)
    for name, values in events.items():
        labels_BKL[0, :, LABELS.index(name)] = torch.tensor(values)
    return dataclasses.replace(batch, labels_BKL=labels_BKL)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ({"agent_speech_ms": [0, 0, 0, 90, 160, 160, 0]}, [2, 3, 4]),  # an onset
        ({"agent_speech_ms": [160, 160, 160, 160, 0, 0, 0]}, []),  # speech from before the window
        ({"agent_speech_ms": [-1, -1, 160, 160, 160, 0, 0]}, []),  # no one knows whether it was silent before
        ({"user_speech_ms": [0, 0, 0, 90, 160, 160, 0]}, []),
        ({"agent_backchannel": [0, 1, 1, 0, 0, 0, 0]}, [0, 1, 2, 3]),
        ({"agent_interruption_role": [0, 0, 0, 0, 0, 0, 2]}, [5, 6]),
    ],
)
def test_event_units(events: dict[str, list[int]], expected: list[int]) -> None:
    found_BK = event_units(labelled(random_batch(), **events).labels_BKL)
    assert found_BK[0].nonzero().flatten().tolist() == expected and not found_BK[1].any()


def test_interrupting_units_begin_before_their_sound() -> None:
    labels_BKL = labelled(random_batch(), agent_interruption_role=[0, 0, 0, 1, 1, 0, 2]).labels_BKL
    found_BK = interrupting_units(labels_BKL)
    assert found_BK[0].nonzero().flatten().tolist() == [1, 2, 3] and not found_BK[1].any()


def test_interrupting_weight_of_nothing_hides_from_training_when_an_interruption_begins() -> None:
    model = random_model()
    batch = labelled(random_batch(), agent_interruption_role=[0, 0, 0, 1, 0, 2, 2])
    config = dataclasses.replace(TINY, event_weight=3.0, interrupting_weight=0.0)
    weight_BKW = draw_inputs(batch, model, config, 0).weight_BKW
    assert weight_BKW[0, :, 0].tolist() == [1, 0, 0, 0, 3, 3, 3] and (weight_BKW[1] == 1).all()


def test_silence_weight_is_of_text_where_no_one_speaks() -> None:
    """Not where it is unknown who does."""
    model = random_model()
    sounds = {"agent_speech_ms": [160, 0, 0, 0, -1, 0, 0], "user_speech_ms": [0, 9, 0, 0, 0, -1, 160]}
    batch = labelled(random_batch(), **sounds)
    batch.labels_BKL[1, :, LABELS.index("user_speech_ms")] = 160
    weight_BKW = draw_inputs(batch, model, dataclasses.replace(TINY, silence_weight=4.0), 0).weight_BKW
    assert weight_BKW[0, :, 0].tolist() == [1, 1, 4, 4, 1, 1, 1]
    assert (weight_BKW[1] == 1).all() and (weight_BKW[..., 1:] == 1).all()


def test_event_weight_multiplies_the_loss_of_those_units_alone() -> None:
    model = random_model()
    batch = labelled(random_batch(), agent_backchannel=[0, 0, 0, 1, 0, 0, 0])
    config = dataclasses.replace(TINY, identity_jitter=0.0, user_text_drop=0.0, agent_text_drop=0.0)
    inputs = draw_inputs(batch, model, config, 0)
    assert (inputs.weight_BKW == 1).all()
    weighted = draw_inputs(batch, model, dataclasses.replace(config, event_weight=3.0), 0)
    output = model(inputs.batch, inputs.noisy)

    def sums(weight_BKW: torch.Tensor) -> torch.Tensor:
        return part_sums(model, output, inputs.batch, inputs.noisy.tau_BK, weight_BKW)

    inside = torch.zeros_like(inputs.weight_BKW)
    inside[0, 2:5] = 1
    assert (sums(inside) > 0).all()
    torch.testing.assert_close(sums(weighted.weight_BKW), sums(inputs.weight_BKW) + 2 * sums(inside))


def steps_of(config: TrainConfig, count: int = 3) -> tuple[list[float], list[Scalars], dict[str, torch.Tensor]]:
    """Losses and gradient norms of the first steps, and the weights after them."""
    model = fresh(dropout=0.1)
    passes, optimizer = Passes(model, config), make_optimizer(model, config)
    losses, norms = [], []
    for step in range(count):
        batch = random_batch(windows=4, units=5, seed=step)
        known = torch.ones(4, 5, dtype=torch.bool)
        known[0, 1:] = False  # windows know more or less: means of means would differ
        batch = dataclasses.replace(batch, agent_audio_known_BK=known, agent_text_known_BK=known)
        parts, gradient_norms = train_step(passes, optimizer, draw_inputs(batch, model, config, step), step)
        losses.append(parts["loss"])
        norms.append(gradient_norms)
    return losses, norms, model.state_dict()


@pytest.mark.parametrize("micro_batch", [1, 2, 3])
def test_windows_in_several_passes_give_the_step_of_one(micro_batch: int) -> None:
    config = dataclasses.replace(TINY, batch_size=4, log_every=1, learning_rate=1e-3, warmup_steps=1)
    losses, norms, weights = steps_of(config)
    again, split_norms, split_weights = steps_of(dataclasses.replace(config, micro_batch=micro_batch))
    assert again == pytest.approx(losses, rel=1e-6)
    for whole, split in zip(norms, split_norms, strict=True):
        assert set(whole) == {"grad_norm", "grad_text", "grad_audio", "grad_video"}
        assert split == pytest.approx(whole, rel=1e-4)
    for name, weight in weights.items():
        torch.testing.assert_close(split_weights[name], weight, atol=1e-5, rtol=0)


def test_bfloat16_passes_stay_near_and_leave_weights_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, whose kernels a CPU's autocast stands in for."""
    config = dataclasses.replace(TINY, batch_size=4, compile=False)
    exact, _, _ = steps_of(config)
    monkeypatch.setattr(duplex, "accelerated", lambda device: True)
    rough, _, weights = steps_of(config)
    assert rough != exact and rough == pytest.approx(exact, rel=0.02)
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


def test_validation_draws_nothing_from_training() -> None:
    valid = [random_batch(seed=9)]
    assert evaluate(random_model(), valid, TINY) == evaluate(random_model(), valid, TINY)


@pytest.mark.parametrize("party", ["user", "agent"])
@pytest.mark.parametrize(("share", "dropped"), [(0.0, 0), (0.5, 3), (1.0, 5)])
def test_text_is_dropped_whole_in_at_least_the_share(party: str, share: float, dropped: int) -> None:
    batch = random_batch(windows=5)
    thinned = drop_text(batch, party, share, torch.Generator().manual_seed(0))
    known_BK = getattr(thinned, f"{party}_text_known_BK")
    assert (known_BK.all(1) | ~known_BK.any(1)).all()
    assert int((~known_BK.any(1)).sum()) == dropped
    assert batch.user_text_known_BK.all() and batch.agent_text_known_BK.all()
    other = {"user": "agent", "agent": "user"}[party]
    assert getattr(thinned, f"{other}_text_known_BK").all()


def test_prior_is_fitted_to_the_unit_before_and_the_mean() -> None:
    """People sit at a place of their own and move about it: the prior knows both."""
    generator = torch.Generator().manual_seed(0)
    place = 3 * torch.randn(256, *CONFIG.video_shape, generator=generator)
    moved = [torch.randn(256, *CONFIG.video_shape, generator=generator)]
    for _ in range(39):
        moved.append(0.6 * moved[-1] + 0.8 * torch.randn(256, *CONFIG.video_shape, generator=generator))
    video = place[:, None] + torch.stack(moved, dim=1)
    batch = dataclasses.replace(random_batch(windows=256, units=40), agent_video_BKCHW=video)
    model = fresh()
    fit_prior(model, [batch])
    assert model.video_last_gain.mean() == pytest.approx(0.65, abs=0.07)
    assert (model.video_last_gain + model.video_mean_gain).mean() == pytest.approx(1, abs=0.02)
    assert model.video_std.mean() == pytest.approx(0.83, abs=0.03)


def test_moved_identities_shift_whole_windows_by_other_windows_faces() -> None:
    batch = random_batch(windows=4)
    moved = move_identities(batch, 1.0, torch.Generator().manual_seed(0))
    for name in ("user_video_BKCHW", "agent_video_BKCHW"):
        shift = getattr(moved, name) - getattr(batch, name)
        torch.testing.assert_close(shift, shift[:, :1].expand_as(shift), atol=1e-5, rtol=0)  # motion stays as it was
        assert (shift.abs().amax((1, 2, 3, 4)) > 0.01).all()
        own = getattr(batch, name).clone()
        own[0] += 1  # a window's own face is not in its shift
        again = move_identities(dataclasses.replace(batch, **{name: own}), 1.0, torch.Generator().manual_seed(0))
        torch.testing.assert_close((getattr(again, name) - own)[0], shift[0], atol=1e-5, rtol=0)
    assert torch.equal(moved.agent_audio_BKNC, batch.agent_audio_BKNC)


def test_prior_never_runs_away_when_it_is_left_alone() -> None:
    """Latents that only ever grew must not keep growing for ever."""
    growth = 1.05 ** torch.arange(20.0)[None, :, None, None, None]
    video = torch.randn(64, 1, *CONFIG.video_shape, generator=torch.Generator().manual_seed(0)) * growth
    model = fresh()
    fit_prior(model, [dataclasses.replace(random_batch(windows=64, units=20), agent_video_BKCHW=video)])
    x = mean = video[:, -1]
    for unit in range(20, 400):
        x = model.video_last_gain * x + model.video_mean_gain * mean
        mean = mean + (x - mean) / (unit + 1)
    assert x.abs().max() <= 1.01 * video[:, -1].abs().max()
