"""Who sees whom, written out by hand; positions; rotary angles."""

import pytest
import torch

from wanstreamer.model.sequence import (
    KINDS,
    HistoryLimit,
    PrefixLayout,
    UnitLayout,
    clean_tokens,
    join,
    noisy_tokens,
    prefix_tokens,
    rotary_angles,
    take,
    visible,
    visible_rows,
)

LAYOUT = UnitLayout()
# Clean tokens of one unit with one token per stream; N marks the noisy copies.
NAMES = ["ua", "uv", "ut1", "ut2", "begin", "t1", "state", "ya", "yv"]
USERS, SLOTS, AGENT, NOISY = NAMES[:4], NAMES[4:7], NAMES[7:], ["na", "nv"]


def seen_by(name: str, self_lag: int, unit: int = 2, num_units: int = 4) -> set[tuple[str, int]]:
    """What the named token of `unit` may attend to, as (name, unit)."""
    tokens = join(clean_tokens(LAYOUT, num_units), noisy_tokens(LAYOUT, num_units))
    labels = [(n, k) for k in range(num_units) for n in NAMES] + [(n, k) for k in range(num_units) for n in NOISY]
    row = visible(tokens, tokens, self_lag)[labels.index((name, unit))]
    return {label for label, on in zip(labels, row.tolist(), strict=True) if on}


def units(names: list[str], upto: int) -> set[tuple[str, int]]:
    return {(name, k) for name in names for k in range(upto + 1)}


@pytest.mark.parametrize("self_lag", [0, 1])
def test_user_tokens_see_users_up_to_now_and_the_past_of_the_rest(self_lag: int) -> None:
    expected = units(USERS, 2) | units(SLOTS, 1) | units(AGENT, 1 - self_lag)
    for name in USERS:
        assert seen_by(name, self_lag) == expected


@pytest.mark.parametrize("self_lag", [0, 1])
def test_slots_are_causal_among_themselves(self_lag: int) -> None:
    for place, name in enumerate(SLOTS):
        own = {(slot, 2) for slot in SLOTS[: place + 1]}
        assert seen_by(name, self_lag) == units(USERS, 2) | units(SLOTS, 1) | units(AGENT, 1 - self_lag) | own


@pytest.mark.parametrize("self_lag", [0, 1])
def test_clean_agent_tokens_see_everything_up_to_now(self_lag: int) -> None:
    for name in AGENT:
        assert seen_by(name, self_lag) == units(NAMES, 2)


@pytest.mark.parametrize("self_lag", [0, 1])
def test_noisy_tokens_see_the_language_of_now_the_agent_of_before_and_themselves(self_lag: int) -> None:
    for name in NOISY:
        own = {(noisy, 2) for noisy in NOISY}
        assert seen_by(name, self_lag) == units(USERS + SLOTS, 2) | units(AGENT, 1) | own


def test_clean_and_noisy_copies_share_positions() -> None:
    layout = UnitLayout(agent_audio=4, agent_video=(2, 3))
    clean, noisy = clean_tokens(layout, 3), noisy_tokens(layout, 3)
    agent = torch.isin(clean.kind_N, torch.tensor([KINDS.index("agent_audio"), KINDS.index("agent_video")]))
    assert torch.equal(clean.position_N3[agent], noisy.position_N3)
    assert torch.equal(clean.order_N[agent], noisy.order_N)


def test_positions_run_in_ticks_and_text_has_equal_axes() -> None:
    tokens = clean_tokens(UnitLayout(user_audio=4, user_video=(2, 2)), 2, start_unit=5)
    assert tokens.position_N3[:4].tolist() == [[20 + n] * 3 for n in range(4)]
    assert tokens.position_N3[4:8].tolist() == [[20, 20, 20], [20, 20, 21], [20, 21, 20], [20, 21, 21]]
    text = torch.isin(
        tokens.kind_N, torch.tensor([KINDS.index(k) for k in ("user_text", "begin", "agent_text", "state")])
    )
    assert (tokens.position_N3[text] == tokens.position_N3[text][:, :1]).all()


def test_rotary_of_text_is_that_of_a_language_model() -> None:
    position = torch.arange(7)
    cos, sin = rotary_angles(position[:, None].expand(-1, 3), head_dim=16, theta=10000.0)
    frequency = 10000.0 ** (-torch.arange(0, 16, 2) / 16)
    torch.testing.assert_close(cos, (position[:, None] * frequency).cos())
    torch.testing.assert_close(sin, (position[:, None] * frequency).sin())


def test_rotary_tells_the_axes_apart() -> None:
    angles = [rotary_angles(torch.tensor([p]), 16, 10000.0)[1] for p in ([1, 0, 0], [0, 1, 0], [0, 0, 1])]
    assert all(
        not torch.equal(a, b) for a, b in ((angles[0], angles[1]), (angles[0], angles[2]), (angles[1], angles[2]))
    )


@pytest.mark.parametrize(
    "history_limit", [None, HistoryLimit(units=4), HistoryLimit(units=3, sink_units=2)], ids=["full", "limited", "sink"]
)
@pytest.mark.parametrize("self_lag", [0, 1])
def test_few_rows_say_what_all_rows_say(self_lag: int, history_limit: HistoryLimit | None) -> None:
    """For every stretch of up to two units of clean and noisy tokens, over a history with a prefix."""
    layout = UnitLayout(agent_audio=2, agent_video=(1, 2))
    clean = join(prefix_tokens(layout, PrefixLayout(voice_units=1, num_text=2)), clean_tokens(layout, 9))
    everything = join(clean, noisy_tokens(layout, 9))
    count = len(everything.unit_N)
    fewest = count
    for start in range(0, count, 3):
        for length in (1, 2, layout.num_clean, 2 * layout.num_clean):
            query = take(everything, start, start + length)
            seen_RK, row_N = visible_rows(query, everything, self_lag, history_limit)
            assert torch.equal(seen_RK[row_N], visible(query, everything, self_lag, history_limit))
            if length == 2 * layout.num_clean:
                fewest = min(fewest, len(seen_RK))
    assert fewest <= 10
