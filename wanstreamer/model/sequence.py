"""The number, order and positions of a unit's tokens -> token descriptions, attention mask, RoPE angles.

A unit k is `user audio, user video, user text | BEGIN, t_1 .. t_{S-1}, STATE | agent audio, agent video` (the *clean*
tokens). While the performer denoises, there is also a *noisy* copy of the agent's audio and video tokens at the same
positions. The prefix precedes all units, as unit -1. `visible` alone decides who may see whom, so that training over
whole windows and cached streaming cannot differ. Order, positions and mask are ours; Wan-Streamer v0.1 (arXiv
2606.25041) states only that attention is block-causal over full history.

Shape letters: N tokens, Q query tokens, K key tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from wanstreamer.clock import TICK_MS, UNIT_MS
from wanstreamer.errors import InputError

TICKS_PER_UNIT = UNIT_MS // TICK_MS  # RoPE's time counts ticks

# Text ids that are not words: BLANK fills unused slots, MISSING means no transcript, BEGIN opens the slots.
BLANK, MISSING, BEGIN = range(3)
FIRST_WORD = 3  # where a language model's own ids begin

# Classes of tokens for the mask.
USER, SLOT, CLEAN, NOISY, PREFIX = range(5)

# Type embeddings: one per kind of token.
KINDS = (
    "user_audio",
    "user_video",
    "user_text",
    "begin",
    "agent_text",
    "state",
    "agent_audio",
    "agent_video",
    "noisy_audio",
    "noisy_video",
)


@dataclass(frozen=True, kw_only=True)
class UnitLayout:
    """Tokens per stream of one unit."""

    user_audio: int = 1
    user_video: tuple[int, int] = (1, 1)  # rows, columns of video tokens
    text_slots: int = 2  # text tokens per unit, of the user and of the agent
    agent_audio: int = 1
    agent_video: tuple[int, int] = (1, 1)

    @property
    def num_user(self) -> int:
        return self.user_audio + self.user_video[0] * self.user_video[1] + self.text_slots

    @property
    def num_slots(self) -> int:
        """BEGIN, all text tokens except the last, STATE."""
        return self.text_slots + 1

    @property
    def num_agent(self) -> int:
        return self.agent_audio + self.agent_video[0] * self.agent_video[1]

    @property
    def num_clean(self) -> int:
        """Tokens that a unit leaves in the history."""
        return self.num_user + self.num_slots + self.num_agent


@dataclass(frozen=True, kw_only=True)
class PrefixLayout:
    """The content of unit -1, in this order."""

    image: bool = False  # one unit's agent video tokens
    voice_units: int = 0  # of agent audio tokens
    num_text: int = 0

    def num_tokens(self, layout: UnitLayout) -> int:
        return len(prefix_tokens(layout, self).unit_N)


@dataclass(frozen=True, kw_only=True)
class HistoryLimit:
    """What a token sees if the history is limited: its unit, the units just before it, and the first ones (the sink).

    Models seem to rely on the first tokens as such, and break when these disappear (arXiv 2309.17453).
    """

    units: int  # the token's own and the previous ones; about the length of training windows
    sink_units: int = 0  # first units of the conversation, never dropped; unit -1, the prefix, is never dropped either

    def check(self, self_lag: int) -> None:
        """Raises InputError if the agent's clean tokens would not see their own unit; see `may_see`."""
        if self.units < 2 + self_lag or self.sink_units < 0:
            raise InputError(
                f"history limit of {self.units} units, sink of {self.sink_units}: expected {2 + self_lag} or more "
                f"(self_lag {self_lag}), and 0 or more"
            )


class Tokens(NamedTuple):
    """Properties of N tokens for mask, RoPE and type embedding; all int64."""

    unit_N: Tensor
    class_N: Tensor  # USER, SLOT, CLEAN, NOISY or PREFIX
    order_N: Tensor  # place among the unit's clean tokens; decides causality inside the slots and the prefix
    kind_N: Tensor  # index into KINDS
    position_N3: Tensor  # time, height, width in ticks

    def at(self, index: Tensor | slice | tuple[slice | None, ...]) -> "Tokens":
        return Tokens(*(column[index] for column in self))


def take(tokens: Tokens, start: int, stop: int) -> Tokens:
    return tokens.at(slice(start, stop))


def join(first: Tokens, second: Tokens) -> Tokens:
    return Tokens(*(torch.cat(pair) for pair in zip(first, second, strict=True)))


def clean_tokens(layout: UnitLayout, num_units: int, start_unit: int = 0, device: torch.device | None = None) -> Tokens:
    """Tokens of `num_units` units in history order: N = num_units * layout.num_clean."""
    users = [*_audio("user_audio", layout.user_audio), *_video("user_video", layout.user_video)]
    users += [("user_text", (slot,) * 3) for slot in range(layout.text_slots)]
    slot_kinds = ["begin", *["agent_text"] * (layout.text_slots - 1), "state"]
    slots = [(kind, (slot,) * 3) for slot, kind in enumerate(slot_kinds)]
    agent = [*_audio("agent_audio", layout.agent_audio), *_video("agent_video", layout.agent_video)]
    classes = [USER] * len(users) + [SLOT] * len(slots) + [CLEAN] * len(agent)
    return _repeat([*users, *slots, *agent], classes, 0, num_units, start_unit, device)


def noisy_tokens(layout: UnitLayout, num_units: int, start_unit: int = 0, device: torch.device | None = None) -> Tokens:
    """The noisy copies of the agent's tokens: N = num_units * layout.num_agent, at the positions of the clean ones."""
    agent = [*_audio("noisy_audio", layout.agent_audio), *_video("noisy_video", layout.agent_video)]
    return _repeat(agent, [NOISY] * len(agent), layout.num_user + layout.num_slots, num_units, start_unit, device)


def text_tokens(count: int, device: torch.device | None = None) -> Tokens:
    """Text alone, as in a language model: token-causal, at consecutive integer positions on every axis."""
    order_N = torch.arange(count, device=device)
    return Tokens(
        unit_N=torch.zeros_like(order_N),
        class_N=torch.full_like(order_N, SLOT),
        order_N=order_N,
        kind_N=torch.full_like(order_N, KINDS.index("agent_text")),
        position_N3=order_N[:, None].expand(-1, 3),
    )


def prefix_tokens(layout: UnitLayout, prefix: PrefixLayout, device: torch.device | None = None) -> Tokens:
    """Unit -1: reference image, reference voice, system text. Each token sees those before it; all units see all.

    Times run up to unit 0, as if the agent had been seen, then heard, and then the text had been read. Text has
    consecutive positions that end at -1. Alone it equals a language model's input, as positions are relative there too.
    """
    audio, video = list(_audio("agent_audio", layout.agent_audio)), list(_video("agent_video", layout.agent_video))
    first_voice = -prefix.num_text - prefix.voice_units * TICKS_PER_UNIT
    shifted = [(video, first_voice - TICKS_PER_UNIT)] if prefix.image else []
    shifted += [(audio, first_voice + unit * TICKS_PER_UNIT) for unit in range(prefix.voice_units)]
    shifted += [([("agent_text", (0, 0, 0))], tick) for tick in range(-prefix.num_text, 0)]
    placed = [(kind, tick, offset) for tokens, tick in shifted for kind, offset in tokens]
    order_N = torch.arange(len(placed), device=device)
    return Tokens(
        unit_N=torch.full_like(order_N, -1),
        class_N=torch.full_like(order_N, PREFIX),
        order_N=order_N,
        kind_N=torch.tensor([KINDS.index(kind) for kind, _, _ in placed], dtype=torch.int64, device=device),
        position_N3=torch.tensor(
            [[tick + axis for axis in offset] for _, tick, offset in placed], dtype=torch.int64, device=device
        ).reshape(-1, 3),
    )


def served_tokens(layout: UnitLayout, lag: int, first: int, count: int, device: torch.device | None = None) -> Tokens:
    """The clean tokens `first` to `first + count` of a conversation in the order of serving; see `served_order`."""
    index_N = served_order(layout.num_clean, layout.num_agent, lag, first, count, device)
    unit_N = index_N // layout.num_clean
    tokens = clean_tokens(layout, 1, device=device).at(index_N % layout.num_clean)
    return tokens._replace(unit_N=unit_N, position_N3=tokens.position_N3 + (unit_N * TICKS_PER_UNIT)[:, None])


def served_order(
    num_clean: int, num_agent: int, lag: int, first: int, count: int, device: torch.device | None = None
) -> Tensor:
    """The places in the history of tokens in the order of serving: int64 (count,).

    In that order, unit k's agent tokens follow users and slots of unit k + lag: that is when the performer returns
    them. Attention does not depend on the order.
    """
    place_N = torch.arange(first, first + count, device=device)
    num_language = num_clean - num_agent
    ahead = lag * num_language  # language tokens before the first agent tokens
    alone_N = place_N < ahead
    unit_N = torch.where(alone_N, place_N // num_language, lag + (place_N - ahead) // num_clean)
    inside_N = torch.where(alone_N, place_N % num_language, (place_N - ahead) % num_clean)
    return (unit_N - torch.where(inside_N < num_language, 0, lag)) * num_clean + inside_N


def visible(query: Tokens, key: Tokens, self_lag: int, history_limit: HistoryLimit | None = None) -> Tensor:
    """Which key each query may attend to: bool (Q, K)."""
    return may_see(query.at((slice(None), None)), key.at((None, slice(None))), self_lag, history_limit)


def visible_rows(
    query: Tokens, key: Tokens, self_lag: int, history_limit: HistoryLimit | None = None
) -> tuple[Tensor, Tensor]:
    """`visible` for a few queries over a long history, compressed: its distinct rows (R, K), and each query's row (Q,).

    Neighbours of one unit and class share a row, except slots and the prefix. `may_see` is evaluated only for keys that
    are new, or near the history limit; those between are visible.
    """
    alike = (query.unit_N[1:] == query.unit_N[:-1]) & (query.class_N[1:] == query.class_N[:-1])
    alike &= (query.class_N[1:] != SLOT) & (query.class_N[1:] != PREFIX)
    first_N = torch.cat([torch.ones(1, dtype=torch.bool, device=alike.device), ~alike])
    rows = query.at(first_N)
    in_doubt_K = (key.unit_N > int(query.unit_N.min()) - 2 - self_lag) | (key.class_N == NOISY)
    if history_limit is not None:
        in_doubt_K |= key.unit_N <= int(query.unit_N.max()) + 1 + self_lag - history_limit.units
    seen_RK = torch.ones(len(rows.unit_N), len(key.unit_N), dtype=torch.bool, device=key.unit_N.device)
    seen_RK[:, in_doubt_K] = visible(rows, key.at(in_doubt_K), self_lag, history_limit)
    return seen_RK, first_N.cumsum(0) - 1


def may_see(query: Tokens, key: Tokens, self_lag: int, history_limit: HistoryLimit | None = None) -> Tensor:
    """Whether queries may attend to keys, for columns that broadcast against each other.

    Users, slots and STATE of unit k see users and slots up to k (all of the unit's users; slots in order) and the
    agent's clean tokens before k - self_lag. Clean agent tokens of k see everything clean up to k. Noisy tokens of k
    see users and slots up to k, clean agent tokens before k, and their own unit's noisy tokens; no other token sees
    noisy ones.

    The prefix is causal, and every other token sees all of it. A history limit hides older units, but never
    the sink or the prefix. Clean agent tokens of k have the limit of unit k + 1 + self_lag: with that unit's language
    tokens they enter the thinker's cache.
    """
    age = query.unit_N - key.unit_N  # number of units from the key to the query
    in_order = (age > 0) | (key.order_N <= query.order_N)

    slots = (age >= 0) & torch.where(query.class_N == USER, age > 0, torch.ones_like(in_order))
    slots &= in_order | (query.class_N != SLOT)
    agent_lag = torch.where(query.class_N == CLEAN, 0, torch.where(query.class_N == NOISY, 1, 1 + self_lag))
    seen = torch.where(key.class_N == USER, age >= 0, slots)
    seen = torch.where(key.class_N == CLEAN, age >= agent_lag, seen)
    seen = torch.where(key.class_N == NOISY, (query.class_N == NOISY) & (age == 0), seen)
    seen = torch.where(key.class_N == PREFIX, in_order, seen)
    if history_limit is None:
        return seen
    age = age + torch.where(query.class_N == CLEAN, 1 + self_lag, 0)
    return seen & ((age < history_limit.units) | (key.unit_N < history_limit.sink_units))


def rotary_angles(position_N3: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """cos and sin, float32 (N, head_dim / 2), of rotary embedding over (time, height, width).

    Frequencies are those of one-dimensional RoPE; pairs use the axes in turn t, h, t, w, so that each axis has fast and
    slow ones, and a text token (t = h = w) is rotated exactly as in a language model.
    """
    pairs = head_dim // 2
    device = position_N3.device
    axis = torch.tensor([(0, 1, 0, 2)[pair % 4] for pair in range(pairs)], device=device)
    frequency = theta ** (-torch.arange(pairs, dtype=torch.float64, device=device) / pairs)
    angle = position_N3[:, axis].double() * frequency
    return angle.cos().float(), angle.sin().float()


def _audio(kind: str, count: int) -> Iterator[tuple[str, tuple[int, int, int]]]:
    for index in range(count):
        yield kind, (index * TICKS_PER_UNIT // count,) * 3


def _video(kind: str, shape: tuple[int, int]) -> Iterator[tuple[str, tuple[int, int, int]]]:
    for row in range(shape[0]):
        for column in range(shape[1]):
            yield kind, (0, row, column)


def _repeat(
    unit: list[tuple[str, tuple[int, int, int]]],
    classes: list[int],
    first_order: int,
    num_units: int,
    start_unit: int,
    device: torch.device | None,
) -> Tokens:
    units = torch.arange(start_unit, start_unit + num_units, device=device)
    kinds = torch.tensor([KINDS.index(kind) for kind, _ in unit], device=device)
    offsets = torch.tensor([offset for _, offset in unit], device=device)
    position = (units * TICKS_PER_UNIT)[:, None, None] + offsets
    return Tokens(
        unit_N=units.repeat_interleave(len(unit)),
        class_N=torch.tensor(classes, device=device).repeat(num_units),
        order_N=torch.arange(first_order, first_order + len(unit), device=device).repeat(num_units),
        kind_N=kinds.repeat(num_units),
        position_N3=position.reshape(-1, 3),
    )
