"""A conversation saved at any boundary goes on bitwise: in this process, in another, with its performer apart."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tests.helpers.duplex_fixtures import random_model
from tests.helpers.live_fixtures import media, small_agent
from tests.helpers.paths import ROOT
from tests.helpers.saved_conversation import UNITS, advance, limited_agent
from wanstreamer.errors import InputError
from wanstreamer.model.duplex import save_model
from wanstreamer.streaming.agent import AgentUnit
from wanstreamer.streaming.pipeline import open_pipeline
from wanstreamer.streaming.prefix import read_prefix
from wanstreamer.streaming.saved import restore_conversation, restore_pipeline, save_conversation, save_pipeline


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def same(first: AgentUnit, second: AgentUnit) -> bool:
    return (
        first.text_tokens == second.text_tokens
        and np.array_equal(first.samples, second.samples)
        and np.array_equal(first.frames, second.frames)
    )


@pytest.mark.parametrize(
    "settings", [{"max_units": 20}, {"history_units": 3, "sink_units": 1}], ids=["full", "limited"]
)
def test_an_agent_goes_on_from_every_boundary(settings: dict[str, Any], tmp_path: Path) -> None:
    agent = small_agent(**settings)
    frames, samples = media(1)[0]
    state = agent.start(seed=1, prefix=read_prefix(agent, text=[5], image=frames[0]))
    path = tmp_path / "conversation.safetensors"
    for frames, samples in media(UNITS):
        save_conversation(path, agent, state)
        restored = restore_conversation(path, agent)
        first, state = agent.step(state, frames, samples)
        second, restored = agent.step(restored, frames, samples)
        assert same(first, second)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(("lag", "open_units"), [(0, 0), (1, 0), (1, 1)])
@pytest.mark.parametrize("settings", [{"max_units": 20}, {"history_units": 3}], ids=["full", "limited"])
def test_a_pipeline_goes_on_from_every_boundary(
    settings: dict[str, Any], lag: int, open_units: int, tmp_path: Path
) -> None:
    """One pipeline goes through, the other is saved and opened anew after every unit."""
    agent = small_agent({"self_lag": lag}, **settings)
    path = tmp_path / "conversation.safetensors"
    pipeline, restored = (open_pipeline(agent, seed=1) for _ in range(2))
    num_said = 0
    for unit in range(UNITS):
        save_pipeline(path, restored)
        restored = restore_pipeline(path, agent)
        assert len(restored.open) == len(pipeline.open) == min(open_units, unit)
        first, second = (advance(each, unit, unit + 1, open_units) for each in (pipeline, restored))
        assert all(a is not None and b is not None and same(a, b) for a, b in zip(first, second, strict=True))
        num_said += len(first)
    assert num_said == UNITS - open_units


def test_a_unit_heard_and_not_answered_at_lag_0_goes_on(tmp_path: Path) -> None:
    agent = limited_agent(0)
    pipeline = open_pipeline(agent, seed=1)
    advance(pipeline, 0, 4, 0)
    pipeline.hear(*media(UNITS)[4])
    save_pipeline(tmp_path / "saved", pipeline)
    restored = restore_pipeline(tmp_path / "saved", agent)
    first, second = pipeline.answer(), restored.answer()
    assert first is not None and second is not None and same(first, second)
    assert second.part_ms["think"] == first.part_ms["think"] and second.part_ms["perform"] == first.part_ms["perform"]


def test_it_goes_on_in_two_new_processes_and_back_in_this_one(tmp_path: Path) -> None:
    """Saved with a unit open; there both the thinker's process and the performer's are new."""
    agent, weights = limited_agent(1), tmp_path / "model.safetensors"
    save_model(agent.model, weights)
    pipeline = open_pipeline(agent, seed=1)
    advance(pipeline, 0, 4, 1)
    save_pipeline(tmp_path / "there", pipeline)
    goes_on = advance(pipeline, 4, UNITS, 1)
    script = f"""
from pathlib import Path
import numpy as np, torch
from safetensors.numpy import save_file
from tests.helpers.saved_conversation import advance, limited_agent
from wanstreamer.streaming.saved import restore_workers, save_pipeline
if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path({str(tmp_path)!r})
    with restore_workers(folder / "there", limited_agent(1), folder / "model.safetensors") as pipeline:
        said = advance(pipeline, 4, 7, 1)
        save_pipeline(folder / "back", pipeline)
    said = {{name: np.stack([getattr(unit, name) for unit in said]) for name in ("samples", "frames")}}
    save_file(said, folder / "said")
"""
    (tmp_path / "other.py").write_text(script)
    root = ROOT
    environment = os.environ | {"PYTHONPATH": str(root)}
    subprocess.run([sys.executable, str(tmp_path / "other.py")], cwd=root, env=environment, check=True, timeout=120)
    answers = load_file(tmp_path / "said")
    for unit, samples, frames in zip(goes_on[:3], answers["samples"], answers["frames"], strict=True):
        assert unit is not None and np.array_equal(unit.samples, samples) and np.array_equal(unit.frames, frames)
    back = advance(restore_pipeline(tmp_path / "back", agent), 7, UNITS, 1)
    assert len(back) == UNITS - 7
    assert all(
        first is not None and second is not None and same(first, second)
        for first, second in zip(goes_on[3:], back, strict=True)
    )


def test_what_does_not_fit_is_one_clear_line(tmp_path: Path) -> None:
    agent, path = small_agent(), tmp_path / "saved"
    state = agent.start(seed=1)
    _, state = agent.step(state, *media(1)[0])
    _, state = agent.step(state, *media(1)[0])
    save_conversation(path, agent, state)
    other = small_agent()
    other.model = random_model(other.model.config, seed=5)
    with pytest.raises(InputError, match=r"saved: a conversation with another model \(sha256 \w{12}, here \w{12}\)"):
        restore_conversation(path, other)
    for kind in ("audio", "video"):
        other = small_agent()
        next(getattr(other, f"{kind}_vae").parameters()).data.add_(1)
        with pytest.raises(InputError, match=f"another {kind} VAE"):
            restore_conversation(path, other)
    with pytest.raises(InputError, match="saved with full history, this agent has a limit of 3 units and 1 of sink"):
        restore_conversation(path, limited_agent(0))
    with pytest.raises(
        InputError, match="history of 2 units, but this agent has room for 1; give it a larger max_units"
    ):
        restore_conversation(path, small_agent(max_units=1))
    with pytest.raises(
        InputError, match="saved from a conversation, expected a pipeline; restore it as a conversation"
    ):
        restore_pipeline(path, agent)
    with pytest.raises(InputError, match="no such file; save a conversation first"):
        restore_conversation(tmp_path / "none", agent)
    save_model(agent.model, path)
    with pytest.raises(InputError, match="format 'wanstreamer-duplex-1', expected 'wanstreamer-conversation-2'"):
        restore_conversation(path, agent)
