"""Measure how fast the duplex model trains, and its use of the machine: `python -m tools.bench train`.

Times whole steps (noise, passes, update, weight average) on windows of random latents in memory, at the size of a
scale; `bench load` measures reading. Tokens are those that pass through the trunk: the clean ones, and the noisy copies
of the agent's.

Model FLOPs utilisation is the number of floating-point operations that the model needs, divided by the number that the
machine could do in that time. A multiplication with an addition counts as two; the backward pass counts twice the
forward pass; attention counts only the pairs that the mask allows, even if a kernel computes more. On a CPU the peak is
measured just before each round with a matrix product (2048 x 2048, float32, the same threads). On a GPU it is the
maker's figure for dense bfloat16, by the card's name or `--peak-tflops`.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tools.bench.resources import threads
from tools.flops import random_batch, step_flops
from wanstreamer.errors import InputError
from wanstreamer.model.attention import Attention
from wanstreamer.model.config import SCALES, scaled
from wanstreamer.model.duplex import DuplexModel
from wanstreamer.train.duplex import Passes, TrainConfig, draw_inputs, make_optimizer, train_step
from wanstreamer.train.parallel import Ranks
from wanstreamer.train.steps import average_weights

# Audio channels, video channels, vocabulary: of `make repro`, of larger VAEs, and of Qwen3.
SIZES = {"tiny": (16, 32, 512), "small": (32, 64, 16384), "base": (32, 64, 151672), "large": (32, 64, 151672)}
# Dense bfloat16, from the data sheets; the first name that is part of the card's name counts.
PEAK_TFLOPS = {"H100 PCIe": 756, "H100": 989, "H200": 989, "A100": 312, "L40S": 362, "RTX 4090": 165}
MATRIX = 2048
WARM_STEPS = 2  # not timed: the first calls plan kernels, and compile on a GPU


def measured_tflops() -> float:
    """Peak of this machine's processors in a matrix product, the best of three."""
    matrix = torch.randn(MATRIX, MATRIX)
    best_s = float("inf")
    for _ in range(3):
        began_s = time.perf_counter()
        matrix @ matrix
        best_s = min(best_s, time.perf_counter() - began_s)
    return 2 * MATRIX**3 / best_s / 1e12


def known_tflops(card: str) -> float:
    for name, tflops in PEAK_TFLOPS.items():
        if name in card:
            return tflops
    raise InputError(f"bench train: no peak known for {card!r}; pass its dense bfloat16 figure with --peak-tflops N")


def measure(
    scale: str, *, batch_size: int, micro_batch: int, num_units: int, rounds: int, steps: int, peak_tflops: float | None
) -> dict[str, Any]:
    """The figures that `--json` prints; lists have one figure per round."""
    audio_channels, video_channels, vocab_size = SIZES[scale]
    config = scaled(scale, audio_channels=audio_channels, video_channels=video_channels, vocab_size=vocab_size)
    cuda = torch.cuda.is_available()
    ranks = Ranks(device="cuda:0" if cuda else "cpu")
    card = torch.cuda.get_device_name(0) if cuda else ""
    given_tflops = peak_tflops or (known_tflops(card) if cuda else None)
    training = TrainConfig(steps=10**6, batch_size=batch_size, micro_batch=micro_batch)
    torch.manual_seed(0)
    batch = random_batch(config, batch_size, num_units)
    model = DuplexModel(config, Attention(windows="flex" if cuda else "sdpa")).to(ranks.device)
    averaged = DuplexModel(config).to(ranks.device)
    averaged.load_state_dict(model.state_dict())
    passes, optimizer = Passes(model, training, ranks), make_optimizer(model, training)
    done = 0

    def step_s(count: int) -> float:
        """Mean seconds per step over `count` steps."""
        nonlocal done
        began_s = time.perf_counter()
        for _ in range(count):
            inputs = draw_inputs(batch, model, training, done, ranks=ranks)
            train_step(passes, optimizer, inputs, done)
            average_weights(averaged, model, decay=training.ema_decay, step=done)
            done += 1
        if cuda:
            torch.cuda.synchronize()
        return (time.perf_counter() - began_s) / count

    step_s(WARM_STEPS)
    flops = step_flops(config, batch_size, num_units)
    num_tokens = batch_size * num_units * (config.layout.num_clean + config.layout.num_agent)
    peaks, times_s = [], []
    for _ in range(rounds):
        peaks.append(given_tflops or measured_tflops())
        times_s.append(step_s(steps))
    return {
        "machine": card or f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} thread(s)",
        "torch": torch.__version__,
        "precision": "bfloat16" if cuda else "float32",
        "scale": scale,
        "parameters": sum(p.numel() for p in model.parameters()),
        "batch_size": batch_size,
        "micro_batch": micro_batch or batch_size,
        "units": num_units,
        "tokens_per_step": num_tokens,
        "tflop_per_step": round(flops / 1e12, 6),
        "rounds": rounds,
        "steps_per_round": steps,
        "peak_measured": given_tflops is None,
        "peak_tflops": [round(peak, 4) for peak in peaks],
        "step_ms": [round(1000 * time_s, 2) for time_s in times_s],
        "tokens_per_s": [round(num_tokens / time_s) for time_s in times_s],
        "mfu": [round(flops / time_s / peak / 1e12, 4) for time_s, peak in zip(times_s, peaks, strict=True)],
    }


def show(results: dict[str, Any]) -> None:
    console = Console()
    table = Table(
        box=SIMPLE_HEAD, title_justify="left",
        title=f"training at scale {results['scale']}: {results['parameters']:,} weights, "
        f"{results['batch_size']} windows of {results['units']} units per step ({results['micro_batch']} per pass), "
        f"{results['tokens_per_step']:,} tokens and {results['tflop_per_step']:.3g} TFLOP per step; "
        f"{results['rounds']} rounds of {results['steps_per_round']} steps",
    )  # fmt: skip
    for name in ("", "median", "lowest", "highest"):
        table.add_column(name, justify="right" if name else "left")
    peak = "peak TFLOP/s, measured" if results["peak_measured"] else "peak TFLOP/s, by --peak-tflops or card"
    for name, values, digits in (
        ("step, ms", results["step_ms"], 1),
        ("tokens a second", results["tokens_per_s"], 0),
        (peak, results["peak_tflops"], 3),
        ("model FLOPs utilisation", results["mfu"], 3),
    ):
        table.add_row(name, *_figures(values, digits))
    console.print(table)
    console.print(f"{results['machine']}, {results['precision']}, torch {results['torch']}", highlight=False)


def _figures(values: Sequence[float], digits: int) -> list[str]:
    return [f"{figure:,.{digits}f}" for figure in (statistics.median(values), min(values), max(values))]


def add(commands: Any) -> None:
    command = commands.add_parser("train", help="speed of training, and its use of the machine", description=__doc__)
    command.add_argument("--scale", choices=SCALES, default="tiny", help="size of the model (default: tiny)")
    command.add_argument("--batch-size", type=int, default=4, help="windows per step (default: 4)")
    command.add_argument("--micro-batch", type=int, default=0, help="windows per pass (default: all of the step)")
    command.add_argument("--units", type=int, default=32, help="units per window (default: 32)")
    command.add_argument("--rounds", type=int, default=5, help="rounds (default: 5)")
    command.add_argument("--steps", type=int, default=5, help="steps per round (default: 5)")
    command.add_argument("--threads", type=int, default=1, help="torch threads on a CPU (default: 1)")
    command.add_argument("--peak-tflops", type=float, help="peak of the machine, if it is not to be measured")
    command.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, Any]:
    if min(args.batch_size, args.units, args.rounds, args.steps, args.threads) < 1 or args.micro_batch < 0:
        raise InputError(
            "bench train: expected 1 or more windows, units, rounds, steps and threads; --micro-batch of 0 or more"
        )
    if args.peak_tflops is not None and args.peak_tflops <= 0:
        raise InputError(f"--peak-tflops {args.peak_tflops}: expected more than 0")
    with threads(args.threads):
        return measure(
            args.scale, batch_size=args.batch_size, micro_batch=args.micro_batch, num_units=args.units,
            rounds=args.rounds, steps=args.steps, peak_tflops=args.peak_tflops,
        )  # fmt: skip
