"""What can play the agent of B conversations at once: a unit of the users in, a unit of the agents out.

    Model      the streaming model, batched
    Shuffled   the same model, hearing and seeing the user of another conversation: what it does without listening
    Replay     recorded latents through the VAEs: the truth, as well as the VAEs reproduce it
    Silence    nothing
    Copy       the user's sound of one unit before
    Ignoring   whole turns at fixed onsets, whatever the user does meanwhile
    Cascade    like most voice assistants: a turn after three silent units of the user, silence at any sound

Unit k of every agent may depend on the users' units up to k, as the model's does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.behaviour.activity import ABOVE_FLOOR_DB, LOUD_DB, QUIET_DB, level_db
from pipelines.conversation.stimuli import Stimulus
from wanstreamer.clock import UNIT_MS
from wanstreamer.devices import to_host
from wanstreamer.streaming.agent import Agent, to_frames
from wanstreamer.streaming.performer import perform
from wanstreamer.streaming.state import new_state
from wanstreamer.streaming.thinker import commit, think

Samples = NDArray[np.float32]  # (B, T): one unit


@dataclass(frozen=True, kw_only=True)
class History:
    """The agents' own recorded unit, while a conversation is in its recorded beginning."""

    audio_BNC: Tensor
    video_BCHW: Tensor
    text_BS: list[list[int]]


@dataclass(frozen=True, kw_only=True)
class UserUnit:
    """160 ms of every user. Latents may be empty for agents other than the model."""

    unit: int
    audio_BNC: Tensor
    video_BCHW: Tensor
    samples_BT: Samples
    history: History | None = None


@dataclass(frozen=True, kw_only=True)
class AgentUnit:
    """160 ms of every agent."""

    samples_BT: Samples
    frames_BTHWC: NDArray[np.uint8] | None = None  # of the first conversations, as many as are decoded to pictures
    tokens_BS: list[list[int]] | None = None


class Player(Protocol):
    """One side of B conversations. It contains their state, so use it for one run."""

    def step(self, user: UserUnit) -> AgentUnit: ...


class Voice:
    """Latents -> samples of all conversations and frames of the first `watched`, unit by unit."""

    def __init__(self, model_agent: Agent, watched: int) -> None:
        self.model_agent, self.watched = model_agent, watched
        self.speaking: dict[str, Tensor] | None = None
        self.looking: dict[str, Tensor] | None = None

    @torch.inference_mode()
    def decode(self, audio_BNC: Tensor, video_BCHW: Tensor, tokens_BS: list[list[int]] | None = None) -> AgentUnit:
        audio, self.speaking = self.model_agent.audio_vae.decode(audio_BNC, self.speaking)
        frames = None
        if self.watched:
            video, self.looking = self.model_agent.video_vae.decode(video_BCHW[: self.watched, None], self.looking)
            frames = np.stack([to_frames(conversation[None]) for conversation in video])
        return AgentUnit(samples_BT=to_host(audio.clamp(-1, 1)).numpy(), frames_BTHWC=frames, tokens_BS=tokens_BS)


class Model:
    """The model of an agent, running free after the history."""

    def __init__(self, model_agent: Agent, *, seeds: Sequence[int], max_units: int, watched: int = 0) -> None:
        self.model_agent = model_agent
        self.state = new_state(
            model_agent.model, max_units=max_units, seeds=seeds, history_limit=model_agent.config.history_limit
        )
        self.voice = Voice(model_agent, watched)

    @torch.inference_mode()
    def step(self, user: UserUnit) -> AgentUnit:
        model, state, history, config = self.model_agent.model, self.state, user.history, self.model_agent.config
        history_text = history.text_BS if history else None
        tokens, _ = think(
            model,
            state,
            user.audio_BNC,
            user.video_BCHW,
            None,
            temperature=config.text_temperature,
            epsilon=config.text_epsilon,
            forced_text=history_text,
        )
        if history:
            latents = history.audio_BNC, history.video_BCHW
        else:
            latents = perform(model, state, self.model_agent.schedule, video_temperature=config.video_temperature)
        commit(model, state, *latents)
        return self.voice.decode(*latents, tokens)


class Shuffled:
    """An agent that meets the wrong users: conversation b gets the user of conversation order[b]."""

    def __init__(self, player: Player, order: Sequence[int]) -> None:
        self.player, self.order = player, list(order)

    def step(self, user: UserUnit) -> AgentUnit:
        return self.player.step(
            UserUnit(
                unit=user.unit,
                audio_BNC=user.audio_BNC[self.order],
                video_BCHW=user.video_BCHW[self.order],
                samples_BT=user.samples_BT[self.order],
                history=user.history,
            )
        )


class Replay:
    """Recorded latents, decoded: audio (B, K, N, C) and video (B, K, C, H, W)."""

    def __init__(self, model_agent: Agent, audio_BKNC: Tensor, video_BKCHW: Tensor, *, watched: int = 0) -> None:
        self.audio_BKNC, self.video_BKCHW = audio_BKNC, video_BKCHW
        self.voice = Voice(model_agent, watched)

    def step(self, user: UserUnit) -> AgentUnit:
        return self.voice.decode(self.audio_BKNC[:, user.unit], self.video_BKCHW[:, user.unit])


class Silence:
    def step(self, user: UserUnit) -> AgentUnit:
        return AgentUnit(samples_BT=np.zeros_like(user.samples_BT))


class Copy:
    def __init__(self) -> None:
        self.before_BT: Samples | None = None

    def step(self, user: UserUnit) -> AgentUnit:
        before_BT, self.before_BT = self.before_BT, user.samples_BT
        return AgentUnit(samples_BT=np.zeros_like(user.samples_BT) if before_BT is None else before_BT)


class Turns:
    """Turns to speak, float32 (samples,) each, drawn in a separate order for every conversation."""

    def __init__(self, bank: Sequence[Samples], seeds: Sequence[int]) -> None:
        if not bank:
            raise ValueError("no turns to say")
        self.bank = bank
        self.chance = [np.random.default_rng(seed) for seed in seeds]
        self.rest: list[Samples] = [np.zeros(0, np.float32) for _ in seeds]  # still to be spoken

    def begin(self, conversation: int, wait_samples: int = 0) -> None:
        turn = self.bank[int(self.chance[conversation].integers(len(self.bank)))]
        self.rest[conversation] = np.concatenate([np.zeros(wait_samples, np.float32), turn])

    def stop(self, conversation: int) -> None:
        self.rest[conversation] = self.rest[conversation][:0]

    def speaks(self, conversation: int) -> bool:
        return len(self.rest[conversation]) > 0

    def say(self, count: int) -> Samples:
        """The next `count` samples of every conversation, (B, count)."""
        spoken_BT = np.zeros((len(self.rest), count), np.float32)
        for row, rest in zip(spoken_BT, self.rest, strict=True):
            row[: len(rest)] = rest[:count]
        self.rest = [rest[count:] for rest in self.rest]
        return spoken_BT


class Ignoring:
    """Begins a turn at each onset, unless it is already speaking, and speaks it to its end.

    Onsets (ms on the conversation's clock) are fixed, or follow the users' turn ends that `notice` reports, by offsets
    drawn from `offsets_ms`: this agent knows when to speak, but does not hear.
    """

    def __init__(
        self,
        turns: Turns,
        *,
        rate_hz: int,
        onsets_ms: Sequence[Sequence[int]],
        offsets_ms: Sequence[float] = (),
    ) -> None:
        self.turns, self.rate_hz, self.offsets_ms = turns, rate_hz, list(offsets_ms)
        self.onsets_ms = [sorted(onsets) for onsets in onsets_ms]

    def notice(self, conversation: int, stimulus: Stimulus) -> None:
        if stimulus.kind == "turn_end" and self.offsets_ms:
            offset_ms = self.turns.chance[conversation].choice(self.offsets_ms)
            self.onsets_ms[conversation].append(stimulus.end_ms + round(float(offset_ms)))

    def step(self, user: UserUnit) -> AgentUnit:
        start_ms = user.unit * UNIT_MS
        for conversation, onsets in enumerate(self.onsets_ms):
            due = [onset for onset in onsets if onset < start_ms + UNIT_MS]
            self.onsets_ms[conversation] = [onset for onset in onsets if onset not in due]
            if due and not self.turns.speaks(conversation):
                self.turns.begin(conversation, max(0, due[0] - start_ms) * self.rate_hz // 1000)
        return AgentUnit(samples_BT=self.turns.say(user.samples_BT.shape[1]))


class Cascade:
    """Speaks once the user has spoken and then been silent for SILENT_UNITS; stops as soon as the user speaks."""

    SILENT_UNITS = 3

    def __init__(self, turns: Turns, *, rate_hz: int) -> None:
        self.turns, self.rate_hz = turns, rate_hz
        count = len(turns.rest)
        self.floor_db = np.full(count, QUIET_DB)  # the quietest unit so far
        self.silent_units = np.zeros(count, dtype=int)
        self.owes = np.zeros(count, dtype=bool)  # the user has spoken since the last turn began

    def step(self, user: UserUnit) -> AgentUnit:
        for conversation, samples_T in enumerate(user.samples_BT):
            level = float(level_db(samples_T, self.rate_hz, UNIT_MS)[0])
            self.floor_db[conversation] = min(self.floor_db[conversation], level)
            threshold = min(max(self.floor_db[conversation] + ABOVE_FLOOR_DB, QUIET_DB), LOUD_DB)
            if level > threshold:
                self.silent_units[conversation], self.owes[conversation] = 0, True
                self.turns.stop(conversation)
            else:
                self.silent_units[conversation] += 1
            if self.owes[conversation] and self.silent_units[conversation] >= self.SILENT_UNITS:
                self.owes[conversation] = False
                self.turns.begin(conversation)
        return AgentUnit(samples_BT=self.turns.say(user.samples_BT.shape[1]))
