"""One VAE, in this process: tracks -> trained weights (unless finished), its curves, figures and reports."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.engine.files import file_sha256, write_json_atomic
from pipelines.vae.baselines import LinearAudio, LinearVideo
from pipelines.vae.curves import write_curves
from pipelines.vae.quality import Baseline, measure
from pipelines.vae.reports import draw_reports
from pipelines.vae.task import (
    EVALUATED_TRACKS,
    Pair,
    VaeTask,
    evenly,
    read_tracks,
    record_path,
    shown_frames,
    weights_path,
)
from wanstreamer import vae
from wanstreamer.errors import InputError
from wanstreamer.train.vae import train_vae
from wanstreamer.vae import AudioVAE, AudioVAEConfig, VideoVAE
from wanstreamer.vae.tracks import VAE, to_input, unit_length

TIMED_UNITS = 40


def make_vae(task: VaeTask, on_steps: Callable[[int], None]) -> dict[str, Any]:
    """Train (unless finished), measure and draw one VAE; returns metrics, timings and rejections.

    `on_steps` gets the number of steps done since its last call.
    """
    timings: dict[str, float] = {}
    rejections: list[tuple[str, str, str]] = []
    with _timed(timings, "read_s"):
        train = read_tracks(task, task.train, rejections)
        held_out = read_tracks(task, task.held_out, rejections)
    learnt, unseen = _of_people(task, train), _of_people(task, held_out)
    if not learnt and not task.finished:
        why = "shows its person for a unit of 160 ms" if train else "is readable; run ingest again"
        raise InputError(f"{task.data}/tracks: no {task.kind} in the train split {why}")
    if not task.finished:
        with _timed(timings, "train_s"):
            _train(task, learnt, unseen, on_steps)
    path = weights_path(task.data, task.kind)
    model: VAE = vae.load_audio_vae(path) if task.kind == "audio" else vae.load_video_vae(path)
    with _timed(timings, "evaluate_s"):
        baseline = _baseline(model, learnt)
        metrics: dict[str, Any] = {"seen": {}, "baseline": {"seen": {}}}
        for people, tracks in ((task.train_people, evenly(learnt, EVALUATED_TRACKS)), ("unseen", unseen)):
            metrics[people], metrics["baseline"][people] = measure(model, tracks, baseline)
    metrics |= {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "channels": model.config.channels,
        "train_tracks": len(learnt),
        "train_units": sum(len(media) // unit_length(model) for media in learnt),
        "steps": None if task.external_weights else task.training.steps,
    }
    with _timed(timings, "draw_s"):
        draw_reports(task.data, model, baseline, {task.train_people: train, "unseen": held_out})
    for _, media in [*train, *held_out][:1]:
        timings |= _unit_times(model, media)
    return {"metrics": metrics, "timings": {k: round(v, 4) for k, v in timings.items()}, "rejections": rejections}


def _of_people(task: VaeTask, pairs: Sequence[Pair]) -> list[Tensor]:
    """The media to learn and to measure: sound, or the units of video that show the person."""
    if task.kind == "audio":
        return [media for _, media in pairs]
    return [shown for row, media in pairs if len(shown := shown_frames(row, media))]


def _train(task: VaeTask, train: Sequence[Tensor], held_out: Sequence[Tensor], on_steps: Callable[[int], None]) -> None:
    """Write the weights, the record of their training and its curves."""
    torch.manual_seed(task.training.seed)
    fresh = AudioVAE(task.config) if isinstance(task.config, AudioVAEConfig) else VideoVAE(task.config)
    path = weights_path(task.data, task.kind)
    state_path = record_path(task.data, task.kind).with_suffix(".safetensors")
    reported = 0

    def on_step(step: int) -> None:
        nonlocal reported
        on_steps(step - reported)
        reported = step

    model, curve = train_vae(
        fresh,
        train,
        held_out,
        task.training,
        state_path=state_path,
        fingerprint=task.fingerprint,
        on_step=on_step,
        device="cuda" if torch.cuda.is_available() else "cpu",
    )
    write_curves(task.data, task.kind, curve)
    vae.save(model, path)
    write_json_atomic(
        record_path(task.data, task.kind), {"training": task.fingerprint, "weights_sha256": file_sha256(path)}
    )
    state_path.unlink(missing_ok=True)


def _baseline(model: VAE, tracks: Sequence[Tensor]) -> Baseline | None:
    if not tracks:
        return None
    return LinearAudio(tracks, model.config) if isinstance(model, AudioVAE) else LinearVideo(tracks, model.config)


@torch.no_grad()
def _unit_times(model: VAE, track: Tensor) -> dict[str, float]:
    """Median milliseconds to encode and decode one unit, streamed on one thread."""
    length = unit_length(model)
    encoder = decoder = None
    spent: dict[str, list[float]] = {"encode_unit_ms": [], "decode_unit_ms": []}
    for piece in track[: TIMED_UNITS * length].split(length):
        began_s = time.perf_counter()
        latent, encoder = model.encode(to_input(model, piece), encoder)
        between_s = time.perf_counter()
        _, decoder = model.decode(latent, decoder)
        spent["encode_unit_ms"].append(1000 * (between_s - began_s))
        spent["decode_unit_ms"].append(1000 * (time.perf_counter() - between_s))
    return {name: float(np.median(times)) for name, times in spent.items()}


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    began_s = time.monotonic()
    yield
    timings[name] = time.monotonic() - began_s
