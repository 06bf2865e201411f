"""Number of sessions and a seed -> `sources/` (recordings and manifest) and `truth/` of synthetic conversations.

Equal parameters give equal bytes, for any number of workers. Everything is built in a scratch folder and moved to its
place at the end: a run that is stopped leaves the old sample intact.
"""

import csv
import shutil
import sys
import time
from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from pipelines.conversation.cast import Recording, plan, without_pictures
from pipelines.conversation.scene_kinds import IN_CORPUS
from pipelines.conversation.scenes import Scene, plan_scenes
from pipelines.engine.command import stage_main
from pipelines.engine.progress import progress
from pipelines.engine.run import RunParams
from pipelines.engine.timings import write_timings
from pipelines.sample.params import SampleParams
from pipelines.sample.truth import TABLES, Rows, add_rows, write_truth
from wanstreamer.errors import InputError

COLUMNS = (
    "session_id", "participant", "speaker_id", "uri", "audio_uri", "channel", "crop", "start_offset_ms", "words_uri",
    "rttm_uri", "rttm_speaker", "language", "licence", "consent", "audio_kind",
)  # fmt: skip


def run(data: Path, params: SampleParams, how: RunParams) -> dict[str, Any]:
    """Write the sample; returns counts and figures of its content."""
    began_s = time.monotonic()
    recordings = plan(
        params.sessions, seed=params.seed, seconds=params.seconds, salt=params.split_salt,
        valid_fraction=params.valid_fraction, test_fraction=params.test_fraction,
    )  # fmt: skip
    if not params.pictures:
        recordings = [without_pictures(recording) for recording in recordings]
    scratch = data / ".sample"
    shutil.rmtree(scratch, ignore_errors=True)
    sources = scratch / "sources"
    sources.mkdir(parents=True)
    scenes = plan_scenes(IN_CORPUS, params.scenes, seed=params.seed, seconds=params.seconds) if params.scenes else []
    made = _record(recordings, scenes, sources, params, how.num_workers)
    manifest, rows, speech_ms = _together(recordings, made)
    manifest += [_scene_row(scene) for scene in scenes]
    with (sources / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(manifest)
    write_truth(scratch / "truth", add_rows(rows, (made[scene.session_id] for scene in scenes)))
    for name in ("sources", "truth"):
        if (data / name).exists():
            (data / name).rename(scratch / f"old-{name}")
        (scratch / name).rename(data / name)
    shutil.rmtree(scratch)
    write_timings(data, "sample", {"wall_s": round(time.monotonic() - began_s, 1), "workers": how.num_workers})
    figures = summarise(recordings, rows, speech_ms)
    return figures | ({"scenes": dict(Counter(scene.kind for scene in scenes))} if scenes else {})


def _scene_row(scene: Scene) -> dict[str, Any]:
    """A row of the manifest that names no participant."""
    return {
        "session_id": scene.session_id, "uri": f"{scene.session_id}.{scene.container}", "language": "en",
        "licence": "CC0-1.0", "consent": "train;share;show",
    }  # fmt: skip


def _record(
    recordings: list[Recording], scenes: list[Scene], sources: Path, params: SampleParams, workers: int
) -> dict[str, Any]:
    """All sessions and scenes, in parallel: what `make_session` and `make_scene` return, by session id."""
    # Imported late: drawing and speaking need the extra `sample`; checking parameters does not.
    try:
        from pipelines.sample.scenes import make_scene
        from pipelines.sample.session import make_session
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name}: not installed, but the sample needs it; pip install -e '.[sample]'") from error

    outcomes: dict[str, Any] = {}
    # Spawned, not forked: a forked child inherits the locks of other threads in an unknown state.
    with (
        ProcessPoolExecutor(min(workers, len(recordings) + len(scenes)), mp_context=get_context("spawn")) as pool,
        progress(len(recordings) + len(scenes), "sample") as advance,
    ):
        size = {"width": params.width, "height": params.height}
        pending: dict[Future[Any], str] = {
            pool.submit(make_session, r, sources, seed=params.seed, **size): r.session_id for r in recordings
        }
        pending |= {pool.submit(make_scene, scene, sources): scene.session_id for scene in scenes}
        try:
            for future in as_completed(pending):
                outcomes[pending[future]] = future.result()
                advance()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return outcomes


def _together(
    recordings: list[Recording], outcomes: dict[str, Any]
) -> tuple[list[dict[str, Any]], Rows, float]:  # fmt: skip
    """Manifest, truth and duration of speech of all recordings, in the order of the plan."""
    manifest: list[dict[str, Any]] = []
    rows: Rows = {name: [] for name in TABLES}
    speech_ms = 0.0
    for recording in recordings:
        streams, truth_rows, spoken_ms = outcomes[recording.session_id]
        manifest += streams
        for name, table_rows in truth_rows.items():
            rows[name] += table_rows
        if not recording.is_truncated:
            speech_ms += sum(spoken_ms.values())
    return manifest, rows, speech_ms


def summarise(recordings: list[Recording], rows: Rows, speech_ms: float) -> dict[str, Any]:
    """Figures of the sample: sizes, events, and the medians to compare with those of the script."""
    good = [recording for recording in recordings if not recording.is_truncated]
    hours = sum(recording.seconds for recording in good) / 3600
    labels = Counter(row["label"] for row in rows["transitions"])
    outcomes = Counter(row["outcome"] for row in rows["transitions"] if row["outcome"])
    gaps = [row["fto_ms"] for row in rows["transitions"] if row["label"] == "smooth_shift"]
    overlaps = [-row["fto_ms"] for row in rows["transitions"] if row["label"] == "terminal_overlap"]
    yields = [row["yield_ms"] for row in rows["transitions"] if row["yield_ms"] is not None]
    backchannels = rows["backchannels"]
    short_answers = {_place(row) for row in rows["answers"] if row["is_short"]}
    # A short answer counts even if its speaker goes on: the pause after it separates it.
    short = short_answers | {_place(row) for row in [*rows["turns"], *backchannels] if len(row["text"].split()) <= 3}
    return {
        "keys": len(recordings),
        "done": len(recordings),
        "hours": round(hours, 4),
        "speakers": len({row["speaker_id"] for row in rows["tracks"]}),
        "sessions_by_split": dict(sorted(Counter(recording.split for recording in good).items())),
        "layouts": dict(sorted(Counter(recording.layout for recording in good).items())),
        "truncated": len(recordings) - len(good),
        "talk_share": round(speech_ms / (2 * hours * 3.6e6), 4),
        "transitions": dict(sorted(labels.items())),
        "interruptions": dict(sorted(outcomes.items())),
        "gap_median_ms": median(gaps) if gaps else None,
        "overlap_median_ms": median(overlaps) if overlaps else None,
        "yield_ms": [min(yields), median(yields), max(yields)] if yields else None,
        "backchannels": len(backchannels),
        "backchannels_in_pause": sum(row["in_pause"] for row in backchannels),
        "shown": len(rows["shown"]),
        "questions": len(rows["answers"]),
        "short_answers": len(short_answers),
        "short_answer_share": round(len(short_answers) / len(short), 4) if short else None,
        "rows": {name: len(table_rows) for name, table_rows in sorted(rows.items())},
    }


def _place(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["session_id"], row["participant"], row["start_ms"]


def main(arguments: list[str] | None = None) -> None:
    stage_main("sample", SampleParams, run, arguments if arguments is not None else sys.argv[1:])
