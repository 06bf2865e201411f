"""Tracks of the train split -> audio and video VAE weights, their curves, and figures on people never seen.

Each codec is trained in a child process of its own with one thread and a fixed number of steps, so that the weights do
not depend on how many workers there are: two children at once with two workers, one after the other with one. Finished
weights named by `vae.weights` are copied instead, and only measured.
"""

import csv
import dataclasses
import hashlib
import io
import json
import multiprocessing
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from pipelines.files import file_sha256, write_bytes_atomic, write_json_atomic
from pipelines.media import read_frames, read_wav, write_wav
from pipelines.progress import progress
from pipelines.stage import Rejected, stage_main
from pipelines.tables import read_rows, write_rejections
from wanstreamer import vae
from wanstreamer.clock import FRAMES_PER_UNIT, samples_per_unit
from wanstreamer.errors import InputError
from wanstreamer.train import codec
from wanstreamer.train.codec import CodecTrainConfig, Row
from wanstreamer.vae import AudioVAE, AudioVAEConfig, VideoVAE, VideoVAEConfig

KINDS = ("audio", "video")
EVALUATED_TRACKS = 8  # at most, of each of seen and unseen people: enough for a figure, seconds to compute
SHOWN_TRACKS = 3  # of each of seen and unseen people, in the pictures and sounds
CAPTION_COLUMNS = 100  # pixels beside each strip
SHOWN_UNITS = 40  # of each shown track: 6.4 s


@dataclass(frozen=True, kw_only=True)
class CodecParams:
    """Training of one codec; see CodecTrainConfig for what is not named here."""

    channels: int  # of a latent
    steps: int  # one thread does 3 (video) to 4 (audio) a second
    batch: int = 8  # clips per step
    clip_units: int = 4  # units of 160 ms per clip
    learning_rate: float = 2e-3  # peak


@dataclass(frozen=True, kw_only=True)
class VaeParams:
    audio: CodecParams = field(
        default_factory=lambda: CodecParams(channels=16, steps=400, clip_units=8)  # 1.28 s: several syllables
    )
    video: CodecParams = field(
        default_factory=lambda: CodecParams(channels=32, steps=300)  # 384 numbers a unit
    )
    seed: int = 0  # of weights, clips, augmentation and noise
    max_train_minutes: int = 60  # of tracks held in memory, evenly from all; 64x48 video takes 14 MB a minute
    weights: str = ""  # folder with finished audio.safetensors and video.safetensors; empty: train
    checkpoint_s: float = 20.0  # between states that a killed training resumes from


@dataclass(frozen=True, kw_only=True)
class _Task:
    """All that a child needs to make and measure one codec."""

    kind: str  # audio or video
    data: Path
    train: list[dict[str, Any]]  # rows of the tracks table, each with `units`: how many to read
    held_out: list[dict[str, Any]]
    config: AudioVAEConfig | VideoVAEConfig
    training: CodecTrainConfig
    fingerprint: str  # of code, parameters and content that decide the weights
    finished: bool  # weights are already in place: measure only


def run(data: Path, params: VaeParams, *, workers: int) -> dict[str, Any]:
    """Make `models/vae/{audio,video}.safetensors`, curves, pictures and sounds; returns held-out figures and counts.

    Raises:
        InputError: No train tracks, tracks of several picture sizes or sample rates, or `weights` that do not fit.
    """
    rows = read_rows(data, "tracks")
    if not params.weights and not any(row["split"] == "train" for row in rows):
        table = data / "tables" / "tracks.parquet"
        raise InputError(
            f"{table}: no track is in the train split; add sessions, or set vae.weights to finished codecs"
        )
    (data / "models" / "vae").mkdir(parents=True, exist_ok=True)
    tasks = []
    for kind in KINDS:
        task = _plan(data, params, kind, rows)
        if task is None:
            print(f"vae: no {kind} in the train split, so no {kind} codec is trained", file=sys.stderr)
            weights_path(data, kind).unlink(missing_ok=True)
            write_bytes_atomic(_curve_path(data, kind), b"step,loss\r\n")
        else:
            tasks.append(task)
    metrics: dict[str, Any] = {"tracks": _count_tracks(rows)}
    timings: dict[str, Any] = {}
    rejections: list[tuple[str, str, str]] = []
    for kind, outcome in _run_children(tasks, at_once=min(workers, len(tasks))).items():
        metrics[kind] = outcome["metrics"]
        timings[kind] = outcome["timings"]
        rejections += [(key, reason, detail) for key, reason, detail in outcome["rejections"]]
    metrics["rejected"] = write_rejections(data, "vae", rejections)
    write_json_atomic(data / "timings" / "vae.json", timings)
    return metrics


def weights_path(data: Path, kind: str) -> Path:
    return data / "models" / "vae" / f"{kind}.safetensors"


def _curve_path(data: Path, kind: str) -> Path:
    return data.resolve().parent / "plots" / f"vae_{kind}.csv"


def _count_tracks(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {
        "train": sum(row["split"] == "train" for row in rows),
        "held_out": sum(row["split"] != "train" for row in rows),
        "without_audio": sum(row["audio_path"] is None for row in rows),
        "without_video": sum(row["video_path"] is None for row in rows),
    }


def _plan(data: Path, params: VaeParams, kind: str, rows: Sequence[Mapping[str, Any]]) -> _Task | None:
    """What to do for one codec; None when the train split has no such medium."""
    having = [dict(row) for row in rows if row[f"{kind}_path"] is not None and row["num_units"] > 0]
    train = _within([row for row in having if row["split"] == "train"], params.max_train_minutes)
    if not (having if params.weights else train):
        return None
    others = [row | {"units": row["num_units"]} for row in having if row["split"] != "train"]
    held_out = _evenly(others, EVALUATED_TRACKS)
    chosen: CodecParams = getattr(params, kind)
    config = _config(data, kind, having, chosen.channels)
    training = CodecTrainConfig(
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
        given = Path(params.weights) / f"{kind}.safetensors"
        config = _check_given(given, kind, config)
        if not path.is_file() or file_sha256(path) != file_sha256(given):
            temporary = path.with_name(f".{path.name}.tmp")
            shutil.copyfile(given, temporary)
            temporary.replace(path)
        write_bytes_atomic(_curve_path(data, kind), b"step,loss\r\n")
    finished = bool(params.weights) or (
        vae.read_meta(path).get("training") == fingerprint and _curve_path(data, kind).is_file()
    )
    if finished:
        print(f"vae: {kind} weights are finished, measuring only", file=sys.stderr)
    return _Task(
        kind=kind,
        data=data.resolve(),
        train=train,
        held_out=held_out,
        config=config,
        training=training,
        fingerprint=fingerprint,
        finished=finished,
    )


def _config(data: Path, kind: str, rows: Sequence[Mapping[str, Any]], channels: int) -> AudioVAEConfig | VideoVAEConfig:
    """The codec that fits the tracks."""
    table = data / "tables" / "tracks.parquet"
    names = ("rate_hz",) if kind == "audio" else ("width", "height")
    formats = sorted({tuple(row[name] for name in names) for row in rows})
    if len(formats) > 1:
        said = ", ".join("x".join(map(str, one)) for one in formats)
        raise InputError(f"{table}: {kind} tracks in several formats ({said}); run ingest again over all sessions")
    try:
        if kind == "audio":
            return AudioVAEConfig(channels=channels, **dict(zip(names, formats[0], strict=True)))
        return VideoVAEConfig(channels=channels, **dict(zip(names, formats[0], strict=True)))
    except ValueError as error:
        raise InputError(f"{table}: {error}; change the ingest section of params.yaml") from error


def _check_given(given: Path, kind: str, wanted: AudioVAEConfig | VideoVAEConfig) -> AudioVAEConfig | VideoVAEConfig:
    """The configuration of finished weights. Raises InputError when they are missing or of another format."""
    if not given.is_file():
        raise InputError(f"vae.weights: {given}: no such file; expected audio.safetensors and video.safetensors there")
    config = (vae.load_audio_vae(given) if kind == "audio" else vae.load_video_vae(given)).config
    for name in ("rate_hz",) if kind == "audio" else ("width", "height"):
        if getattr(config, name) != getattr(wanted, name):
            raise InputError(
                f"vae.weights: {given}: {name} is {getattr(config, name)}, the tracks have {getattr(wanted, name)}; "
                f"run ingest with that {name} or train new weights"
            )
    return config


def _within(rows: list[dict[str, Any]], max_minutes: int) -> list[dict[str, Any]]:
    """Tracks and how many of their units to read, at most `max_minutes` in all: shorter pieces first, then fewer."""
    limit = max(64, max_minutes * 60_000 // 160)
    share = max(64, limit // max(1, len(rows)))
    if sum(row["num_units"] for row in rows) <= limit:
        return [row | {"units": row["num_units"]} for row in rows]
    return [row | {"units": min(share, row["num_units"])} for row in _evenly(rows, limit // share)]


def _evenly(rows: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """At most `count` of the rows, spread over all of them."""
    count = min(count, len(rows))
    return [rows[i * len(rows) // count] for i in range(count)]


def _fingerprint(
    kind: str,
    config: AudioVAEConfig | VideoVAEConfig,
    training: CodecTrainConfig,
    train: Sequence[Mapping[str, Any]],
) -> str:
    """Digest of all that decides the weights. Held-out tracks do not: new ones must not make latents out of date."""
    library = Path(vae.__file__).parent
    code = [library / f"{name}.py" for name in ("causal", kind, "losses", "mel")]
    content = {
        "code": [file_sha256(path) for path in (*code, Path(codec.__file__))],
        "config": dataclasses.asdict(config),
        "training": dataclasses.asdict(training) | {"checkpoint_s": None},
        "train": [(row[f"{kind}_sha256"], row["units"]) for row in train],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _run_children(tasks: Sequence[_Task], *, at_once: int) -> dict[str, dict[str, Any]]:
    """Each task in a process of its own, `at_once` of them at a time; outcomes by kind, in the order of `tasks`.

    A child sends ("steps", n), ("done", outcome), ("input", message) or ("bug", traceback).
    """
    context = multiprocessing.get_context("spawn")  # a fork would inherit threads of torch and of Ray
    waiting, outcomes = list(tasks), {}
    running: dict[Connection, tuple[_Task, Any]] = {}
    total = sum(task.training.steps for task in tasks if not task.finished)
    try:
        with progress(max(1, total), "vae") as advance:
            while waiting or running:
                while waiting and len(running) < at_once:
                    task = waiting.pop(0)
                    ours, theirs = context.Pipe(duplex=False)
                    process = context.Process(target=_child, args=(theirs, task), daemon=True)
                    process.start()
                    theirs.close()
                    running[ours] = (task, process)
                ready = set(wait(list(running)))
                for pipe in [pipe for pipe in running if pipe in ready]:
                    task, process = running[pipe]
                    try:
                        what, content = pipe.recv()
                    except EOFError:
                        process.join()
                        raise RuntimeError(f"vae: the {task.kind} process ended with code {process.exitcode}") from None
                    if what == "steps":
                        advance(content)
                        continue
                    if what == "input":
                        raise InputError(content)
                    if what == "bug":
                        raise RuntimeError(f"vae: the {task.kind} process failed:\n{content}")
                    outcomes[task.kind] = content
                    process.join()
                    del running[pipe]
    finally:
        for _, process in running.values():
            process.kill()
            process.join()
    return {task.kind: outcomes[task.kind] for task in tasks}


def _child(pipe: Connection, task: _Task) -> None:
    """Entry of a child. A parent that is gone breaks the pipe at the next step, and the child ends."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    # One training of the video codec met denormal numbers, and its steps took twice as long or more.
    torch.set_flush_denormal(True)
    try:
        pipe.send(("done", make_codec(task, lambda steps: pipe.send(("steps", steps)))))
    except InputError as error:
        pipe.send(("input", str(error)))
    except BrokenPipeError:
        sys.exit(1)
    except Exception:
        import traceback

        pipe.send(("bug", traceback.format_exc()))


def make_codec(task: _Task, on_steps: Any) -> dict[str, Any]:
    """Train (unless finished) and measure one codec in this process; returns metrics, timings and rejections."""
    timings: dict[str, float] = {}
    rejections: list[tuple[str, str, str]] = []
    with _timed(timings, "read_s"):
        train = _read_tracks(task, task.train, rejections)
        held_out = _read_tracks(task, task.held_out, rejections)
    if not train and not task.finished:
        raise InputError(f"{task.data}/tracks: no readable {task.kind} in the train split; run ingest again")
    path = weights_path(task.data, task.kind)
    state_path = task.data / "parts" / "vae" / f"{task.kind}.safetensors"
    if not task.finished:
        torch.manual_seed(task.training.seed)
        fresh = AudioVAE(task.config) if isinstance(task.config, AudioVAEConfig) else VideoVAE(task.config)
        told = 0

        def on_step(step: int) -> None:
            nonlocal told
            on_steps(step - told)
            told = step

        with _timed(timings, "train_s"):
            model, curve = codec.train_codec(
                fresh,
                [media for _, media in train],
                [media for _, media in held_out],
                task.training,
                state_path=state_path,
                fingerprint=task.fingerprint,
                on_step=on_step,
            )
        write_bytes_atomic(_curve_path(task.data, task.kind), _curve_csv(curve))
        vae.save(model, path, {"training": task.fingerprint})
    state_path.unlink(missing_ok=True)
    loaded = vae.load_audio_vae(path) if task.kind == "audio" else vae.load_video_vae(path)
    with _timed(timings, "evaluate_s"):
        metrics: dict[str, Any] = {
            "seen": _rounded(codec.evaluate_codec(loaded, [media for _, media in _evenly_pairs(train)])),
            "unseen": _rounded(codec.evaluate_codec(loaded, [media for _, media in held_out])),
            "parameters": sum(parameter.numel() for parameter in loaded.parameters()),
            "channels": loaded.config.channels,
            "train_tracks": len(train),
            "train_units": sum(len(media) // _unit_length(task) for _, media in train),
            "steps": 0 if task.finished and not vae.read_meta(path).get("training") else task.training.steps,
        }
    _report(task, loaded, train, held_out)
    for _, media in [*train, *held_out][:1]:
        timings |= _unit_times(loaded, media)
    return {"metrics": metrics, "timings": {k: round(v, 4) for k, v in timings.items()}, "rejections": rejections}


Pair = tuple[dict[str, Any], Tensor]


def _evenly_pairs(pairs: list[Pair]) -> list[Pair]:
    count = min(EVALUATED_TRACKS, len(pairs))
    return [pairs[i * len(pairs) // count] for i in range(count)]


def _unit_length(task: _Task) -> int:
    return samples_per_unit(task.config.rate_hz) if isinstance(task.config, AudioVAEConfig) else FRAMES_PER_UNIT


def _read_tracks(task: _Task, rows: Sequence[dict[str, Any]], rejections: list[tuple[str, str, str]]) -> list[Pair]:
    """Tracks as tensors; what cannot be read is left out and counted."""
    found = []
    for row in rows:
        try:
            found.append((row, read_track(task.data, row, task.kind, row["units"])))
        except Rejected as rejected:
            rejections.append((f"{row['session_id']}/{row['participant']}", rejected.reason, rejected.detail))
    return found


def read_track(data: Path, row: Mapping[str, Any], kind: str, units: int) -> Tensor:
    """The first `units` of a track: float32 samples (T,) or uint8 frames (T, H, W, 3). Raises Rejected."""
    path = data / row[f"{kind}_path"]
    if kind == "audio":
        media, rate_hz = read_wav(path)
        length = units * samples_per_unit(rate_hz)
        good = rate_hz == row["rate_hz"]
    else:
        media = read_frames(path, 0, units * FRAMES_PER_UNIT)
        length = units * FRAMES_PER_UNIT
        good = media.shape[1:] == (row["height"], row["width"], 3)
    if not good or len(media) < length:
        raise Rejected("damaged_track", f"{path.name}: {len(media)} of {length} expected, shape {media.shape[1:]}")
    return torch.from_numpy(np.ascontiguousarray(media[:length]))


def _curve_csv(curve: Sequence[Row]) -> bytes:
    columns = ["step", *sorted({name for row in curve for name in row} - {"step", "loss"})]
    columns.insert(1, "loss")
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    for row in curve:
        writer.writerow({name: f"{value:.6g}" for name, value in row.items()})
    return text.getvalue().encode()


def _rounded(row: Row) -> Row:
    return {name: round(value, 4) for name, value in row.items()}


def _report(task: _Task, model: AudioVAE | VideoVAE, train: list[Pair], held_out: list[Pair]) -> None:
    """Truth and reconstruction of seen and unseen people who agreed to be shown: a picture, or wav files."""
    reports = task.data / "reports"
    reports.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, pairs in (("seen", train), ("unseen", held_out)):
        agreed = [(row, media) for row, media in pairs if "show" in (row["consent"] or ())]
        speakers = {row["speaker_id"]: (row, media) for row, media in reversed(agreed)}
        for index, (_, media) in enumerate([speakers[key] for key in sorted(speakers)][:SHOWN_TRACKS]):
            units = min(SHOWN_UNITS, len(media) // _unit_length(task))
            beginning = media[: units * _unit_length(task)]
            made = codec.decode_track(model, codec.encode_track(model, beginning))
            if isinstance(model, VideoVAE):
                pixels = ((made.permute(0, 2, 3, 1) + 1) * 127.5).round().to(torch.uint8)
                rows += [_strip(beginning, f"{name} person {index}"), _strip(pixels, "decoded")]
                continue
            for what, audio_T in (("truth", beginning), ("decoded", made)):
                write_wav(reports / f"vae_audio_{name}{index}_{what}.wav", audio_T.numpy(), model.config.rate_hz)
    if rows:
        content = io.BytesIO()
        Image.fromarray(np.concatenate(rows)).save(content, "PNG")
        write_bytes_atomic(reports / "vae_video.png", content.getvalue())


def _strip(frames_THWC: Tensor, caption: str) -> np.ndarray:
    """Eight frames spread over the clip, side by side and twice as large, beside a caption."""
    chosen = [frames_THWC[i * len(frames_THWC) // 8].numpy() for i in range(8)]
    pictures = np.concatenate(chosen, axis=1).repeat(2, axis=0).repeat(2, axis=1)
    margin = Image.new("RGB", (CAPTION_COLUMNS, len(pictures)), "black")
    ImageDraw.Draw(margin).text((6, 6), caption, fill="white")
    return np.concatenate([np.asarray(margin), pictures], axis=1)


@torch.no_grad()
def _unit_times(model: AudioVAE | VideoVAE, track: Tensor, count: int = 40) -> dict[str, float]:
    """Median milliseconds to encode and to decode one unit, streamed on one thread."""
    length = samples_per_unit(model.config.rate_hz) if isinstance(model, AudioVAE) else FRAMES_PER_UNIT
    encoder = decoder = None
    spent: dict[str, list[float]] = {"encode_unit_ms": [], "decode_unit_ms": []}
    for piece in track[: count * length].split(length):
        began_s = time.perf_counter()
        latent, encoder = model.encode(codec.to_input(model, piece), encoder)
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


def main() -> None:
    stage_main("vae", VaeParams, run)


if __name__ == "__main__":
    main()
