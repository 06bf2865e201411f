"""Hours of one conversation with a history limit: memory of both processes, latency at both ends, losses."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console

from pipelines.engine.progress import progress
from tools.bench.conversation import Setting, opened, prepare, threads
from tools.bench.overlap import StallWatch, not_timed, play
from wanstreamer.clock import UNIT_MS
from wanstreamer.errors import InputError
from wanstreamer.streaming.agent import AgentConfig
from wanstreamer.streaming.workers import PerformerProcess

TEN_MINUTES = 10 * 60 * 1000 // UNIT_MS  # units
SAMPLES = 20  # of memory, evenly over the conversation


def soak(data: Path, setting: Setting, *, hours: float, history_units: int) -> dict[str, Any]:
    """Play `hours` of conversation, as fast as the machine goes unless live; returns what `--json` prints.

    `memory_mb` samples resident memory of each process over the conversation, first when the history is full.
    `first` and `last` are p50 and p95 of units' latency in the first (history full) and last ten minutes, or a quarter
    of the conversation where it is shorter, without the units that a stall of the machine fell into.
    """
    num_units = int(hours * 3600 * 1000 / UNIT_MS)
    full_at = history_units + history_units // 2  # and what is dropped has moved the rest once
    if num_units < full_at + 8:
        raise InputError(f"--hours {hours}: {num_units} units, expected more than the limit of {history_units}")
    span = min(TEN_MINUTES, num_units // 4)
    sampled = set(np.linspace(full_at, num_units - 1, SAMPLES).astype(int).tolist())
    config = AgentConfig(steps=setting.solver_steps, history_units=history_units)
    with threads(setting.threads):
        played = prepare(data, setting, config)
        with (
            opened(played.agent, setting.workers) as pipeline,
            StallWatch() as watch,
            progress(num_units, "conversation") as advance,
        ):
            processes = {"thinker": psutil.Process(os.getpid())}
            if isinstance(pipeline.link, PerformerProcess):
                processes["performer"] = psutil.Process(pipeline.link.process.pid)
            memory_mb: dict[str, list[float]] = {name: [] for name in processes}

            def at_unit(unit: int) -> None:
                advance()
                if unit in sampled:
                    for name, process in processes.items():
                        memory_mb[name].append(round(process.memory_info().rss / 1e6, 1))

            timed = not_timed(num_units)
            play(pipeline, played.media, timed, range(num_units), live=setting.live, at_unit=at_unit)
    stalled = watch.hit(timed.heard_s, timed.answered_s)
    latency_ms, lost = timed.latency_ms, int(np.isnan(timed.answered_s).sum())
    over = latency_ms > UNIT_MS

    def between(first: int, stop: int) -> dict[str, float]:
        p50, p95 = np.percentile(latency_ms[first:stop][~stalled[first:stop]], [50, 95])
        return {"p50_ms": round(float(p50), 2), "p95_ms": round(float(p95), 2)}

    return {
        "hours": hours,
        "units": num_units,
        "units_lost": lost,
        "wall_s": round(float(timed.answered_s[-1] - timed.heard_s[0]), 1),
        "history_units": history_units,
        "workers": setting.workers,
        "self_lag": played.agent.model.config.self_lag,
        "solver_steps": setting.solver_steps,
        "live": setting.live,
        "trained": played.trained_at_self_lag is not None,
        "memory_mb": memory_mb,
        "span_units": span,
        "first": between(full_at, full_at + span),
        "last": between(num_units - span, num_units),
        "stalls": watch.figures(stalled),
        f"units_over_{UNIT_MS}_ms": int(over.sum()),
        f"units_over_{UNIT_MS}_ms_without_stalls": int((over & ~stalled).sum()),
    }


def show(found: dict[str, Any]) -> None:
    console = Console(highlight=False)
    minutes, wall_min = found["hours"] * 60, found["wall_s"] / 60
    console.print(
        f"{found['units']} units, {minutes:.0f} min of conversation in {wall_min:.1f} min: {found['units_lost']} lost; "
        f"history limit {found['history_units']} units, {found['workers']} worker(s), self_lag {found['self_lag']}, "
        f"{found['solver_steps']} solver steps"
    )
    for name, samples in found["memory_mb"].items():
        console.print(
            f"resident memory of the {name}, MB: {samples[0]:.0f} when the history was full, "
            f"{samples[len(samples) // 2]:.0f} in the middle, {samples[-1]:.0f} at the end"
        )
    for name in ("first", "last"):
        row, span_min = found[name], found["span_units"] * UNIT_MS / 60000
        console.print(f"{name} {span_min:.0f} min: a unit p50 {row['p50_ms']:.1f} ms, p95 {row['p95_ms']:.1f} ms")
    stalls = found["stalls"]
    console.print(
        f"the machine stalled {stalls['number']} times, {stalls['longest_ms']:.0f} ms at the longest, in "
        f"{stalls['units']} units, which the two lines above leave out"
    )
    console.print(
        f"{found[f'units_over_{UNIT_MS}_ms']} units took longer than {UNIT_MS} ms, "
        f"{found[f'units_over_{UNIT_MS}_ms_without_stalls']} of them without a stall"
    )
