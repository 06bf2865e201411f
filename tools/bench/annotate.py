"""What annotate finds in the sound of fresh sample sessions, beside what was said: `python -m tools.bench annotate`.

Sessions are spoken from seeds that nothing was tuned on, ingested, and annotated twice: with their word sidecars and
without. Then, by kind and by level of noise and bleed, F1 of one-to-one matches per participant: onsets (of turns, gaps
and pauses ends too) within 200 ms, and onsets alone within 160 ms, one unit. Beside them floor transfer offsets, what
each `confidence` is worth, and the time it takes. `--worst N` prints examples of what was missed or made up.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines import annotate, ingest
from pipelines.annotate import AnnotateParams
from pipelines.ingest import IngestParams
from pipelines.local_ray import ray_session
from pipelines.tables import conform, read_rows, rows_by_session, write_table
from pipelines.turns import Word, annotate_session
from tools.bench.agreement import Item, agreement, found_items, match, truth_items, wasserstein_1
from tools.bench.confidence import calibration
from tools.sample import corpus
from tools.sample.corpus import SampleParams
from wanstreamer.clock import Span
from wanstreamer.errors import InputError

# Kinds that make a line of the report, and the F1 within 200 ms that is asked of it.
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
RULES_S = 1.0  # the rules are repeated for at least this long
VARIANTS = ("with words", "without words")


def prepare(folder: Path, seed: int, *, sessions: int, seconds: int, workers: int) -> Path:
    """Speak, ingest and annotate one corpus under `folder`, unless it is there; returns its data folder."""
    data = folder / f"seed-{seed}-{sessions}x{seconds}"
    sample = SampleParams(sessions=sessions, seconds=seconds, seed=seed, pictures=False)
    if not (data / "truth").is_dir():
        data.mkdir(parents=True, exist_ok=True)
        corpus.run(data, sample, workers=workers)
    ingest.run(data, IngestParams(source=str(data / "sources")), workers=workers)
    mute = data / VARIANTS[1]
    for name in ("tracks", "truth"):
        mute.mkdir(exist_ok=True)
        if not (mute / name).is_symlink():
            (mute / name).symlink_to(data.resolve() / name)
    write_table(mute, "sessions", conform("sessions", _bare(read_rows(data, "sessions"))))
    tracks = [row | {"words_path": None, "words_sha256": None} for row in _bare(read_rows(data, "tracks"))]
    write_table(mute, "tracks", conform("tracks", tracks))
    for home in (data, mute):
        annotate.run(home, AnnotateParams(), workers=workers)
    return data


def _bare(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "schema_version"} for row in rows]


def levels(data: Path) -> dict[str, tuple[str, str]]:
    """Session -> its level of noise (that of the noisier track, against the voice) and of bleed."""
    found = {}
    for session_id, tracks in rows_by_session(pq.read_table(data / "truth" / "tracks.parquet").to_pylist()).items():
        snr_db = min(row["noise_db"] for row in tracks)
        bleeds = [row["bleed_db"] for row in tracks if row["bleed_db"] is not None]
        noise = next(name for low, high, name in NOISE if low <= snr_db < high)
        bleed = next((name for low, high, name in BLEED if bleeds and low <= max(bleeds) < high), "no bleed")
        found[session_id] = noise, bleed
    return found


def compare(folders: Sequence[Path], variant: str, worst: int) -> dict[str, Any]:
    """Everything that is said about one variant, over the corpora in `folders`."""
    truth: list[Item] = []
    found: list[Item] = []
    offsets: dict[str, list[int]] = {"truth": [], "found": []}
    level: dict[str, tuple[str, str]] = {}
    for data in folders:
        home = data if variant == VARIANTS[0] else data / variant
        for items, some in ((truth, truth_items(home)), (found, found_items(home))):
            items += [replace(item, session_id=f"{data.name}/{item.session_id}") for item in some]
        level |= {f"{data.name}/{name}": value for name, value in levels(data).items()}
        offsets["truth"] += _offsets(home / "truth" / "transitions.parquet")
        offsets["found"] += _offsets(home / "tables" / "events.parquet")
    pairs = match(truth, found, within_ms=200, ends=True)
    onsets = match(truth, found, within_ms=160, ends=False)
    lines: dict[str, Any] = {}
    for name, (kinds, bound) in LINES.items():
        asked = None if name == "backchannels" and variant != VARIANTS[0] else bound
        whole = _agreement(truth, found, pairs, kinds)
        lines[name] = whole | {
            "onset_f1_160_ms": _agreement(truth, found, onsets, kinds)["f1"],
            "bound": asked,
            "by_level": {
                one: _agreement(truth, found, pairs, kinds, {s for s, both in level.items() if one in both})["f1"]
                for one in (*(name for *_, name in NOISE), "no bleed", *(name for *_, name in BLEED))
            },
        }
    right = {id(two) for _, two in pairs}
    return {
        "lines": lines,
        "floor_transfer_offsets": _distribution(offsets["truth"], offsets["found"]),
        "confidence": calibration([(item, id(item) in right) for item in found if item.counts]),
        "examples": _examples(truth, found, pairs, worst),
    }


def _agreement(
    truth: Sequence[Item], found: Sequence[Item], pairs: Sequence[tuple[Item, Item]], kinds: Sequence[str],
    sessions: set[str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    def taken(item: Item) -> bool:
        return item.kind in kinds and (sessions is None or item.session_id in sessions)

    return agreement(
        [item for item in truth if taken(item)],
        [item for item in found if taken(item)],
        [(one, two) for one, two in pairs if taken(one)],
    )


def _offsets(path: Path) -> list[int]:
    return [ms for ms in pq.read_table(path, columns=["fto_ms"])["fto_ms"].to_pylist() if ms is not None]


def _distribution(truth: Sequence[int], found: Sequence[int]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name, values in (("truth", truth), ("found", found)):
        quartiles = np.quantile(values, [0.25, 0.75]).round().tolist() if values else None
        figures[name] = {
            "number": len(values), "median_ms": statistics.median(values) if values else None, "quartiles_ms": quartiles
        }  # fmt: skip
    figures["wasserstein_1_ms"] = round(wasserstein_1(truth, found), 1) if truth and found else None
    return figures


def _examples(
    truth: Sequence[Item], found: Sequence[Item], pairs: Sequence[tuple[Item, Item]], worst: int
) -> list[dict[str, Any]]:
    """The first `worst` of each kind that only one side has."""
    paired = {id(item) for pair in pairs for item in pair}
    listed: list[dict[str, Any]] = []
    for kind in sorted({item.kind for item in (*truth, *found)}):
        for what, items in (("missed", truth), ("made up", found)):
            alone = [item for item in items if item.kind == kind and item.counts and id(item) not in paired]
            listed += [
                {
                    "what": what, "kind": kind, "session": item.session_id, "participant": item.participant,
                    "start_ms": item.start_ms, "end_ms": item.end_ms, "about": item.about,
                }
                for item in alone[:worst]
            ]  # fmt: skip
    return listed


def rules_speed(folders: Sequence[Path]) -> float:
    """How many times faster than real time the rules are on one core, with words."""
    jobs, seconds = [], 0.0
    for data in folders:
        speech, words = (rows_by_session(read_rows(data, name)) for name in ("speech", "words"))
        for session in read_rows(data, "sessions"):
            spoken: dict[str, list[Span]] = {"a": [], "b": []}
            told: dict[str, list[Word]] = {"a": [], "b": []}
            for row in speech.get(session["session_id"], ()):
                spoken[row["participant"]].append(Span(row["start_ms"], row["end_ms"]))
            for row in words.get(session["session_id"], ()):
                told[row["participant"]].append(
                    Word(start_ms=row["start_ms"], end_ms=row["end_ms"], text=row["word"])
                )  # fmt: skip
            jobs.append((spoken, told))
            seconds += session["duration_ms"] / 1000
    rates: list[float] = []
    began_s = time.perf_counter()
    while not rates or time.perf_counter() - began_s < RULES_S:
        once_s = time.perf_counter()
        for spoken, told in jobs:
            annotate_session(spoken, told, AnnotateParams())
        rates.append(seconds / (time.perf_counter() - once_s))
    return round(statistics.median(rates))


def stage_speed(data: Path, workers: int) -> float | None:
    """How many times faster than real time a core annotates, from the times at which sessions were finished."""
    ends_s = sorted(path.stat().st_mtime for path in (data / "parts" / "annotate").glob("*/part.json"))
    if len(ends_s) < 2 * workers or ends_s[-1] == ends_s[0]:
        return None
    session_s = statistics.mean(row["duration_ms"] for row in read_rows(data, "sessions")) / 1000
    return round(float(np.polyfit(ends_s, range(len(ends_s)), 1)[0]) * session_s / workers, 1)


def measure(
    folder: Path, seeds: Sequence[int], *, sessions: int, seconds: int, workers: int, worst: int,
    on_seed: Callable[[int], None],
) -> dict[str, Any]:  # fmt: skip
    """Make the corpora and compare; returns what `--json` prints."""
    folders = []
    with ray_session(workers) as room:
        for seed in seeds:
            on_seed(seed)
            folders.append(prepare(folder, seed, sessions=sessions, seconds=seconds, workers=room))
    speeds = [speed for data in folders if (speed := stage_speed(data, room)) is not None]
    done = sum(len(read_rows(data, "sessions")) for data in folders)
    return {
        "seeds": list(seeds),
        "sessions": done,
        "minutes": round(done * seconds / 60, 1),
        **{variant: compare(folders, variant, worst) for variant in VARIANTS},
        "times_real_time": {
            "rules, one core": rules_speed(folders),
            "stage, per core": statistics.median(speeds) if speeds else None,
        },
    }


def add(commands: Any) -> None:
    command = commands.add_parser(
        "annotate", help="annotations beside the truth of fresh sessions", description=__doc__
    )
    command.add_argument("--seeds", type=int, nargs="+", default=[101, 102], help="of the corpora (default: 101 102)")
    command.add_argument("--sessions", type=int, default=40, help="conversations per seed (default: 40)")
    command.add_argument("--seconds", type=int, default=60, help="length of each (default: 60)")
    command.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="parallel sessions (default: one per core)"
    )
    command.add_argument("--worst", type=int, default=0, metavar="N", help="print N misses of each kind (default: 0)")
    command.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep recordings and tables there, and use them again"
    )
    command.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, Any]:
    if min(args.sessions, args.workers) < 1 or args.worst < 0:
        raise InputError("bench annotate: expected 1 or more sessions and workers, and no negative number of examples")
    folder = args.keep or Path(tempfile.mkdtemp(prefix="bench-annotate-"))
    console = Console(stderr=True)
    try:
        return measure(
            folder, args.seeds, sessions=args.sessions, seconds=args.seconds, workers=args.workers, worst=args.worst,
            on_seed=lambda seed: console.print(
                f"seed {seed}: {args.sessions} conversations of {args.seconds} s", highlight=False
            ),
        )  # fmt: skip
    finally:
        if not args.keep:
            shutil.rmtree(folder)


def show(found: dict[str, Any]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(
        f"{found['sessions']} conversations, {found['minutes']} minutes, seeds {', '.join(map(str, found['seeds']))}",
        highlight=False,
    )
    for variant in VARIANTS:
        _show_variant(console, variant, found[variant])
    said = [f"{name}: {rate or '-'}" for name, rate in found["times_real_time"].items()]
    console.print("times real time: " + "; ".join(said), highlight=False)


def _show_variant(console: Console, variant: str, found: dict[str, Any]) -> None:
    by_level = next(iter(found["lines"].values()))["by_level"]
    table = Table(box=SIMPLE_HEAD, title_justify="left", title=f"{variant}: F1 within 200 ms, by level")
    table.add_column("")
    for name in ("truth", "found", "F1", "asked", "onset, 160 ms", *by_level):
        table.add_column(name, justify="right")
    for name, line in found["lines"].items():
        figures = [line["f1"], line["bound"], line["onset_f1_160_ms"], *line["by_level"].values()]
        short = line["bound"] is not None and (line["f1"] or 0) < line["bound"]
        shown = ["-" if figure is None else f"{figure:.3f}" for figure in figures]
        table.add_row(name, str(line["truth"]), str(line["found"]), shown[0] + " !" * short, *shown[1:])
    console.print(table)
    offsets = found["floor_transfer_offsets"]
    told = [
        f"{name} median {offsets[name]['median_ms']} ms, quartiles {offsets[name]['quartiles_ms']}"
        for name in ("truth", "found")
    ]
    console.print(
        f"floor transfer offsets: {'; '.join(told)}; Wasserstein-1 {offsets['wasserstein_1_ms']} ms", highlight=False
    )
    worth = found["confidence"]
    table = Table(
        box=SIMPLE_HEAD, title_justify="left",
        title=f"{variant}: what confidence is worth; mean error {worth['error']}, of the proposed "
        f"{worth['proposed_error']}, both on the other half of the sessions",
    )  # fmt: skip
    for name in ("kind", "label"):
        table.add_column(name)
    for name in ("confidence", "found", "precision", "proposed"):
        table.add_column(name, justify="right")
    for cell in worth["cells"]:
        table.add_row(
            cell["kind"], cell["label"], f"{cell['confidence']:.2f}", str(cell["found"]), f"{cell['precision']:.3f}",
            f"{cell['proposed']:.2f}",
        )  # fmt: skip
    console.print(table)
    for one in found["examples"]:
        where = f"{one['session']} {one['participant']} {one['start_ms']}-{one['end_ms']} ms"
        console.print(f"{one['what']}: {one['kind']} in {where} {one['about'][:60]}".rstrip(), highlight=False)
