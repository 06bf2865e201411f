"""Role views of a session as two channels, agent and user: what moshi and nemo have in common."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tools.export.form import Choices
from tools.export.session import Session
from tools.export.sound import check_track, num_views, sound_bytes

NO_VIEW = "in no role view is the agent's sound its own"  # why a session is left out


class View(NamedTuple):
    """A role view in which the agent's sound is its own."""

    agent: str
    user: str
    agent_path: Path
    user_path: Path | None  # None: the user has no sound
    user_masked: np.ndarray  # bool (num_units,)


def num_bytes(data: Path, tracks: Sequence[Mapping[str, Any]]) -> int:
    """Two channels of every role view, uncompressed."""
    return 2 * num_views(tracks) * sound_bytes(tracks)


def sounding_views(session: Session, choices: Choices, not_held: Counter[str]) -> Iterator[View]:
    """The role views that have a sound of the agent's own. What sound files cannot hold is counted.

    Raises Rejected for a track that is not what ingest wrote.
    """
    paths = {
        who: check_track(session, who, "audio")
        for who, track in session.tracks.items()
        if track["audio_path"] is not None
    }
    for agent, user in session.views():
        masked = session.masked(agent, user, choices.masks)
        if agent not in paths or masked["agent"].all():
            not_held["role views without a sound that is the agent's own: left out"] += 1
            continue
        yield View(agent, user, paths[agent], paths.get(user), masked["user"])
        not_held["units of 160 ms in which the user's sound is muted: not its own voice, or not known"] += int(
            masked["user"].sum()
        )
        not_held["units of 160 ms of the agent's sound that windows have no loss on: written as they are"] += int(
            masked["agent"].sum()
        )
        not_held["role views: video"] += any(session.path(who, "video") for who in (agent, user))
