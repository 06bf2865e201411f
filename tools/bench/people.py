"""Who is who in recordings of one file, compared with the truth: `python -m tools.bench people`.

Scenes of a new seed are made (tools.sample): two people at a table, cuts, calls, an interviewer off screen, and
recordings that are no conversation of two. The stage people looks at them, without any sidecar. Figures have 95 %
intervals: exact ones for shares of recordings, and for shares of speech and of frames from resampling recordings.

    dyads_found          both people are found, whether or not it is clear who is who
    dyads_assigned       each voice has its face, or none, with enough confidence
    assignment_accuracy  of those: each has the right one
    confusion_share      speech that was given to the other, of all speech (no collar)
    backchannels_...     short responses that the voice of their speaker has, in pauses of the other and in overlap
    face_in_crop         of the instants at which a person is reported visible: the crop holds that person's face
    non_dyads_rejected   with the right reason

`--events` also annotates the scenes, and the same conversations as from a microphone per person, and compares the
events of both with the truth. `--diarizer` measures pyannote on the same sound.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.conversation.scene_kinds import BROKEN, DYADS, NON_DYADS
from pipelines.conversation.scenes import plan_scenes
from pipelines.engine.tables import read_rows, rows_by_session
from pipelines.engine.timings import timings_file
from pipelines.signals.diarization import diarize, load_diarizer
from tools.bench.agreement import agreement, match, read_items
from tools.bench.people_scores import (
    Backchannel,
    Box,
    Crop,
    FaceAt,
    Figure,
    Found,
    Score,
    TrueScene,
    mapping,
    score,
    speech_errors,
    summary,
)
from tools.diarize import sound_of
from tools.sample import kinds_of, write_scenes
from wanstreamer.clock import Span, merge_spans
from wanstreamer.errors import InputError

ALL = (*DYADS, *NON_DYADS, *BROKEN)
TRUTH = ("scenes", "speech", "faces", "backchannels")
HEADS = {
    "dyads_found": "found", "dyads_assigned": "assigned", "assignment_accuracy": "rightly",
    "confusion_share": "confused", "diarization_error": "DER", "diarization_error_collar": "DER, collar 0.25 s",
    "backchannels_in_pauses": "backchannels",
    "face_in_crop": "face in crop", "other_face_in_crop": "another's", "visible_found": "visible",
    "non_dyads_rejected": "rejected rightly", "broken_rejected": "broken, rejected",
}  # fmt: skip


def read_truth(folder: Path) -> list[TrueScene]:
    """The scenes of a folder with truth tables."""
    tables = {name: pq.read_table(folder / f"{name}.parquet").to_pylist() for name in TRUTH}
    speech, faces, backchannels = (rows_by_session(tables[name]) for name in TRUTH[1:])
    scenes = []
    for row in tables["scenes"]:
        spans: dict[str, list[Span]] = {}
        for one in speech.get(row["session_id"], ()):
            spans.setdefault(one["participant"], []).append(Span(one["start_ms"], one["end_ms"]))
        scenes.append(
            TrueScene(
                **{name: row[name] for name in ("session_id", "kind", "rejection", "is_broken", "duration_ms")},
                speech=spans,
                faces=[
                    FaceAt(one["participant"], one["time_ms"], Box(*(one[name] for name in Box._fields)))
                    for one in faces.get(row["session_id"], ())
                ],
                backchannels=[
                    Backchannel(one["participant"], Span(one["start_ms"], one["end_ms"]), one["in_pause"])
                    for one in backchannels.get(row["session_id"], ())
                ],
            )
        )
    return scenes


def read_people(data: Path) -> tuple[dict[str, dict[str, Found]], dict[str, str]]:
    """What the stage found, session -> participant -> voice and crops; and session -> reason of its rejection."""
    found: dict[str, dict[str, Found]] = {}
    for row in read_rows(data, "people"):
        both = [*_spans(row["speech"]), *_spans(row["overlap"])]
        found.setdefault(row["session_id"], {})[row["participant"]] = Found(
            speech=merge_spans(both), visible=_spans(row["visible"]),
            crops=[Crop(*(crop[name] for name in Crop._fields)) for crop in row["crops"]],
        )  # fmt: skip
    reasons = {row["key"]: row["reason"] for row in read_rows(data, "rejections/people")}
    return found, reasons


def _spans(rows: Sequence[Mapping[str, int]]) -> list[Span]:
    return [Span(row["start_ms"], row["end_ms"]) for row in rows]


def run_stage(stage: str, data: Path, source: Path, settings: Sequence[str], workers: int) -> None:
    """Run a stage as a user does. Raises InputError with its last lines if it fails."""
    sets = [f"ingest.source={source}", *settings, f"run.workers={workers}"]
    command = [sys.executable, "-m", f"pipelines.{stage}", "--data", str(data)]
    command += [part for setting in sets for part in ("--set", setting)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-3:])
        raise InputError(f"bench people: stage {stage} ended with exit code {done.returncode}: {last}")


def times_real_time(data: Path, scenes: Sequence[TrueScene]) -> float | None:
    """Seconds of recordings for each second of CPU time that the stage people took for them."""
    figures = json.loads(timings_file(data, "people").read_text())
    spent_s = figures.get("cpu_s")
    return round(sum(scene.duration_ms for scene in scenes) / 1000 / spent_s, 2) if spent_s else None


def events_f1(data: Path, names: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Agreement of annotate's events with the truth, over all kinds together.

    Args:
        names: Session -> participant as found -> participant in the truth.
    """
    truth, found = read_items(data)
    renamed = [
        replace(item, participant=names.get(item.session_id, {}).get(item.participant, item.participant))
        for item in found
    ]
    sessions = {item.session_id for item in found}
    truth = [item for item in truth if item.session_id in sessions]
    renamed.sort(key=attrgetter("order"))
    return agreement(truth, renamed, match(truth, renamed, within_ms=200, ends=True))


def compare_events(folder: Path, scenes: Sequence[TrueScene], workers: int) -> dict[str, Any]:
    """F1 of events from the scenes, and from the same conversations with a microphone per person."""
    data, apart = folder / "data", folder / "apart"
    found, _ = read_people(data)
    kept = [scene for scene in scenes if not scene.rejection and len(found.get(scene.session_id, ())) == 2]
    if not kept:
        return {"sessions": 0, "scenes_f1": None, "separate_f1": None, "f1_lost": None}
    names = {}
    for scene in kept:
        true = {name: scene.speech.get(name, ()) for name in "ab"}
        names[scene.session_id] = mapping(
            {who: person.speech for who, person in found[scene.session_id].items()}, true
        )  # fmt: skip
    shutil.rmtree(apart, ignore_errors=True)
    (apart / "recordings").mkdir(parents=True)
    (apart / "truth").symlink_to(data / "truth")
    for name in names:
        (apart / "recordings" / name).symlink_to(folder / "separate" / name)
    for home, source in ((data, folder / "recordings"), (apart, apart / "recordings")):
        for stage in ("ingest", "annotate"):
            run_stage(stage, home, source, (), workers)
    scenes_f1, separate_f1 = events_f1(data, names), events_f1(apart, {})
    lost = None
    if scenes_f1["f1"] is not None and separate_f1["f1"] is not None:
        lost = round(separate_f1["f1"] - scenes_f1["f1"], 4)
    return {"sessions": len(kept), "scenes_f1": scenes_f1["f1"], "separate_f1": separate_f1["f1"], "f1_lost": lost}


def diarizer_errors(folder: Path, scenes: Sequence[TrueScene], model: Path) -> dict[str, float]:
    """Confusion and diarization error of pyannote on the conversations of two; it is given the number of speakers."""
    pipeline = load_diarizer(model, "--diarizer")
    total: Counter[str] = Counter()
    for scene in (scene for scene in scenes if not scene.rejection):
        (path,) = (folder / "recordings").glob(f"{scene.session_id}.*")
        voices = diarize(pipeline, sound_of(path), 2)
        true = {name: scene.speech.get(name, ()) for name in "ab"}
        own = mapping(dict(sorted(voices.items())[:2]), true)
        errors = speech_errors({own[name]: spans for name, spans in voices.items() if name in own}, true,
                               scene.duration_ms)  # fmt: skip
        total.update(errors)
    wrong = total["missed_ms"] + total["false_ms"] + total["confused_ms"]
    return {
        "confusion_share": round(total["confused_ms"] / max(total["speech_ms"], 1), 4),
        "diarization_error": round(wrong / max(total["speech_ms"], 1), 4),
    }


def measure(
    folder: Path, *, seed: int, kinds: Sequence[str], sessions: int, seconds: int, workers: int,
    settings: Sequence[str], events: bool, diarizer: Path | None,
) -> dict[str, Any]:  # fmt: skip
    """Make scenes in `folder`, unless they are there, look at them, and compare; returns what `--json` prints."""
    data, recordings = folder / "data", folder / "recordings"
    scenes = plan_scenes(kinds, len(kinds) * sessions, seed=seed, seconds=seconds)
    if not (data / "truth" / "scenes.parquet").is_file():
        write_scenes(scenes, recordings, workers=workers, truth=data / "truth", separate=folder / "separate")
    truth = read_truth(data / "truth")
    if {scene.session_id for scene in truth} != {scene.session_id for scene in scenes}:
        raise InputError(f"{folder}: has other scenes; pass another --keep, or the same --scene and --sessions")
    run_stage("people", data, recordings, settings, workers)
    found, reasons = read_people(data)
    scores = [score(scene, found.get(scene.session_id, {}), reasons.get(scene.session_id)) for scene in truth]
    by_kind = {}
    for kind in dict.fromkeys(scene.kind for scene in scenes):
        own = [s for s in scores if s.kind == kind]
        by_kind[kind] = {
            "recordings": len(own), "outcomes": dict(Counter(s.outcome for s in own).most_common()),
            **summary(own, seed),
        }  # fmt: skip
    results: dict[str, Any] = {
        "seed": seed, "recordings": len(scores), "seconds": seconds,
        **{name: figure[0] for name, figure in summary(scores, seed).items()},
        "intervals": {name: figure[1:] for name, figure in summary(scores, seed).items()},
        "times_real_time_per_core": times_real_time(data, truth),
        "by_kind": by_kind,
        "trouble": [_trouble(s) for s in scores if s.trouble],
    }  # fmt: skip
    if events:
        results["events"] = compare_events(folder, truth, workers)
    if diarizer:
        results["pyannote"] = diarizer_errors(folder, truth, diarizer)
    return results


def _trouble(one: Score) -> str:
    return f"{one.session_id}: {one.outcome}: {one.trouble}"


def add(commands: Any) -> None:
    command = commands.add_parser(
        "people", help="who is who in recordings of one file", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.add_argument("--seed", type=int, default=401, help="seed of the scenes (default: 401)")
    command.add_argument(
        "--scene", default="all", metavar="KIND[,KIND]", help="kinds of scenes, or groups of kinds (default: all)"
    )
    command.add_argument("--sessions", type=int, default=3, help="scenes of each kind (default: 3)")
    command.add_argument("--seconds", type=int, default=60, help="length of each scene (default: 60)")
    command.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="parallel recordings (default: one per core)"
    )
    command.add_argument(
        "--set", action="append", default=[], metavar="people.KEY=VALUE", help="a parameter of the stage people"
    )
    command.add_argument("--events", action="store_true", help="also compare the events of the whole line")
    command.add_argument("--diarizer", type=Path, metavar="DIR", help="also measure pyannote, from its folder")
    command.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep recordings and tables in DIR, and use them if they exist"
    )
    command.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, Any]:
    if min(args.sessions, args.workers) < 1 or args.seed < 0:
        raise InputError("bench people: expected --sessions and --workers of 1 or more, --seed of 0 or more")
    kinds = kinds_of(args.scene)
    if not kinds:
        raise InputError(f"bench people: --scene `{args.scene}`: no kind; expected some of {', '.join(ALL)}")
    folder = args.keep or Path(tempfile.mkdtemp(prefix="bench-people-"))
    try:
        return measure(
            folder.resolve(), seed=args.seed, kinds=kinds, sessions=args.sessions, seconds=args.seconds,
            workers=args.workers, settings=args.set, events=args.events, diarizer=args.diarizer,
        )  # fmt: skip
    finally:
        if not args.keep:
            shutil.rmtree(folder)


def show(results: dict[str, Any]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=220)
    console.print(
        f"{results['recordings']} recordings of {results['seconds']} s, seed {results['seed']}; "
        f"{results['times_real_time_per_core'] or '-'} times real time per core",
        highlight=False,
    )
    table = Table(box=SIMPLE_HEAD)
    for head in ("figure", "value", "95 % interval"):
        table.add_column(head, justify="right" if head != "figure" else "left")
    for name, interval in results["intervals"].items():
        if results[name] is not None:
            table.add_row(name, f"{results[name]:.2%}", f"{interval[0]:.2%} to {interval[1]:.2%}")
    console.print(table)
    table = Table(box=SIMPLE_HEAD)
    for head in ("scene", "number", *HEADS.values(), "outcomes"):
        table.add_column(head, justify="left" if head in ("scene", "outcomes") else "right")
    for kind, line in results["by_kind"].items():
        outcomes = ", ".join(f"{count} {name}" for name, count in line["outcomes"].items())
        table.add_row(kind, str(line["recordings"]), *(_cell(line[name]) for name in HEADS), outcomes)
    console.print(table)
    if "events" in results:
        both = results["events"]
        console.print(
            f"events of {both['sessions']} conversations, F1 within 200 ms: scenes {both['scenes_f1']}, "
            f"separate tracks {both['separate_f1']}, lost {both['f1_lost']}",
            highlight=False,
        )
    if "pyannote" in results:
        console.print(f"pyannote, two speakers given: {results['pyannote']}", highlight=False)
    for line in results["trouble"]:
        console.print(line, highlight=False)


def _cell(figure: Figure) -> str:
    return "" if figure[0] is None else f"{figure[0]:.1%}"
