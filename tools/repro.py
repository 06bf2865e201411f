"""Run `dvc repro` and show its progress: `make repro`, or `python -m tools.repro`.

Prints a line per stage: its number, the time so far, and the expected time for the rest, from the timings of the last
run (`data/timings`). DVC's lines about its lock file, `git add` and `dvc push` are left out. DVC's errors are printed,
and the exit code is DVC's. All stages use one Ray, if they need one.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.ray_on_demand import ray_on_demand
from wanstreamer.errors import InputError

# Time of each stage on two virtual cores; used if there is no earlier run.
TYPICAL_S = {
    "sample": 100, "people": 40, "ingest": 45, "quality": 42, "annotate": 25, "vae": 199, "encode": 52, "pack": 25,
    "duplex": 378, "evaluate": 93,
}  # fmt: skip
START_S = 6  # per stage: start of its process, imports, DVC's checksums
UNKNOWN_S = 60

ANSI = re.compile(r"\x1b\[[0-9;]*m")
RUNNING = re.compile(r"Running stage '(.+)':")
SKIPPED = re.compile(r"Stage '(.+)' (?:didn't change, skipping|is cached - skipping run.*)")
LEFT_OUT = re.compile(
    r"(Updating|Generating) lock file .*|To track the changes with git, run:|\tgit add .*|To enable auto staging, run:"
    r"|\tdvc config core\.autostage true|Use `dvc push` to .*|Data and pipelines are up to date\."
)


class Progress:
    """Converts DVC's lines to ours, and tracks the progress of the run.

    `stages`: the stages of the run. `expected_s`: the expected time of each.
    """

    def __init__(
        self, stages: Sequence[str], expected_s: Mapping[str, float], now: Callable[[], float] = time.monotonic
    ) -> None:
        self.stages, self.expected_s, self.now = stages, expected_s, now
        self.began_s = self.stage_began_s = now()
        self.seen: list[str] = []
        self.ran: list[str] = []
        self.ran_s = 0.0
        self.in_stage = False

    def lines(self, lines: Iterable[str]) -> Iterator[str]:
        """The lines to print for the output of DVC and its stages, each as soon as it is known."""
        for raw in lines:
            line = ANSI.sub("", raw.rstrip("\r\n"))
            if match := RUNNING.fullmatch(line):
                yield self._running(match[1])
            elif match := SKIPPED.fullmatch(line):
                self._end_stage()
                self.seen.append(match[1])
                yield f"{self.where}: up to date"
            elif LEFT_OUT.fullmatch(line):
                self._end_stage()
            elif line.startswith("> ") and self.in_stage or not line and not self.in_stage:
                continue  # DVC prints the command, and empty lines
            else:
                yield raw.rstrip("\r\n")

    @property
    def where(self) -> str:
        return f"[{len(self.seen)}/{max(len(self.stages), len(self.seen))}] {self.seen[-1]}" if self.seen else "[0]"

    @property
    def elapsed_s(self) -> float:
        return self.now() - self.began_s

    def _running(self, stage: str) -> str:
        self._end_stage()
        left_s = sum(self._expected(name) for name in {stage, *self.stages} - set(self.seen))
        expected_s = sum(self._expected(name) for name in self.ran)
        # A machine that was slow so far stays slow. If it was fast, some of the work may have been done before.
        pace = max(1.0, self.ran_s / expected_s) if expected_s else 1.0
        self.seen.append(stage)
        self.ran.append(stage)
        self.in_stage, self.stage_began_s = True, self.now()
        return f"{self.where}: {duration(self.elapsed_s)} so far, about {about(left_s * pace)} left"

    def _end_stage(self) -> None:
        if self.in_stage:
            self.ran_s += self.now() - self.stage_began_s
        self.in_stage = False

    def _expected(self, stage: str) -> float:
        return self.expected_s.get(stage, UNKNOWN_S)


def duration(seconds: float) -> str:
    """
    >>> duration(7.6), duration(78), duration(5580)
    ('8 s', '1 min 18 s', '1 h 33 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def about(seconds: float) -> str:
    """
    >>> about(38), about(100), about(929)
    ('40 s', '1 min 40 s', '15 min')
    """
    return f"{round(seconds / 60)} min" if 120 <= seconds < 3600 else duration(round(seconds, -1))


def stages_of(target: str, folder: Path) -> list[str]:
    """The target and all stages it needs, in the order of dvc.yaml. Raises InputError for an unknown target."""
    path = folder / "dvc.yaml"
    if not path.is_file():
        raise InputError(f"{path}: no such file; run in the project root")
    stages: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["stages"]
    params = folder / "params.yaml"
    values = yaml.safe_load(params.read_text(encoding="utf-8")) if params.is_file() else {}
    if target not in stages:
        raise InputError(f"{target}: no such stage; the stages are {', '.join(stages)}")

    def paths(stage: str, kind: str) -> set[str]:
        entries = [next(iter(entry)) if isinstance(entry, dict) else entry for entry in stages[stage].get(kind, [])]
        return {re.sub(r"\$\{(\w+)\.(\w+)\}", lambda m: str(values[m[1]][m[2]]), str(entry)) for entry in entries}

    makers = {path: stage for stage in stages for kind in ("outs", "metrics") for path in paths(stage, kind)}
    needed, ahead = set(), [target]
    while ahead:
        stage = ahead.pop()
        if stage not in needed:
            needed.add(stage)
            ahead += [makers[path] for path in paths(stage, "deps") if path in makers]
    return [stage for stage in stages if stage in needed]


def expected_times(stages: Sequence[str], data: Path) -> dict[str, float]:
    """Expected seconds of each stage: those of the last run in this folder, or else typical ones."""
    expected = {}
    for stage in stages:
        path = data / "timings" / f"{stage}.json"
        known = json.loads(path.read_text()) if path.is_file() else {}
        expected[stage] = START_S + known.get("wall_s", TYPICAL_S.get(stage, UNKNOWN_S))
    return expected


def reproduce(target: str, options: Sequence[str], variables: Mapping[str, str]) -> int:
    """Run DVC and print its progress; returns its exit code."""
    stages = stages_of(target, Path())
    progress = Progress(stages, expected_times(stages, Path("data")))
    if not shutil.which("dvc"):
        raise InputError("dvc: not found; run `make setup`, and activate .venv")
    dvc: subprocess.Popen[str] | None = None
    interrupted = False

    def wait_for_it(number: int, frame: object) -> None:
        nonlocal interrupted
        interrupted = True
        if number == signal.SIGTERM and dvc:  # Ctrl-C in a terminal reaches DVC directly
            dvc.terminate()

    before = {number: signal.signal(number, wait_for_it) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        dvc = subprocess.Popen(
            ["dvc", "repro", target, *options],
            stdout=subprocess.PIPE, text=True, errors="replace", bufsize=1, env={**os.environ, **variables},
        )  # fmt: skip
        if interrupted:  # before it could reach DVC
            dvc.terminate()
        assert dvc.stdout is not None
        for line in progress.lines(dvc.stdout):
            print(line, flush=True)
        code = dvc.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    took = duration(progress.elapsed_s)
    if code:
        happened = "stopped" if interrupted else "failed"
        print(
            f"repro: {happened} after {took} in {progress.where}; finished work is kept, and "
            "the same command continues from there",
            file=sys.stderr,
        )
    elif progress.ran:
        print(f"repro: {len(progress.ran)} of {len(progress.seen)} stages were out of date; done in {took}")
    else:
        print(f"repro: everything is up to date ({took})")
    return 128 - code if code < 0 else code


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.repro",
        description=__doc__,
        epilog="Other options, such as --force, are passed to `dvc repro`.",
    )
    parser.add_argument(
        "target", nargs="?", default="evaluate", help="stage to run, with all stages that it needs (default: evaluate)"
    )
    args, options = parser.parse_known_args(arguments)
    with exit_on_input_error(), ray_on_demand(os.cpu_count() or 1) as variables:
        code = reproduce(args.target, options, variables)
    sys.exit(code)


if __name__ == "__main__":
    main()
