"""Plays one conversation for hours with a history limit: memory of both processes, latency at start and end, losses."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console

from pipelines.engine.progress import progress
from tools.bench.conversation import Setting, opened, prepare
from tools.bench.overlap import StallWatch, not_timed, play
from tools.bench.resources import threads
from wanstreamer.clock import UNIT_MS
from wanstreamer.errors import InputError
from wanstreamer.streaming.agent import AgentConfig
from wanstreamer.streaming.workers import PerformerProcess

TEN_MINUTES = 10 * 60 * 1000 // UNIT_MS  # units
SAMPLES = 20  # of memory, evenly over the conversation


def soak(data: Path, setting: Setting, *, hours: float, history_units: int) -> dict[str, Any]:
    """Play `hours` of conversation, at full speed unless live; returns the figures that `--json` prints.

    `memory_mb` has samples of each process's resident memory over the conversation; the first is taken when the history
    is full. `first` and `last` are p50 and p95 of the units' latency in the first ten minutes after the history is full
    and in the last ten minutes (in a quarter of the conversation if that is shorter), without units with a stall.
    """
    num_units = int(hours * 3600 * 1000 / UNIT_MS)
    full_at = history_units + history_units // 2  # by then dropping old units has moved the rest once
    if num_units < full_at + 8:
        raise InputError(
            f"--hours {hours}: {num_units} units; expected {full_at + 8} or more with --history-units {history_units}"
        )
    span = min(TEN_MINUTES, num_units // 4)
    sampled = set(np.linspace(full_at, num_units - 1, SAMPLES).astype(int).tolist())
    config = AgentConfig(steps=setting.solver_steps, history_units=history_units)
    with threads(setting.threads):
        conversation = prepare(data, setting, config)
        with (
            opened(conversation.agent, setting.workers) as pipeline,
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
            play(pipeline, conversation.media, timed, range(num_units), live=setting.live, at_unit=at_unit)
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
        "self_lag": conversation.agent.model.config.self_lag,
        "solver_steps": setting.solver_steps,
        "live": setting.live,
        "trained": conversation.trained_at_self_lag is not None,
        "memory_mb": memory_mb,
        "span_units": span,
        "first": between(full_at, full_at + span),
        "last": between(num_units - span, num_units),
        "stalls": watch.figures(stalled),
        f"units_over_{UNIT_MS}_ms": int(over.sum()),
        f"units_over_{UNIT_MS}_ms_without_stalls": int((over & ~stalled).sum()),
    }


def show(results: dict[str, Any]) -> None:
    console = Console(highlight=False)
    minutes, wall_min = results["hours"] * 60, results["wall_s"] / 60
    console.print(
        f"{results['units']} units, {minutes:.0f} min of conversation in {wall_min:.1f} min: "
        f"{results['units_lost']} lost; history limit {results['history_units']} units, "
        f"{results['workers']} worker(s), self_lag {results['self_lag']}, {results['solver_steps']} solver steps"
    )
    for name, samples in results["memory_mb"].items():
        console.print(
            f"resident memory of the {name}, MB: {samples[0]:.0f} when the history was full, "
            f"{samples[len(samples) // 2]:.0f} in the middle, {samples[-1]:.0f} at the end"
        )
    for name in ("first", "last"):
        row, span_min = results[name], results["span_units"] * UNIT_MS / 60000
        console.print(f"{name} {span_min:.0f} min: a unit p50 {row['p50_ms']:.1f} ms, p95 {row['p95_ms']:.1f} ms")
    stalls = results["stalls"]
    console.print(
        f"the machine stalled {stalls['number']} times, for {stalls['longest_ms']:.0f} ms at the most, in "
        f"{stalls['units']} units; the two lines above leave these out"
    )
    console.print(
        f"{results[f'units_over_{UNIT_MS}_ms']} units took longer than {UNIT_MS} ms, "
        f"{results[f'units_over_{UNIT_MS}_ms_without_stalls']} of them without a stall"
    )
