"""Writes how long a stage took to `timings/<stage>.json`; a run without work leaves the old figures."""

import json
from collections.abc import Mapping
from pathlib import Path

from pipelines.engine.files import write_json_atomic


def write_timings(data: Path, stage: str, figures: Mapping[str, object], *, worked: bool = True) -> None:
    """Add figures of this run. If it had nothing to do (`worked` is false), figures of earlier runs have priority."""
    path = data / "timings" / f"{stage}.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    write_json_atomic(path, {**known, **figures} if worked else {**figures, **known})
