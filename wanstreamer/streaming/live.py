"""Real time: every 160 ms a unit of the user in and something to play out, however long the model takes.

    with Live(open_workers(agent, weights, seed=0)) as live:
        played = live.tick(frames, samples)     # never waits for the model

Under pressure:

- An answer that is missing at its tick is *late*. The last picture stays, the sound fades out within FADE_MS, and is
  silent until an answer is on time again and fades in. The late answer is not played, but it enters the history like
  any other: later answers are bitwise the same as on a fast machine.
- The user's units wait for the thinker in a queue, so that the model catches up after a stall. When the queue is full,
  the user's newest unit is *unheard*: the model never learns of it, its answer never comes, and the user's streams
  start again after the gap, as after missing media.
- Both are counted. Nothing else is lost, and no unit is ever half in the history.
"""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wanstreamer.clock import FRAMES_PER_UNIT
from wanstreamer.errors import InputError
from wanstreamer.streaming.agent import AgentUnit
from wanstreamer.streaming.pipeline import Pipeline

FADE_MS = 20  # too short to hear a word, long enough to avoid a click
POLL_S = 0.004  # how often a thread that waits for latents checks for the user's next unit


@dataclass(kw_only=True)
class Counts:
    """Counts of ticks; `played + late + early == ticks`."""

    ticks: int = 0
    played: int = 0
    late: int = 0  # the due answer was missing: picture frozen, sound faded
    early: int = 0  # the first ticks, when no answer is due yet
    unheard: int = 0  # the queue was full: the user's unit is not in the history; its answer counts as late


@dataclass(frozen=True, kw_only=True)
class Played:
    """What to show and play for the next 160 ms."""

    frames: NDArray[np.uint8]  # (4, H, W, 3) RGB
    samples: NDArray[np.float32]  # (samples per unit,), in [-1, 1]
    unit: AgentUnit | None  # the model's answer that is played; None while the last picture stays


class WaitingUnit(NamedTuple):
    """One unit of the user on its way to the thinker."""

    tick: int
    frames: NDArray[np.uint8] | None
    samples: NDArray[np.float32] | None
    text_tokens: Sequence[int] | None
    after_gap: bool  # units before it are unheard


class Live:
    """Runs a pipeline in its own thread, and plays its answers. It owns the pipeline from then on.

    Args:
        due_after_units: Ticks after the user's unit at which its answer is due. 1: within 160 ms; an overlapped
            pipeline needs 2 if its parts together take longer.
        max_waiting: The user's units that may wait for the thinker; further units are unheard.
    """

    def __init__(self, pipeline: Pipeline, *, due_after_units: int = 1, max_waiting: int = 8) -> None:
        if due_after_units < 1 or max_waiting < 1:
            raise InputError(
                f"due_after_units {due_after_units}, max_waiting {max_waiting}: expected 1 or more of each"
            )
        self.pipeline, self.due_after_units, self.max_waiting = pipeline, due_after_units, max_waiting
        self.counts = Counts()
        self._waiting: deque[WaitingUnit] = deque()
        self._answers: dict[int, AgentUnit] = {}  # by the tick of the user's unit
        self._changed = threading.Condition()
        self._closing = False
        self._gap = False
        self._error: BaseException | None = None
        agent = pipeline.agent
        self._picture = np.zeros(agent.frame_shape[1:], np.uint8)
        self._tail = np.zeros(agent.num_samples, np.float32)  # the last played sound, to fade out from
        self._holding = False
        self._fade_in = np.linspace(0, 1, agent.audio_vae.config.rate_hz * FADE_MS // 1000, dtype=np.float32)
        self._thread = threading.Thread(target=self._serve, name="thinker", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Live":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End thread and pipeline; a unit in the thinker is finished first."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self.pipeline.close()

    def tick(
        self,
        frames: NDArray[np.uint8] | None,
        samples: NDArray[np.float32] | None,
        text_tokens: Sequence[int] | None = None,
    ) -> Played:
        """Call this every 160 ms with the user's media since the last call, as in `Agent.step`.

        Raises:
            InputError: Wrong media.
            RuntimeError: The performer is gone, or the history is full; see its cause.
        """
        self.pipeline.agent.check(frames, samples, text_tokens)
        with self._changed:
            if self._error is not None:
                raise RuntimeError(f"live: the conversation is over: {self._error}") from self._error
            tick = self.counts.ticks
            if len(self._waiting) < self.max_waiting:
                self._waiting.append(WaitingUnit(tick, frames, samples, text_tokens, self._gap))
                self._gap = False
                self._changed.notify_all()
            else:
                self._gap = True
                self.counts.unheard += 1
            due = tick - self.due_after_units
            unit = self._answers.get(due)
            self._answers = {key: answer for key, answer in self._answers.items() if key > due}
        self.counts.ticks += 1
        if unit is not None:
            self.counts.played += 1
        elif due < 0:
            self.counts.early += 1
        else:
            self.counts.late += 1
        return self._hold() if unit is None else self._play(unit)

    def _play(self, unit: AgentUnit) -> Played:
        samples = unit.samples
        if self._holding:
            samples = samples.copy()
            samples[: len(self._fade_in)] *= self._fade_in
        self._picture, self._tail, self._holding = unit.frames[-1], samples, False
        return Played(frames=unit.frames, samples=samples, unit=unit)

    def _hold(self) -> Played:
        """The last picture; and the last sound backwards, so that it continues without a step, fading to silence."""
        samples = np.zeros_like(self._tail)
        if not self._holding:
            length = len(self._fade_in)
            samples[:length] = self._tail[::-1][:length] * self._fade_in[::-1]
        self._holding = True
        return Played(frames=np.repeat(self._picture[None], FRAMES_PER_UNIT, axis=0), samples=samples, unit=None)

    def _serve(self) -> None:
        """The thread: passes the user's units in order through the pipeline, as overlapped as it allows."""
        open_ticks: deque[int] = deque()
        try:
            while not self._closing:
                may_hear = len(open_ticks) <= self.pipeline.lag
                heard = self._next(wait=not open_ticks) if may_hear else None
                if heard is not None:
                    if heard.after_gap:
                        self.pipeline.restart_user()
                    self.pipeline.hear(heard.frames, heard.samples, heard.text_tokens)
                    open_ticks.append(heard.tick)
                unit = self.pipeline.answer(timeout_s=POLL_S) if open_ticks else None
                if unit is not None:
                    with self._changed:
                        self._answers[open_ticks.popleft()] = unit
        except Exception as error:  # the caller's next tick raises it
            with self._changed:
                self._error = error

    def _next(self, *, wait: bool) -> WaitingUnit | None:
        """The user's next unit; None if there is none, or when closing."""
        with self._changed:
            while wait and not self._waiting and not self._closing:
                self._changed.wait()
            return self._waiting.popleft() if self._waiting and not self._closing else None
