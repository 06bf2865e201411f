"""Live generation: cached equals recomputed, nothing noisy stays, state can be stored, media in and out."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.helpers.duplex_fixtures import CONFIG, random_batch, random_model
from tests.helpers.generated import STEPS, assert_equals_full_recomputation, generate
from tests.helpers.live_fixtures import media, small_agent
from wanstreamer.errors import InputError
from wanstreamer.model.sequence import visible
from wanstreamer.streaming.agent import AgentConfig, to_frames, to_video
from wanstreamer.streaming.performer import Schedule, draw_noise, perform
from wanstreamer.streaming.state import new_state, state_from_tensors, state_to_tensors
from wanstreamer.streaming.thinker import think
from wanstreamer.windows.loader import Batch

UNITS = 6


def user_batch(config=CONFIG) -> Batch:  # type: ignore[no-untyped-def]
    """One window in which streams come and go."""
    batch = random_batch(config, windows=1, units=UNITS)
    batch.user_audio_known_BK[0, 2] = False
    batch.user_video_known_BK[0, 3:5] = False
    batch.user_text_known_BK[0, 1:] = False
    return batch


CONFIGS = {
    "lag0": CONFIG,
    "lag1": dataclasses.replace(CONFIG, self_lag=1),
    "packed": dataclasses.replace(
        CONFIG, num_kv_heads=1, agent_audio_tokens=2, user_audio_tokens=4, agent_video_tokens=(2, 2), text_slots=3
    ),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_cached_generation_equals_full_recomputation(config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text logits and every solver step's estimates, over units with sampled text and self-made history."""
    model = random_model(config)
    recorded = generate(model, user_batch(config), monkeypatch)
    assert recorded.batch.agent_text_BKS.unique().numel() > 3
    assert_equals_full_recomputation(model, recorded)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_cache_holds_the_clean_history_and_nothing_of_the_solver(config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its keys and values are those of a fresh pass over the clean tokens: no noisy pass left a trace."""
    model = random_model(config)
    recorded = generate(model, user_batch(config), monkeypatch)
    fresh = model.new_cache(1, UNITS)
    tokens = fresh.tokens
    with torch.no_grad():
        x_BND = model.embed_clean(recorded.batch).flatten(1, 2)
        model.trunk(x_BND, tokens, visible(tokens, tokens, config.self_lag), history=fresh)
    assert recorded.state.cache.length == UNITS * model.layout.num_clean
    torch.testing.assert_close(recorded.state.cache.key_LBHND, fresh.key_LBHND, atol=1e-5, rtol=0)
    torch.testing.assert_close(recorded.state.cache.value_LBHND, fresh.value_LBHND, atol=1e-5, rtol=0)


def test_denoising_leaves_the_valid_part_of_the_cache_untouched() -> None:
    model, batch = random_model(), user_batch()
    state, schedule = new_state(model, max_units=2, seeds=[0]), Schedule(model, STEPS)
    think(model, state, batch.user_audio_BKNC[:, 0], None, None, temperature=0)
    length, before = state.cache.length, state.cache.key_LBHND.clone()
    perform(model, state, schedule)
    assert state.cache.length == length
    assert torch.equal(state.cache.key_LBHND[:, :, :, :length], before[:, :, :, :length])


def test_an_agent_returns_whole_units_and_repeats_with_its_seed() -> None:
    agent = small_agent()
    runs = []
    for _ in range(2):
        state = agent.start(seed=3)
        answers = []
        for frames, samples in media(4):
            unit, state = agent.step(state, frames, samples)
            answers.append(unit)
        runs.append(answers)
    for first, second in zip(*runs, strict=True):
        assert first.frames.shape == (4, 48, 64, 3) and first.frames.dtype == np.uint8
        assert first.samples.shape == (2560,) and first.samples.dtype == np.float32 and np.isfinite(first.samples).all()
        assert len(first.text_tokens) == 2 and min(first.text_tokens) >= 0
        assert set(first.part_ms) == {"encode", "think", "perform", "decode"}
        assert np.array_equal(first.frames, second.frames) and np.array_equal(first.samples, second.samples)
        assert first.text_tokens == second.text_tokens
    assert not np.array_equal(runs[0][0].samples, runs[0][1].samples)


def test_streams_may_be_missing() -> None:
    agent = small_agent()
    state = agent.start(seed=0)
    for present in ((True, True), (False, True), (True, False), (False, False), (True, True)):
        frames, samples = media(1)[0]
        unit, state = agent.step(state, frames if present[0] else None, samples if present[1] else None, [0, 0])
        assert np.isfinite(unit.samples).all()
    assert state.unit == 5


def test_a_stored_state_continues_exactly() -> None:
    agent = small_agent()
    played = media(5)
    state = agent.start(seed=1)
    for frames, samples in played[:3]:
        _, state = agent.step(state, frames, samples)
    stored = state_to_tensors(state)
    restored = state_from_tensors(agent.model, stored, max_units=8)
    for frames, samples in played[3:]:
        first, state = agent.step(state, frames, samples)
        second, restored = agent.step(restored, frames, samples)
        assert np.array_equal(first.frames, second.frames) and np.array_equal(first.samples, second.samples)
        assert first.text_tokens == second.text_tokens


def test_the_user_is_heard_and_seen_at_once() -> None:
    """Changing the user's unit changes the agent's very same unit, and nothing before it."""
    agent = small_agent()
    played = media(3)
    changes: list[Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = [
        lambda frames, samples: (255 - frames, samples),
        lambda frames, samples: (frames, -samples),
    ]
    for change in changes:
        outputs = []
        for changed in (False, True):
            state = agent.start(seed=1)
            answers = []
            for index, (frames, samples) in enumerate(played):
                heard = change(frames, samples) if changed and index == 2 else (frames, samples)
                unit, state = agent.step(state, *heard)
                answers.append(unit.samples)
            outputs.append(answers)
        assert all(np.array_equal(a, b) for a, b in zip(outputs[0][:2], outputs[1][:2], strict=True))
        assert not np.array_equal(outputs[0][2], outputs[1][2])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda frames, samples: (frames[:3], samples, None), "frames are uint8 .3, 48, 64, 3., expected"),
        (lambda frames, samples: (frames, samples[:100], None), "samples are float32 .100."),
        (lambda frames, samples: (frames, samples.astype(np.float64), None), "samples are float64"),
        (lambda frames, samples: (frames, samples, [0]), "1 text tokens, expected 2"),
    ],
)
def test_wrong_media_is_one_clear_line(spoil, message: str) -> None:  # type: ignore[no-untyped-def]
    agent = small_agent()
    frames, samples = media(1)[0]
    with pytest.raises(InputError, match=message):
        agent.step(agent.start(seed=0), *spoil(frames, samples))


def test_beyond_its_history_an_agent_says_so() -> None:
    agent = small_agent(max_units=2)
    state = agent.start(seed=0)
    for frames, samples in media(2):
        _, state = agent.step(state, frames, samples)
    with pytest.raises(InputError, match=r"history of 2 units \(0 s\) is full"):
        agent.step(state, None, None)


@pytest.mark.parametrize(
    "settings",
    [{"steps": 0}, {"text_temperature": -1.0}, {"text_epsilon": 1.0}, {"video_temperature": -0.1}, {"max_units": 0}],
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        AgentConfig(**settings)


def test_frames_survive_the_conversion_there_and_back() -> None:
    frames = media(1)[0][0]
    video = to_video(frames)
    assert video.shape == (1, 4, 3, 48, 64) and video.min() >= -1 and video.max() <= 1
    assert np.array_equal(to_frames(video), frames)


def test_video_temperature_is_the_deviation_of_the_pictures_noise_alone() -> None:
    model = random_model()
    warm, cool = (draw_noise(model, torch.Generator().manual_seed(3), temperature) for temperature in (1.0, 0.25))
    assert torch.equal(cool[0], warm[0]) and torch.equal(cool[1], 0.25 * warm[1])


def test_an_agent_takes_its_video_temperature() -> None:
    (frames, samples), *_ = media(1)
    shown = []
    for temperature in (0.0, 1.0, 1.0):
        agent = small_agent(video_temperature=temperature)
        shown.append(agent.step(agent.start(seed=1), frames, samples)[0].frames)
    assert not np.array_equal(shown[0], shown[1]) and np.array_equal(shown[1], shown[2])
