"""Warnings about pictures: tracks that will show the same one, and tracks that do not show all of theirs."""

import heapq
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.engine.tables import bucket_tables
from pipelines.ingest.framing import NEARLY_ALL
from pipelines.sources.files import is_video
from pipelines.sources.row import SourceRow

LISTED = 10  # sessions that are named; the table has them all
COLUMNS = ("session_id", "participant", "picture_kept_share", "faces_kept_share")


def warn_of_same_pictures(sessions: Mapping[str, Sequence[SourceRow]]) -> None:
    """Print the sessions in which two rows name one video and crop: user and agent would look the same."""
    same: list[str] = []
    for session, rows in sessions.items():
        named: dict[tuple[object, ...], list[str]] = {}
        for row in rows:
            if is_video(Path(row.uri)):
                named.setdefault((row.uri, row.video_stream, row.crop), []).append(row.participant)
        same += [f"  {session}: {' and '.join(who)} have {key[0]}" for key, who in named.items() if len(who) > 1]
    if same:
        print(
            "ingest: warning: participants with the same picture; quality rejects their tracks (same_picture), so that "
            "these sessions get no windows; give each participant a crop or a video of their own",
            *same[:LISTED],
            *[f"  and {len(same) - LISTED} more"] * (len(same) > LISTED),
            sep="\n",
            file=sys.stderr,
        )


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
