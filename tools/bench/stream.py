"""How long one 160 ms unit takes: `python -m tools.bench stream` prints milliseconds per part at growing history.

Plays a recorded user (random media where there is none) into a live session with the trained models of a data folder
(random weights of the same size where there are none) and times every unit, as fast as the machine goes.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.media import read_frames, read_wav
from pipelines.stage import Rejected
from wanstreamer.clock import FRAMES_PER_UNIT, UNIT_MS
from wanstreamer.errors import InputError
from wanstreamer.model import DuplexModel, ModelConfig
from wanstreamer.streaming.session import PARTS, Session, SessionConfig, load_session
from wanstreamer.vae import AudioVAE, AudioVAEConfig, VideoVAE, VideoVAEConfig

HISTORY_S = (1, 10, 30, 60)
UNITS_PER_POINT = 50  # 8 s of units timed from each length of history on
COLUMNS = (*PARTS, "unit")

Figures = dict[str, dict[str, float]]


def stream(data: Path, *, seconds: int, threads: int, steps: int) -> dict[str, object]:
    """Time a session; returns what `--json` prints.

    `at` holds, per seconds of history, p50, p95 and max in ms of each part and of the whole unit, over the
    UNITS_PER_POINT units that follow.
    """
    if seconds < 1 or threads < 1:
        raise InputError(f"--seconds {seconds} --threads {threads}: expected 1 or more of each")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        points_s = sorted({point for point in HISTORY_S if point < seconds} | {seconds})
        num_units = _units(points_s[-1]) + UNITS_PER_POINT
        session, trained = _session(data, SessionConfig(steps=steps, max_units=num_units))
        played, recorded = _media(data, session, num_units)
        times_ms = _play(session, played)
    finally:
        torch.set_num_threads(before)
    at = {
        str(point): {
            name: _figures(times_ms[name][_units(point) : _units(point) + UNITS_PER_POINT]) for name in COLUMNS
        }
        for point in points_s
    }
    return {
        "trained": trained,
        "recorded_media": recorded,
        "threads": threads,
        "solver_steps": steps,
        "units": num_units,
        f"units_over_{UNIT_MS}_ms": int((times_ms["unit"] > UNIT_MS).sum()),
        "at": at,
        f"p95_ms_at_{seconds}s": at[str(seconds)]["unit"]["p95_ms"],
    }


def _session(data: Path, config: SessionConfig) -> tuple[Session, bool]:
    if (data / "models" / "duplex" / "model.safetensors").is_file():
        return load_session(data, config), True
    torch.manual_seed(0)
    audio_vae, video_vae = AudioVAE(AudioVAEConfig()), VideoVAE(VideoVAEConfig())
    channels, height, width = video_vae.config.latent_shape
    model = DuplexModel(
        ModelConfig(
            audio_channels=audio_vae.config.channels,
            video_channels=channels,
            video_height=height,
            video_width=width,
            vocab_size=512,
        )
    )
    return Session(model, audio_vae, video_vae, config=config), False


def _media(
    data: Path, session: Session, num_units: int
) -> tuple[list[tuple[NDArray[np.uint8], NDArray[np.float32]]], bool]:
    """Units of the first recorded participant that fits the codecs, repeated as needed; else random ones."""
    for video in sorted((data / "tracks").glob("*/*.mp4")):
        try:
            frames_THWC = read_frames(video)
            samples_T, rate_hz = read_wav(video.with_suffix(".wav"))
        except Rejected:
            continue
        fits = frames_THWC.shape[1:] == session.frame_shape[1:] and rate_hz == session.audio_vae.config.rate_hz
        available = min(len(frames_THWC) // FRAMES_PER_UNIT, len(samples_T) // session.num_samples)
        if fits and available:
            frames = frames_THWC[: available * FRAMES_PER_UNIT].reshape(available, *session.frame_shape)
            samples = samples_T[: available * session.num_samples].reshape(available, session.num_samples)
            return [(frames[unit % available], samples[unit % available]) for unit in range(num_units)], True
    generator = np.random.default_rng(0)
    return list(_random_media(generator, session, num_units)), False


def _random_media(
    generator: np.random.Generator, session: Session, num_units: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    for _ in range(num_units):
        frames = generator.integers(0, 256, session.frame_shape, dtype=np.uint8)
        yield frames, generator.normal(0, 0.1, session.num_samples).astype(np.float32)


def _play(
    session: Session, played: list[tuple[NDArray[np.uint8], NDArray[np.float32]]]
) -> dict[str, NDArray[np.float64]]:
    """Milliseconds of each part and of the whole call, per unit."""
    state = session.start(seed=0)
    for frames, samples in played[:3]:
        _, state = session.step(state, frames, samples)  # the first calls load and plan kernels
    state = session.start(seed=0)
    times_ms: dict[str, list[float]] = {name: [] for name in COLUMNS}
    for frames, samples in played:
        began_s = time.perf_counter()
        said, state = session.step(state, frames, samples)
        times_ms["unit"].append((time.perf_counter() - began_s) * 1000)
        for name in PARTS:
            times_ms[name].append(said.part_ms[name])
    return {name: np.array(values) for name, values in times_ms.items()}


def _figures(values_ms: NDArray[np.float64]) -> dict[str, float]:
    p50, p95 = np.percentile(values_ms, [50, 95])
    return {"p50_ms": round(float(p50), 2), "p95_ms": round(float(p95), 2), "max_ms": round(float(values_ms.max()), 2)}


def _units(seconds: int) -> int:
    return seconds * 1000 // UNIT_MS


def show(found: dict[str, object]) -> None:
    console = Console()
    weights = "trained weights" if found["trained"] else "random weights: nothing is trained yet"
    media = "recorded media" if found["recorded_media"] else "random media"
    table = Table(
        box=SIMPLE_HEAD,
        title=f"ms per {UNIT_MS} ms unit, p50/p95; {weights}, {media}, {found['threads']} thread(s), "
        f"{found['solver_steps']} solver steps",
        title_justify="left",
    )
    table.add_column("history", justify="right", no_wrap=True)
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("max", justify="right", no_wrap=True)
    at: dict[str, Figures] = found["at"]  # type: ignore[assignment]
    for seconds, row in at.items():
        cells = [f"{row[name]['p50_ms']:.1f}/{row[name]['p95_ms']:.1f}" for name in COLUMNS]
        table.add_row(f"{seconds} s", *cells, f"{row['unit']['max_ms']:.1f}")
    console.print(table)
    console.print(f"{found[f'units_over_{UNIT_MS}_ms']} of {found['units']} units took longer than {UNIT_MS} ms")


def add(commands: Any) -> None:
    command = commands.add_parser("stream", help="latency of the live session", description=__doc__)
    command.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    command.add_argument("--seconds", type=int, default=60, help="longest history (default: 60)")
    command.add_argument("--threads", type=int, default=1, help="torch threads (default: 1)")
    command.add_argument("--steps", type=int, default=SessionConfig.steps, help="solver steps (default: %(default)s)")
    command.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, object]:
    return stream(args.data, seconds=args.seconds, threads=args.threads, steps=args.steps)
