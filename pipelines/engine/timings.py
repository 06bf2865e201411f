"""Writes how long a stage took to `timings/<stage>.json`; a run without work leaves the old figures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.engine.files import write_json_atomic


def timings_file(data: Path, stage: str) -> Path:
    return data / "timings" / f"{stage}.json"


def write_timings(data: Path, stage: str, figures: Mapping[str, object], *, worked: bool = True) -> None:
    """Add figures of this run. If it had nothing to do (`worked` is false), figures of earlier runs have priority."""
    path = timings_file(data, stage)
    known = json.loads(path.read_text()) if path.is_file() else {}
    write_json_atomic(path, {**known, **figures} if worked else {**figures, **known})


def steady_rate(ends_s: Sequence[float]) -> float:
    """Finished keys per second in the steady state: without the first and the last tenth of them. 0: too few."""
    ends_s = sorted(ends_s)
    edge = len(ends_s) // 10
    middle = ends_s[edge : len(ends_s) - edge]
    if len(middle) < 3 or middle[-1] == middle[0]:
        return 0.0
    return round((len(middle) - 1) / (middle[-1] - middle[0]), 4)
