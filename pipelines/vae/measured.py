"""Figures of VAEs -> a note of what they were measured on, so that a run that would measure the same reads them back.

The note lies next to its reports, and is removed with them.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.engine.code import code_hash
from pipelines.engine.files import file_sha256, hash_of, write_json_atomic
from pipelines.vae.task import VaeTask, weights_path

NOTE = "vae_measured.json"


def measured_on(data: Path, params: Any, rows: Sequence[Mapping[str, Any]], tasks: Sequence[VaeTask]) -> str:
    """Fingerprint of all that decides figures and reports: code, parameters, weights and tracks."""
    media = [data / row[f"{task.kind}_path"] for task in tasks for row in (*task.train, *task.held_out)]
    content = {
        "code": code_hash("pipelines.vae.making", "pipelines.vae.reports"),
        "params": dataclasses.asdict(params) | {"checkpoint_s": None, "measure": None},
        "weights": {task.kind: file_sha256(weights_path(data, task.kind)) for task in tasks},
        "tracks": rows,
        "num_bytes": [path.stat().st_size if path.is_file() else None for path in media],
    }
    return hash_of(content)


def known_outcomes(data: Path, fingerprint: str) -> dict[str, dict[str, Any]] | None:
    """Metrics and rejections by kind, if measured on this `fingerprint`; None for another one or a missing report."""
    path = data / "reports" / NOTE
    note: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"measured_on": None}
    if note["measured_on"] != fingerprint or note["reports"] != _reports(data):
        return None
    return {kind: {"metrics": metrics, "rejections": []} for kind, metrics in note["metrics"].items()}


def keep_outcomes(data: Path, fingerprint: str, outcomes: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the note, unless a track could not be read: every run then tries again."""
    if not any(outcome["rejections"] for outcome in outcomes.values()):
        metrics = {kind: outcome["metrics"] for kind, outcome in outcomes.items()}
        note = {"measured_on": fingerprint, "reports": _reports(data), "metrics": metrics}
        write_json_atomic(data / "reports" / NOTE, note)


def _reports(data: Path) -> dict[str, str]:
    paths = sorted((data / "reports").glob("vae_*"))
    return {path.name: file_sha256(path) for path in paths if path.name != NOTE}
