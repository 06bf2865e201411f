"""Compare annotate with the truth of new sample sessions: `python -m tools.bench annotate`.

Sessions are made from seeds that nothing was tuned on, ingested, and annotated twice: with their word files and
without. The figures are F1 of one-to-one matches per participant, by kind and by level of noise and bleed: onsets
within 200 ms (for turns, gaps and pauses the ends too), and onsets alone within 160 ms, one unit. The command also
reports floor transfer offsets, the precision behind each `confidence`, and the time it takes. `--worst N` prints
examples of missed and of wrongly found annotations.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.annotate import stage as annotate
from pipelines.annotate.stage import AnnotateParams
from pipelines.engine.ray import ray_session
from pipelines.engine.run import RunParams
from pipelines.engine.tables import read_rows, rows_by_session, to_table, write_table
from pipelines.ingest import stage as ingest
from pipelines.ingest.stage import IngestParams
from pipelines.sample import stage as corpus
from pipelines.sample.stage import SampleParams
from tools.bench.comparison import compare
from tools.bench.steady import stage_keys_per_s
from wanstreamer.clock import Span
from wanstreamer.errors import InputError
from wanstreamer.turns import Word, annotate_session

RULES_S = 1.0  # the rules run again and again for at least this long
VARIANTS = ("with words", "without words")


def prepare(folder: Path, seed: int, *, sessions: int, seconds: int, workers: int) -> Path:
    """Make, ingest and annotate one corpus under `folder`, unless it exists; returns its data folder."""
    data = folder / f"seed-{seed}-{sessions}x{seconds}"
    sample = SampleParams(sessions=sessions, seconds=seconds, seed=seed, pictures=False)
    if not (data / "truth").is_dir():
        data.mkdir(parents=True, exist_ok=True)
        corpus.run(data, sample, RunParams(workers=workers))
    ingest.run(data, IngestParams(source=str(data / "sources")), RunParams(workers=workers))
    mute = data / VARIANTS[1]
    for name in ("tracks", "truth"):
        mute.mkdir(exist_ok=True)
        if not (mute / name).is_symlink():
            (mute / name).symlink_to(data.resolve() / name)
    write_table(mute, "sessions", to_table("sessions", _bare(read_rows(data, "sessions"))))
    tracks = [row | {"words_sha256": None} for row in _bare(read_rows(data, "tracks"))]
    write_table(mute, "tracks", to_table("tracks", tracks))
    for home in (data, mute):
        annotate.run(home, AnnotateParams(), RunParams(workers=workers))
    return data


def _bare(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "schema_version"} for row in rows]


def rules_speed(folders: Sequence[Path]) -> float:
    """How many times faster than real time the rules run on one core, with words."""
    jobs, seconds = [], 0.0
    for data in folders:
        speech, words = (rows_by_session(read_rows(data, name)) for name in ("speech", "words"))
        for session in read_rows(data, "sessions"):
            spoken: dict[str, list[Span]] = {"a": [], "b": []}
            spoken_words: dict[str, list[Word]] = {"a": [], "b": []}
            for row in speech.get(session["session_id"], ()):
                spoken[row["participant"]].append(Span(row["start_ms"], row["end_ms"]))
            for row in words.get(session["session_id"], ()):
                spoken_words[row["participant"]].append(
                    Word(start_ms=row["start_ms"], end_ms=row["end_ms"], text=row["word"])
                )  # fmt: skip
            jobs.append((spoken, spoken_words))
            seconds += session["duration_ms"] / 1000
    rates: list[float] = []
    began_s = time.perf_counter()
    while not rates or time.perf_counter() - began_s < RULES_S:
        once_s = time.perf_counter()
        for spoken, spoken_words in jobs:
            annotate_session(spoken, spoken_words, AnnotateParams())
        rates.append(seconds / (time.perf_counter() - once_s))
    return round(statistics.median(rates))


def stage_speed(data: Path, workers: int) -> float | None:
    """How many times faster than real time one core annotates; None if there are too few sessions to say."""
    durations_ms = [row["duration_ms"] for row in read_rows(data, "sessions")]
    if len(durations_ms) < max(3, 2 * workers):
        return None
    return round(stage_keys_per_s(data, "annotate") * statistics.mean(durations_ms) / 1000 / workers, 1)


def measure(
    folder: Path, seeds: Sequence[int], *, sessions: int, seconds: int, workers: int, worst: int,
    on_seed: Callable[[int], None],
) -> dict[str, Any]:  # fmt: skip
    """Make the corpora and compare; returns the figures that `--json` prints."""
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
        VARIANTS[0]: compare({data.name: data for data in folders}, bounds=True, worst=worst),
        # Without words much cannot be decided: these figures are reported, but have no bounds.
        VARIANTS[1]: compare({data.name: data / VARIANTS[1] for data in folders}, bounds=False, worst=worst),
        "times_real_time": {
            "rules, one core": rules_speed(folders),
            "stage, per core": round(statistics.median(speeds), 1) if speeds else None,
        },
    }


def add(commands: Any) -> None:
    command = commands.add_parser(
        "annotate", help="annotations compared with the truth of new sessions", description=__doc__
    )
    command.add_argument(
        "--seeds", type=int, nargs="+", default=[101, 102], help="seeds of the corpora (default: 101 102)"
    )
    command.add_argument("--sessions", type=int, default=40, help="conversations per seed (default: 40)")
    command.add_argument("--seconds", type=int, default=60, help="length of each conversation (default: 60)")
    command.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="parallel sessions (default: one per core)"
    )
    command.add_argument("--worst", type=int, default=0, metavar="N", help="print N mistakes of each kind (default: 0)")
    command.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep recordings and tables in DIR, and use them if they exist"
    )
    command.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, Any]:
    if min(args.sessions, args.workers) < 1 or args.worst < 0:
        raise InputError("bench annotate: expected --sessions and --workers of 1 or more, --worst of 0 or more")
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


def show(results: dict[str, Any]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(
        f"{results['sessions']} conversations, {results['minutes']} minutes, "
        f"seeds {', '.join(map(str, results['seeds']))}",
        highlight=False,
    )
    for variant in VARIANTS:
        _show_variant(console, variant, results[variant])
    rates = [f"{name}: {rate or '-'}" for name, rate in results["times_real_time"].items()]
    console.print("times real time: " + "; ".join(rates), highlight=False)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _show_variant(console: Console, variant: str, results: dict[str, Any]) -> None:
    table = Table(box=SIMPLE_HEAD, title_justify="left", title=f"{variant}: F1 within 200 ms")
    table.add_column("")
    for name in ("truth", "found", "F1", "bound", "onset, 160 ms"):
        table.add_column(name, justify="right")
    for name, line in results["lines"].items():
        short = line["bound"] is not None and (line["f1"] or 0) < line["bound"]
        f1, *others = map(_figure, (line["f1"], line["bound"], line["onset_f1_160_ms"]))
        table.add_row(name, str(line["truth"]), str(line["found"]), f1 + " !" * short, *others)
    console.print(table)
    table = Table(box=SIMPLE_HEAD, title_justify="left", title=f"{variant}: F1 within 200 ms, by level")
    table.add_column("")
    for name in results["lines"]:
        table.add_column(name, justify="right")
    for level in next(iter(results["lines"].values()))["by_level"]:
        table.add_row(level, *(_figure(line["by_level"][level]) for line in results["lines"].values()))
    console.print(table)
    offsets = results["floor_transfer_offsets"]
    distributions = [
        f"{name} median {offsets[name]['median_ms']} ms, quartiles {offsets[name]['quartiles_ms']}"
        for name in ("truth", "found")
    ]
    console.print(
        f"floor transfer offsets: {'; '.join(distributions)}; Wasserstein-1 {offsets['wasserstein_1_ms']} ms",
        highlight=False,
    )
    worth = results["confidence"]
    table = Table(
        box=SIMPLE_HEAD, title_justify="left",
        title=f"{variant}: precision behind each confidence; mean error {worth['error']}, of the proposed values "
        f"{worth['proposed_error']}, both on the half of the sessions not used for the proposal",
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
    for example in results["examples"]:
        where = f"{example['session']} {example['participant']} {example['start_ms']}-{example['end_ms']} ms"
        console.print(
            f"{example['what']}: {example['kind']} in {where} {example['about'][:60]}".rstrip(), highlight=False
        )
