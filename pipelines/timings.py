"""What a stage's work took -> `timings/<stage>.json`; a run that finds its work done leaves the figures there are."""

import json
from collections.abc import Mapping
from pathlib import Path

from pipelines.files import write_json_atomic

_worked = True  # whether this run of a stage has something to do, as far as the stage has said


def note_work(worked: bool) -> None:
    """Said by the command line at a stage's start (True), and by a stage as soon as it knows."""
    global _worked  # noqa: PLW0603
    _worked = worked


def write_timings(data: Path, stage: str, figures: Mapping[str, object]) -> None:
    """Add figures of this run; where it had nothing to do, those of earlier runs go before them."""
    path = data / "timings" / f"{stage}.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    write_json_atomic(path, {**known, **figures} if _worked else {**figures, **known})
