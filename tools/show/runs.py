"""Conversations of a model that lie in a data folder: on the timeline of the session whose participant it stood for.

A run is a folder with `run.json`, below `runs` (recorded live conversations) or `reports/behaviour/runs` (behaviour):

    {"session_id": "talk-0001", "participant": "b", "label": "model", "kind": "behaviour", "duration_ms": 48000,
     "audio": "agent.wav", "video": "agent.mp4",
     "speech": [[1200, 2500], ...], "words": [[1200, 1500, "yes"], ...]}

`participant`: whom the model stood for; the others are as recorded. `audio` (16-bit mono) and `video` (25 fps, H.264)
are files of that folder or null. Times are in ms on the session's clock.
"""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.show.tables import NotThere, session_rows
from wanstreamer.clock import Span, merge_spans
from wanstreamer.errors import InputError
from wanstreamer.turns import TurnParams, annotate_session

FOLDERS = ("runs", "reports/behaviour/runs")
MAX_BYTES = 64 << 20  # of a run.json


def runs_of(data: Path, session_id: str) -> list[dict[str, Any]]:
    """The runs of a session, without their rows. A run that cannot be read is left out."""
    runs = []
    for folder in FOLDERS:
        for path in sorted((data / folder).glob("*/run.json")):
            try:
                about = _read(path)
            except InputError:
                continue
            if about["session_id"] == session_id:
                runs.append(
                    {
                        "run": path.parent.relative_to(data).as_posix(),
                        "label": about.get("label", path.parent.name),
                        "kind": about.get("kind", "conversation"),
                        "agent": about["participant"],
                        "duration_ms": about["duration_ms"],
                        "audio": about.get("audio") is not None,
                        "video": about.get("video") is not None,
                    }
                )
    return runs


def read_run(data: Path, session_id: str, run: str) -> dict[str, Any]:
    """The run.json of a run of this session. Raises NotThere or InputError."""
    folder, _, name = run.rpartition("/")
    path = data / folder / name / "run.json"
    if folder not in FOLDERS or not re.fullmatch(r"[\w.-]+", name) or name in (".", "..") or not path.is_file():
        raise NotThere(f"run {run!r}: no such run in {data}")
    about = _read(path)
    if about["session_id"] != session_id:
        raise NotThere(f"run {run!r}: belongs to another session")
    return about


def run_file(data: Path, session_id: str, run: str, kind: str) -> str | None:
    """The path of a run's `audio` or `video`, below the data folder; None if it has none."""
    name = read_run(data, session_id, run).get(kind)
    return None if name is None else f"{run}/{name}"


def run_rows(data: Path, session_id: str, run: str, start_ms: int, end_ms: int) -> dict[str, Any]:
    """Speech and words of the model, and the events between it and the recorded others, by the rules of annotate."""
    about = read_run(data, session_id, run)
    agent = about["participant"]
    speech = {agent: merge_spans(Span(*span) for span in about.get("speech", []))}
    for row in session_rows(data, "speech", session_id):
        if row["participant"] != agent:
            speech.setdefault(row["participant"], []).append(Span(row["start_ms"], row["end_ms"]))
    events = annotate_session(speech, {}, TurnParams()).events
    return {
        "speech": [
            {"participant": agent, "start_ms": span.start_ms, "end_ms": span.end_ms}
            for span in speech[agent]
            if span.start_ms < end_ms and span.end_ms > start_ms
        ],
        "words": [
            {"participant": agent, "start_ms": start, "end_ms": end, "word": word}
            for start, end, word in about.get("words", [])
            if start < end_ms and end > start_ms
        ],
        "events": [asdict(event) for event in events if event.start_ms < end_ms and event.end_ms >= start_ms],
    }


def _read(path: Path) -> dict[str, Any]:
    """Raises InputError for a file that is not as described above."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"over {MAX_BYTES >> 20} MB")
        about = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(about, dict):
            raise ValueError("no object")
        for name, kind in (("session_id", str), ("participant", str), ("duration_ms", int)):
            if not isinstance(about.get(name), kind):
                raise ValueError(f"{name} is missing, or no {kind.__name__}")
        for name in ("audio", "video"):
            if about.get(name) is not None and not re.fullmatch(r"\w[\w.-]*", str(about[name])):
                raise ValueError(f"{name} {about[name]!r} is no name of a file")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}; expected the run of a conversation (see docs/viewer.md)") from error
    return about
