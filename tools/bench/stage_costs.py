"""Runs stages on recordings and notes what they cost: the measurements behind the slopes of `tools.bench cost`."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.engine.files import write_json_atomic
from pipelines.engine.params import build_params, read_sections
from pipelines.engine.ray import ONE_THREAD
from pipelines.ingest.params import IngestParams
from pipelines.media.process import ffmpeg_path
from pipelines.pack.params import PackParams
from pipelines.vae.params import VaeParams
from tools.bench.recordings import CONTAINERS, QUICK, Recordings, make_recordings, picture_graph
from tools.plan.amounts import BULK_FACTORS, FACTORS, Amounts, all_factors
from tools.plan.corpus import look_at
from tools.plan.layout import disk_of, latent_shapes, window_bytes
from tools.plan.slopes import Costs, Start, fit
from wanstreamer.clock import FRAME_RATE_HZ
from wanstreamer.errors import InputError

STAGES = ("ingest", "quality", "annotate", "encode", "pack")
SMALL, LARGE = (64, 48), (336, 192)  # sizes of tracks: of scale tiny, and of all larger scales
RATES_HZ = {SMALL: 16_000, LARGE: 24_000}
BITS_PER_PIXEL = 0.09  # of a source's video: 2.5 Mbit/s at 720p and 30 frames per second
LEAST_S = 6.0  # of a recording
ENCODERS = {
    "h264": "libx264", "h264-baseline": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9", "vp8": "libvpx",
    "av1": "libsvtav1", "mpeg4": "mpeg4",
}  # fmt: skip
CODEC_S = 4
ROUNDS = 2  # the best counts: other work on the machine only ever adds to CPU time
NOISE_S = 0.25  # CPU time of a stage that is no more than noise


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Some recordings, how large their tracks become, and the stages that are measured on them."""

    recordings: Recordings
    folder: Path  # with the recordings and a data folder
    track_size: tuple[int, int] = SMALL
    stages: tuple[str, ...] = STAGES

    @property
    def name(self) -> str:
        return self.recordings.prefix

    @property
    def source(self) -> Path:
        return self.folder / "sources"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def overrides(self) -> list[str]:
        width, height = self.track_size
        return [
            f"ingest.source={self.source}", f"ingest.width={width}", f"ingest.height={height}",
            f"ingest.rate_hz={RATES_HZ[self.track_size]}", "ingest.valid_fraction=0", "ingest.test_fraction=0",
            "quality.min_face_share=0", "quality.find_duplicates=false", "quality.max_av_offset_ms=100000",
            "quality.min_loudness_lufs=-120", "quality.max_same_picture_share=1", "quality.max_zero_share=1",
            "quality.max_cuts_per_min=100000",
        ]  # fmt: skip

    def params(self, cls: Any, section: str) -> Any:
        return build_params(cls, read_sections(None, self.overrides()).get(section, {}), section)


def settings(folder: Path, sizes: Sequence[str], minutes: float) -> list[Setting]:
    """What is measured: recordings of every size and some lengths, the longest of `minutes`."""

    def setting(name: str, size: str = "", *, share: float, bits: float = 1.0, **options: Any) -> Setting:
        width, height = map(int, size.split("x")) if size else (0, 0)
        recordings = Recordings(
            prefix=name, size=size, frames_per_s=30, sessions=options.pop("sessions", 1),
            mbit_per_s=round(30 * width * height * bits * BITS_PER_PIXEL / 1e6, 2),
            seconds=round(max(LEAST_S, 60 * minutes * share), 1),
        )  # fmt: skip
        return Setting(recordings=recordings, folder=folder / name, **options)

    first, middle = sizes[0], sizes[len(sizes) // 2]
    large = f"{LARGE[0]}x{LARGE[1]}"
    return [
        setting("sound", share=1.0, sessions=2),
        setting("sound-short", share=0.0, sessions=8),
        setting(first, first, share=1.0),
        *(setting(size, size, share=0.12, stages=("ingest",)) for size in sizes[1:]),
        setting(f"{first}-short", first, share=0.0, sessions=4),
        setting(f"{middle}-4x-bits", middle, share=0.08, bits=4, stages=("ingest",)),
        setting(f"{first}-to-{large}", first, share=0.08, track_size=LARGE),
        setting(
            f"{first}-to-{large}-short", first, share=0.0, sessions=2, track_size=LARGE, stages=("ingest", "quality")
        ),
    ]


def run_stage(setting: Setting, stage: str, *more: str, ray: bool = False, module: str = "") -> dict[str, float]:
    """Run a stage with one worker; returns what its command took, and the figures of its timings."""
    setting.data.mkdir(parents=True, exist_ok=True)
    params = setting.folder / "params.yaml"
    params.write_text("")  # defaults, whatever the params.yaml of this folder has
    command = [
        sys.executable, "-m", module or f"pipelines.{stage}", "--data", str(setting.data), "--params", str(params),
        "--workers", "1", "--set", f"run.ray={str(ray).lower()}",
    ]  # fmt: skip
    for override in (*setting.overrides(), *more):
        command += ["--set", override]
    before_s = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **ONE_THREAD}, check=False)
    command_wall_s = time.monotonic() - before_s
    if done.returncode:
        message = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"bench cost: {stage} ended with exit code {done.returncode}: {message}")
    timings = json.loads((setting.data / "timings" / f"{stage}.json").read_text())
    figures = {name: float(value) for name, value in timings.items() if isinstance(value, int | float)}
    if "cpu_s" not in figures:
        raise InputError(f"bench cost: {setting.data}/timings/{stage}.json has no cpu_s; update the project")
    return figures | {"command_wall_s": command_wall_s}


def children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measured_rows(setting: Setting) -> list[dict[str, Any]]:
    """A row per stage of a setting (see `_measure`). They are kept in its folder, and measured once."""
    kept = setting.folder / "costs.json"
    if not kept.is_file():
        shutil.rmtree(setting.folder, ignore_errors=True)
        make_recordings(setting.source, [setting.recordings])
        write_json_atomic(kept, list(_measure(setting)))
    rows: list[dict[str, Any]] = json.loads(kept.read_text())
    return rows


def _measure(setting: Setting) -> Iterator[dict[str, Any]]:
    """A row per stage: what it cost, what lies on disk, and the factors of its cost."""
    ingest, pack = setting.params(IngestParams, "ingest"), setting.params(PackParams, "pack")
    corpus = look_at(setting.data, ingest, pack, codecs={"h264": 1.0})
    amounts = corpus.amounts()
    shapes = latent_shapes(VaeParams(), ingest, amounts)
    width, height = setting.track_size
    factors = {"workers": 1.0} | all_factors(
        amounts, width=width, height=height, window_bytes=window_bytes(pack, shapes)
    )
    for stage in setting.stages:
        if stage == "encode":
            write_vaes(setting, amounts)
        cost = min((_run_again(setting, stage) for _ in range(ROUNDS)), key=lambda cost: cost["cpu_s"])
        disk = disk_of(setting.data, stage)
        yield {
            "setting": setting.name, "stage": stage, "sessions": setting.recordings.sessions,
            "hours": setting.recordings.hours, "bulk_mb": disk.bulk_bytes / 1e6, "tables_mb": disk.table_bytes / 1e6,
            "files": disk.files, "factors": factors, **cost,
        }  # fmt: skip


def write_vaes(setting: Setting, amounts: Amounts) -> None:
    """VAEs with random weights: time does not depend on them."""
    import torch

    from wanstreamer import vae

    torch.manual_seed(0)
    width, height = setting.track_size
    folder = setting.data / "models" / "vae"
    vae.save(vae.AudioVAE(vae.AudioVAEConfig(rate_hz=RATES_HZ[setting.track_size])), folder / "audio.safetensors")
    if amounts.video_tracks:
        vae.save(vae.VideoVAE(vae.VideoVAEConfig(width=width, height=height)), folder / "video.safetensors")


def stage_slopes(measured: Sequence[Mapping[str, Any]], *, gpu: bool) -> dict[str, Any]:
    """The slopes of all stages, as fields of Slopes, from rows of `measured_rows`; `gpu`: the machine has one."""
    fields: dict[str, Costs] = {name: {} for name in ("cpu_s", "tables_mb", "driver_s")}
    errors = {}
    for stage in STAGES:
        rows = [row for row in measured if row["stage"] == stage]
        factors = [row["factors"] for row in rows]
        fields["cpu_s"][stage], errors[stage] = fit(
            factors, FACTORS[stage], [row["cpu_s"] for row in rows], least=NOISE_S
        )
        for name, figure in (("tables_mb", "tables_mb"), ("driver_s", "driver_cpu_s")):
            fields[name][stage], _ = fit(factors, BULK_FACTORS, [row[figure] for row in rows], least=0.01)
        fields["driver_s"][stage]["one"] = 0.0  # measured apart, as the start of the stage
    encoded = [row for row in measured if row["stage"] == "encode"]
    worked_s = [row["wall_s"] - row["start_s"] for row in encoded]  # of one worker, which has the GPU to itself
    of_gpu = {"encode": fit([row["factors"] for row in encoded], FACTORS["encode"], worked_s)[0]} if gpu else {}
    return {**fields, "gpu_s": of_gpu, "errors": errors}


def measure_starts(setting: Setting, measured: Sequence[Mapping[str, Any]]) -> dict[str, Start]:
    """What each stage costs besides its sessions. Two are measured: stages without and with torch."""
    plain, torch = (_start(setting, stage, measured) for stage in ("quality", "encode"))
    return {"ingest": plain, "quality": plain, "annotate": torch, "vae": torch, "encode": torch, "pack": plain,
            "duplex": torch}  # fmt: skip


def _start(setting: Setting, stage: str, measured: Sequence[Mapping[str, Any]]) -> Start:
    """`setting`: with more sessions than plain processes take by default."""
    rows = [row for row in measured if row["stage"] == stage]
    with_ray_s = min(_besides_s(_run_again(setting, stage, ray=True)) for _ in range(ROUNDS))
    return Start(ray_s=with_ray_s, plain_s=min(map(_besides_s, rows)))


def _run_again(setting: Setting, stage: str, *, ray: bool = False) -> dict[str, float]:
    """Run a stage as if it had not run before."""
    shutil.rmtree(setting.data / "state" / stage, ignore_errors=True)
    (setting.data / "state" / f"{stage}.json").unlink(missing_ok=True)
    return run_stage(setting, stage, ray=ray)


def _besides_s(cost: Mapping[str, float]) -> float:
    """The time of a command before its first session, and what is not the stage."""
    return cost["command_wall_s"] - (cost["wall_s"] - cost["start_s"])


def bytes_per_frame(settings: Sequence[Setting], measured: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """a, b: a frame of a track of n pixels takes a * n ** b bytes."""
    points = []
    for setting in settings:
        frames = [row["factors"]["video_s"] * FRAME_RATE_HZ for row in measured if row["setting"] == setting.name]
        if frames and frames[0]:
            videos = sum(path.stat().st_size for path in (setting.data / "tracks").rglob("*.mp4"))
            points.append((setting.track_size[0] * setting.track_size[1], videos / frames[0]))
    pixels_N, bytes_N = np.log(points).T
    power, log_factor = np.polyfit(pixels_N, bytes_N, 1)
    return float(np.exp(log_factor)), float(power)


def measure_codecs(folder: Path, size: str) -> dict[str, float]:
    """CPU time to decode video of each codec, compared with H.264 of the same bit rate."""
    width, height = map(int, size.split("x"))
    mbit_per_s = 30 * width * height * BITS_PER_PIXEL / 1e6
    seconds = {}
    for codec, encoder in ENCODERS.items():
        options = QUICK["baseline" if codec == "h264-baseline" else encoder]
        clip = folder / f"codec-{codec}.{CONTAINERS[encoder]}"
        make = [
            ffmpeg_path(), "-v", "error", "-y", "-f", "lavfi", "-i", picture_graph(size, 30, 0), "-t", str(CODEC_S),
            "-c:v", encoder, *options, "-b:v", f"{mbit_per_s}M", "-pix_fmt", "yuv420p", str(clip),
        ]  # fmt: skip
        if subprocess.run(make, capture_output=True, check=False).returncode:
            continue  # this ffmpeg does not have the encoder
        decode = [ffmpeg_path(), "-v", "error", "-threads", "1", "-i", str(clip), "-f", "null", "-"]
        before_s = children_cpu_s()
        subprocess.run(decode, capture_output=True, check=True)
        seconds[codec] = children_cpu_s() - before_s
    return {codec: taken_s / seconds["h264"] for codec, taken_s in seconds.items()}
