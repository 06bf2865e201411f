"""Sink and history limit: what is dropped is what masked full attention hides, in constant memory, for any length."""

import dataclasses
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.helpers.duplex_fixtures import CONFIG, random_batch, random_model
from tests.helpers.generated import assert_equals_full_recomputation, generate
from tests.helpers.live_fixtures import media, small_agent
from wanstreamer.errors import InputError
from wanstreamer.model.attention import Attention
from wanstreamer.model.cache import KVCache
from wanstreamer.model.duplex import DuplexModel, Noisy
from wanstreamer.model.flow import add_noise
from wanstreamer.model.sequence import (
    HistoryLimit,
    Tokens,
    UnitLayout,
    clean_tokens,
    noisy_tokens,
    rotary_angles,
    visible,
)
from wanstreamer.streaming.agent import AgentConfig
from wanstreamer.streaming.performer import Performer
from wanstreamer.streaming.pipeline import LocalPerformer, Pipeline, open_pipeline
from wanstreamer.streaming.state import new_past

UNITS = 14
LIMITS = [HistoryLimit(units=4), HistoryLimit(units=3, sink_units=2)]
PACKED = {"num_kv_heads": 1, "agent_audio_tokens": 2, "agent_video_tokens": (2, 2), "text_slots": 3}

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


@pytest.mark.parametrize("self_lag", [0, 1])
def test_who_sees_which_units(self_lag: int) -> None:
    """Of what is seen without a limit: the last 4 units and the sink; the agent's clean tokens that of k + 1 + lag."""
    history_limit, clean, noisy = (
        HistoryLimit(units=4, sink_units=1),
        clean_tokens(UnitLayout(), 12),
        noisy_tokens(UnitLayout(), 12),
    )
    for query in (clean, noisy):
        full, seen = (visible(query, clean, self_lag, limit) for limit in (None, history_limit))
        first = query.unit_N - 3 + torch.where(torch.isin(query.kind_N, torch.tensor([6, 7])), 1 + self_lag, 0)
        inside = (clean.unit_N >= first[:, None]) | (clean.unit_N == 0)
        assert torch.equal(seen, full & inside) and not torch.equal(seen, full)


@pytest.mark.parametrize("history_limit", LIMITS, ids=["limited", "sink"])
@pytest.mark.parametrize("changes", [{}, {"self_lag": 1}, PACKED], ids=["lag0", "lag1", "packed"])
def test_dropping_equals_masked_full_attention(
    changes: dict[str, object], history_limit: HistoryLimit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over units with sampled text and self-made history; the cache moves to its front several times."""
    config = dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]
    model, batch = random_model(config), random_batch(config, windows=1, units=UNITS)
    recorded = generate(model, batch, monkeypatch, history_limit)
    assert_equals_full_recomputation(model, recorded, history_limit)
    with pytest.raises(AssertionError):
        assert_equals_full_recomputation(model, recorded)
    cache = recorded.state.cache
    assert cache.appended == UNITS * model.layout.num_clean
    remaining = [
        unit for unit in range(UNITS) if unit < history_limit.sink_units or unit >= UNITS - history_limit.units
    ]
    assert cache.tokens.unit_N[cache.start : cache.stop].unique().tolist() == remaining
    assert cache.length == len(remaining) * model.layout.num_clean


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("history_limit", LIMITS, ids=["limited", "sink"])
@pytest.mark.parametrize("lag", [0, 1])
def test_thinker_and_performer_say_what_one_cache_says(lag: int, history_limit: HistoryLimit, fused: bool) -> None:
    agent = small_agent(
        {"self_lag": lag},
        history_units=history_limit.units,
        sink_units=history_limit.sink_units,
        max_units=1,
        text_temperature=0.0,
    )
    performer = Performer(agent.model, agent.schedule, max_units=1, history_limit=history_limit, fused=fused)
    pipeline = Pipeline(agent, LocalPerformer(performer), seed=3)
    state = agent.start(seed=3)
    in_sequence, answered = [], []
    for unit, (frames, samples) in enumerate(media(UNITS)):
        unit_in_sequence, state = agent.step(state, frames, samples)
        in_sequence.append(unit_in_sequence)
        pipeline.hear(frames, samples)
        answered += [pipeline.answer()] if unit >= lag else []
    answered += [pipeline.answer() for _ in range(lag)]
    for unit_in_sequence, answer in zip(in_sequence, answered, strict=True):
        assert answer is not None and unit_in_sequence.text_tokens == answer.text_tokens
        np.testing.assert_allclose(unit_in_sequence.samples, answer.samples, atol=1e-5, rtol=0)
    truth = by_token(state.cache)
    for cache in (pipeline.state.cache, performer.cache):
        by_place = by_token(cache)
        assert {unit for unit, _ in by_place} == {
            u for u in range(UNITS) if u < history_limit.sink_units or u >= UNITS - history_limit.units
        }
        for token, keys_values in by_place.items():
            torch.testing.assert_close(keys_values, truth[token], atol=1e-5, rtol=0)


def test_a_slice_under_way_is_no_part_of_the_cache_it_came_from() -> None:
    """While it waits at lag 1 the thinker's cache may move, and others be written in its place."""
    agent = small_agent({"self_lag": 1}, history_units=3)
    answers = []
    for spoilt in (False, True):
        pipeline = open_pipeline(agent, seed=3)
        pipeline.hear(*media(1)[0])
        if spoilt:
            pipeline.state.cache.key_LBHND.fill_(9)
        answers.append(pipeline.answer())
    assert answers[0] is not None and answers[1] is not None and np.array_equal(answers[0].samples, answers[1].samples)


def by_token(cache: KVCache) -> dict[tuple[int, int], Tensor]:
    """Keys and values by unit and place in it."""
    both = torch.cat([cache.key_LBHND, cache.value_LBHND], dim=-1)
    places = range(cache.start, cache.stop)
    return {(int(cache.tokens.unit_N[n]), int(cache.tokens.order_N[n])): both[:, 0, :, n] for n in places}


@torch.no_grad()
@pytest.mark.parametrize("self_lag", [0, 1])
def test_backends_agree_under_a_history_limit(self_lag: int) -> None:
    config = dataclasses.replace(CONFIG, num_kv_heads=1, self_lag=self_lag)
    batch = random_batch(config, units=9)
    noisy = add_noise(batch, torch.full((2, 9), 0.6), torch.Generator().manual_seed(0))
    models = [random_model(config, attention=Attention(windows=backend)) for backend in ("sdpa", "flex")]
    outputs = [model(batch, noisy, history_limit=LIMITS[1]) for model in models]
    for one, other in zip(*outputs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_flash_agrees_under_a_history_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with the documented signature, as in test_attention: the kernel itself is not run here."""
    calls = []

    def flash_attn_with_kvcache(q: Tensor, k_cache: Tensor, v_cache: Tensor) -> Tensor:
        calls.append(k_cache.shape[1])
        q, k, v = (x.transpose(1, 2) for x in (q, k_cache, v_cache))
        return functional.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2)

    stand_in = ModuleType("flash_attn")
    stand_in.flash_attn_with_kvcache = flash_attn_with_kvcache  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flash_attn", stand_in)
    model = random_model(attention=Attention(cached="flash"))
    recorded = generate(model, random_batch(windows=1, units=UNITS), monkeypatch, LIMITS[0])
    assert calls and max(calls) <= LIMITS[0].units * model.layout.num_clean
    assert_equals_full_recomputation(model, recorded, LIMITS[0])


@torch.inference_mode()
def test_memory_and_the_cost_of_a_unit_do_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens moved per unit: a few units' worth, for short limits and for long ones."""
    model, layout = random_model(), UnitLayout()
    moved: list[int] = []
    move = KVCache._move
    monkeypatch.setattr(
        KVCache, "_move", lambda self, places, first: (moved.append(len(places)), move(self, places, first))
    )
    for units in (8, 64):
        moved.clear()
        cache = model.new_cache(1, 1, history_limit=HistoryLimit(units=units, sink_units=1))
        memory = cache.key_LBHND.data_ptr(), cache.key_LBHND.shape, len(cache.tokens.unit_N)
        for _ in range(300):
            model.extend(torch.zeros(1, layout.num_clean, CONFIG.d_model), cache)
        assert memory == (cache.key_LBHND.data_ptr(), cache.key_LBHND.shape, len(cache.tokens.unit_N))
        assert len(cache.tokens.unit_N) <= 1.5 * (units + 2) * layout.num_clean
        assert sum(moved) / 300 <= 7 * layout.num_clean


def test_rotary_angles_are_exact_after_hours() -> None:
    """Unit 25,000 is after 67 minutes; in float32 its angles would be off by 0.004."""
    position = torch.tensor([25_000 * 4 + tick for tick in range(4)])
    cos, sin = rotary_angles(position[:, None].expand(-1, 3), head_dim=32, theta=10000.0)
    angle = position.numpy().astype(np.longdouble)[:, None] * np.longdouble(10000) ** (
        -np.arange(16) / np.longdouble(16)
    )
    np.testing.assert_allclose(cos.numpy(), np.cos(angle).astype(np.float64), atol=1e-7, rtol=0)
    np.testing.assert_allclose(sin.numpy(), np.sin(angle).astype(np.float64), atol=1e-7, rtol=0)


@torch.inference_mode()
def test_hours_later_the_same_is_said() -> None:
    """Positions are relative to the model: from unit 25,000 on it says what it says from unit 0 on."""
    model, layout = random_model(), UnitLayout()
    generator = torch.Generator().manual_seed(0)
    contents = torch.randn(12, 1, layout.num_clean, CONFIG.d_model, generator=generator)
    shape = (1, 1, *CONFIG.audio_shape), (1, 1, *CONFIG.video_shape)
    audio, video = (torch.randn(s, generator=generator) for s in shape)
    noisy = Noisy(audio, video, torch.full((1, 1), 0.7))
    outputs = []
    for first in (0, 25_000):
        cache = model.new_cache(1, 1, history_limit=HistoryLimit(units=4))
        cache.appended = first * layout.num_clean
        cache.describe(Tokens(*(column[:0] for column in cache.tokens)))
        results = [model.extend(content, cache) for content in contents]
        results += model.denoise(noisy, new_past(CONFIG), model.flow_time(noisy.tau_BK), first + 12, cache)
        assert int(cache.tokens.unit_N[cache.stop - 1]) == first + 11
        outputs.append(results)
    for one, other in zip(*outputs, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=0)


def test_a_history_limit_too_short_for_the_lag_is_refused() -> None:
    for lag, expected in ((0, 2), (1, 3)):
        agent = small_agent({"self_lag": lag}, history_units=expected - 1)
        with pytest.raises(
            InputError, match=f"history limit of {expected - 1} units, sink of 0: expected {expected} or more"
        ):
            open_pipeline(agent, seed=0)
        small_agent({"self_lag": lag}, history_units=expected).start(seed=0)
    with pytest.raises(InputError, match="sink_units: 2; expected 0 without history_units"):
        AgentConfig(sink_units=2)


def test_a_model_with_everything_in_its_history_limit_says_what_it_says_without() -> None:
    """Bitwise: nothing is dropped, and no mask hides anything."""

    def outputs_of(model: DuplexModel, history_limit: HistoryLimit | None) -> Tensor:
        cache = model.new_cache(1, 6, history_limit=history_limit)
        generator = torch.Generator().manual_seed(0)
        contents = torch.randn(6, 1, UnitLayout().num_clean, CONFIG.d_model, generator=generator)
        return torch.stack([model.extend(content, cache) for content in contents])

    with torch.inference_mode():
        assert torch.equal(outputs_of(random_model(), None), outputs_of(random_model(), HistoryLimit(units=7)))
