"""Conversations side by side in one batch: each is what it would be alone, whoever the others are."""

import dataclasses

import torch
from torch import Tensor

from tests.helpers.duplex_fixtures import CONFIG, random_batch, random_model
from wanstreamer.streaming.performer import Schedule, perform
from wanstreamer.streaming.state import new_state, state_from_tensors, state_to_tensors
from wanstreamer.streaming.thinker import commit, think
from wanstreamer.windows.loader import Batch

UNITS = 6
CONFIG_2 = dataclasses.replace(CONFIG, num_kv_heads=1, agent_audio_tokens=2, agent_video_tokens=(2, 2))
MODEL = random_model(CONFIG_2)
SCHEDULE = Schedule(MODEL, 3)
USERS = random_batch(CONFIG_2, windows=4, units=UNITS)


def generate(
    who: list[int], seeds: list[int], users: Batch = USERS, store_at: int = -1
) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids (B, K, S), audio and video latents of free-running agents that hear the users `who`."""
    state = new_state(MODEL, max_units=UNITS, seeds=seeds)
    tokens_of_units, audio, video = [], [], []
    for unit in range(UNITS):
        if unit == store_at:
            state = state_from_tensors(MODEL, state_to_tensors(state), max_units=UNITS)
        heard = None if unit == 3 else users.user_audio_BKNC[who, unit]
        tokens, _ = think(MODEL, state, heard, users.user_video_BKCHW[who, unit], None, temperature=1.0)
        latents = perform(MODEL, state, SCHEDULE)
        commit(MODEL, state, *latents)
        tokens_of_units.append(torch.tensor(tokens))
        audio.append(latents[0])
        video.append(latents[1])
    return torch.stack(tokens_of_units, dim=1), torch.stack(audio, dim=1), torch.stack(video, dim=1)


def test_a_conversation_is_the_same_alone_and_among_others() -> None:
    together = generate([0, 1, 2, 3], [10, 11, 12, 13])
    assert together[0].unique().numel() > 3
    assert not torch.equal(together[1][0], together[1][1])
    for place in range(4):
        alone = generate([place], [10 + place])
        assert torch.equal(alone[0][0], together[0][place])
        for first, all_ in zip(alone[1:], together[1:], strict=True):
            torch.testing.assert_close(first[0], all_[place], atol=1e-5, rtol=0)


def test_the_others_do_not_matter() -> None:
    """Other company, another place in the batch, and another user for a neighbour."""
    first = generate([2, 0, 1], [5, 6, 7])
    second = generate([3, 3, 2, 1], [1, 2, 5, 3])
    assert torch.equal(first[0][0], second[0][2])
    torch.testing.assert_close(first[1][0], second[1][2], atol=1e-5, rtol=0)
    torch.testing.assert_close(first[2][0], second[2][2], atol=1e-5, rtol=0)


def test_each_hears_its_own_user_and_draws_its_own_chance() -> None:
    changed = dataclasses.replace(USERS, user_audio_BKNC=USERS.user_audio_BKNC.clone())
    changed.user_audio_BKNC[1] += 1
    first, second = generate([0, 1], [5, 6]), generate([0, 1], [5, 6], changed)
    torch.testing.assert_close(first[1][0], second[1][0], atol=1e-5, rtol=0)
    assert (first[1][1] - second[1][1]).abs().max() > 1e-3
    reseeded = generate([0, 1], [5, 7])
    assert (first[1][1] - reseeded[1][1]).abs().max() > 1e-3


def test_a_stored_batch_continues_exactly() -> None:
    first, second = generate([0, 1, 2], [5, 6, 7]), generate([0, 1, 2], [5, 6, 7], store_at=3)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
