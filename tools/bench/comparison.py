"""Corpora with truth -> F1 by kind and by level of noise and bleed, offsets, confidence against precision, examples."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipelines.engine.tables import rows_by_session, table_files
from tools.bench.agreement import Item, agreement, match, read_items, wasserstein_1
from tools.bench.confidence import calibration

# Line of the report -> the kinds in it, and the F1 within 200 ms that it must reach (None: no bound).
LINES: dict[str, tuple[tuple[str, ...], float | None]] = {
    "turns": (("turn",), 0.95),
    "gaps over 250 ms": (("gap",), 0.95),
    "pauses over 250 ms": (("pause",), 0.95),
    "interruptions with outcome": (
        ("interruption, floor_taking", "interruption, failed", "interruption, both_stop"),
        0.9,
    ),
    "backchannels": (("backchannel",), 0.9),
    "simultaneous starts": (("simultaneous_start",), 0.85),
    "initiations": (("initiation",), 0.85),
    "holds": (("hold",), None),
    "smooth shifts": (("smooth_shift",), None),
    "terminal overlaps": (("terminal_overlap",), None),
}
NOISE = ((0, 20, "noise -20 dB or more"), (20, 30, "-30 to -20"), (30, 99, "under -30"))
BLEED = ((-99, -32, "bleed under -32 dB"), (-32, 0, "-32 or more"))


def levels(data: Path) -> dict[str, tuple[str, str]]:
    """Session -> its level of noise (the noisier track's, relative to the voice) and its level of bleed."""
    by_session = {}
    for session_id, tracks in rows_by_session(pq.read_table(data / "truth" / "tracks.parquet").to_pylist()).items():
        snr_db = min(row["noise_db"] for row in tracks)
        bleeds = [row["bleed_db"] for row in tracks if row["bleed_db"] is not None]
        noise = next(name for low, high, name in NOISE if low <= snr_db < high)
        bleed = next((name for low, high, name in BLEED if bleeds and low <= max(bleeds) < high), "no bleed")
        by_session[session_id] = noise, bleed
    return by_session


def compare(folders: Mapping[str, Path], *, bounds: bool, worst: int) -> dict[str, Any]:
    """Figures over corpora (name -> data folder with truth and tables): what `--json` prints for one variant.

    `bounds`: whether the bounds of `LINES` apply. `worst`: how many examples are listed per kind and kind of mistake.
    """
    truth: list[Item] = []
    annotated: list[Item] = []
    offsets: dict[str, list[int]] = {"truth": [], "found": []}
    level: dict[str, tuple[str, str]] = {}
    for name, data in folders.items():
        for items, some in zip((truth, annotated), read_items(data), strict=True):
            items += [replace(item, session_id=f"{name}/{item.session_id}") for item in some]
        level |= {f"{name}/{session}": value for session, value in levels(data).items()}
        offsets["truth"] += _offsets([data / "truth" / "transitions.parquet"])
        offsets["found"] += _offsets(table_files(data, "events"))
    pairs = match(truth, annotated, within_ms=200, ends=True)
    onsets = match(truth, annotated, within_ms=160, ends=False)
    lines: dict[str, Any] = {}
    for name, (kinds, bound) in LINES.items():
        whole = _agreement(truth, annotated, pairs, kinds)
        lines[name] = whole | {
            "onset_f1_160_ms": _agreement(truth, annotated, onsets, kinds)["f1"],
            "bound": bound if bounds else None,
            "by_level": {
                name_of_level: _agreement(
                    truth, annotated, pairs, kinds, {s for s, both in level.items() if name_of_level in both}
                )["f1"]
                for name_of_level in (*(name for *_, name in NOISE), "no bleed", *(name for *_, name in BLEED))
            },
        }
    right = {id(item) for _, item in pairs}
    return {
        "lines": lines,
        "floor_transfer_offsets": _distribution(offsets["truth"], offsets["found"]),
        "confidence": calibration([(item, id(item) in right) for item in annotated if item.counts]),
        "examples": _examples(truth, annotated, pairs, worst),
    }


def _agreement(
    truth: Sequence[Item], annotated: Sequence[Item], pairs: Sequence[tuple[Item, Item]], kinds: Sequence[str],
    sessions: set[str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    def taken(item: Item) -> bool:
        return item.kind in kinds and (sessions is None or item.session_id in sessions)

    return agreement(
        [item for item in truth if taken(item)],
        [item for item in annotated if taken(item)],
        [(true_item, annotated_item) for true_item, annotated_item in pairs if taken(true_item)],
    )


def _offsets(paths: Sequence[Path]) -> list[int]:
    tables = (pq.read_table(path, columns=["fto_ms"], partitioning=None) for path in paths)
    return [ms for table in tables for ms in table["fto_ms"].to_pylist() if ms is not None]


def _distribution(truth: Sequence[int], annotated: Sequence[int]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name, values in (("truth", truth), ("found", annotated)):
        quartiles = np.quantile(values, [0.25, 0.75]).round().tolist() if values else None
        figures[name] = {
            "number": len(values), "median_ms": statistics.median(values) if values else None, "quartiles_ms": quartiles
        }  # fmt: skip
    figures["wasserstein_1_ms"] = round(wasserstein_1(truth, annotated), 1) if truth and annotated else None
    return figures


def _examples(
    truth: Sequence[Item], annotated: Sequence[Item], pairs: Sequence[tuple[Item, Item]], worst: int
) -> list[dict[str, Any]]:
    """The first `worst` items of each kind that only the truth or only annotate has."""
    paired = {id(item) for pair in pairs for item in pair}
    listed: list[dict[str, Any]] = []
    for kind in sorted({item.kind for item in (*truth, *annotated)}):
        for what, items in (("missed", truth), ("made up", annotated)):
            alone = [item for item in items if item.kind == kind and item.counts and id(item) not in paired]
            listed += [
                {
                    "what": what, "kind": kind, "session": item.session_id, "participant": item.participant,
                    "start_ms": item.start_ms, "end_ms": item.end_ms, "about": item.about,
                }
                for item in alone[:worst]
            ]  # fmt: skip
    return listed
