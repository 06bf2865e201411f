"""Tracks -> facts about recording quality, and which tracks are too poor for training or are duplicates.

This is a separate pass over the tracks. Thresholds are applied here, to the facts of all tracks at once, and `pack`
uses the result: a changed threshold repeats no measurement, and redoes neither annotations nor latents. The defaults
are generous, because a listener may be silent and still.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.engine.command import stage_main
from pipelines.engine.jobs import Job
from pipelines.engine.run import RunParams, run_keys
from pipelines.engine.tables import read_rows, rows_by_session, to_table
from pipelines.quality import track_facts
from pipelines.quality.duplicates import find_duplicates
from pipelines.quality.params import QualityParams
from schemas.quality import HASHES, QUALITY

Rejections = list[tuple[str, str, str]]


def run(data: Path, params: QualityParams, how: RunParams) -> dict[str, Any]:
    """Write `tables/quality.parquet`, `hashes.parquet` and `rejections/quality.parquet`; return counts and
    medians."""
    sessions = rows_by_session(read_rows(data, "tracks"))
    keep = ("participant", "audio_path", "video_path", "num_units", "rate_hz", "width", "height")
    jobs = [
        Job(
            key=session,
            spec={"tracks": [{name: row[name] for name in keep} for row in rows]},
            inputs=tuple(str(row[name]) for row in rows for name in ("audio_sha256", "video_sha256")),
        )
        for session, rows in sessions.items()
    ]
    counts = run_keys(
        data, "quality", jobs, track_facts.measure_session, params=None, tables=(QUALITY, HASHES),
        how=how,
        finish=partial(judge_all, params=params),
    )  # fmt: skip
    rows = read_rows(data, "quality")
    medians = {}
    for name in ("snr_db", "loudness_lufs", "face_share", "av_offset_ms"):
        known = [row[name] for row in rows if row[name] is not None]
        medians[f"median_{name}"] = float(np.median(known)) if known else None
    return {**counts, **medians, "usable_tracks": sum(row["usable"] for row in rows)}


def judge_all(tables: dict[str, pa.Table], params: QualityParams) -> tuple[dict[str, pa.Table], Rejections]:
    """The measured tables with `usable` and `duplicate_of`, and a rejection per track and broken threshold."""
    copies = find_duplicates(tables["hashes"]) if params.find_duplicates else {}
    rows, rejections = [], []
    for row in tables["quality"].to_pylist():
        first = copies.get((row["session_id"], row["participant"]))
        row["duplicate_of"] = "/".join(first) if first else None
        broken = judge(row, params)
        row["usable"] = not broken
        key = f"{row['session_id']}/{row['participant']}"
        rejections += [(key, reason, detail) for reason, detail in broken.items()]
        rows.append(row)
    return {**tables, "quality": to_table("quality", rows)}, rejections


def judge(facts: Mapping[str, Any], params: QualityParams) -> dict[str, str]:
    """Reason -> figures, for every threshold that the track breaks. Unknown facts break none."""
    broken: dict[str, str] = {}
    for reason in ("clipped", "silent", "black", "frozen"):
        share, most = facts[f"{reason}_share"], getattr(params, f"max_{reason}_share")
        if share is not None and share > most:
            broken[reason] = f"share {share:.3f}, at most {most:g}"
    loudness = facts["loudness_lufs"]
    if loudness is not None and loudness < params.min_loudness_lufs:
        broken["too_quiet"] = f"{loudness:.1f} LUFS, at least {params.min_loudness_lufs:g}"
    if loudness is not None and loudness > params.max_loudness_lufs:
        broken["too_loud"] = f"{loudness:.1f} LUFS, at most {params.max_loudness_lufs:g}"
    if facts["face_share"] is not None and facts["face_share"] < params.min_face_share:
        broken["no_face"] = f"share {facts['face_share']:.3f}, at least {params.min_face_share:g}"
    offset_ms, confidence = facts["av_offset_ms"], facts["av_confidence"]
    if confidence is not None and confidence >= params.min_av_confidence and abs(offset_ms) > params.max_av_offset_ms:
        broken["out_of_sync"] = (
            f"the video is {offset_ms} ms late, at most {params.max_av_offset_ms} in either direction"
        )
    if facts["duplicate_of"] is not None:
        broken["duplicate"] = f"the same recording as {facts['duplicate_of']}"
    return broken


def main() -> None:
    stage_main("quality", QualityParams, run)
