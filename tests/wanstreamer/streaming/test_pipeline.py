"""Thinker and performer with a cache each: both hold the history, and say what one cache in sequence says."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.duplex_fixtures import random_batch
from tests.helpers.live_fixtures import media, small_agent
from wanstreamer.errors import InputError
from wanstreamer.model.cache import KVCache
from wanstreamer.model.sequence import served_order, visible
from wanstreamer.streaming.agent import Agent, AgentUnit
from wanstreamer.streaming.performer import Performer
from wanstreamer.streaming.pipeline import LocalPerformer, Pipeline, open_pipeline
from wanstreamer.windows.loader import Batch

UNITS = 6
PACKED = {"num_kv_heads": 1, "agent_audio_tokens": 2, "user_audio_tokens": 4, "agent_video_tokens": (3, 2)}


def played(units: int = UNITS) -> list[tuple[np.ndarray | None, np.ndarray | None]]:
    """Media in which the streams come and go."""
    streams: list[tuple[np.ndarray | None, np.ndarray | None]] = list(media(units))
    streams[2] = (streams[2][0], None)
    streams[3] = (None, streams[3][1])
    return streams


def converse(pipeline: Pipeline, streams: list[tuple[np.ndarray | None, np.ndarray | None]]) -> list[AgentUnit]:
    """Everything said, as overlapped as the model's self_lag allows."""
    answers = []
    for unit, (frames, samples) in enumerate(streams):
        pipeline.hear(frames, samples)
        if unit >= pipeline.lag:
            answers.append(pipeline.answer())
    answers += [pipeline.answer() for _ in range(pipeline.lag)]
    assert all(unit is not None for unit in answers)
    return answers  # type: ignore[return-value]


def in_sequence(agent: Agent, streams: list[tuple[np.ndarray | None, np.ndarray | None]]) -> list[AgentUnit]:
    state, answers = agent.start(seed=3), []
    for frames, samples in streams:
        unit, state = agent.step(state, frames, samples)
        answers.append(unit)
    return answers


def assert_close(first: list[AgentUnit], second: list[AgentUnit]) -> None:
    assert [unit.text_tokens for unit in first] == [unit.text_tokens for unit in second]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a.samples, b.samples, atol=1e-5, rtol=0)
        assert np.abs(a.frames.astype(int) - b.frames).max() <= 1  # rounding to whole levels may fall on either side


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("changes", [{}, PACKED], ids=["tiny", "packed"])
@pytest.mark.parametrize("lag", [0, 1])
def test_both_caches_equal_full_recomputation(
    lag: int, changes: dict[str, object], fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = small_agent({"self_lag": lag, **changes}, max_units=UNITS)
    model = agent.model
    performer = Performer(model, agent.schedule, max_units=UNITS, fused=fused)
    pipeline = Pipeline(agent, LocalPerformer(performer), seed=3)
    batch = random_batch(model.config, windows=1, units=UNITS)
    batch.user_text_known_BK[:] = False
    heard: list[tuple[Tensor | None, Tensor | None]] = []
    encode = agent.encode

    def spy(*args):  # type: ignore[no-untyped-def]
        heard.append(encode(*args))
        return heard[-1]

    monkeypatch.setattr(agent, "encode", spy)
    latents = []
    monkeypatch.setattr(
        agent, "decode", lambda state, audio, video, tokens, _: latents.append((audio, video)) or tokens
    )
    for unit, (frames, samples) in enumerate(played()):
        pipeline.hear(frames, samples)
        if unit >= lag:
            fill(batch, unit - lag, pipeline.answer(), latents)  # type: ignore[arg-type]
    for unit in range(UNITS - lag, UNITS):
        fill(batch, unit, pipeline.answer(), latents)  # type: ignore[arg-type]
    for unit, (audio_NC, video_CHW) in enumerate(heard):
        batch.user_audio_known_BK[0, unit], batch.user_video_known_BK[0, unit] = (
            audio_NC is not None,
            video_CHW is not None,
        )
        if audio_NC is not None:
            batch.user_audio_BKNC[0, unit] = audio_NC
        if video_CHW is not None:
            batch.user_video_BKCHW[0, unit] = video_CHW
    fresh = model.new_cache(1, UNITS)
    with torch.no_grad():
        model.trunk(
            model.embed_clean(batch).flatten(1, 2),
            fresh.tokens,
            visible(fresh.tokens, fresh.tokens, lag),
            history=fresh,
        )
    num_agent = model.layout.num_agent
    for cache, served_lag, open_units in (
        (pipeline.state.cache, lag, lag + 1),
        (performer.cache, int(fused), int(fused)),
    ):
        assert cache.length == UNITS * model.layout.num_clean - open_units * num_agent
        assert_same_cache(cache, fresh, served_order(model.layout.num_clean, num_agent, served_lag, 0, cache.length))


def fill(batch: Batch, unit: int, tokens: list[int], latents: list[tuple[Tensor, Tensor]]) -> None:
    batch.agent_text_BKS[0, unit] = torch.tensor(tokens)
    batch.agent_audio_BKNC[0, unit], batch.agent_video_BKCHW[0, unit] = latents[unit]


def assert_same_cache(cache: KVCache, fresh: KVCache, index: Tensor) -> None:
    for served, full in ((cache.key_LBHND, fresh.key_LBHND), (cache.value_LBHND, fresh.value_LBHND)):
        torch.testing.assert_close(served[:, :, :, : cache.length], full[:, :, :, index], atol=1e-5, rtol=0)


@pytest.mark.parametrize("lag", [0, 1])
def test_two_caches_say_what_one_says(lag: int) -> None:
    agent = small_agent({"self_lag": lag})
    assert_close(converse(open_pipeline(agent, seed=3), played()), in_sequence(agent, played()))


@pytest.mark.parametrize("lag", [0, 1])
def test_latents_reach_the_language_path_after_the_lag(lag: int) -> None:
    """Other latents of unit 2 come back: bitwise the same slices until unit 2 + lag, another one right after."""
    agent = small_agent({"self_lag": lag, "text_slots": 1}, text_temperature=0.0)
    runs = []
    for change in (0.0, 1.0):
        pipeline = open_pipeline(agent, seed=3)
        slices: list[Tensor] = []
        send, receive = pipeline.link.send, pipeline.link.receive

        def sent(slice_, send=send, slices=slices):  # type: ignore[no-untyped-def]
            slices.append(slice_.key_LHND.clone())
            send(slice_)

        def received(timeout_s, receive=receive, change=change, pipeline=pipeline):  # type: ignore[no-untyped-def]
            performed = receive(timeout_s)
            answered = pipeline.state.unit - len(pipeline.open)
            audio_NC, video_CHW = performed.latents
            other = (audio_NC + change, video_CHW) if answered == 2 else performed.latents
            return dataclasses.replace(performed, latents=other)

        pipeline.link.send, pipeline.link.receive = sent, received  # type: ignore[method-assign]
        converse(pipeline, played())
        runs.append(slices)
    equal = [torch.equal(first, second) for first, second in zip(*runs, strict=True)]
    assert equal.index(False) == 2 + 1 + lag


def test_overlap_is_a_matter_of_speed_not_of_content() -> None:
    """At self_lag 1 a unit answered before the next is heard and one answered after it are bitwise the same."""
    agent = small_agent({"self_lag": 1})
    at_once = open_pipeline(agent, seed=3)
    answers = []
    for frames, samples in played():
        at_once.hear(frames, samples)
        answers.append(at_once.answer())
    for first, second in zip(answers, converse(open_pipeline(agent, seed=3), played()), strict=True):
        assert first is not None and first.text_tokens == second.text_tokens
        assert np.array_equal(first.samples, second.samples) and np.array_equal(first.frames, second.frames)


def test_the_lag_bounds_what_may_be_open() -> None:
    for lag in (0, 1):
        pipeline = open_pipeline(small_agent({"self_lag": lag}, max_units=2 + lag), seed=0)
        with pytest.raises(RuntimeError, match="no unit is open"):
            pipeline.answer()
        for _ in range(lag + 1):
            pipeline.hear(None, None)
        with pytest.raises(RuntimeError, match=f"{lag + 1} units are open at self_lag {lag}"):
            pipeline.hear(None, None)
        pipeline.answer()
        pipeline.hear(None, None)
        pipeline.answer()
        with pytest.raises(InputError, match="history of . units"):
            pipeline.hear(None, None)


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_order_of_serving(lag: int) -> None:
    """No token twice or left out; users and slots in order, the agent's tokens too, these later; from any token on."""
    index = served_order(5, 2, lag, 0, 50)
    assert len(index.unique()) == 50 and set(range(5 * (10 - lag))) <= set(index.tolist())
    assert torch.equal(served_order(5, 2, lag, 17, 20), index[17:37])
    assert (
        index[:8].tolist()
        == {
            0: [0, 1, 2, 3, 4, 5, 6, 7],
            1: [0, 1, 2, 5, 6, 7, 3, 4],
            2: [0, 1, 2, 5, 6, 7, 10, 11],
        }[lag]
    )
    if lag == 0:
        assert index.tolist() == list(range(50))
