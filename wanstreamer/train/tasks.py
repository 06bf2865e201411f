"""Windows of conversation -> windows of simpler, independent tasks, which a model may learn before it converses.

Wan-Streamer v0.1 (arXiv 2606.25041) trains on speech recognition, speech synthesis, dialogue and generation before
duplex interaction. Here the tasks use the same windows: a task decides which streams are inputs, which are learnt and
which are withheld. A task is a function of a batch, plus the weights of its losses; withheld streams are zero and
unknown.

| task | input | learnt |
|---|---|---|
| transcribe | the user's sound and picture | the user's words, in the agent's slots |
| speak | the agent's words | the agent's sound |
| animate | the agent's sound, as if it were the user's | the agent's picture |
| proceed | the agent's sound and picture so far | what follows in both |
| chat | both parties' words so far | the agent's words |
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from wanstreamer.model.sequence import MISSING
from wanstreamer.train.loss import PARTS
from wanstreamer.windows.batch import join

if TYPE_CHECKING:
    from wanstreamer.windows.loader import Batch

# A step's windows and their places in the stream -> the windows of their tasks, and loss weights (B, K, W).
Mix = Callable[["Batch", Sequence[int]], tuple["Batch", Tensor]]


class Task(NamedTuple):
    make: Callable[["Batch"], "Batch"]
    text: float = 1.0  # loss weights, multiplied with those of the run
    audio: float = 1.0
    video: float = 1.0


def withhold(batch: "Batch", *streams: str) -> "Batch":
    """The batch without these streams ("user_audio", "agent_text", ...): zeros or MISSING, and unknown."""
    changed: dict[str, Any] = {}
    for stream in streams:
        for name, value in vars(batch).items():
            if name.startswith(f"{stream}_known_"):
                changed[name] = torch.zeros_like(value)
            elif name.startswith(f"{stream}_"):
                changed[name] = torch.full_like(value, MISSING if stream.endswith("_text") else 0)
    return dataclasses.replace(batch, **changed)


def transcribe(batch: "Batch") -> "Batch":
    """In the user's stream a word enters after its end, so at that place the past sound is enough to know it."""
    words = dataclasses.replace(
        batch,
        agent_text_BKS=batch.user_text_BKS,
        agent_text_known_BK=batch.user_text_known_BK & batch.user_audio_known_BK,
    )
    return withhold(words, "user_text", "agent_audio", "agent_video")


def speak(batch: "Batch") -> "Batch":
    return withhold(batch, "user_audio", "user_video", "user_text", "agent_video")


def animate(batch: "Batch") -> "Batch":
    heard = dataclasses.replace(
        batch, user_audio_BKNC=batch.agent_audio_BKNC, user_audio_known_BK=batch.agent_audio_known_BK
    )
    return withhold(heard, "user_video", "user_text", "agent_text", "agent_audio")


def proceed(batch: "Batch") -> "Batch":
    return withhold(batch, "user_audio", "user_video", "user_text", "agent_text")


def chat(batch: "Batch") -> "Batch":
    return withhold(batch, "user_audio", "user_video", "agent_audio", "agent_video")


TASKS = {
    "transcribe": Task(transcribe),
    "speak": Task(speak, text=0.0),
    "animate": Task(animate),
    "proceed": Task(proceed),
    "chat": Task(chat),
}


def drawn_task(shares: Mapping[str, float], seed: int, position: int) -> str:
    """The task of the window at a place in the stream; depends only on the seed and the place."""
    names = sorted(shares)
    share = np.array([shares[name] for name in names])
    return str(np.random.default_rng([seed, position]).choice(names, p=share / share.sum()))


def mix(shares: Mapping[str, float], seed: int) -> Mix:
    """A mix of tasks in these shares; they need not add up to 1."""

    def mixed(batch: "Batch", positions: Sequence[int]) -> tuple["Batch", Tensor]:
        drawn = [drawn_task(shares, seed, position) for position in positions]
        task_batches: list[Any] = []
        order: list[int] = []
        for name in sorted(set(drawn)):
            rows = [row for row, task in enumerate(drawn) if task == name]
            task_batches.append(TASKS[name].make(batch.take(rows)))
            order += rows
        joined = join(task_batches).take([order.index(row) for row in range(len(order))])
        weight_BW = torch.tensor([[getattr(TASKS[name], part) for part in PARTS] for name in drawn])
        num_units = batch.agent_text_BKS.shape[1]
        return joined, weight_BW[:, None].expand(-1, num_units, -1).to(batch.agent_text_BKS.device)

    return mixed
