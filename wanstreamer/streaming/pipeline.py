"""The thinker's side of a live conversation whose performer has its own cache: the same conversation, overlapped.

    with open_pipeline(agent, seed=0) as pipeline:
        pipeline.hear(frames, samples)      # encode, think, hand unit k's slice to the performer
        pipeline.hear(frames, samples)      # self_lag 1: think unit k + 1 while the performer is at unit k
        unit = pipeline.answer()            # the oldest unanswered unit, decoded

With the model's `self_lag` 0, unit k's text sees the latents of k - 1, so every unit is answered before the next one is
heard. With 1, it sees those up to k - 2: one unit may be open, and thinking, decoding and performing overlap. Returned
latents are committed as a prefix of the next slice. (Wan-Streamer v0.1, arXiv 2606.25041, has one boundary at which
latents come back and the slice goes out; its time is our choice: as soon as both sides can.)

The performer is any object with `send` and `receive`: `LocalPerformer` here, its own process in `workers`, its own CUDA
stream in `streams`.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wanstreamer.model.duplex import Prefix
from wanstreamer.model.flow import Latents
from wanstreamer.streaming.agent import Agent, AgentUnit, timed
from wanstreamer.streaming.performer import Performer, Slice, draw_noise, start_tensors
from wanstreamer.streaming.state import ConversationState, new_state


@dataclass(frozen=True, kw_only=True)
class Performed:
    """A unit's latents from the performer, and when it was computed (s, of the clock `time.perf_counter`)."""

    latents: Latents
    began_s: float
    ended_s: float
    handover_us: float  # copying the slice out and in and the latents back, and waking a waiting side


class PerformerLink(Protocol):
    """Takes slices and returns latents, in the same order."""

    def ensure_open(self) -> None:
        """Raises RuntimeError, with the reason, if the performer is gone; called before any state changes."""

    def send(self, slice_: Slice) -> None: ...

    def receive(self, timeout_s: float | None) -> Performed | None:
        """The oldest sent unit; None if it is not ready after `timeout_s` (None: wait for it)."""

    def to_tensors(self) -> dict[str, Tensor]:
        """The performer's state, as `Performer.to_tensors`; call it when every sent unit has been received."""

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse, before any unit is sent. Raises ValueError if it does not fit."""

    def close(self) -> None: ...


class LocalPerformer:
    """A performer in this process: it computes when its latents are requested."""

    def __init__(self, performer: Performer) -> None:
        self.performer = performer
        self.waiting: deque[Slice] = deque()

    def ensure_open(self) -> None:
        """Always open."""

    def send(self, slice_: Slice) -> None:
        self.waiting.append(Slice(*(part.clone() for part in slice_)))  # the thinker's cache may move meanwhile

    def receive(self, timeout_s: float | None) -> Performed:
        """Computes immediately, so it never waits."""
        began_s = time.perf_counter()
        self.performer.receive(self.waiting.popleft())
        latents = self.performer.perform()
        return Performed(latents=latents, began_s=began_s, ended_s=time.perf_counter(), handover_us=0.0)

    def to_tensors(self) -> dict[str, Tensor]:
        return self.performer.to_tensors()

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.performer.restore(tensors)

    def close(self) -> None:
        self.waiting.clear()


@dataclass(kw_only=True)
class Open:
    """A unit that was heard and is not answered yet."""

    tokens: list[int]
    part_ms: dict[str, float] = field(default_factory=dict)


class Pipeline:
    """One conversation. Its state is `state` (VAEs, perception, the thinker's cache) plus the performer's state.

    The cache is in the order of serving, and `state.unit` counts the heard units.
    """

    def __init__(self, agent: Agent, link: PerformerLink, *, seed: int, prefix: Prefix | None = None) -> None:
        self.agent, self.link = agent, link
        self.lag = agent.model.config.self_lag
        # At lag L, unit k's latents are known when unit k + L + 1 is thought: they follow unit k + L.
        with agent.machine.computing():
            self.state: ConversationState = new_state(
                agent.model,
                max_units=agent.config.max_units,
                seeds=[seed],
                history_limit=agent.config.history_limit,
                lag=self.lag,
                prefix=prefix,
            )
        if prefix is not None:  # as in the paper: after the prefix, the thinker broadcasts its cache
            link.restore(start_tensors(self.state))
        self.open: deque[Open] = deque()
        self.arrived: deque[Performed] = deque()  # of open units, received before `answer` requested them
        self.returned: deque[Latents] = deque()  # of answered units, not yet in the thinker's cache
        self.last: Performed | None = None  # the last answered unit's

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self.link.close()

    @torch.inference_mode()
    def hear(
        self,
        frames: NDArray[np.uint8] | None,
        samples: NDArray[np.float32] | None,
        text_tokens: Sequence[int] | None = None,
    ) -> None:
        """Process one unit of the user and start the performer on it; media as in `Agent.step`.

        Raises:
            InputError: Wrong media, or a history beyond `max_units`.
            RuntimeError: More than `lag` units are open: `answer` first.
        """
        self.link.ensure_open()
        agent, state = self.agent, self.state
        agent.check_history(state)
        if len(self.open) > self.lag:
            raise RuntimeError(f"pipeline: {len(self.open)} units are open at self_lag {self.lag}: call answer first")
        agent.check(frames, samples, text_tokens)
        part_ms: dict[str, float] = {}
        with agent.machine.computing():
            with timed(part_ms, "encode"):
                audio_NC, video_CHW = agent.encode(state, frames, samples)
            with timed(part_ms, "think"):
                # Of unit k - lag - 1, even if later ones are ready: speed must not decide what the text sees.
                returned = self.returned.popleft() if state.unit > self.lag else None
                tokens = agent.think(state, audio_NC, video_CHW, text_tokens, returned)
                state.unit += 1
                self.link.send(self._slice())
        self.open.append(Open(tokens=tokens, part_ms=part_ms))

    @torch.inference_mode()
    def answer(self, timeout_s: float | None = None) -> AgentUnit | None:
        """The oldest open unit; None if it is not ready after `timeout_s` (None: wait for it).

        Raises RuntimeError if no unit is open.
        """
        if not self.open:
            raise RuntimeError("pipeline: no unit is open: call hear first")
        performed = self.arrived.popleft() if self.arrived else self._receive(timeout_s)
        if performed is None:
            return None
        open_ = self.open.popleft()
        self.returned.append(performed.latents)
        self.last = performed
        open_.part_ms["perform"] = (performed.ended_s - performed.began_s) * 1000
        with self.agent.machine.computing():
            return self.agent.decode(self.state, *performed.latents, open_.tokens, open_.part_ms)

    def settle(self) -> None:
        """Wait until the performer is done with all open units; they stay open. Nothing is in progress then."""
        while len(self.arrived) < len(self.open):
            performed = self._receive(None)
            assert performed is not None
            self.arrived.append(performed)

    def _receive(self, timeout_s: float | None) -> Performed | None:
        with self.agent.machine.computing():  # a performer in this process computes now
            return self.link.receive(timeout_s)

    def restart_user(self) -> None:
        """The next unit does not follow the last one: the user's streams start again."""
        self.state.vae_states |= dict.fromkeys(("audio_encoder", "video_encoder"))

    def _slice(self) -> Slice:
        """The slice of the unit just thought: its users and slots end the cache."""
        cache, layout = self.state.cache, self.agent.model.layout
        places = slice(cache.stop - (layout.num_clean - layout.num_agent), cache.stop)
        return Slice(
            cache.key_LBHND[:, 0, :, places],
            cache.value_LBHND[:, 0, :, places],
            *draw_noise(self.agent.model, self.state.generators[0], self.agent.config.video_temperature),
        )


def open_pipeline(agent: Agent, *, seed: int, prefix: Prefix | None = None) -> Pipeline:
    """Thinker and performer in this process, one after the other: the schedule of two workers, without its speed-up."""
    return Pipeline(agent, LocalPerformer(new_performer(agent)), seed=seed, prefix=prefix)


def new_performer(agent: Agent) -> Performer:
    """A performer for one conversation, on the agent's machine."""
    config = agent.config
    return Performer(
        agent.model,
        agent.schedule,
        max_units=config.max_units,
        history_limit=config.history_limit,
        machine=agent.machine,
    )
