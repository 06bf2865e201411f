"""What a run has spent, from its data folder, in the terms of a plan."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.engine.tables import check_data_folder, read_rows, table_folder
from tools.plan.layout import disk_of
from tools.plan.predict import STAGES
from wanstreamer.clock import UNIT_MS
from wanstreamer.errors import InputError

FIGURES = ("cpu_s", "wall_s", "start_s", "gb", "files")


def read_plan(path: Path) -> dict[str, Any]:
    """A prediction that `tools.plan` has kept. Raises InputError."""
    try:
        plan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return plan if plan["version"] == 1 else _fail(path)
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: no plan; make one with `python -m tools.plan SOURCE --out {path}`, also after the run"
        ) from error
    except (KeyError, TypeError, ValueError):
        return _fail(path)


def _fail(path: Path) -> dict[str, Any]:
    raise InputError(f"{path}: not a plan of this version; make it again with `python -m tools.plan`")


def spent(data: Path) -> dict[str, dict[str, Any]]:
    """By stage that has run: CPU seconds, wall-clock seconds, GB, files, rejected sessions by reason; None: not known.

    Timings are those of the stage's last run with work; `keys` says how many sessions it did. Raises InputError if no
    stage has run.
    """
    check_data_folder(data)
    if not any((data / "timings" / f"{stage}.json").is_file() for stage in STAGES):
        raise InputError(f"{data}: no stage has run there; pass --data DIR, the folder of the run")
    hours = _hours(data)
    found: dict[str, dict[str, Any]] = {}
    for stage in STAGES:
        path = data / "timings" / f"{stage}.json"
        if not path.is_file():
            continue
        timings = json.loads(path.read_text())
        disk = disk_of(data, stage)
        rejected = _rejected_sessions(data, stage, hours)
        found[stage] = {
            **{name: timings.get(name) for name in ("cpu_s", "wall_s", "start_s", "workers", "keys", "driver_cpu_s")},
            "gb": disk.gb,
            "files": disk.files,
            "rejected": dict(sorted(Counter(rejected.values()).items())),
        }
        if stage in ("ingest", "pack"):
            found[stage]["kept_hours"] = sum(length for key, length in hours.items() if key not in rejected)
    return found


def _hours(data: Path) -> dict[str, float]:
    """Hours of each session that ingest has kept."""
    rows = read_rows(data, "sessions", columns=["session_id", "num_units"])
    return {row["session_id"]: row["num_units"] * UNIT_MS / 3_600_000 for row in rows}


def _rejected_sessions(data: Path, stage: str, hours: Mapping[str, float]) -> dict[str, str]:
    """Session -> why a stage rejected all of it. Other keys are tracks or windows, and their session goes on."""
    if not table_folder(data, f"rejections/{stage}").is_dir():
        return {}
    rows = read_rows(data, f"rejections/{stage}", columns=["key", "reason"])
    whole = (row for row in rows if "/" not in row["key"] and (stage == "ingest" or row["key"] in hours))
    return {row["key"]: row["reason"] for row in whole}


def compare(plan: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """By stage and figure: what was predicted, what was spent, and spent / predicted.

    If the last run did only some of the sessions, its times are compared with the same share of the prediction.
    """
    compared: dict[str, dict[str, Any]] = {}
    for stage, figures in found.items():
        predicted = plan["stages"].get(stage)
        if predicted is None:
            continue
        share = 1.0
        if figures.get("keys") and predicted["sessions"]:
            share = min(1.0, figures["keys"] / predicted["sessions"])
        compared[stage] = {"share": share}
        for name in FIGURES:
            expected = predicted[name]
            if expected is not None and name in ("cpu_s", "wall_s"):
                start_s = predicted["start_s"] if name == "wall_s" else 0.0
                expected = start_s + (expected - start_s) * share
            compared[stage][name] = _pair(expected, figures[name])
        if "kept_hours" in figures:
            compared[stage]["kept_hours"] = _pair(plan["corpus"]["hours_after"][stage], figures["kept_hours"])
            planned = plan["corpus"]["rejected"].get(stage, {})
            compared[stage]["rejected"] = {
                reason: _pair(planned.get(reason, {}).get("sessions", 0), figures["rejected"].get(reason, 0))
                for reason in sorted({*planned, *figures["rejected"]})
            }
    return compared


def total_of(compared: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, float | None]:
    """A figure over all stages of which both values are known."""
    pairs = [figures[name] for figures in compared.values() if figures[name]["ratio"] is not None]
    return _pair(sum(pair["predicted"] for pair in pairs), sum(pair["spent"] for pair in pairs))


def _pair(predicted: float | None, spent_figure: float | None) -> dict[str, float | None]:
    ratio = None
    if predicted and spent_figure is not None:
        ratio = spent_figure / predicted
    return {"predicted": predicted, "spent": spent_figure, "ratio": ratio}
