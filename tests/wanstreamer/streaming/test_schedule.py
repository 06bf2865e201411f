"""A unit has one modulation for all its tokens: nothing is copied, and results are those of copies."""

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.helpers.duplex_fixtures import CONFIG, random_batch, random_model
from wanstreamer.model.blocks import FlowTime
from wanstreamer.model.flow import add_noise
from wanstreamer.streaming.schedule import Schedule, beside_clean

CONFIGS = {
    "tiny": CONFIG,
    "packed": dataclasses.replace(CONFIG, agent_audio_tokens=4, agent_video_tokens=(2, 4)),
    "odd": dataclasses.replace(CONFIG, agent_audio_tokens=2, d_model=37),
}


def copied(self: FlowTime, tau_BK: Tensor) -> list[Tensor]:
    """As `FlowTime.forward`, a copy for each token."""
    frequency = torch.pi / 2 * torch.logspace(0, 1.5, self.features)
    angle = tau_BK[..., None] * frequency
    h = functional.silu(self.hidden(torch.cat([angle.cos(), angle.sin()], dim=-1)))
    base_BN6D = self.out(h).unflatten(-1, (6, -1)).repeat_interleave(self.num_agent, dim=1)
    return [(base_BN6D + layer).unflatten(1, (tau_BK.shape[1], -1)) for layer in self.layers]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_estimates_and_gradients_are_those_of_a_copy_per_token(config, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    batch = random_batch(config)
    generator = torch.Generator().manual_seed(0)
    noisy = add_noise(batch, torch.rand(2, 7, generator=generator), generator)
    results = []
    for forward in (FlowTime.forward, copied):
        monkeypatch.setattr(FlowTime, "forward", forward)
        model = random_model(config)
        output = model(batch, noisy)
        assert output.audio_x0_BKNC is not None and output.video_x0_BKCHW is not None
        (output.audio_x0_BKNC.square().sum() + output.video_x0_BKCHW.square().sum()).backward()
        gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        results.append({"audio": output.audio_x0_BKNC, "video": output.video_x0_BKCHW} | gradients)
    first, second = results
    assert first.keys() == second.keys() and "flow_time.out.weight" in first and "flow_time.layers" in first
    for name, value in first.items():
        assert (value - second[name]).norm() <= 1e-5 * second[name].norm(), name


def test_a_unit_has_one_in_memory() -> None:
    config = CONFIGS["packed"]
    model = random_model(config)
    d, num_agent = config.d_model, config.layout.num_agent
    for modulation in model.flow_time(torch.rand(2, 7)):
        assert modulation.shape == (2, 7, num_agent, 6, d)
        assert modulation.untyped_storage().nbytes() == 4 * 2 * 7 * 6 * d
    for modulation in Schedule(model, 3).modulation[0]:
        assert modulation.untyped_storage().nbytes() == 4 * 6 * d
        assert beside_clean(modulation).untyped_storage().nbytes() == 4 * 2 * 6 * d
        assert beside_clean(modulation).shape == (1, 2, num_agent, 6, d)
