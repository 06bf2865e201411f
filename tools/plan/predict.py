"""Amounts x slopes -> what each stage costs on a machine: CPU and GPU time, wall-clock time, disk, files, money."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.engine.buckets import buckets_for
from pipelines.engine.workers import HANDFUL
from pipelines.ingest.long_videos import SPAN_UNITS
from tools.plan.amounts import Amounts, all_factors
from tools.plan.corpus import Corpus
from tools.plan.layout import (
    Disk,
    Shapes,
    latent_shapes,
    latents_bytes,
    predicted_files,
    track_bytes,
    weights_bytes,
    window_bytes,
)
from tools.plan.slopes import Slopes, apply
from tools.plan.training import duplex_config, duplex_flops, vae_factors
from wanstreamer.clock import UNIT_MS

STAGES = ("ingest", "quality", "annotate", "vae", "encode", "pack", "duplex")
EFFICIENCY = 0.9  # of many workers: the share of their time in which they work on sessions
SAMPLE_BYTES = 4  # of sound while a session is made
BY_STEPS = ("vae", "duplex")  # few processes, whatever the number of cores
WITH_GPU = "its slopes were measured with a GPU: pass --gpus"
NO_GPU_SLOPE = "no slope was measured on a GPU: run `python -m tools.bench cost` there and pass --slopes"

Corrections = Mapping[str, Mapping[str, float]]  # stage -> figure -> factor


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the stages will run on."""

    cores: int  # of all nodes
    gpus: int = 0  # of all nodes
    gpu_tflops: float = 0.0  # that a GPU sustains in training; 0: not known


@dataclass(frozen=True, kw_only=True)
class Prices:
    """In any currency."""

    cpu_hour: float = 0.0  # of a core
    gpu_hour: float = 0.0
    gb_month: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one stage. None: unknown; `why` says why."""

    sessions: float
    hours: float  # of conversation
    cpu_s: float | None  # of the work on sessions, or on steps
    gpu_s: float | None
    start_s: float  # wall-clock time before the first session
    wall_s: float | None  # with the start
    disk: Disk
    peak_gb: float  # while the stage runs, with its outputs
    money: float | None
    why: str = ""


def predict(
    corpus: Corpus,
    params: Mapping[str, Any],
    slopes: Slopes,
    machine: Machine,
    prices: Prices,
    corrections: Corrections | None = None,
) -> dict[str, Cost]:
    """The cost of each stage, in their order. `params`: by section, as the stages get them."""
    amounts, longest = corpus.amounts(), corpus.longest()
    shapes = latent_shapes(params["vae"], params["ingest"], amounts)
    sizes = {
        "width": params["ingest"].width, "height": params["ingest"].height,
        "window_bytes": window_bytes(params["pack"], shapes),
    }  # fmt: skip
    factors, of_longest = all_factors(amounts, **sizes), {"workers": 0.0} | all_factors(longest, **sizes)
    costs = {}
    for stage in STAGES:
        correction = (corrections or {}).get(stage, {})
        workers = _workers(stage, machine, amounts.sessions)
        factors["workers"] = 0.0 if params["run"].ray else workers
        worked = _work(stage, corpus, params, slopes, machine, shapes, factors)
        cpu_s = None if worked.cpu_s is None else worked.cpu_s * correction.get("cpu_s", 1.0)
        disk = _disk(stage, corpus, amounts, params, slopes, shapes, factors)
        grown = correction.get("gb", 1.0)
        disk = replace(disk, bulk_bytes=disk.bulk_bytes * grown, table_bytes=disk.table_bytes * grown)
        longest_s = 0.0 if stage in BY_STEPS else apply(slopes.cpu_s[stage], of_longest)
        if stage == "ingest":  # several workers share a long session
            longest_s /= min(workers, 2 * math.ceil(longest.session_s * 1000 / UNIT_MS / SPAN_UNITS) or 1)
        few = amounts.sessions <= min(2 * workers, HANDFUL) or stage in BY_STEPS
        start_s = slopes.start[stage].plain_s if few or not params["run"].ray else slopes.start[stage].ray_s
        wall_s: float | None
        if worked.gpu_s is None or cpu_s is None:
            wall_s = None
        elif worked.gpu_s:
            wall_s = start_s + worked.gpu_s / min(machine.gpus, workers)
        elif stage in BY_STEPS:
            wall_s = start_s + max(worked.in_parallel_s, cpu_s / workers)
        else:
            driver_s = apply(slopes.driver_s[stage], factors)
            wall_s = start_s + driver_s + max(cpu_s / workers / EFFICIENCY, longest_s)
        costs[stage] = Cost(
            sessions=0 if stage == "duplex" else amounts.sessions,
            hours=amounts.session_s / 3600,
            cpu_s=cpu_s,
            gpu_s=worked.gpu_s,
            start_s=start_s,
            wall_s=wall_s,
            disk=disk,
            peak_gb=disk.gb
            + _unmerged_gb(stage, disk, amounts.sessions)
            + workers * _scratch_bytes(stage, longest, params, slopes, shapes) / 1e9,
            money=_money(wall_s, workers, machine.gpus if worked.gpu_s else 0, prices),
            why=worked.why,
        )
    return costs


@dataclass(frozen=True, kw_only=True)
class _Work:
    cpu_s: float | None
    gpu_s: float | None = 0.0
    in_parallel_s: float = 0.0  # the longest of its processes
    why: str = ""


def _work(
    stage: str,
    corpus: Corpus,
    params: Mapping[str, Any],
    slopes: Slopes,
    machine: Machine,
    shapes: Shapes,
    factors: Mapping[str, float],
) -> _Work:
    """CPU and GPU seconds."""
    annotate = params["annotate"]
    models = [name for name in (annotate.speech, annotate.words) if name in ("pyannote", "whisperx")]
    if stage == "annotate" and models:
        return _Work(cpu_s=None, gpu_s=None, why=f"the cost of {' and '.join(models)} is not measured")
    if stage == "vae":
        return _vae_work(corpus, params, slopes, machine)
    if stage == "duplex":
        return _duplex_work(params, slopes, machine, shapes)
    if stage == "encode" and slopes.gpu_s and not machine.gpus:
        return _Work(cpu_s=None, gpu_s=None, why=WITH_GPU)
    if stage == "encode" and machine.gpus:
        if "encode" not in slopes.gpu_s:
            return _Work(cpu_s=None, gpu_s=None, why=NO_GPU_SLOPE)
        return _Work(cpu_s=apply(slopes.cpu_s[stage], factors), gpu_s=apply(slopes.gpu_s["encode"], factors))
    return _Work(cpu_s=apply(slopes.cpu_s[stage], factors))


def _vae_work(corpus: Corpus, params: Mapping[str, Any], slopes: Slopes, machine: Machine) -> _Work:
    """Two processes, one for each VAE."""
    tracks: dict[str, list[tuple[str, int]]] = {"audio": [], "video": []}
    for outlook in corpus.outlooks:
        if outlook.stage != "ingest":
            for kind, count in outlook.num_tracks.items():
                tracks[kind] += [(outlook.split, outlook.num_units)] * count
    ingest = params["ingest"]
    factors = vae_factors(params["vae"], tracks, ingest.width, ingest.height)
    if machine.gpus and any(values[f"{kind}_steps"] for kind, values in factors.items()):
        return _Work(cpu_s=None, gpu_s=None, why=NO_GPU_SLOPE)
    each_s = [sum(slopes.vae[name] * value for name, value in values.items()) for values in factors.values()]
    const_s = slopes.vae["vae"]
    return _Work(cpu_s=const_s + sum(each_s), in_parallel_s=const_s + max(each_s, default=0.0))


def _duplex_work(params: Mapping[str, Any], slopes: Slopes, machine: Machine, shapes: Shapes) -> _Work:
    duplex, pack = params["duplex"], params["pack"]
    channels, height, width = shapes["video"]
    vocab_size = pack.vocab_size
    if pack.tokenizer:
        from pipelines.formats.tokenizer import load_tokenizer

        vocab_size = load_tokenizer(Path(pack.tokenizer)).vocab_size
    config = duplex_config(
        duplex, audio_channels=shapes["audio"][1], video_shape=(channels, height, width), vocab_size=vocab_size,
        text_slots=pack.text_slots,
    )  # fmt: skip
    flops = duplex_flops(duplex, config, pack.window_units)
    if slopes.gpu_s and not machine.gpus:
        return _Work(cpu_s=None, gpu_s=None, why=WITH_GPU)
    if not machine.gpus:
        cpu_s = slopes.duplex["const_s"] + flops / slopes.duplex["flops_per_s"]
        return _Work(cpu_s=cpu_s, in_parallel_s=cpu_s)
    flops_per_s = slopes.gpu_s.get("duplex", {}).get("flops_per_s", machine.gpu_tflops * 1e12)
    if not flops_per_s:
        return _Work(cpu_s=None, gpu_s=None, why=f"{NO_GPU_SLOPE}; or pass --gpu-tflops")
    gpu_s = flops / flops_per_s
    return _Work(cpu_s=gpu_s / machine.gpus, gpu_s=gpu_s)


def _workers(stage: str, machine: Machine, sessions: float) -> int:
    """Processes that work at the same time."""
    most = {"vae": 2, "duplex": max(1, machine.gpus)}.get(stage, max(1, math.ceil(sessions)))
    return min(machine.cores, most)


def _disk(
    stage: str,
    corpus: Corpus,
    amounts: Amounts,
    params: Mapping[str, Any],
    slopes: Slopes,
    shapes: Shapes,
    factors: Mapping[str, float],
) -> Disk:
    bulk_bytes = _bulk_bytes(stage, amounts, params, slopes, shapes)
    splits = {outlook.split for outlook in corpus.outlooks if not outlook.stage}
    return Disk(
        bulk_bytes=bulk_bytes,
        table_bytes=0.0 if stage in BY_STEPS else apply(slopes.tables_mb[stage], factors) * 1e6,
        files=predicted_files(stage, amounts, len(splits), bulk_bytes),
    )


def _bulk_bytes(stage: str, amounts: Amounts, params: Mapping[str, Any], slopes: Slopes, shapes: Shapes) -> float:
    if stage == "ingest":
        return track_bytes(amounts, params["ingest"], slopes.bytes_per_frame)
    if stage == "encode":
        return latents_bytes(amounts, shapes)
    if stage == "pack":
        return amounts.windows * window_bytes(params["pack"], shapes)
    if stage in BY_STEPS:
        return weights_bytes(stage, params, shapes, amounts)
    return 0.0


def _unmerged_gb(stage: str, disk: Disk, sessions: float) -> float:
    """Parts of sessions that wait for their bucket to be complete: about a bucket of them. Tracks do not wait."""
    waiting = disk.table_bytes + (disk.bulk_bytes if stage in ("encode", "pack") else 0.0)
    return waiting / buckets_for(math.ceil(sessions)) / 1e9


def _scratch_bytes(stage: str, longest: Amounts, params: Mapping[str, Any], slopes: Slopes, shapes: Shapes) -> float:
    """What a worker needs on disk for the longest session, until the session is finished."""
    if stage in BY_STEPS:
        return 2 * _bulk_bytes(stage, longest, params, slopes, shapes)  # the optimiser's two averages of each weight
    sound = longest.audio_s * params["ingest"].rate_hz * SAMPLE_BYTES if stage == "ingest" else 0.0
    return sound + _bulk_bytes(stage, longest, params, slopes, shapes)


def _money(wall_s: float | None, cores: int, gpus: int, prices: Prices) -> float | None:
    """A stage pays for the cores and GPUs that it can use, for as long as it runs."""
    return None if wall_s is None else wall_s / 3600 * (cores * prices.cpu_hour + gpus * prices.gpu_hour)


def cost_json(cost: Cost) -> dict[str, Any]:
    """As plan.json has it."""
    values = asdict(cost)
    disk = values.pop("disk")
    return {**values, "gb": cost.disk.gb, "bulk_gb": disk["bulk_bytes"] / 1e9, "files": disk["files"]}
