"""Compare the speed of ingest with ffmpeg alone: `python -m tools.bench ingest`.

The peer only converts: one ffmpeg process per participant decodes the source once and writes video and audio as ingest
does; as many run at a time as there are workers. Both take turns, `--rounds` times. Ingest also probes, hashes, checks
lengths, measures bleed and writes tables. Rates are those of the steady state: the slope of finished sessions over
time. Whole times, which include the start of the stage, are printed too. The first round warms up and measures memory,
because measuring memory would slow the timed rounds.
"""

import argparse
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import psutil
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.engine.ray import ray_session
from pipelines.engine.run import RunParams
from pipelines.ingest import stage as ingest
from pipelines.ingest.stage import IngestParams
from pipelines.media.ffmpeg import ffmpeg_path
from tools.bench.steady import keys_per_s, stage_keys_per_s
from wanstreamer.clock import FRAME_RATE_HZ, FRAMES_PER_UNIT
from wanstreamer.errors import InputError

REPEAT_S = 60
MEMORY_EVERY_S = 0.5


def make_recordings(folder: Path, *, sessions: int, seconds: int, size: str) -> None:
    """Videos of a moving test pattern with noise (flat ones decode too fast) and a tone, a file per participant.

    After its first minute a recording repeats itself.
    """
    for number in range(sessions):
        home = folder / f"s{number:02d}"
        home.mkdir(parents=True)
        for place, participant in enumerate("ab"):
            minute = home / f".{participant}.mp4"
            length = min(seconds, REPEAT_S)
            command = [
                ffmpeg_path(), "-v", "error", "-y", "-f", "lavfi", "-i", f"testsrc2=s={size}:r=30:d={length}",
                "-f", "lavfi", "-i", f"sine=f={200 + 17 * number + 90 * place}:r=48000:d={length}",
                "-vf", "noise=alls=12:allf=t", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "26", "-g", "60",
                "-c:a", "aac", "-shortest", str(minute),
            ]  # fmt: skip
            subprocess.run(command, check=True)
            command = [
                ffmpeg_path(), "-v", "error", "-y", "-stream_loop", str(-(-seconds // REPEAT_S) - 1), "-i", str(minute),
                "-c", "copy", "-t", str(seconds), str(home / f"{participant}.mp4"),
            ]  # fmt: skip
            subprocess.run(command, check=True)
            minute.unlink()


@contextmanager
def peak_memory(*named: str) -> Iterator[list[float]]:
    """Yields a list with one number. At the end it is the highest memory, in MB, of any process whose command line
    contains one of `named`, together with its children; shared pages are not counted."""
    peak, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(MEMORY_EVERY_S):
            for process in psutil.process_iter(["cmdline"]):
                command = " ".join(process.info["cmdline"] or ())
                if not any(name in command for name in named):
                    continue
                try:
                    family = [process, *process.children(recursive=True)]
                    peak[0] = max(peak[0], sum(member.memory_full_info().uss for member in family) / 1e6)
                except psutil.Error:
                    continue

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def run_ours(source: Path, scratch: Path, workers: int, params: IngestParams) -> tuple[float, float]:
    """Finished sessions per second, and the whole time."""
    data = scratch / "data"
    began_s = time.monotonic()
    ingest.run(data, params, RunParams(workers=workers))
    wall_s = time.monotonic() - began_s
    return stage_keys_per_s(data, "ingest"), wall_s


def run_ffmpeg(source: Path, scratch: Path, workers: int, params: IngestParams) -> tuple[float, float]:
    """As `run_ours`, with ffmpeg processes only."""
    ends: list[float] = []
    began_s = time.monotonic()

    def session(home: Path) -> None:
        for path in sorted(home.glob("*.mp4")):
            target = scratch / home.name / path.stem
            target.parent.mkdir(parents=True, exist_ok=True)
            picture = (
                f"fps={FRAME_RATE_HZ}:start_time=0:round=near,scale={params.width}:{params.height}:"
                f"force_original_aspect_ratio=increase:flags=area,crop={params.width}:{params.height},setsar=1"
            )
            command = [
                ffmpeg_path(), "-v", "error", "-y", "-nostdin", "-threads", "1", "-i", str(path),
                "-map", "0:v:0", "-vf", picture, "-c:v", "libx264", "-preset", "veryfast", "-qp", str(params.qp),
                "-pix_fmt", "yuv420p", "-g", str(FRAMES_PER_UNIT), "-bf", "0", "-sc_threshold", "0", "-threads", "1",
                "-filter_threads", "1", f"{target}.mp4", "-map", "0:a:0", "-ac", "1", "-ar", str(params.rate_hz),
                f"{target}.wav",
            ]  # fmt: skip
            subprocess.run(command, check=True)
        ends.append(time.monotonic() - began_s)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(session, sorted(path for path in source.iterdir() if path.is_dir())))
    return keys_per_s(ends), time.monotonic() - began_s


def compare(
    source: Path, *, workers: int, rounds: int, params: IngestParams, hours: float, on_round: Callable[[int], None]
) -> dict[str, Any]:
    """Measure both in turns; returns the figures that `--json` prints."""
    steady: dict[str, list[float]] = {"ours": [], "ffmpeg": []}
    walls: dict[str, list[float]] = {"ours": [], "ffmpeg": []}
    peaks = {"ours": 0.0, "ffmpeg": 0.0}
    process = {"ours": ("ray::Map(", "multiprocessing.spawn import spawn_main"), "ffmpeg": (ffmpeg_path(),)}
    with ray_session(workers):
        for number in range(rounds + 1):
            on_round(number)
            for name, work in (("ours", run_ours), ("ffmpeg", run_ffmpeg))[:: 1 if number % 2 else -1]:
                scratch = Path(tempfile.mkdtemp(prefix="bench-ingest-"))
                watch = nullcontext([0.0]) if number else peak_memory(*process[name])
                try:
                    with watch as peak_mb:
                        rate, wall_s = work(source, scratch, workers, params)
                finally:
                    shutil.rmtree(scratch)
                if number:
                    steady[name].append(rate)
                    walls[name].append(wall_s)
                else:
                    peaks[name] = peak_mb[0]
    ratios = [theirs / ours for ours, theirs in zip(steady["ours"], steady["ffmpeg"], strict=True)]
    sessions = len([path for path in source.iterdir() if path.is_dir()])
    rate = statistics.median(steady["ours"]) * hours / sessions * 3600
    return {
        "workers": workers,
        "rounds": rounds,
        "sessions": sessions,
        "video_hours": round(hours, 3),
        "ratio_to_ffmpeg": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "peak_worker_mb": {name: round(peak_mb) for name, peak_mb in peaks.items()},
        "wall_s": {name: [round(wall_s, 1) for wall_s in values] for name, values in walls.items()},
        "video_hours_per_hour": round(rate, 1),
        "video_hours_per_core_hour": round(rate / workers, 1),
    }


def add(commands: Any) -> None:
    command = commands.add_parser("ingest", help="ingest compared with ffmpeg alone", description=__doc__)
    command.add_argument("--sessions", type=int, default=16, help="recordings of two people (default: 16)")
    command.add_argument("--seconds", type=int, default=60, help="length of each recording (default: 60)")
    command.add_argument("--size", default="640x360", help="size of the video in pixels (default: 640x360)")
    command.add_argument("--rounds", type=int, default=5, help="rounds; both take turns in each (default: 5)")
    command.add_argument("--workers", type=int, default=2, help="parallel sessions (default: 2)")
    command.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, Any]:
    if args.sessions < 2 * args.workers or min(args.seconds, args.rounds, args.workers) < 1:
        raise InputError(
            "bench ingest: expected at least two sessions per worker; --seconds, --rounds and --workers of 1 or more"
        )
    folder = Path(tempfile.mkdtemp(prefix="bench-recordings-"))
    console = Console(stderr=True)
    try:
        hours = 2 * args.sessions * args.seconds / 3600
        console.print(f"making {60 * hours:.0f} minutes of video at {args.size}", highlight=False)
        make_recordings(folder, sessions=args.sessions, seconds=args.seconds, size=args.size)
        params = IngestParams(source=str(folder))
        return compare(
            folder, workers=args.workers, rounds=args.rounds, params=params, hours=hours,
            on_round=lambda number: console.print(
                f"round {number} of {args.rounds}" if number else "warming up", highlight=False
            ),
        )  # fmt: skip
    finally:
        shutil.rmtree(folder)


def show(results: dict[str, Any]) -> None:
    console = Console()
    table = Table(
        box=SIMPLE_HEAD, title_justify="left",
        title=f"ingest compared with ffmpeg alone: {results['sessions']} sessions, "
        f"{60 * results['video_hours']:.0f} min of video, {results['workers']} workers",
    )  # fmt: skip
    for name in ("round", "ours", "ffmpeg", "ratio in the steady state"):
        table.add_column(name, justify="right")
    for number, (ours, theirs, ratio) in enumerate(
        zip(results["wall_s"]["ours"], results["wall_s"]["ffmpeg"], results["ratios"], strict=True), start=1
    ):
        table.add_row(str(number), f"{ours:.1f} s", f"{theirs:.1f} s", f"{ratio:.3f}")
    console.print(table)
    console.print(
        f"median ratio {results['ratio_to_ffmpeg']:.3f}; "
        f"{results['video_hours_per_hour']:.0f} hours of video per hour, "
        f"{results['video_hours_per_core_hour']:.0f} per core; "
        f"a worker peaks at {results['peak_worker_mb']['ours']} MB with the ffmpeg it runs, ffmpeg alone at "
        f"{results['peak_worker_mb']['ffmpeg']} MB",
        highlight=False,
    )
