"""Why a unit of a window is masked: the masks of its role view, computed again from the tables.

The parameters of pack are not in the data folder, only their fingerprint. So the masks are compared with the counts
that pack wrote into the table `masks`: if they are equal, the reasons are certain.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.engine.tables import TableRow, session_rows
from pipelines.pack.params import ViewParams
from pipelines.pack.role_views import UnitRow, WordRow, view_masks


class Reasons(NamedTuple):
    """Why one unit is masked in one role view."""

    of: dict[str, list[str]]  # `user_audio`, ... -> reasons, such as `bleed`; empty: it is not masked
    uncertain: list[str]  # masks whose counts are not those that pack wrote: it ran with other parameters


def reasons(
    data: Path,
    session: TableRow,
    tracks: Mapping[str, TableRow],
    latents: Mapping[str, TableRow],
    view: tuple[str, str],
    unit: int,
    params: ViewParams,
) -> Reasons:
    """The reasons for one unit of a role view (agent, user) of a session.

    `params`: of pack; `unit`: index in the session.
    """
    session_id, (agent, user) = session["session_id"], view
    spec = {
        "num_units": session["num_units"],
        "tracks": tracks,
        "latents": latents,
        "words": _by_participant(session_rows(data, "words", session_id), WordRow._fields),
        "units": _by_participant(session_rows(data, "units", session_id), UnitRow._fields),
    }
    masks = view_masks(spec, agent, user, params)
    counts = {
        row["reason"]: row["num_units"]
        for row in session_rows(data, "masks", session_id)
        if (row["agent"], row["user"]) == view
    }
    of: dict[str, list[str]] = {}
    for name, mask in masks.items():
        role, kind, reason = name.split("_", 2)
        of.setdefault(f"{role}_{kind}", []).extend([reason] if mask[unit] else [])
    return Reasons(of, sorted(name for name, mask in masks.items() if counts.get(name) != int(mask.sum())))


def _by_participant(rows: Sequence[TableRow], columns: Sequence[str]) -> dict[str, list[list[Any]]]:
    grouped: dict[str, list[list[Any]]] = {}
    for row in rows:
        grouped.setdefault(row["participant"], []).append([row[column] for column in columns])
    return grouped
