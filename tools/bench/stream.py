"""How long one 160 ms unit takes: `python -m tools.bench stream` prints milliseconds per part at growing history.

Plays a recorded user (random media where there is none) into a live session with the trained models of a data folder
(random weights of the same size where there are none) and times every unit, as fast as the machine goes. `unit` is from
a user's unit being there to its answer decoded, `pace` from answer to answer: the two differ where units overlap
(`--workers 2 --lag 1`). `--live` gives a unit every 160 ms instead, as a user does.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
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
from tools.bench.overlap import Media, StallWatch, Timed, play, shares
from wanstreamer.clock import FRAMES_PER_UNIT, UNIT_MS
from wanstreamer.errors import InputError
from wanstreamer.model import DuplexModel, ModelConfig, save_model
from wanstreamer.streaming.pipeline import open_pipeline
from wanstreamer.streaming.session import PARTS, Session, SessionConfig, load_session
from wanstreamer.streaming.workers import PerformerProcess, open_workers
from wanstreamer.vae import AudioVAE, AudioVAEConfig, VideoVAE, VideoVAEConfig

HISTORY_S = (1, 10, 30, 60)
UNITS_PER_POINT = 50  # 8 s of units timed from each length of history on
COLUMNS = (*PARTS, "unit", "pace")

Figures = dict[str, dict[str, float]]


def stream(
    data: Path,
    *,
    seconds: int,
    threads: int,
    steps: int,
    workers: int = 1,
    lag: int | None = None,
    live: bool = False,
) -> dict[str, object]:
    """Time a session; returns what `--json` prints.

    `at` holds, per seconds of history, p50, p95 and max in ms of each part, of the whole unit and of the pace, over the
    UNITS_PER_POINT units that follow; with two workers also the shares of time either and both of them work, and p50
    and p95 of the hand-over. `stalls` are times the machine ran nothing of ours; the other figures have them in.
    """
    if seconds < 1 or threads < 1:
        raise InputError(f"--seconds {seconds} --threads {threads}: expected 1 or more of each")
    if workers == 2 and threads != 1:
        raise InputError(f"--workers 2 --threads {threads}: each worker has one thread; leave --threads at 1")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        points_s = sorted({point for point in HISTORY_S if point < seconds} | {seconds})
        num_units = _units(points_s[-1]) + UNITS_PER_POINT
        session, trained = _session(data, SessionConfig(steps=steps, max_units=num_units))
        trained_at_lag = session.model.config.self_lag
        if lag is not None:
            session.model.config = replace(session.model.config, self_lag=lag)
        media, recorded = _media(data, session, num_units)
        timed, watch, handed_bytes = _play(session, media, workers, live)
    finally:
        torch.set_num_threads(before)
    times_ms = {name: np.array([part_ms[name] for part_ms in timed.part_ms]) for name in PARTS}
    times_ms |= {"unit": timed.latency_ms, "pace": timed.pace_ms}
    stalled = watch.hit(timed.heard_s, timed.answered_s)
    at: dict[str, dict[str, Any]] = {}
    for point in points_s:
        units = slice(_units(point), _units(point) + UNITS_PER_POINT)
        at[str(point)] = {name: _figures(times_ms[name][units]) for name in COLUMNS}
        without = times_ms["unit"][units][~stalled[units]]
        at[str(point)]["unit_without_stalls"] = _figures(without) if len(without) else None
        if workers == 2:
            handover_us = np.percentile(timed.handover_us[units], [50, 95]).round(1).tolist()
            at[str(point)]["share_at_work"] = shares(timed, units.start, units.stop)
            at[str(point)]["handover_us"] = dict(zip(("p50", "p95"), handover_us, strict=True))
    stalls_ms = [(end - start) * 1000 for start, end in watch.stalls]
    return {
        "workers": workers,
        "live": live,
        "self_lag": session.model.config.self_lag,
        "trained_at_self_lag": trained_at_lag if trained else None,
        "handover_bytes": handed_bytes,
        "stalls": {
            "number": len(stalls_ms),
            "longest_ms": round(max(stalls_ms, default=0.0), 1),
            "units": int(stalled.sum()),
        },
        "trained": trained,
        "recorded_media": recorded,
        "threads": threads,
        "solver_steps": steps,
        "units": num_units,
        f"units_over_{UNIT_MS}_ms": int((times_ms["unit"] > UNIT_MS).sum()),
        f"paces_over_{UNIT_MS}_ms": int((times_ms["pace"] > UNIT_MS).sum()),
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


def _media(data: Path, session: Session, num_units: int) -> tuple[list[Media], bool]:
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


def _random_media(generator: np.random.Generator, session: Session, num_units: int) -> Iterator[Media]:
    for _ in range(num_units):
        frames = generator.integers(0, 256, session.frame_shape, dtype=np.uint8)
        yield frames, generator.normal(0, 0.1, session.num_samples).astype(np.float32)


def _play(session: Session, media: list[Media], workers: int, live: bool) -> tuple[Timed, StallWatch, int | None]:
    """Every unit timed, the machine's stalls, and with two workers the bytes that a unit's hand-over moves."""
    if workers == 1 and session.model.config.self_lag == 0 and not live:
        _in_sequence(session, media[:3])  # the first calls load and plan kernels
        with StallWatch() as watch:
            return _in_sequence(session, media), watch, None
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        weights = folder / "model.safetensors"
        save_model(session.model, weights)
        apart = workers == 2
        pipeline = open_workers(session, weights, seed=0) if apart else open_pipeline(session, seed=0)
        held.enter_context(pipeline)
        handed_bytes = None
        if isinstance(pipeline.link, PerformerProcess):
            handed_bytes = pipeline.link.ring.slice_bytes + pipeline.link.ring.latent_bytes
        with StallWatch() as watch:
            return play(pipeline, media, live=live), watch, handed_bytes


def _in_sequence(session: Session, media: list[Media]) -> Timed:
    state, timed = session.start(seed=0), Timed()
    for frames, samples in media:
        timed.heard_s.append(time.perf_counter())
        said, state = session.step(state, frames, samples)
        timed.answered_s.append(time.perf_counter())
        timed.part_ms.append(said.part_ms)
    return timed


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
        f"{found['solver_steps']} solver steps, {found['workers']} worker(s), self_lag {found['self_lag']}",
        title_justify="left",
    )
    table.add_column("history", justify="right", no_wrap=True)
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("max", justify="right", no_wrap=True)
    at: dict[str, Figures] = found["at"]  # type: ignore[assignment]
    for seconds, row in at.items():
        cells = [f"{row[name]['p50_ms']:.0f}/{row[name]['p95_ms']:.0f}" for name in COLUMNS]
        table.add_row(f"{seconds} s", *cells, f"{row['unit']['max_ms']:.0f}")
    console.print(table)
    console.print(f"{found[f'units_over_{UNIT_MS}_ms']} of {found['units']} units took longer than {UNIT_MS} ms")
    for seconds, row in at.items():
        if found["workers"] == 2:
            share, handover_us = row["share_at_work"], row["handover_us"]
            console.print(
                f"at {seconds} s: thinker at work {share['thinker']:.0%}, performer {share['performer']:.0%}, both "
                f"{share['both']:.0%} of the time; hand-over of {found['handover_bytes']:,} bytes "
                f"{handover_us['p50']:.0f}/{handover_us['p95']:.0f} us"
            )
    stalls: dict[str, Any] = found["stalls"]  # type: ignore[assignment]
    console.print(
        f"the machine stalled {stalls['number']} times, {stalls['longest_ms']:.0f} ms at the longest, in "
        f"{stalls['units']} units; these are in the figures"
    )
    if found["trained_at_self_lag"] not in (None, found["self_lag"]):
        console.print(f"trained at self_lag {found['trained_at_self_lag']}: the times hold, what it says does not")


def add(commands: Any) -> None:
    command = commands.add_parser("stream", help="latency of the live session", description=__doc__)
    command.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    command.add_argument("--seconds", type=int, default=60, help="longest history (default: 60)")
    command.add_argument("--threads", type=int, default=1, help="torch threads (default: 1)")
    command.add_argument("--steps", type=int, default=SessionConfig.steps, help="solver steps (default: %(default)s)")
    command.add_argument(
        "--workers", type=int, choices=(1, 2), default=1, help="processes: 2 has the performer apart (default: 1)"
    )
    command.add_argument("--lag", type=int, choices=(0, 1), help="self_lag: 1 overlaps units (default: the model's)")
    command.add_argument("--live", action="store_true", help=f"a user's unit every {UNIT_MS} ms, not at full speed")
    command.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, object]:
    return stream(
        args.data,
        seconds=args.seconds,
        threads=args.threads,
        steps=args.steps,
        workers=args.workers,
        lag=args.lag,
        live=args.live,
    )
