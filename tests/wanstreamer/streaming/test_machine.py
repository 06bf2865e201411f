"""A session computes with the threads of its machine, and leaves the program's number as it was."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from tests.helpers.live_fixtures import media, small_agent
from wanstreamer.errors import InputError
from wanstreamer.streaming.agent import Agent
from wanstreamer.streaming.live import Live
from wanstreamer.streaming.machine import Machine
from wanstreamer.streaming.pipeline import open_pipeline


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    """What the program has set."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)


def watched(agent: Agent, threads: int) -> set[int]:
    """The agent with this number of threads; the set gets the numbers with which its networks compute."""
    agent.machine = replace(agent.machine, threads=threads)
    used: set[int] = set()
    for network in (agent.model.blocks[0], agent.audio_vae, agent.video_vae):
        for module in network.modules():
            module.register_forward_pre_hook(lambda *_: used.add(torch.get_num_threads()))
    return used


@pytest.mark.parametrize("threads", [1, 2])
def test_an_agent_uses_its_own_number_and_gives_it_back(threads: int) -> None:
    agent = small_agent()
    used = watched(agent, threads)
    state = agent.start(seed=0)
    for frames, samples in media(2):
        _, state = agent.step(state, frames, samples)
        assert torch.get_num_threads() == 3
    assert used == {threads}


@pytest.mark.parametrize("threads", [1, 2])
def test_so_does_a_pipeline_and_its_thread(threads: int) -> None:
    agent = small_agent()
    used = watched(agent, threads)
    with open_pipeline(agent, seed=0) as pipeline:
        for frames, samples in media(2):
            pipeline.hear(frames, samples)
            pipeline.answer()
            assert torch.get_num_threads() == 3
    assert used == {threads}
    used.clear()
    with Live(open_pipeline(agent, seed=0)) as live:
        live.tick(*media(1)[0])
        until_s = time.monotonic() + 60
        while not used and time.monotonic() < until_s:
            time.sleep(0.01)
    assert used == {threads}


def test_an_error_gives_the_number_back_too() -> None:
    with pytest.raises(ZeroDivisionError), Machine(threads=1).computing():
        assert torch.get_num_threads() == 1
        raise ZeroDivisionError
    assert torch.get_num_threads() == 3


def test_threads_are_one_or_more() -> None:
    assert Machine().threads == 1
    with pytest.raises(InputError, match="threads 0: expected 1 or more"):
        Machine(threads=0)
