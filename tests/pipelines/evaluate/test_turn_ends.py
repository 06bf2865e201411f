"""Ends of turns and pauses: what counts as which, and what the figures say of a model that hears, and of a deaf one."""

import dataclasses

import numpy as np
import pytest
import torch

from pipelines.evaluate.turn_ends import (
    DECIDED_UNITS,
    area_under,
    chance_to_begin,
    find_silences,
    summarize_turn_ends,
)
from pipelines.formats.tokenizer import BLANK_ID
from tests.helpers.duplex_fixtures import random_batch
from wanstreamer.windows.loader import Batch

WORD = BLANK_ID + 5
UNITS = 24


def batch_of(*lanes: tuple[str, str], backchannel: slice | None = None) -> Batch:
    """One window per (user, agent), a character per unit: # sounds, w has words and does not sound yet, . is quiet."""
    rows = [(user.ljust(UNITS, "."), agent.ljust(UNITS, ".")) for user, agent in lanes]
    batch = random_batch(windows=len(rows), units=UNITS)
    labels, text = torch.zeros(len(rows), UNITS, 4, dtype=torch.int16), batch.agent_text_BKS.clone().fill_(BLANK_ID)
    for row, (user, agent) in enumerate(rows):
        labels[row, :, 0] = torch.tensor([160 * (sign == "#") for sign in agent])
        labels[row, :, 1] = torch.tensor([160 * (sign == "#") for sign in user])
        text[row, :, 0] = torch.tensor([WORD if sign == "w" else BLANK_ID for sign in agent])
    if backchannel:
        labels[:, backchannel, 2] = 1
    known = torch.ones_like(batch.agent_text_known_BK)
    return dataclasses.replace(
        batch, labels_BKL=labels, agent_text_BKS=text, agent_text_known_BK=known, user_audio_known_BK=known
    )


def outcomes(*lanes: tuple[str, str], **changes: slice) -> list[tuple[int, int, bool]]:
    return [(silence.unit, silence.num_units, silence.ended) for silence in find_silences(batch_of(*lanes, **changes))]


def test_an_end_is_answered_and_a_pause_gone_on_from():
    assert outcomes(("########", "..........w##")) == [(8, 3, True)]  # silent in 8 and 9, begins in 10
    assert outcomes(("########...####", "")) == [(8, 3, False)]
    assert outcomes(("########", "........w##")) == [(8, 1, True)]


@pytest.mark.parametrize(
    ("user", "agent"),
    [
        ("#####", ".......w##"),  # too short for a turn
        (".....###", "..........w##"),
        ("########", "......##...w##"),  # the agent has just spoken
        ("########", "." * (8 + DECIDED_UNITS) + "w##"),  # no one for too long
        ("########", ".......w###"),  # begun before the user was silent
        ("#" * UNITS, ""),
    ],
)
def test_what_is_neither(user, agent):
    assert outcomes((user, agent)) == []


def test_a_backchannel_is_no_answer_and_unknown_units_are_left_out():
    assert outcomes(("########", "........w#"), backchannel=slice(9, 10)) == []
    batch = batch_of(("########", "..........w##"))
    for stream in ("user_audio_known_BK", "agent_text_known_BK"):
        known = getattr(batch, stream).clone()
        known[0, 5] = False
        assert find_silences(dataclasses.replace(batch, **{stream: known})) == []


def test_a_model_that_hears_has_the_whole_area_and_a_deaf_one_half():
    batch = batch_of(("########", "..........w##"), ("########...####", ""), ("########", ".........w##"))
    silences = find_silences(batch)
    hears = np.zeros((3, UNITS))
    hears[[0, 2], 8:12] = 0.4
    figures = summarize_turn_ends([(silences, {"model": hears, "other_user": np.full((3, UNITS), 0.1)})])
    assert (figures["ends"], figures["pauses"]) == (2, 1)
    first, second = figures["unit_0"], figures["unit_1"]
    assert first["people_after_ends"] == 0 and second["people_after_ends"] == 0.5
    assert first["model"] == {"after_ends": 0.4, "in_pauses": 0, "area": 1}
    assert first["other_user"]["area"] == 0.5
    assert figures["unit_2"]["people_after_ends"] == 1  # one was answered before: the other is left


def test_nothing_found_gives_no_figure():
    assert summarize_turn_ends([])["unit_0"] == {"people_after_ends": None}
    assert area_under(np.zeros(0), np.ones(3)) is None
    assert area_under(np.array([1.0, 3.0]), np.array([2.0])) == 0.5


def test_the_chance_is_of_the_first_slot():
    logits = torch.zeros(1, 2, 3, 8)
    logits[0, 0, 0, BLANK_ID] = 50
    logits[0, 1, 1:, BLANK_ID] = 50
    np.testing.assert_allclose(chance_to_begin(logits), [[0, 7 / 8]], atol=1e-6)
