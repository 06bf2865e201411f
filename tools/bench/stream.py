"""How long one 160 ms unit takes: `python -m tools.bench stream` prints milliseconds per part at growing history.

Plays a recorded user (random media where there is none) into a live session with the trained models of a data folder
(random weights of the same size where there are none) and times every unit, as fast as the machine goes. `unit` is from
a user's unit being there to its answer decoded, `pace` from answer to answer: the two differ where units overlap, as
they do in two workers at self_lag 1, the default. `--live` gives a unit every 160 ms instead, as a user does.

`--scale small | base | large` times random weights of that size with codecs for 336x192 and 24 kHz, and needs no data.
On a GPU (`--device`; the default where there is one) two workers are two CUDA streams of this process, the trunk is
bfloat16 and the solver's passes are CUDA graphs unless `--no-graphs`; parts are then what the host waited for, units
and paces what a user waits for.

`--window-units full 375` compares full history with a window of 375 units; `--hours 1 --window-units 375` plays for
so long and says what became of memory and latency.
"""

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tools.bench import soak
from tools.bench.conversation import Conversation, Setting, handed_bytes, opened, prepare, threads
from tools.bench.overlap import Media, StallWatch, Timed, not_timed, play, shares
from wanstreamer.clock import UNIT_MS
from wanstreamer.errors import InputError
from wanstreamer.model_config import SCALES
from wanstreamer.streaming.machine import TRUNKS, Machine
from wanstreamer.streaming.session import PARTS, Session, SessionConfig
from wanstreamer.streaming.state import StreamState

HISTORY_S = (1, 10, 60, 300)
COLUMNS = (*PARTS, "unit", "pace")
FULL = "full"


def stream(data: Path, setting: Setting, *, seconds: int, windows: Sequence[int | None] = (None,)) -> dict[str, object]:
    """Time sessions; returns what `--json` prints.

    `histories` holds, per kept history (`windows`; None: all of it), `at`: per seconds p50, p95 and max in ms of each
    part, of the whole unit and of the pace, over the setting's `units_per_point` that follow; with two workers also the
    shares of time either and both of them work, and p50 and p95 of the hand-over. `stalls` are times the machine ran
    nothing of ours; the other figures have them in. `p95_ms_at_60s` is the unit's, of the first kept history. Several
    kept histories take turns.
    """
    if seconds < 1:
        raise InputError(f"--seconds {seconds}: expected 1 or more")
    points_s = sorted({point for point in HISTORY_S if point < seconds} | {seconds})
    num_units = units_in(points_s[-1]) + setting.units_per_point
    config = SessionConfig(steps=setting.solver_steps, max_units=num_units)
    with threads(setting.threads), ExitStack() as held:
        told = [prepare(data, setting, replace(config, window_units=window_units)) for window_units in windows]
        running = [_start(each, setting, num_units, held) for each in told]
        watch = held.enter_context(StallWatch())
        alone = setting.live or len(running) == 1
        for units in _turns(points_s, num_units, setting.units_per_point, alone=alone):
            for conversation in running:
                conversation.play(units)
    histories = {
        str(window_units or FULL): _figures_of(conversation, watch, setting, points_s)
        for window_units, conversation in zip(windows, running, strict=True)
    }
    first = next(iter(histories.values()))
    return {
        **_machine(setting),
        "scale": setting.scale,
        "parameters": sum(p.numel() for p in told[0].session.model.parameters()),
        "workers": setting.workers,
        "threads": setting.threads,
        "live": setting.live,
        "solver_steps": setting.solver_steps,
        "self_lag": told[0].session.model.config.self_lag,
        "trained_at_self_lag": told[0].trained_at_self_lag,
        "trained": told[0].trained_at_self_lag is not None,
        "recorded_media": told[0].recorded,
        "units": num_units,
        "stalls": watch.figures(np.any([watch.hit(r.timed.heard_s, r.timed.answered_s) for r in running], axis=0)),
        "histories": histories,
        **{f"p95_ms_at_{point}s": first["at"][str(point)]["unit"]["p95_ms"] for point in points_s},
    }


def _machine(setting: Setting) -> dict[str, Any]:
    """What it ran on, and how."""
    machine = setting.machine
    cuda = machine.device.startswith("cuda")
    name = torch.cuda.get_device_name(machine.device) if cuda else platform.processor() or platform.machine()
    return {"machine": name, "torch": torch.__version__, **asdict(machine)}


@dataclass(frozen=True, kw_only=True)
class Running:
    """A conversation under way: it is played a stretch of units at a time."""

    play: Callable[[range], None]
    timed: Timed
    handed_bytes: int | None


def _turns(points_s: Sequence[int], num_units: int, units_per_point: int, *, alone: bool) -> list[range]:
    """Stretches of units that conversations play in turns, so that the machine's moods meet all of them alike."""
    if alone:
        return [range(num_units)]
    starts = {start for point in points_s for start in (units_in(point), units_in(point) + units_per_point)}
    edges = sorted(starts | set(range(0, num_units, units_per_point)) | {num_units})
    return [range(start, stop) for start, stop in pairwise(edges)]


def _start(told: Conversation, setting: Setting, num_units: int, held: ExitStack) -> Running:
    session, media, timed = told.session, told.media, not_timed(num_units)
    plain = setting.machine.passes == "plain"  # others are a pipeline's
    if setting.workers == 1 and session.model.config.self_lag == 0 and not setting.live and plain:
        _in_sequence(session, session.start(seed=0), media, not_timed(3), range(3))  # kernels are loaded and planned
        state = session.start(seed=0)
        return Running(play=partial(_in_sequence, session, state, media, timed), timed=timed, handed_bytes=None)
    pipeline = held.enter_context(opened(session, setting.workers))
    return Running(
        play=partial(play, pipeline, media, timed, live=setting.live),
        timed=timed,
        handed_bytes=handed_bytes(pipeline),
    )


def _in_sequence(session: Session, state: StreamState, media: list[Media], timed: Timed, units: range) -> None:
    timed.follows[units.start] = False
    for unit in units:
        timed.heard_s[unit] = time.perf_counter()
        said, state = session.step(state, *media[unit % len(media)])
        timed.answered_s[unit] = time.perf_counter()
        timed.part_ms[unit] = [said.part_ms[part] for part in PARTS]


def _figures_of(running: Running, watch: StallWatch, setting: Setting, points_s: Sequence[int]) -> dict[str, Any]:
    timed = running.timed
    times_ms = dict(zip(PARTS, timed.part_ms.T, strict=True)) | {"unit": timed.latency_ms, "pace": timed.pace_ms}
    stalled = watch.hit(timed.heard_s, timed.answered_s)
    at: dict[str, dict[str, Any]] = {}
    for point in points_s:
        units = slice(units_in(point), units_in(point) + setting.units_per_point)
        row: dict[str, Any] = {name: figures(times_ms[name][units]) for name in COLUMNS}
        without = times_ms["unit"][units][~stalled[units]]
        row["unit_without_stalls"] = figures(without) if len(without) else None
        if setting.workers == 2:
            handover_us = np.percentile(timed.handover_us[units], [50, 95]).round(1).tolist()
            row["share_at_work"] = shares(timed, units.start, units.stop)
            row["handover_us"] = dict(zip(("p50", "p95"), handover_us, strict=True))
        at[str(point)] = row
    return {
        "at": at,
        "handover_bytes": running.handed_bytes,
        "units_with_stalls": int(stalled.sum()),
        f"units_over_{UNIT_MS}_ms": int((times_ms["unit"] > UNIT_MS).sum()),
        f"paces_over_{UNIT_MS}_ms": int((times_ms["pace"] > UNIT_MS).sum()),
    }


def figures(values_ms: NDArray[np.float64]) -> dict[str, float]:
    p50, p95 = np.percentile(values_ms, [50, 95])
    return {"p50_ms": round(float(p50), 2), "p95_ms": round(float(p95), 2), "max_ms": round(float(values_ms.max()), 2)}


def units_in(seconds: float) -> int:
    return int(seconds * 1000 / UNIT_MS)


def show(found: dict[str, Any]) -> None:
    if "hours" in found:
        soak.show(found)
        return
    console = Console()
    weights = "trained weights" if found["trained"] else "random weights: nothing is trained yet"
    media = "recorded media" if found["recorded_media"] else "random media"
    console.print(
        f"ms per {UNIT_MS} ms unit, p50/p95; {found['machine']}, {found['parameters']:,} {found['trunk']} {weights}, "
        f"{found['passes']}{' compiled' if found['compile'] else ''} passes, {media}, {found['threads']} thread(s), "
        f"{found['solver_steps']} solver steps, {found['workers']} worker(s), self_lag {found['self_lag']}",
        soft_wrap=True,
    )
    table = Table(box=SIMPLE_HEAD, padding=0)
    for name in ("after", "kept", *COLUMNS, "max"):  # units kept
        table.add_column(name, justify="right", no_wrap=True)
    histories = found["histories"]
    for seconds in next(iter(histories.values()))["at"]:
        for kept, history in histories.items():
            row = history["at"][seconds]
            cells = [f"{row[name]['p50_ms']:.0f}/{row[name]['p95_ms']:.0f}" for name in COLUMNS]
            table.add_row(f"{seconds} s", kept, *cells, f"{row['unit']['max_ms']:.0f}")
    console.print(table)
    for kept, history in histories.items():
        _show_history(console, _kept(kept), history, found["units"])
    stalls = found["stalls"]
    console.print(
        f"the machine stalled {stalls['number']} times, {stalls['longest_ms']:.0f} ms at the longest, in "
        f"{stalls['units']} units; these are in the figures"
    )
    if found["trained_at_self_lag"] not in (None, found["self_lag"]):
        console.print(f"trained at self_lag {found['trained_at_self_lag']}: the times hold, what it says does not")


def _show_history(console: Console, kept: str, history: dict[str, Any], num_units: int) -> None:
    over = history[f"units_over_{UNIT_MS}_ms"]
    console.print(f"{kept}: {over} of {num_units} units took longer than {UNIT_MS} ms")
    for seconds, row in history["at"].items():
        if "share_at_work" in row:
            share, handover_us = row["share_at_work"], row["handover_us"]
            console.print(
                f"{kept}, after {seconds} s: thinker at work {share['thinker']:.0%}, performer "
                f"{share['performer']:.0%}, both {share['both']:.0%} of the time; hand-over of "
                f"{history['handover_bytes']:,} bytes "
                f"{handover_us['p50']:.0f}/{handover_us['p95']:.0f} us"
            )


def _kept(kept: str) -> str:
    return "full history" if kept == FULL else f"{kept} units"


def add(commands: Any) -> None:
    command = commands.add_parser("stream", help="latency of the live session", description=__doc__)
    command.add_argument("--data", type=Path, help="data folder (default: data, which need not be there)")
    command.add_argument("--seconds", type=int, default=60, help="longest history (default: 60)")
    command.add_argument("--hours", type=float, help="instead: play for so long, with one --window-units")
    command.add_argument(
        "--window-units",
        nargs="+",
        default=[FULL],
        metavar="N",
        help="units of history kept, one or several to compare; 'full': all (default: full)",
    )
    command.add_argument("--threads", type=int, default=1, help="torch threads (default: 1)")
    command.add_argument("--steps", type=int, help="solver steps (default: 4 at self_lag 1, else the session's)")
    command.add_argument(
        "--workers", type=int, choices=(1, 2), default=2, help="processes: 2 has the performer apart (default: 2)"
    )
    command.add_argument(
        "--lag",
        type=int,
        choices=(0, 1),
        help="self_lag: 1 overlaps units (default: 1 with two workers, else the model's)",
    )
    command.add_argument("--scale", choices=SCALES, help="random weights of this size (default: what --data holds)")
    command.add_argument("--device", help="cpu or cuda (default: cuda where there is a GPU)")
    command.add_argument(
        "--trunk", choices=TRUNKS, help="type of its weights (default: bfloat16 on a GPU, else float32)"
    )
    command.add_argument(
        "--graphs",
        action=argparse.BooleanOptionalAction,
        help="solver passes in fixed shapes, on a GPU as CUDA graphs (default: on a GPU)",
    )
    command.add_argument("--compile", action="store_true", help="compile the blocks of passes in fixed shapes")
    command.add_argument(
        "--units-per-point", type=int, default=Setting.units_per_point, help="timed per length of history (default: 50)"
    )
    command.add_argument("--live", action="store_true", help=f"a user's unit every {UNIT_MS} ms, not at full speed")
    command.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, object]:
    data = named_folder(args.data)
    setting = Setting(
        workers=args.workers,
        threads=args.threads,
        steps=args.steps,
        lag=args.lag,
        live=args.live,
        scale=args.scale,
        units_per_point=args.units_per_point,
        machine=_chosen(args),
    )
    windows = [_window_units(given) for given in args.window_units]
    if args.hours is None:
        return stream(data, setting, seconds=args.seconds, windows=windows)
    if len(windows) != 1 or windows[0] is None:
        raise InputError("--hours: full history does not fit for so long; give one --window-units N")
    return soak.soak(data, setting, hours=args.hours, window_units=windows[0])


def named_folder(folder: Path | None) -> Path:
    """The data folder: only the default may be missing, and then weights and media are random, which `show` says."""
    if folder is not None and not folder.is_dir():
        raise InputError(f"--data {folder}: no such data folder; leave --data out for random weights")
    return folder or Path("data")


def _chosen(args: argparse.Namespace) -> Machine:
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    cuda = device.startswith("cuda")
    fixed = "graphs" if cuda else "fixed"
    return Machine(
        device=device,
        trunk=args.trunk or ("bfloat16" if cuda else "float32"),
        passes=fixed if (cuda if args.graphs is None else args.graphs) else "plain",
        compile=args.compile,
    )


def _window_units(given: str) -> int | None:
    if given != FULL and not given.isdigit():
        raise InputError(f"--window-units {given}: expected a number of units, or {FULL}")
    return None if given == FULL else int(given)
