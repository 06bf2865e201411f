"""Solver passes in fixed shapes say what plain ones say, replayed as a graph, too; of CUDA there are stand-ins."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.helpers.live_fixtures import media, small_agent
from wanstreamer.model.duplex import save_model
from wanstreamer.streaming import fixed, streams
from wanstreamer.streaming.agent import Agent, AgentUnit
from wanstreamer.streaming.fixed import FixedPasses
from wanstreamer.streaming.machine import Machine
from wanstreamer.streaming.performer import Performer
from wanstreamer.streaming.pipeline import LocalPerformer, Pipeline, open_pipeline
from wanstreamer.streaming.prefix import read_prefix
from wanstreamer.streaming.saved import restore_pipeline, save_pipeline
from wanstreamer.streaming.workers import open_workers

UNITS = 11
PACKED = {"num_heads": 4, "num_kv_heads": 2, "agent_audio_tokens": 2, "agent_video_tokens": (3, 2), "text_slots": 3}
CASES = {
    "lag0": ({}, {}),
    "lag1": ({"self_lag": 1}, {}),
    "packed": (PACKED | {"self_lag": 1}, {}),
    "limited": ({"self_lag": 1}, {"history_units": 4}),
    "sink": (PACKED, {"history_units": 3, "sink_units": 2}),
}


def agent_of(case: str, machine: Machine | None = None, **settings: Any) -> Agent:
    changes, own = CASES[case]
    small = small_agent(changes, **{"max_units": UNITS, "text_temperature": 0.0, "steps": 3} | own | settings)
    return Agent(small.model, small.audio_vae, small.video_vae, config=small.config, machine=machine)


def converse(pipeline: Pipeline, units: range = range(UNITS)) -> list[AgentUnit]:
    answers = []
    for unit in units:
        pipeline.hear(*media(UNITS)[unit])
        while len(pipeline.open) > pipeline.lag:
            answers.append(pipeline.answer())
    while pipeline.open:
        answers.append(pipeline.answer())
    assert all(unit is not None for unit in answers)
    return answers  # type: ignore[return-value]


def assert_close(first: list[AgentUnit], second: list[AgentUnit], atol: float = 1e-5) -> None:
    assert [unit.text_tokens for unit in first] == [unit.text_tokens for unit in second]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a.samples, b.samples, atol=atol, rtol=0)
    assert not np.array_equal(first[-1].samples, first[-2].samples)


@pytest.fixture
def short_reaches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixed, "FIRST_REACH_UNITS", 4)


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The reach of every unit solved in fixed shapes."""
    seen: list[int] = []
    solve = FixedPasses._solve
    monkeypatch.setattr(
        FixedPasses, "_solve", lambda self, reach, *tensors: (seen.append(reach), solve(self, reach, *tensors))[1]
    )
    return seen


@pytest.mark.parametrize("with_prefix", [False, True], ids=["bare", "prefix"])
@pytest.mark.parametrize("case", CASES)
def test_fixed_passes_say_what_plain_ones_say(
    case: str, with_prefix: bool, solved: list[int], short_reaches: None
) -> None:
    frames, samples = media(1)[0]
    conversations = []
    for machine in (None, Machine(passes="fixed")):
        agent = agent_of(case, machine)
        prefix = read_prefix(agent, text=[5, 6], image=frames[0], voice=samples) if with_prefix else None
        conversations.append(converse(open_pipeline(agent, seed=3, prefix=prefix)))
    assert_close(*conversations)
    assert len(solved) == UNITS - 1  # all but the first
    assert (len(set(solved)) == 1) == ("history_units" in CASES[case][1])


def test_a_reach_is_at_most_a_quarter_longer_than_what_is_there() -> None:
    agent = small_agent(max_units=2000)
    cache = agent.model.new_cache(1, 2000)
    lengths = fixed.reaches(cache)
    assert lengths[0] == 32 * agent.model.layout.num_clean and lengths[-1] == cache.key_LBHND.shape[3]
    assert all(1 < after / before <= 1.25 for before, after in zip(lengths, lengths[1:], strict=False))


def test_they_go_on_from_a_file(tmp_path: Path, short_reaches: None) -> None:
    agent = agent_of("lag1", Machine(passes="fixed"))
    pipeline = open_pipeline(agent, seed=3)
    before = converse(pipeline, range(5))
    save_pipeline(tmp_path / "saved", pipeline)
    after = converse(restore_pipeline(tmp_path / "saved", agent), range(5, UNITS))
    plain = open_pipeline(agent_of("lag1"), seed=3)
    assert_close(converse(plain, range(5)) + converse(plain, range(5, UNITS)), before + after)


def test_two_processes_equal_one_in_bfloat16_and_fixed_shapes(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    agent = agent_of("limited")
    save_model(agent.model, tmp_path / "model.safetensors")
    agent = agent_of("limited", Machine(trunk="bfloat16", passes="fixed"))
    with open_workers(agent, tmp_path / "model.safetensors", seed=3) as apart:
        answers = converse(apart)
    for first, second in zip(converse(open_pipeline(agent, seed=3)), answers, strict=True):
        assert first.text_tokens == second.text_tokens and np.array_equal(first.samples, second.samples)
    torch.set_num_threads(before)


@torch.inference_mode()
@pytest.mark.parametrize("passes", ["plain", "fixed"])
def test_a_bfloat16_trunk_says_nearly_the_same(passes: str) -> None:
    """Its weights, keys and values are bfloat16, latents stay float32."""
    plain, agent = agent_of("packed"), agent_of("packed", Machine(trunk="bfloat16", passes=passes))
    first, second = (open_pipeline(each, seed=3) for each in (plain, agent))
    for unit in range(2):  # then they go different ways
        a, b = (converse(pipeline, range(unit, unit + 1))[0] for pipeline in (first, second))
        assert 0 < np.abs(a.samples - b.samples).max() < 0.05 * np.abs(a.samples).max()
    assert second.state.cache.key_LBHND.dtype == torch.bfloat16
    assert second.last is not None and second.last.latents[0].dtype == torch.float32


@pytest.mark.stress  # a compiler takes a minute, and has to be there
def test_compiled_blocks_say_the_same() -> None:
    conversations = [
        converse(open_pipeline(agent_of("sink", machine), seed=3), range(6))
        for machine in (None, Machine(passes="fixed", compile=True))
    ]
    assert_close(*conversations)


class Recorder(TorchDispatchMode):
    """Stands for a CUDA graph: operations as they were called once, with the memory they were called on.

    A replay runs them again on that memory. What a graph does not hold is not there: Python's numbers stay what they
    were, and reading a tensor's numbers or making one of Python's is refused, as during capture.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.name() not in ("aten::_local_scalar_dense", "aten::lift_fresh", "aten::nonzero"), func.name()
        outputs = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, outputs))
        return outputs

    def replay(self) -> None:
        for func, args, kwargs, outputs in self.calls:
            again = func(*args, **kwargs)
            for output, new in zip(tree_leaves(outputs), tree_leaves(again), strict=True):
                if isinstance(output, Tensor) and output.data_ptr() != new.data_ptr():
                    output.copy_(new)


class Stream:
    """Stands for a CUDA stream; what is launched on it is done at once."""

    def wait_stream(self, other: "Stream") -> None: ...
    def synchronize(self) -> None: ...


class Event:
    """Done `ready` seconds after it was recorded."""

    ready_s = 0.0

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.at_s = time.perf_counter()

    def query(self) -> bool:
        return time.perf_counter() >= self.at_s + self.ready_s

    def synchronize(self) -> None: ...

    def elapsed_time(self, other: "Event") -> float:
        return (other.at_s - self.at_s) * 1000


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stand-ins for what is used of `torch.cuda`, with the documented signatures."""

    @contextmanager
    def graph(cuda_graph: Recorder, pool: object) -> Iterator[None]:
        with cuda_graph:
            yield

    @contextmanager
    def stream(stream: Stream) -> Iterator[None]:
        yield

    here = Stream()
    parts: dict[str, Callable[..., Any]] = {
        "Stream": Stream,
        "Event": Event,
        "current_stream": lambda: here,
        "stream": stream,
        "CUDAGraph": Recorder,
        "graph": graph,
        "graph_pool_handle": object,
    }
    for name, part in parts.items():
        monkeypatch.setattr(torch.cuda, name, part)
    monkeypatch.setattr(Tensor, "record_stream", lambda self, stream: None)
    return SimpleNamespace(**parts)


def graphed(agent: Agent) -> Performer:
    machine: Any = SimpleNamespace(passes="graphs", compile=False)  # a Machine refuses it without a GPU
    config = agent.config
    return Performer(
        agent.model, agent.schedule, max_units=config.max_units, history_limit=config.history_limit, machine=machine
    )


@pytest.mark.parametrize("case", CASES)
def test_replayed_passes_say_what_plain_ones_say(
    case: str, solved: list[int], cuda: SimpleNamespace, short_reaches: None
) -> None:
    """The function runs only to warm up and to be captured; all units but the first are replays."""
    agent = agent_of(case)
    pipeline = Pipeline(agent, LocalPerformer(graphed(agent)), seed=3)
    captured = len(solved)
    assert captured == 2 * len(set(solved))
    answers = converse(pipeline)
    assert len(solved) == captured
    assert_close(converse(open_pipeline(agent, seed=3)), answers)


def test_capturing_leaves_a_restored_history_as_it_was(cuda: SimpleNamespace, short_reaches: None) -> None:
    agent = agent_of("lag0")
    pipeline = open_pipeline(agent, seed=3)
    before = converse(pipeline, range(6))
    performer = graphed(agent)
    performer.restore(pipeline.link.to_tensors())
    pipeline.link = LocalPerformer(performer)
    plain = converse(open_pipeline(agent, seed=3))
    assert_close(plain, before + converse(pipeline, range(6, UNITS)))


@pytest.mark.parametrize("case", ["lag0", "lag1"])
def test_a_stream_of_its_own_says_what_the_same_one_says(
    case: str, cuda: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Event, "ready_s", 0.01)
    agent = agent_of(case)
    link = streams.StreamPerformer(graphed(agent))
    pipeline = Pipeline(agent, link, seed=3)
    pipeline.hear(*media(UNITS)[0])
    assert pipeline.answer(timeout_s=0.0) is None
    answers = [pipeline.answer(), *converse(pipeline, range(1, UNITS))]
    assert pipeline.last is not None and pipeline.last.ended_s > pipeline.last.began_s > link.start_s
    plain = open_pipeline(agent, seed=3)
    assert_close([*converse(plain, range(1)), *converse(plain, range(1, UNITS))], answers)  # type: ignore[arg-type]
    pipeline.close()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, not run yet")
@pytest.mark.parametrize("opened", [open_pipeline, streams.open_streams])
@pytest.mark.parametrize("passes", ["plain", "fixed", "graphs"])
@pytest.mark.parametrize("case", CASES)
def test_a_gpu_says_the_same_however_it_passes(
    case: str, passes: str, opened: Callable[..., Pipeline], short_reaches: None
) -> None:
    answers = converse(open_pipeline(agent_of(case, Machine(device="cuda")), seed=3))
    other = converse(opened(agent_of(case, Machine(device="cuda", passes=passes)), seed=3))
    assert_close(answers, other, atol=1e-3)
