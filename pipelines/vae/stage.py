"""Tracks of the train split -> audio and video VAE weights, their curves, and figures on people never seen.

Each VAE is trained in its own child process with one thread and a fixed number of steps, so that the weights do not
depend on the number of workers: two workers run both children at once, one worker runs them in turn. If `vae.weights`
names finished weights, they are copied and only measured. Earlier measurements on the same input are read back
(pipelines/vae/measured.py). Every figure is compared with that of linear principal components of the same size on the
same tracks (pipelines/vae/baselines.py).
"""

import dataclasses
import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pipelines.engine.bucket_files import write_rejections
from pipelines.engine.code import code_hash
from pipelines.engine.command import stage_main
from pipelines.engine.files import file_sha256, hash_of, write_json_atomic
from pipelines.engine.run import RunParams
from pipelines.engine.spent import cpu_s
from pipelines.engine.state import summary_file
from pipelines.engine.tables import read_rows
from pipelines.engine.timings import write_timings
from pipelines.vae.children import run_children
from pipelines.vae.curves import curve_paths, write_curves
from pipelines.vae.measured import keep_outcomes, known_outcomes, measured_on
from pipelines.vae.params import VaeParams, VaeTrainingParams
from pipelines.vae.reports import draw_films
from pipelines.vae.task import EVALUATED_TRACKS, VaeTask, evenly, record_path, weights_path
from schemas.state import STATE_FORMAT
from wanstreamer import vae
from wanstreamer.errors import InputError
from wanstreamer.train.vae_config import VaeTrainConfig
from wanstreamer.vae import AudioVAEConfig, VideoVAEConfig

KINDS = ("audio", "video")
STOI = "STOI {:.2f} instead of {:.2f}"
CODE = ("wanstreamer.train.vae", "pipelines.media.tracks")  # together with all it imports, decides the weights


def run(data: Path, params: VaeParams, how: RunParams) -> dict[str, Any]:
    """Write `models/vae/{audio,video}.safetensors`, curves, pictures and sounds; returns held-out figures and counts.

    Raises:
        InputError: There are no train tracks, tracks differ in picture size or sample rate, or `weights` do not fit.
    """
    began_s, before_s = time.monotonic(), cpu_s()
    rows = read_rows(data, "tracks")
    if not params.weights and not any(row["split"] == "train" for row in rows):
        table = data / "tables" / "tracks"
        raise InputError(f"{table}: no track is in the train split; add sessions, or set vae.weights to finished VAEs")
    (data / "models" / "vae").mkdir(parents=True, exist_ok=True)
    tasks = []
    for kind in KINDS:
        task = _plan(data, params, kind, rows)
        if task is None:
            print(f"vae: no {kind} in the train split, so no {kind} VAE is trained", file=sys.stderr)
            weights_path(data, kind).unlink(missing_ok=True)
            write_curves(data, kind, [])
        else:
            tasks.append(task)
    metrics: dict[str, Any] = {"tracks": _count_tracks(rows)}
    rejections: list[tuple[str, str, str]] = []
    outcomes = _outcomes(data, params, rows, tasks, how.num_workers)
    for task in tasks:
        outcome = outcomes[task.kind]
        metrics[task.kind] = outcome["metrics"]
        rejections += [(key, reason, detail) for key, reason, detail in outcome["rejections"]]
        if task.external_weights and (worse := worse_than_baseline(task.kind, outcome["metrics"])):
            print(
                f"vae: warning: the {task.kind} VAE of {params.weights} is worse on these recordings than linear "
                f"principal components of the same size: {worse}; what it loses is lost for windows and training; "
                "train VAEs on your recordings (vae.weights empty; make windows: ARGS='--set vae.weights=')",
                file=sys.stderr,
            )
    metrics["rejected"] = write_rejections(data, "vae", rejections)
    made = {kind: weights_path(data, kind) for kind in KINDS if weights_path(data, kind).is_file()}
    content = {kind: file_sha256(path) for kind, path in made.items()}
    write_json_atomic(summary_file(data, "vae"), {"format": STATE_FORMAT, "content": content})
    worked = any(not task.finished for task in tasks)
    took = {"wall_s": round(time.monotonic() - began_s, 1), "cpu_s": round(cpu_s() - before_s, 1)}
    write_timings(data, "vae", {**took, "workers": how.num_workers}, worked=worked)
    return metrics


def _outcomes(
    data: Path, params: VaeParams, rows: Sequence[Mapping[str, Any]], tasks: Sequence[VaeTask], workers: int
) -> Mapping[str, Any]:
    """Outcomes of the tasks by kind: read back if known, else computed, with films of both VAEs."""
    if all(task.finished for task in tasks):
        known = known_outcomes(data, measured_on(data, params, rows, tasks))
        if known is not None:
            print("vae: weights are finished and measured", file=sys.stderr)
            return known
        if not params.measure:
            print("vae: weights are finished, and not measured (vae.measure: false)", file=sys.stderr)
            unknown: dict[str, Any] = {"seen": {}, "unseen": {}, "baseline": {"seen": {}, "unseen": {}}}
            return {task.kind: {"metrics": unknown, "rejections": []} for task in tasks}
    for task in tasks:
        if task.finished:
            print(f"vae: {task.kind} weights are finished, measuring only", file=sys.stderr)
    outcomes = run_children(tasks, at_once=min(workers, len(tasks)))
    if len(tasks) == len(KINDS):
        _draw_films(data, tasks)
    for task in tasks:
        write_timings(data, "vae", {task.kind: outcomes[task.kind]["timings"]}, worked=not task.finished)
    keep_outcomes(data, measured_on(data, params, rows, tasks), outcomes)
    return outcomes


def worse_than_baseline(kind: str, metrics: Mapping[str, Any]) -> str:
    """The figures of a VAE that is worse than its baseline; empty if it is better, or not measured.

    The people that the baseline has not seen count, if there are any.
    """
    name, words = ("psnr_db", "PSNR {:.1f} dB instead of {:.1f} dB") if kind == "video" else ("stoi", STOI)
    for people in ("unseen", "train", "seen"):
        ours, theirs = metrics.get(people, {}), metrics["baseline"].get(people, {})
        if name in ours and name in theirs:
            worse = ours[name] < theirs[name]
            return words.format(ours[name], theirs[name]) if worse else ""
    return ""


def _draw_films(data: Path, tasks: Sequence[VaeTask]) -> None:
    torch.set_num_threads(1)  # sums of several threads differ in the last digit
    audio, video = (weights_path(data, kind) for kind in KINDS)
    people = {tasks[0].train_people: tasks[0].train, "unseen": tasks[0].held_out}
    draw_films(data, vae.load_audio_vae(audio), vae.load_video_vae(video), people)


def _count_tracks(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {
        "train": sum(row["split"] == "train" for row in rows),
        "held_out": sum(row["split"] != "train" for row in rows),
        "without_audio": sum(row["audio_path"] is None for row in rows),
        "without_video": sum(row["video_path"] is None for row in rows),
    }


def _plan(data: Path, params: VaeParams, kind: str, rows: Sequence[Mapping[str, Any]]) -> VaeTask | None:
    """What to do for one VAE; None if the train split has no such medium."""
    having = [dict(row) for row in rows if row[f"{kind}_path"] is not None and row["num_units"] > 0]
    train = within_minutes([row for row in having if row["split"] == "train"], params.max_train_minutes)
    if not (having if params.weights else train):
        return None
    others = [row | {"units": row["num_units"]} for row in having if row["split"] != "train"]
    held_out = evenly(others, EVALUATED_TRACKS)
    chosen: VaeTrainingParams = getattr(params, kind)
    config = _config(data, kind, having, chosen.channels)
    training = VaeTrainConfig(
        steps=chosen.steps,
        batch=chosen.batch,
        clip_units=chosen.clip_units,
        learning_rate=chosen.learning_rate,
        checkpoint_s=params.checkpoint_s,
        seed=params.seed,
    )
    fingerprint = _fingerprint(kind, config, training, train)
    path = weights_path(data, kind)
    if params.weights:
        weights = Path(params.weights) / f"{kind}.safetensors"
        config = _check_fit(weights, kind, config)
        if not path.is_file() or file_sha256(path) != file_sha256(weights):
            temporary = path.with_name(f".{path.name}.tmp")
            shutil.copyfile(weights, temporary)
            temporary.replace(path)
        record_path(data, kind).unlink(missing_ok=True)
        write_curves(data, kind, [])
    return VaeTask(
        kind=kind,
        data=data.resolve(),
        train=train,
        held_out=held_out,
        config=config,
        training=training,
        fingerprint=fingerprint,
        finished=bool(params.weights) or _was_made(data, kind, fingerprint),
        external_weights=bool(params.weights),
    )


def _was_made(data: Path, kind: str, fingerprint: str) -> bool:
    """Whether the existing weights are the result of exactly this training."""
    record, path = record_path(data, kind), weights_path(data, kind)
    if not (record.is_file() and path.is_file() and all(file.is_file() for file in curve_paths(data, kind))):
        return False
    return json.loads(record.read_text()) == {"training": fingerprint, "weights_sha256": file_sha256(path)}


def _config(data: Path, kind: str, rows: Sequence[Mapping[str, Any]], channels: int) -> AudioVAEConfig | VideoVAEConfig:
    """The VAE that fits the tracks."""
    table = data / "tables" / "tracks"
    names = ("rate_hz",) if kind == "audio" else ("width", "height")
    formats = sorted({tuple(row[name] for name in names) for row in rows})
    if len(formats) > 1:
        listed = ", ".join("x".join(map(str, numbers)) for numbers in formats)
        raise InputError(
            f"{table}: {kind} tracks in several formats ({listed}), expected one; run ingest again over all sessions"
        )
    try:
        if kind == "audio":
            return AudioVAEConfig(channels=channels, **dict(zip(names, formats[0], strict=True)))
        return VideoVAEConfig(channels=channels, **dict(zip(names, formats[0], strict=True)))
    except ValueError as error:
        raise InputError(f"{table}: {error}; change the ingest section of params.yaml") from error


def _check_fit(weights: Path, kind: str, wanted: AudioVAEConfig | VideoVAEConfig) -> AudioVAEConfig | VideoVAEConfig:
    """The configuration of finished weights. Raises InputError if they are missing or of another format."""
    if not weights.is_file():
        raise InputError(
            f"vae.weights: {weights}: no such file; expected audio.safetensors and video.safetensors there"
        )
    config = (vae.load_audio_vae(weights) if kind == "audio" else vae.load_video_vae(weights)).config
    for name in ("rate_hz",) if kind == "audio" else ("width", "height"):
        if getattr(config, name) != getattr(wanted, name):
            raise InputError(
                f"vae.weights: {weights}: {name} is {getattr(config, name)}, the tracks have {getattr(wanted, name)}; "
                f"run ingest with that {name} or train new weights"
            )
    return config


def within_minutes(rows: list[dict[str, Any]], max_minutes: int) -> list[dict[str, Any]]:
    """Tracks, and how many units to read of each, at most `max_minutes` in all: pieces get shorter, then fewer."""
    limit = max(64, max_minutes * 60_000 // 160)
    share = max(64, limit // max(1, len(rows)))
    if sum(row["num_units"] for row in rows) <= limit:
        return [row | {"units": row["num_units"]} for row in rows]
    return [row | {"units": min(share, row["num_units"])} for row in evenly(rows, limit // share)]


def _fingerprint(
    kind: str,
    config: AudioVAEConfig | VideoVAEConfig,
    training: VaeTrainConfig,
    train: Sequence[Mapping[str, Any]],
) -> str:
    """Fingerprint of all that decides the weights. Held-out tracks do not: new ones must not outdate latents."""
    content = {
        "code": code_hash(*CODE),
        "config": dataclasses.asdict(config),
        "training": dataclasses.asdict(training) | {"checkpoint_s": None},
        "train": [(row[f"{kind}_sha256"], row["units"], *_off_screen(kind, row)) for row in train],
    }
    return hash_of(content)


def _off_screen(kind: str, row: Mapping[str, Any]) -> list[Any]:
    """Where a person is seen who is not seen throughout: the other frames are not learnt."""
    return [row["visible"]] if kind == "video" and row["visible"] is not None else []


def main() -> None:
    stage_main("vae", VaeParams, run)
