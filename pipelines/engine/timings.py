"""What a stage's work took -> `timings/<stage>.json`; a run that finds its work done leaves the figures there are."""

import json
from collections.abc import Mapping
from pathlib import Path

from pipelines.engine.files import write_json_atomic


def write_timings(data: Path, stage: str, figures: Mapping[str, object], *, worked: bool = True) -> None:
    """Add figures of this run; where it had nothing to do (`worked` is false), those of earlier runs go before them."""
    path = data / "timings" / f"{stage}.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    write_json_atomic(path, {**known, **figures} if worked else {**figures, **known})
