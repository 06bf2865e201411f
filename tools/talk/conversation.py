"""A user's units -> the agent's, and both side by side as a film with the agent's words."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from pipelines.media.captions import captioned, marked
from pipelines.media.units import MediaUnit
from wanstreamer.clock import UNIT_MS
from wanstreamer.streaming.agent import Agent, AgentUnit
from wanstreamer.streaming.opening import open_with_face

SHOWN_WIDTH = 256  # pixels; smaller pictures are enlarged by a whole number
WORDS_UNITS = 25  # a caption has the words of the last 4 s
LINE_ENDS_MS = 1000
GREY = 128  # the place of a picture that is missing


class Exchange(NamedTuple):
    """160 ms of a conversation."""

    user: MediaUnit
    agent: AgentUnit


def converse(
    agent: Agent, user: Iterable[MediaUnit], *, seed: int, face_HWC: np.ndarray | None = None
) -> Iterator[Exchange]:
    """The agent answers each unit of the user in turn, as it would live. The same seed gives the same answers.

    face_HWC: The conversation begins as this person (`open_with_face`).

    Raises InputError if a unit does not have the agent's picture size or rate, or the history is full.
    """
    state = agent.start(seed=seed)
    if face_HWC is not None:
        open_with_face(agent, state, face_HWC)
    for unit in user:
        answer, state = agent.step(state, unit.frames, unit.samples)
        yield Exchange(unit, answer)


def film(exchanges: Iterable[Exchange]) -> Iterator[MediaUnit]:
    """User left, agent right, the agent's words below; one mono sound of both. One unit per exchange."""
    words: deque[str] = deque(maxlen=WORDS_UNITS)
    for user, agent in exchanges:
        words.append(agent.text)
        scale = max(1, SHOWN_WIDTH // agent.frames.shape[2])
        seen = np.full_like(agent.frames, GREY) if user.frames is None else user.frames
        sides = [captioned(seen, "user", scale), captioned(agent.frames, "agent", scale)]
        heard = np.zeros_like(agent.samples) if user.samples is None else user.samples
        picture = marked(np.concatenate(sides, axis=2), "".join(words).strip())
        yield MediaUnit(picture, mixed(heard, agent.samples))


def mixed(a_T: np.ndarray, b_T: np.ndarray) -> np.ndarray:
    """The sum of two sounds; where it would clip, it is bent (tanh), below -6 dB hardly.

    >>> float(mixed(np.array([0.1]), np.array([0.0]))[0])
    0.1
    """
    total_T = a_T + b_T
    over_T = np.abs(total_T) > 0.5
    return np.where(over_T, np.sign(total_T) * (0.5 + 0.5 * np.tanh(2 * np.abs(total_T) - 1)), total_T)


def lines_said(texts: Iterable[str]) -> list[tuple[float, str]]:
    """What the agent said, from its text unit by unit: (second at which it begins, words). A second without words ends
    a line.

    >>> lines_said(["", "good ", "morning"])
    [(0.16, 'good morning')]
    """
    lines: list[tuple[float, str]] = []
    quiet_ms = LINE_ENDS_MS
    for unit, text in enumerate(texts):
        if not text:
            quiet_ms += UNIT_MS
            continue
        if quiet_ms >= LINE_ENDS_MS:
            lines.append((unit * UNIT_MS / 1000, ""))
        lines[-1] = lines[-1][0], lines[-1][1] + text
        quiet_ms = 0
    return [(second, text.strip()) for second, text in lines]
