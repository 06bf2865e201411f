"""Corrections of a session: those that people have made, and new ones from the page.

pipelines.sources.corrections checks and appends them; `annotate` reads them like other inputs.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pipelines.sources.corrections import append_correction, corrections_file
from tools.show.sessions import Session
from wanstreamer.errors import InputError
from wanstreamer.turns import RULE_VERSION

MAX_LINES = 200  # in one request


def read_edits(session: Session) -> dict[str, Any]:
    """Every line of the session's file with its number; words of people who are not shown are left out."""
    path = corrections_file(session.data, session.session_id)
    applied_ns = _annotated_ns(session)
    lines: list[dict[str, Any]] = []
    if path.is_file():
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if not text.strip():
                continue
            try:
                content = json.loads(text)
                if not isinstance(content, dict):
                    raise ValueError("no object")
            except ValueError as error:
                lines.append({"line": number, "applied": False, "note": f"cannot be read: {error}"})
                continue
            if not session.is_shown(str(content.get("participant"))) and content.get("kind") == "word":
                content = {**content, "value": None, "before": None}
            lines.append({**content, "line": number, "applied": _is_applied(content, applied_ns), "note": None})
    pending = [line for line in lines if line.get("stage") == "annotate" and not line["applied"]]
    command = f"python -m pipelines.annotate --data {session.data}"
    why = f"{len(pending)} corrections are not in the tables yet; only this session is done again" if pending else None
    return {"lines": lines, "next": {"command": command, "why": why} if pending else None}


def append_edits(session: Session, corrections: object) -> dict[str, Any]:
    """Append all or none, and return what `read_edits` does. Raises InputError for a mistake in any of them."""
    if not isinstance(corrections, list) or not 0 < len(corrections) <= MAX_LINES:
        raise InputError(f"corrections: expected a list of 1 to {MAX_LINES} objects")
    lines = []
    for number, line in enumerate(corrections, start=1):
        if not isinstance(line, dict):
            raise InputError(f"corrections: number {number} is no object")
        session.track(str(line.get("participant")))
        own = {name: value for name, value in line.items() if name not in ("line", "applied", "note")}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        lines.append({"stage": "annotate", "at": now, "rule_version": RULE_VERSION, **own})
    append_correction(session.data, session.session_id, lines)
    return read_edits(session)


def _annotated_ns(session: Session) -> int:
    """When the table of events was written last."""
    folder = session.data / "tables" / "events"
    return folder.stat().st_mtime_ns if folder.is_dir() else 0


def _is_applied(line: Mapping[str, Any], applied_ns: int) -> bool | None:
    """Whether annotate ran after the line was written; None: it has no time."""
    try:
        at = datetime.fromisoformat(str(line["at"]))
    except (KeyError, ValueError):
        return None
    return at.astimezone(UTC).timestamp() * 1e9 < applied_ns
