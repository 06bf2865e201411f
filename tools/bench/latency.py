"""Times live conversations unit by unit as the history grows; `tools.bench stream` prints the figures as a table."""

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

from tools.bench.conversation import Conversation, Setting, handed_bytes, opened, prepare
from tools.bench.overlap import Media, StallWatch, Timed, not_timed, play, shares
from tools.bench.resources import threads
from wanstreamer.clock import UNIT_MS
from wanstreamer.errors import InputError
from wanstreamer.streaming.agent import PARTS, Agent, AgentConfig
from wanstreamer.streaming.state import ConversationState

HISTORY_S = (1, 10, 60, 300)
COLUMNS = (*PARTS, "unit", "pace")
FULL = "full"


def stream(
    data: Path, setting: Setting, *, seconds: int, history_limits: Sequence[int | None] = (None,)
) -> dict[str, object]:
    """Time conversations; returns the figures that `--json` prints.

    `histories` has an entry per history limit (`history_limits`; None: full history). Its `at` has, per length of
    history in seconds, p50, p95 and max in ms of each part, of the whole unit and of the pace, over the next
    `units_per_point` units. With two workers it also has the shares of time that each of them works and that both work,
    and p50 and p95 of the hand-over. `stalls` are times when the machine did not run this program; the other figures
    include them. `p95_ms_at_60s` is that of the whole unit at the first history limit. Several limits take turns.
    """
    if seconds < 1:
        raise InputError(f"--seconds {seconds}: expected 1 or more")
    points_s = sorted({point for point in HISTORY_S if point < seconds} | {seconds})
    num_units = units_in(points_s[-1]) + setting.units_per_point
    config = AgentConfig(steps=setting.solver_steps, max_units=num_units)
    with threads(setting.threads), ExitStack() as stack:
        conversations = [
            prepare(data, setting, replace(config, history_units=history_units)) for history_units in history_limits
        ]
        running = [_start(each, setting, num_units, stack) for each in conversations]
        watch = stack.enter_context(StallWatch())
        alone = setting.live or len(running) == 1
        for units in _turns(points_s, num_units, setting.units_per_point, alone=alone):
            for conversation in running:
                conversation.play(units)
    histories = {
        str(history_units or FULL): _figures_of(conversation, watch, setting, points_s)
        for history_units, conversation in zip(history_limits, running, strict=True)
    }
    first = next(iter(histories.values()))
    return {
        **_machine(setting),
        "scale": setting.scale,
        "parameters": sum(p.numel() for p in conversations[0].agent.model.parameters()),
        "workers": setting.workers,
        "threads": setting.threads,
        "live": setting.live,
        "solver_steps": setting.solver_steps,
        "self_lag": conversations[0].agent.model.config.self_lag,
        "trained_at_self_lag": conversations[0].trained_at_self_lag,
        "trained": conversations[0].trained_at_self_lag is not None,
        "recorded_media": conversations[0].recorded,
        "units": num_units,
        "stalls": watch.figures(np.any([watch.hit(r.timed.heard_s, r.timed.answered_s) for r in running], axis=0)),
        "histories": histories,
        **{f"p95_ms_at_{point}s": first["at"][str(point)]["unit"]["p95_ms"] for point in points_s},
    }


def _machine(setting: Setting) -> dict[str, Any]:
    """The machine, and how the model ran on it."""
    machine = setting.machine
    cuda = machine.device.startswith("cuda")
    name = torch.cuda.get_device_name(machine.device) if cuda else platform.processor() or platform.machine()
    return {"machine": name, "torch": torch.__version__, **asdict(machine)}


@dataclass(frozen=True, kw_only=True)
class Running:
    """A running conversation; `play` plays the next units of it."""

    play: Callable[[range], None]
    timed: Timed
    handed_bytes: int | None


def _turns(points_s: Sequence[int], num_units: int, units_per_point: int, *, alone: bool) -> list[range]:
    """Ranges of units that the conversations play in turns, so that other load on the machine slows all alike."""
    if alone:
        return [range(num_units)]
    starts = {start for point in points_s for start in (units_in(point), units_in(point) + units_per_point)}
    edges = sorted(starts | set(range(0, num_units, units_per_point)) | {num_units})
    return [range(start, stop) for start, stop in pairwise(edges)]


def _start(conversation: Conversation, setting: Setting, num_units: int, stack: ExitStack) -> Running:
    agent, media, timed = conversation.agent, conversation.media, not_timed(num_units)
    plain = setting.machine.passes == "plain"  # other passes run only in a pipeline
    if setting.workers == 1 and agent.model.config.self_lag == 0 and not setting.live and plain:
        _in_sequence(agent, agent.start(seed=0), media, not_timed(3), range(3))  # loads and plans kernels
        state = agent.start(seed=0)
        return Running(play=partial(_in_sequence, agent, state, media, timed), timed=timed, handed_bytes=None)
    pipeline = stack.enter_context(opened(agent, setting.workers))
    return Running(
        play=partial(play, pipeline, media, timed, live=setting.live),
        timed=timed,
        handed_bytes=handed_bytes(pipeline),
    )


def _in_sequence(agent: Agent, state: ConversationState, media: list[Media], timed: Timed, units: range) -> None:
    timed.follows[units.start] = False
    for unit in units:
        timed.heard_s[unit] = time.perf_counter()
        answer, state = agent.step(state, *media[unit % len(media)])
        timed.answered_s[unit] = time.perf_counter()
        timed.part_ms[unit] = [answer.part_ms[part] for part in PARTS]


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
