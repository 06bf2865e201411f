"""Tracks -> facts about recording quality, and which tracks are too poor for training or are duplicates.

This is a separate pass over the tracks. Thresholds are applied here, to the facts of all tracks at once, and `pack`
uses the result: a changed threshold repeats no measurement, and redoes neither annotations nor latents. The defaults
are generous, because a listener may be silent and still. Of sessions with the same recording, the best is kept.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.engine.bucket_files import rewrite_table
from pipelines.engine.buckets import bucket_name, bucket_of
from pipelines.engine.code import code_hash
from pipelines.engine.command import stage_main
from pipelines.engine.files import hash_of, write_json_atomic
from pipelines.engine.jobs import Job
from pipelines.engine.plan import plan_by_tables
from pipelines.engine.run import RunParams, run_keys
from pipelines.engine.state import add_sums, num_state_buckets, read_about, read_state
from pipelines.engine.tables import (
    bucket_table,
    bucket_tables,
    checked,
    rows_by_session,
    table_files,
    to_table,
    write_rows,
)
from pipelines.quality import track_facts
from pipelines.quality.better import Choice, best_of
from pipelines.quality.duplicates import find_duplicates
from pipelines.quality.params import PERCEIVED, QualityParams
from pipelines.signals import opinion_scores
from schemas.quality import HASHES, QUALITY

Track = tuple[str, str]  # session and participant
Judgement = tuple[str, str, str, int]  # a row of `rejections`: key, reason, detail and count

JUDGED = "judged.json"  # what the last judgement of each bucket was made from
TRACKS_IN_PROCESS = 2000  # with fewer, starting processes takes longer than the search
NEEDED = (
    "participant", "num_units", "audio_path", "audio_sha256", "rate_hz", "video_path", "video_sha256", "width",
    "height", "picture", "visible", "mixed", "attributed", "camera_clock",
)  # fmt: skip


def run(data: Path, params: QualityParams, how: RunParams) -> dict[str, Any]:
    """Write the tables `quality` and `hashes`, and rejections; return counts and medians."""
    data = data.resolve()
    params.check()

    def jobs(bucket: int, num_buckets: int) -> Iterator[Job]:
        for session, rows in rows_by_session(bucket_table(data, "tracks", bucket, num_buckets).to_pylist()).items():
            yield Job(
                key=session,
                spec={"tracks": [{name: row.get(name) for name in NEEDED} for row in rows]},
                inputs=tuple(str(row[name]) for row in rows for name in ("audio_sha256", "video_sha256")),
            )

    counts = run_keys(
        data, "quality", plan_by_tables(data, jobs, ("tracks",), None), track_facts.measure_session,
        params={"speechmos": opinion_scores.installed()}, tables=(QUALITY, HASHES), how=how, reads=("tracks",),
        finish=partial(judge_all, data, params, how.num_workers),
    )  # fmt: skip
    columns = ("snr_db", "loudness_lufs", "face_share", "av_offset_ms", "usable")
    rows = pa.concat_tables(bucket_tables(data, "quality", columns))
    medians = {}
    for name in columns[:-1]:
        known = rows[name].drop_null().to_numpy()
        medians[f"median_{name}"] = float(np.median(known)) if len(known) else None
    return {**counts, **medians, "usable_tracks": pc.sum(rows["usable"], min_count=0).as_py()}


def judge_all(data: Path, params: QualityParams, workers: int) -> None:
    """Decide about all tracks: `usable` and `duplicate_of`, and a rejection per track and broken threshold.

    It runs on every run, as a new recording may be the original of an old one. A bucket about whose tracks nothing
    could be decided differently is not read.
    """
    copies = _worse_copies(data, params, _copies(data, workers)) if params.find_duplicates else {}
    num_buckets = num_state_buckets(data, "quality")
    in_buckets: dict[int, dict[Track, tuple[str, str]]] = {}
    for track, found in sorted(copies.items()):
        in_buckets.setdefault(bucket_of(track[0], num_buckets), {})[track] = found
    rules = hash_of([asdict(params), code_hash("pipelines.quality.stage")])
    note = data / "state" / "quality" / JUDGED
    known, judged = _read_json(note), {}
    for bucket in range(num_buckets):
        own = in_buckets.get(bucket, {})
        asked = hash_of([rules, [[*track, *found] for track, found in own.items()]])
        if known.get(bucket_name(bucket)) != _as_judged(data, bucket, asked):
            _judge_bucket(data, params, bucket, num_buckets, own)
        judged[bucket_name(bucket)] = _as_judged(data, bucket, asked)
    if judged != known:
        write_json_atomic(note, judged)


def _as_judged(data: Path, bucket: int, asked: str) -> str:
    """Changes when the tables of a bucket, or what is asked about its tracks, are not those of its last judgement."""
    tables = read_about(data, "quality", bucket).tables
    return hash_of([asked, tables.get("quality"), tables.get("rejections")])


def _read_json(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _judge_bucket(
    data: Path, params: QualityParams, bucket: int, num_buckets: int, copies: Mapping[Track, tuple[str, str]]
) -> None:
    rows, rejections = [], []
    for row in bucket_table(data, "quality", bucket, num_buckets).to_pylist():
        row["duplicate_of"], why = copies.get((row["session_id"], row["participant"]), (None, ""))
        broken = judge(row, params)
        if why:
            broken["duplicate"] = _same_as(row, why)
        row["usable"] = not broken
        key = f"{row['session_id']}/{row['participant']}"
        rejections += [(key, reason, detail, 1) for reason, detail in broken.items()]
        rows.append(row)
    rewrite_table(data, "quality", bucket, "quality", to_table("quality", rows), rejections)


def _worse_copies(data: Path, params: QualityParams, copies: Mapping[Track, str]) -> dict[Track, tuple[str, str]]:
    """Each copy that is not kept -> session/participant of the kept one, and why it is that.

    `copies`: each copy -> the first by its id.
    """
    groups: dict[str, list[Track]] = {}
    for copy, first in copies.items():
        groups.setdefault(first, [_split(first)]).append(copy)

    def broken(row: Mapping[str, Any]) -> int:
        return len(judge({**row, "duplicate_of": None}, params))

    return _worse_of(data, list(groups.values()), broken)


def _worse_of(
    data: Path, groups: Sequence[Sequence[Track]], broken: Callable[[Mapping[str, Any]], int]
) -> dict[Track, tuple[str, str]]:
    """As `_worse_copies`, for groups of equal tracks. All tracks of a session are compared at once, so that a
    conversation is kept whole. `broken`: row of `quality` -> the number of thresholds that it breaks."""
    facts = _facts(data, {track for group in groups for track in group}, broken)
    chosen: dict[frozenset[str], Choice] = {}
    worse: dict[Track, tuple[str, str]] = {}
    for group in groups:
        sessions = frozenset(session for session, _ in group)
        if sessions not in chosen:
            chosen[sessions] = best_of({session: facts[session] for session in sessions})
        kept, why = chosen[sessions]
        best = next(track for track in sorted(group) if track[0] == kept)
        worse |= {track: ("/".join(best), why[track[0]]) for track in group if track[0] != kept}
    return worse


def _split(key: str) -> Track:
    session, _, participant = key.rpartition("/")
    return session, participant


def _facts(
    data: Path, tracks: Set[Track], broken: Callable[[Mapping[str, Any]], int]
) -> dict[str, list[dict[str, Any]]]:
    """The facts about these tracks by session, for `best_of`."""
    facts: dict[str, list[dict[str, Any]]] = {}
    num_buckets = num_state_buckets(data, "quality")
    for bucket in sorted({bucket_of(session, num_buckets) for session, _ in tracks}):
        made = {
            (row["session_id"], row["participant"]): row
            for row in bucket_table(data, "tracks", bucket, num_buckets).to_pylist()
        }
        for row in bucket_table(data, "quality", bucket, num_buckets).to_pylist():
            key = row["session_id"], row["participant"]
            if key in tracks:
                facts.setdefault(key[0], []).append(made[key] | row | {"broken": broken(row)})
    return facts


def quality_without(data: Path, sessions: set[str]) -> tuple[set[str], dict[int, list[Judgement]]]:
    """Write the table as if these sessions had never been there: of the copies of a recording of theirs, the best of
    the others is kept.

    Returns the other sessions whose tracks are copies of another track now, or of none; and, for the buckets of
    `sessions`, what the thresholds have rejected of other sessions: it must be written again after other changes of
    these buckets.
    """
    num_buckets = num_state_buckets(data, "quality")
    if not num_buckets:
        return set(), {}
    groups = [
        [track for track in group if track[0] not in sessions] for group in _groups_with(_kept_copies(data), sessions)
    ]
    tracks = {track for group in groups for track in group}
    concerned = {bucket_of(session, num_buckets) for session in sessions}
    judged = {
        bucket: _judged(data, bucket, sessions)
        for bucket in sorted(concerned | {bucket_of(session, num_buckets) for session, _ in tracks})
    }
    reasons = Counter(key for others in judged.values() for key, reason, _, _ in others if reason != "duplicate")

    def broken(row: Mapping[str, Any]) -> int:
        return reasons[f"{row['session_id']}/{row['participant']}"]

    worse = _worse_of(data, [group for group in groups if len(group) > 1], broken)
    changed = set()
    for bucket, others in judged.items():
        rows = bucket_table(data, "quality", bucket, num_buckets).to_pylist()
        for row in rows:
            track = row["session_id"], row["participant"]
            if track not in tracks:
                continue
            key, before = "/".join(track), row["duplicate_of"]
            row["duplicate_of"], why = worse.get(track, (None, ""))
            others[:] = [each for each in others if each[:2] != (key, "duplicate")]
            if why:
                others.append((key, "duplicate", _same_as(row, why), 1))
            row["usable"] = all(each[0] != key for each in others)
            if row["duplicate_of"] != before:
                changed.add(row["session_id"])
        rewrite_table(data, "quality", bucket, "quality", to_table("quality", rows), others)
    return changed, {bucket: judged[bucket] for bucket in concerned}


def _kept_copies(data: Path) -> list[list[Track]]:
    """The groups of equal tracks: each kept one, and its copies."""
    groups: dict[str, list[Track]] = {}
    for rows in bucket_tables(data, "quality", ["session_id", "participant", "duplicate_of"]):
        for row in rows.filter(pc.is_valid(rows["duplicate_of"])).to_pylist():
            kept = row["duplicate_of"]
            groups.setdefault(kept, [_split(kept)]).append((row["session_id"], row["participant"]))
    return list(groups.values())


def _groups_with(groups: Sequence[list[Track]], sessions: Set[str]) -> list[list[Track]]:
    """The groups with these sessions, those with any session of such a group, and so on: what is chosen in a group
    depends on all tracks of its sessions."""
    reached, count = set(sessions), -1
    while count < len(reached):
        count = len(reached)
        for group in groups:
            own = {session for session, _ in group}
            if own & reached:
                reached |= own
    return [group for group in groups if any(session in reached for session, _ in group)]


def _judged(data: Path, bucket: int, sessions: set[str]) -> list[Judgement]:
    """The rejections that the thresholds made in a bucket, without those of `sessions`."""
    counts: Counter[tuple[str, str, str]] = Counter()
    num_buckets = num_state_buckets(data, "quality")
    for row in bucket_table(data, "rejections/quality", bucket, num_buckets).to_pylist():
        counts[row["key"], row["reason"], row["detail"]] += row["count"]
    for state in read_state(data, "quality", bucket).keys.values():
        for key, reason, detail, count in state.rejections:
            counts[key, reason, detail] -= count
    return [
        (*each, count) for each, count in counts.items() if count > 0 and each[0].rpartition("/")[0] not in sessions
    ]


def _copies(data: Path, workers: int) -> dict[Track, str]:
    """(session, participant) of each copy -> session/participant of the original. Searched if the hashes changed."""
    files = table_files(data, "hashes")
    about = [read_about(data, "quality", bucket).tables["hashes"] for bucket in range(len(files))]
    searched = hash_of([add_sums(entry["content"] for entry in about), code_hash("pipelines.quality.duplicates")])
    note = data / "state" / "quality" / "duplicates.parquet"
    try:
        known = pq.read_table(note, partitioning=None)
    except (OSError, pa.ArrowException):
        known = None
    if known is None or (known.schema.metadata or {}).get(b"searched") != searched.encode():
        files = [checked(data, "hashes", path) for path in files]
        known = _search(files, data / "parts" / "quality", sum(entry["num_rows"] for entry in about), workers)
        known = known.replace_schema_metadata({"searched": searched})
        write_rows(note, known)
    return {(row["session_id"], row["participant"]): row["duplicate_of"] for row in known.to_pylist()}


def _search(files: list[Path], scratch: Path, num_tracks: int, workers: int) -> pa.Table:
    if num_tracks < TRACKS_IN_PROCESS or workers < 2:
        return find_duplicates(files, scratch)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        return find_duplicates(files, scratch, pool.map)


def _same_as(row: Mapping[str, Any], why: str = "") -> str:
    return f"the same recording as {row['duplicate_of']}" + (f", which {why}" if why else "")


def judge(facts: Mapping[str, Any], params: QualityParams) -> dict[str, str]:
    """Reason -> figures, for every threshold that the track breaks. Unknown facts break none."""
    broken: dict[str, str] = {}
    for reason in ("clipped", "silent", "black", "frozen"):
        share, most = facts[f"{reason}_share"], getattr(params, f"max_{reason}_share")
        if share is not None and share > most:
            broken[reason] = f"share {share:.3f}, at most {most:g}"
    if facts["zero_share"] is not None and facts["zero_share"] > params.max_zero_share:
        broken["digital_silence"] = (
            f"share {facts['zero_share']:.4f} of digital zero, at most {params.max_zero_share:g}"
        )
    if facts["cuts_per_min"] is not None and facts["cuts_per_min"] > params.max_cuts_per_min:
        broken["cuts"] = (
            f"{facts['cuts']} changes of shot, {facts['cuts_per_min']:.1f}/min, at most {params.max_cuts_per_min:g}"
        )
    if facts["same_picture_share"] is not None and facts["same_picture_share"] > params.max_same_picture_share:
        broken["same_picture"] = (
            f"the picture of {facts['same_picture_as']} in a share of {facts['same_picture_share']:.3f}, at most "
            f"{params.max_same_picture_share:g}; give each row of the manifest its own video or crop"
        )
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
    for name in PERCEIVED:
        score, least = facts[name], getattr(params, f"min_{name}")
        if score is not None and score < least:
            broken[f"low_{name}"] = f"score {score:.2f}, at least {least:g}"
    if facts["duplicate_of"] is not None:
        broken["duplicate"] = _same_as(facts)
    return broken


def main() -> None:
    stage_main("quality", QualityParams, run)
