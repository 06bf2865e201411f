"""How well sessions are distributed over workers: `python -m tools.bench workers`.

A stage runs whose work sleeps: for a lognormal time, by default of 10 s in the median, as a session takes. So a machine
with few cores can announce many workers, and what is missing to an efficiency of 1 is what the engine needs: to hand
out sessions, to write and collect their parts, and whatever waits in between.

Efficiency is the time in which workers slept, divided by workers x time, in the steady state: from when every worker
has begun its first session until the last session begins. The start of Ray and of its processes is before it, and the
end of the run, where workers wait for the last session, is after it.

With `--nodes`, the workers are divided among so many Ray nodes of this machine, parts are copied to a store, and every
file call of the driver and of the workers takes `--delay-ms` longer, as on a network. The store is a folder, so its
calls are file calls too.
"""

import argparse
import builtins
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.engine.jobs import Job, Result, RunParams
from pipelines.engine.run import run_keys
from tools.bench.local_cluster import ray_nodes
from wanstreamer.errors import InputError

SIGMA = 0.5  # of the logarithm of the time: one session in 40 takes 2.7 times the median, or more
NAP_S = 5.0  # a sleep is no progress to the watchdog, so the work wakes up now and then
CALLS = (
    "chmod", "close", "fsync", "fstat", "ftruncate", "link", "listdir", "lstat", "mkdir", "open", "readlink", "remove",
    "rename", "replace", "rmdir", "scandir", "stat", "symlink", "truncate", "unlink", "utime",
)  # fmt: skip
BULK_BYTES = 10_000


class Sleeper:
    """Sleeps as long as the job tells, and logs when; its result is a file."""

    def __init__(self, log: Path, delay_s: float) -> None:
        self.log, self.delay_s = log, delay_s

    def __call__(self, job: Job, data: Path, scratch: Path) -> Result:
        if self.delay_s:
            slow_files(self.delay_s)
        began_s = time.time()
        left_s = float(job.spec["sleep_s"])
        while left_s > 0:
            time.sleep(min(left_s, NAP_S))
            left_s -= NAP_S
        ended_s = time.time()
        with (self.log / f"{os.uname().nodename}-{os.getpid()}").open("a") as file:
            file.write(f"{began_s!r} {ended_s!r}\n")
        (scratch / "bulk").write_bytes(bytes(BULK_BYTES))
        return Result(files={f"bulk/{job.key}.bin": scratch / "bulk"})


def slow_files(delay_s: float) -> None:
    """From now on, every file call of Python in this process takes so much longer."""
    if hasattr(os.stat, "delay_s"):
        return

    def slowed(call: Callable[..., Any]) -> Callable[..., Any]:
        def slow(*args: Any, **options: Any) -> Any:
            time.sleep(delay_s)
            return call(*args, **options)

        slow.delay_s = delay_s  # type: ignore[attr-defined]
        return slow

    for module, name in [*((os, name) for name in CALLS), (builtins, "open"), (io, "open")]:
        setattr(module, name, slowed(getattr(module, name)))


def measure(workers: int, nodes: int, **options: Any) -> dict[str, Any]:
    """`efficiency` in a process of its own, which has no Ray yet, and whose files may be slow."""
    command = [sys.executable, "-c", "from tools.bench.workers import measure_here; measure_here()"]
    with ray_nodes([workers // nodes] * nodes) if nodes else nullcontext() as address:
        variables = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        done = subprocess.run(
            [*command, json.dumps({"workers": workers, **options})], stdout=subprocess.PIPE, text=True, check=True,
            env=variables | ({"RAY_ADDRESS": address} if address else {}),
        )  # fmt: skip
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure_here() -> None:
    print(json.dumps(efficiency(**json.loads(sys.argv[1]))))


def efficiency(
    workers: int, *, sessions_each: int, median_s: float, builds: bool, seed: int, delay_s: float
) -> dict[str, Any]:
    """Run the stage, and return its figures. With a delay there is a store."""
    rng = random.Random(seed)
    jobs = [
        Job(key=f"k{number:05d}", spec={"sleep_s": median_s * rng.lognormvariate(0, SIGMA)})
        for number in range(workers * sessions_each)
    ]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        log = home / "log"
        log.mkdir()
        if delay_s:
            slow_files(delay_s)
        setup: dict[str, Any] = {"log": log, "delay_s": delay_s}
        start_s, cpu_s = time.time(), time.process_time()
        run_keys(
            home / "data", "bench", jobs, Sleeper if builds else Sleeper(**setup), params={}, tables=(),
            how=RunParams(workers=workers, store=str(home / "store") if delay_s else ""), code=(),
            setup=setup if builds else None,
        )  # fmt: skip
        cpu_s = time.process_time() - cpu_s
        times = [[tuple(map(float, line.split())) for line in path.read_text().splitlines()] for path in log.iterdir()]
    return {
        "workers": workers, "sessions": len(jobs), **share_asleep(times, workers, start_s),
        "driver_ms_per_session": round(1000 * cpu_s / len(jobs), 2),
    }  # fmt: skip


def share_asleep(times: list[list[tuple[float, ...]]], workers: int, start_s: float) -> dict[str, float]:
    """The figures of processes that slept at these times (from, to), and that the run was started at `start_s`.

    >>> share_asleep([[(1.0, 3.0), (3.0, 5.0)], [(2.0, 4.0), (4.5, 6.0)]], workers=2, start_s=0.0)
    {'start_s': 2.0, 'steady_s': 2.5, 'efficiency': 0.9}
    """
    begins = sorted(process[0][0] for process in times)
    if len(begins) < workers:
        raise InputError(f"bench: {len(begins)} of {workers} workers had work; expected more --sessions-each")
    steady_s = begins[workers - 1]
    last_s = max(began_s for process in times for began_s, _ in process)
    if last_s <= steady_s:
        raise InputError("bench: the last session began before the last worker; expected more --sessions-each")
    slept_s = sum(
        max(0.0, min(ended_s, last_s) - max(began_s, steady_s)) for process in times for began_s, ended_s in process
    )
    return {
        "start_s": round(steady_s - start_s, 1),
        "steady_s": round(last_s - steady_s, 1),
        "efficiency": round(slept_s / (workers * (last_s - steady_s)), 4),
    }


def run(args: argparse.Namespace) -> dict[str, Any]:
    for name in ("rounds", "sessions_each"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} {getattr(args, name)}: expected 1 or more")
    results: dict[str, Any] = {
        "median_s": args.median_s, "sigma": SIGMA, "cores": os.cpu_count(), "num_nodes": args.nodes,
        "delay_ms": args.delay_ms,
    }  # fmt: skip
    console = Console(stderr=True)
    for name, nodes in (("one_machine", 0), ("nodes", args.nodes)):
        counts = [workers for workers in args.workers if workers % max(nodes, 1) == 0]
        if (nodes == 0 and args.only_nodes) or (name == "nodes" and not nodes):
            continue
        results[name] = []
        for workers in counts:
            rounds = []
            for number in range(args.rounds):
                console.print(f"{workers} workers, {name}, round {number + 1}", highlight=False)
                rounds.append(
                    measure(
                        workers, nodes, sessions_each=args.sessions_each, median_s=args.median_s, builds=args.builds,
                        seed=number, delay_s=args.delay_ms / 1000 if nodes else 0.0,
                    )
                )  # fmt: skip
                console.print(rounds[-1], highlight=False)
            results[name].append(over_rounds(rounds))
    return results


def over_rounds(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure, and the efficiencies of all rounds."""
    figures = {name: round(statistics.median(each[name] for each in rounds), 4) for name in rounds[0]}
    return figures | {"efficiencies": [each["efficiency"] for each in rounds]}


def show(results: dict[str, Any]) -> None:
    titles = {
        "one_machine": f"Work that sleeps {results['median_s']:g} s in the median, on one machine",
        "nodes": f"The same on {results['num_nodes']} nodes, with a store and {results['delay_ms']:g} ms more for each "
        "file call",
    }
    for name, title in titles.items():
        if rows := results.get(name):
            table = Table(*rows[0], box=SIMPLE_HEAD, title=title, title_justify="left")
            for row in rows:
                table.add_row(*map(str, row.values()))
            Console().print(table)


def add(commands: Any) -> None:
    parser = commands.add_parser("workers", help="how well sessions are distributed over workers", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--workers", type=int, nargs="+", default=[4, 8, 16, 32], help="announced workers")
    parser.add_argument("--median-s", type=float, default=10.0, help="how long a session sleeps, in the median")
    parser.add_argument("--sessions-each", type=int, default=10, help="sessions for each worker")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--builds", action="store_true", help="workers that hold weights: actors instead of tasks")
    parser.add_argument("--nodes", type=int, default=4, help="Ray nodes on this machine; 0: none")
    parser.add_argument("--only-nodes", action="store_true", help="leave out the runs on one machine")
    parser.add_argument("--delay-ms", type=float, default=1.0, help="added to each file call, with --nodes")
    parser.set_defaults(run=run, show=show)
