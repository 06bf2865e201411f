"""Agents on another device, tried without: `meta` stands for a GPU; its tensors must not meet the host's.

A mode looks at every operation. Reading a number of the device other than through `to_host` fails on `meta` by itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.helpers.live_fixtures import media, small_agent
from wanstreamer.errors import InputError
from wanstreamer.model.duplex import Prefix
from wanstreamer.streaming import agent as agent_module
from wanstreamer.streaming import thinker
from wanstreamer.streaming.agent import Agent
from wanstreamer.streaming.machine import Machine
from wanstreamer.streaming.performer import draw_noise
from wanstreamer.streaming.pipeline import open_pipeline
from wanstreamer.streaming.prefix import read_prefix
from wanstreamer.streaming.state import state_from_tensors, state_to_tensors
from wanstreamer.streaming.streams import open_streams
from wanstreamer.streaming.workers import open_workers

CROSSING = ("aten::_to_copy", "aten::copy_")  # from the host to the device


class Apart(TorchDispatchMode):
    """Raises where an operation is given tensors of host and device together, and is none that copies."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        devices = {x.device.type for x in tensors}
        assert len(devices) < 2 or func.name() in CROSSING, f"{func.name()} of {[(x.device, x.shape) for x in tensors]}"
        return func(*args, **(kwargs or {}))


@contextmanager
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.Size]]:
    """Inside, host and device are kept apart; the shapes of what the host waited for."""
    waited = []

    def to_host(x: Tensor) -> Tensor:
        assert x.device.type == "meta"
        waited.append(x.shape)
        return torch.zeros(x.shape, dtype=x.dtype)

    monkeypatch.setattr(thinker, "to_host", to_host)
    monkeypatch.setattr(agent_module, "to_host", to_host)
    with Apart():
        yield waited


def moved(changes: dict[str, Any] | None = None, passes: str = "plain", **settings: Any) -> Agent:
    here = small_agent(changes, **settings)
    machine = Machine(device="meta", trunk="bfloat16", passes=passes)
    return Agent(here.model, here.audio_vae, here.video_vae, config=here.config, machine=machine)


def drawn_prefix(agent: Agent) -> Prefix | None:
    frames, samples = media(1)[0]
    return read_prefix(agent, text=[5, 6], image=frames[0], voice=samples)


def streams() -> list[tuple[np.ndarray | None, np.ndarray | None]]:
    """Media that come and go."""
    played = media(7)
    return [*played[:3], (None, played[3][1]), (played[4][0], None), (None, None), played[6]]


@pytest.mark.parametrize("history_units", [None, 3])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_an_agent_computes_on_its_device(
    temperature: float, history_units: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = moved(history_units=history_units, text_temperature=temperature)
    with elsewhere(monkeypatch) as waited:
        state = agent.start(seed=0, prefix=drawn_prefix(agent))
        for frames, samples in streams():
            waited.clear()
            unit, state = agent.step(state, frames, samples)
            # Of a unit the host waits for each text token's logits, for samples and for frames; for nothing else.
            assert waited == [(1, 20), (1, 20), (4, 48, 64, 3), (2560,)]
    assert unit.frames.shape == agent.frame_shape
    assert state.cache.key_LBHND.device.type == "meta" and state.cache.key_LBHND.dtype == torch.bfloat16


@pytest.mark.parametrize("passes", ["plain", "fixed"])
@pytest.mark.parametrize(("lag", "history_units"), [(0, None), (1, None), (1, 3)])
def test_a_pipeline_computes_on_its_device(
    lag: int, history_units: int | None, passes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = moved({"self_lag": lag}, passes, history_units=history_units)
    with elsewhere(monkeypatch) as waited:
        pipeline = open_pipeline(agent, seed=0, prefix=drawn_prefix(agent))
        for frames, samples in streams():
            pipeline.hear(frames, samples)
            while len(pipeline.open) > lag:
                pipeline.answer()
        assert len(waited) == 4 * 7 - 2 * lag


def test_a_conversation_saved_here_goes_on_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    here = small_agent()
    state = here.start(seed=0)
    for frames, samples in media(3):
        _, state = here.step(state, frames, samples)
    tensors = state_to_tensors(state)
    agent = moved()
    with elsewhere(monkeypatch):
        state = state_from_tensors(agent.model, tensors, max_units=8)
        agent.step(state, *media(1)[0])


def test_host_and_device_are_told_apart() -> None:
    there = torch.zeros(3, device="meta")
    with Apart():
        assert there.add(there.to("meta")).device.type == "meta"
        there.copy_(torch.ones(3))
        for mixed in (lambda: torch.where(torch.ones(3) > 0, there, there), lambda: there * torch.tensor(2.0)):
            with pytest.raises(AssertionError, match="aten::"):
                mixed()


def test_noise_is_the_same_on_every_device() -> None:
    """It is drawn from the host's generators, whose state does not depend on where the model is."""
    states = []
    for agent in (small_agent(text_temperature=0.0), moved(text_temperature=0.0)):
        state = agent.start(seed=3)
        assert draw_noise(agent.model, state.generators[0])[0].device == agent.model.device
        states.append(state.generators[0].get_state())
    assert torch.equal(*states)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trunk": "float16"}, "trunk 'float16': expected one of float32, bfloat16"),
        ({"passes": "fast"}, "passes 'fast': expected one of plain, fixed, graphs"),
        ({"passes": "graphs"}, "CUDA graphs need a GPU"),
        ({"compile": True}, "choose passes fixed or graphs"),
    ],
)
def test_impossible_machines_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Machine(**settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(InputError, match="sees no GPU here; choose cpu"):
        Machine(device="cuda")


def test_each_pipeline_has_its_device(tmp_path: Any) -> None:
    with pytest.raises(InputError, match="the agent is on meta, expected cpu"):
        open_workers(moved(), tmp_path / "model.safetensors", seed=0)
    with pytest.raises(InputError, match="the agent is on cpu, expected cuda"):
        open_streams(small_agent(), seed=0)
