"""Who may be the agent: baselines do what they say, and the batched model is the live agent."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from pipelines.behaviour.players import (
    AgentUnit,
    Cascade,
    Copy,
    History,
    Ignoring,
    Model,
    Player,
    Replay,
    Shuffled,
    Silence,
    Turns,
    UserUnit,
)
from pipelines.conversation.stimuli import Stimulus
from tests.helpers.live_fixtures import media, small_agent

RATE_HZ, T = 16_000, 2560
LOUD = np.full(T, 0.1, np.float32)


def unit_of(index: int, samples_BT: np.ndarray) -> UserUnit:
    nothing = torch.zeros(len(samples_BT), 1)
    return UserUnit(unit=index, audio_BNC=nothing, video_BCHW=nothing, samples_BT=samples_BT.astype(np.float32))


def answers(player: Player, user: Sequence[Sequence[int]]) -> np.ndarray:
    """Whether the agent sounds, (B, K), when the users do (1) or not (0) in each unit."""
    samples = [
        player.step(unit_of(index, np.stack([LOUD * on for on in column]))).samples_BT
        for index, column in enumerate(zip(*user, strict=True))
    ]
    return np.abs(np.stack(samples, axis=1)).max(axis=2) > 0


def turns(units: int, count: int = 1) -> Turns:
    """One turn of so many units to say, in `count` conversations."""
    return Turns([np.full(units * T, 0.2, np.float32)], seeds=range(count))


def test_silence_and_copy() -> None:
    user = [[0, 1, 1, 0, 1, 0], [1, 0, 0, 0, 0, 1]]
    assert not answers(Silence(), user).any()
    assert answers(Copy(), user).astype(int).tolist() == [[0, 0, 1, 1, 0, 1], [0, 1, 0, 0, 0, 0]]


def test_the_cascade_waits_for_three_silent_units_and_stops_at_any_sound() -> None:
    user = [
        [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],  # speaks once, is answered once
        [1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0],  # pauses; says "mhm" into the turn, which starts over
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],  # never speaks
    ]
    sounds = answers(Cascade(turns(4, 3), rate_hz=RATE_HZ), user)
    assert sounds.astype(int).tolist() == [
        [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1],
        [0] * 12,
    ]


def test_the_cascade_hears_over_background_noise() -> None:
    noise = np.random.default_rng(0).normal(0, 0.004, (30, 1, T))  # -48 dB
    player = Cascade(turns(2), rate_hz=RATE_HZ)
    sounds = []
    for index, samples_BT in enumerate(noise):
        sounds.append(player.step(unit_of(index, samples_BT + LOUD * (index in (8, 9)))).samples_BT.any())
    assert np.flatnonzero(sounds).tolist() == [12, 13]


def test_the_agent_that_ignores_says_whole_turns_at_its_onsets() -> None:
    player = Ignoring(turns(3, 2), rate_hz=RATE_HZ, onsets_ms=[[160, 320, 1280], []])
    sounds = answers(player, [[0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], [1] * 12])
    # The second onset falls into the first turn, which is said to its end.
    assert sounds.astype(int).tolist() == [[0, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0], [0] * 12]


def test_onsets_lie_where_they_were_inside_a_unit() -> None:
    player = Ignoring(turns(2), rate_hz=RATE_HZ, onsets_ms=[[200]])
    samples_T = np.concatenate([player.step(unit_of(index, np.zeros((1, T)))).samples_BT[0] for index in range(4)])
    sounding = np.flatnonzero(samples_T)
    assert sounding[0] == 200 * 16 and len(sounding) == 2 * T and np.ptp(sounding) == 2 * T - 1


def test_the_agent_that_ignores_may_be_told_of_turn_ends() -> None:
    player = Ignoring(turns(2, 2), rate_hz=RATE_HZ, onsets_ms=[[], []], offsets_ms=[400.0])
    player.notice(1, Stimulus("pause", 0, 400))
    player.notice(1, Stimulus("turn_end", 0, 240))
    sounds = answers(player, [[0] * 8] * 2)
    assert sounds.astype(int).tolist() == [[0] * 8, [0, 0, 0, 0, 1, 1, 0, 0]]


def test_turns_differ_between_conversations_and_repeat_with_their_seeds() -> None:
    bank = [np.full(10, value, np.float32) for value in range(1, 40)]

    def first_samples(seeds: list[int]) -> np.ndarray:
        some = Turns(bank, seeds)
        for conversation in range(len(seeds)):
            some.begin(conversation)
        return some.say(1)[:, 0]

    assert (
        first_samples([1, 2, 3]).tolist()
        == first_samples([1, 2, 3]).tolist()
        == [*first_samples([1]), *first_samples([2]), *first_samples([3])]
    )
    assert len(set(first_samples([1, 2, 3]))) > 1
    with pytest.raises(ValueError, match="no turns"):
        Turns([], [1])


class Echo:
    """Says what it hears at once, and remembers what it saw."""

    def step(self, user: UserUnit) -> AgentUnit:
        self.seen = user.audio_BNC, user.video_BCHW
        return AgentUnit(samples_BT=user.samples_BT)


def test_the_shuffled_agent_meets_other_users() -> None:
    echo = Echo()
    numbers = torch.arange(3.0)[:, None]
    user = UserUnit(unit=0, audio_BNC=numbers, video_BCHW=10 * numbers, samples_BT=numbers.numpy())
    echoed = Shuffled(echo, [1, 2, 0]).step(user)
    assert echoed.samples_BT[:, 0].tolist() == [1, 2, 0]
    assert echo.seen[0][:, 0].tolist() == [1, 2, 0] and echo.seen[1][:, 0].tolist() == [10, 20, 0]


def test_the_batched_model_is_the_live_agent() -> None:
    """Same seed, same user: what `Agent.step` answers, in whatever place of the batch."""
    agent = small_agent(max_units=6)
    played = media(6)
    state = agent.start(seed=7)
    live = []
    for frames, samples in played:
        unit, state = agent.step(state, frames, samples)
        live.append(unit)
    encoding_state = agent.start(seed=0)
    player = Model(agent, seeds=[3, 7], max_units=6, watched=2)
    for index, (frames, samples) in enumerate(played):
        audio_NC, video_CHW = agent.encode(encoding_state, frames, samples)
        assert audio_NC is not None and video_CHW is not None
        agent_unit = player.step(
            UserUnit(
                unit=index,
                audio_BNC=torch.stack([audio_NC + 1, audio_NC]),
                video_BCHW=torch.stack([-video_CHW, video_CHW]),
                samples_BT=np.stack([samples, samples]),
            )
        )
        assert agent_unit.tokens_BS is not None and agent_unit.tokens_BS[1] == live[index].text_tokens
        np.testing.assert_allclose(agent_unit.samples_BT[1], live[index].samples, atol=1e-5)
        assert agent_unit.frames_BTHWC is not None
        assert np.abs(agent_unit.frames_BTHWC[1].astype(int) - live[index].frames).max() <= 1
        assert not np.allclose(agent_unit.samples_BT[0], live[index].samples)


def test_history_is_said_as_it_was_and_remembered() -> None:
    agent = small_agent(max_units=4)
    shape_a, shape_v = agent.model.config.audio_shape, agent.model.config.video_shape
    generator = torch.Generator().manual_seed(0)

    def played(history_scale: float, recorded_units: int) -> tuple[list[np.ndarray], list[list[int]]]:
        player = Model(agent, seeds=[1], max_units=4)
        samples, tokens = [], []
        for unit in range(3):
            history = None
            if unit < recorded_units:
                history = History(
                    audio_BNC=history_scale * torch.ones(1, *shape_a),
                    video_BCHW=torch.ones(1, *shape_v),
                    text_BS=[[5, 6]],
                )
            user = UserUnit(
                unit=unit,
                audio_BNC=torch.randn(1, *shape_a, generator=generator.manual_seed(unit)),
                video_BCHW=torch.zeros(1, *shape_v),
                samples_BT=np.zeros((1, T), np.float32),
                history=history,
            )
            agent_unit = player.step(user)
            samples.append(agent_unit.samples_BT)
            tokens += agent_unit.tokens_BS or []
        return samples, tokens

    samples, tokens = played(1.0, recorded_units=2)
    replayed = Replay(agent, torch.ones(1, 2, *shape_a), torch.ones(1, 2, *shape_v))
    for unit in range(2):
        assert np.array_equal(samples[unit], replayed.step(unit_of(unit, np.zeros((1, T)))).samples_BT)
    assert tokens[:2] == [[5, 6], [5, 6]]
    assert not np.array_equal(samples[2], played(-1.0, recorded_units=2)[0][2])  # its own past decides what it says now
