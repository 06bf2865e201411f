"""The table `tracks` -> warnings about tracks that do not show their whole picture, with figures."""

import heapq
import sys
from pathlib import Path
from typing import Any

from pipelines.engine.tables import bucket_tables
from pipelines.ingest.framing import NEARLY_ALL

LISTED = 10  # sessions that are named; the table has them all
COLUMNS = ("session_id", "participant", "picture_kept_share", "faces_kept_share")


def warn_of_cut_pictures(data: Path, width: int, height: int) -> None:
    """Print the sessions that lose most of their picture, on stderr."""
    num_tracks = num_sessions = 0
    worst: list[tuple[float, str, str]] = []
    for table in bucket_tables(data, "tracks", COLUMNS):
        sessions: dict[str, list[dict[str, Any]]] = {}
        for row in table.to_pylist():
            if row["picture_kept_share"] is not None and row["picture_kept_share"] < NEARLY_ALL:
                sessions.setdefault(row["session_id"], []).append(row)
        num_sessions += len(sessions)
        for session, rows in sessions.items():
            num_tracks += len(rows)
            least = min(min(row["picture_kept_share"], row["faces_kept_share"] or 1.0) for row in rows)
            worst.append((least, session, ", ".join(map(_figures, rows))))
        worst = heapq.nsmallest(LISTED, worst)
    if not worst:
        return
    more = [f"  and {num_sessions - LISTED} sessions more; see tracks.picture_kept_share"] * (num_sessions > LISTED)
    print(
        f"ingest: warning: {num_tracks} tracks of {num_sessions} sessions show only a part of their picture, because "
        f"it has another shape than {width}x{height}; set ingest.fit=pad to keep all of it with a border",
        *(f"  {session}: {figures}" for _, session, figures in worst),
        *more,
        sep="\n",
        file=sys.stderr,
    )


def _figures(row: dict[str, Any]) -> str:
    faces = row["faces_kept_share"]
    seen = "no face found" if faces is None else f"the face whole in {faces:.0%} of the stills"
    return f"{row['participant']} {row['picture_kept_share']:.0%} ({seen})"
