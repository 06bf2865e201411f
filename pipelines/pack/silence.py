"""The table `windows` -> a warning about windows in which no one speaks: a model learns from them to be silent."""

from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from pipelines.engine.tables import bucket_tables

MANY = 0.5  # share of silent windows above which there is a warning
NAMED = 5  # sessions


def silence_warning(data: Path) -> str:
    """One line if some sessions are silent throughout, or many windows; empty otherwise.

    Speech that cannot be attributed to a participant does not count, because no window has it as its agent's.
    """
    num_windows = num_silent = 0
    silent_sessions: list[str] = []
    for rows in bucket_tables(data, "windows", ["session_id", "start_unit", "agent_speech_ms"]):
        by_place: Any = rows.group_by(["session_id", "start_unit"]).aggregate(
            [("agent_speech_ms", "sum"), ([], "count_all")]
        )
        silent = by_place.filter(pc.equal(by_place["agent_speech_ms_sum"], 0))
        num_windows += rows.num_rows
        num_silent += pc.sum(silent["count_all"]).as_py() or 0
        speech = rows.group_by("session_id").aggregate([("agent_speech_ms", "sum")])
        silent_sessions += speech.filter(pc.equal(speech["agent_speech_ms_sum"], 0))["session_id"].to_pylist()
    if not silent_sessions and num_silent <= MANY * num_windows:
        return ""
    some = ", ".join(sorted(silent_sessions)[:NAMED]) + (", ..." if len(silent_sessions) > NAMED else "")
    where = f", all of them in {len(silent_sessions)} sessions ({some})" if silent_sessions else ""
    return (
        f"{num_silent} of {num_windows} windows have no speech of anyone that can be attributed{where}; a model learns "
        "silence from them: look at the table `speech`, or leave them out with --set pack.min_talk_ms=500"
    )
