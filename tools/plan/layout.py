"""Where the outputs of a stage lie in a data folder, and how large they are: counted after a run, and predicted."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.engine.buckets import buckets_for
from pipelines.engine.shards import SHARD_BYTES
from pipelines.ingest.params import IngestParams
from pipelines.pack.params import PackParams
from pipelines.pack.stage import sample_bytes
from pipelines.vae.params import VaeParams
from schemas import TABLES_OF
from schemas.windows import WINDOW_FIELDS, WINDOW_LABELS
from tools.plan.amounts import Amounts
from wanstreamer.clock import AUDIO_LATENTS_PER_UNIT, UNIT_MS

BULK = {
    "ingest": ("tracks",), "encode": ("latents",), "pack": ("windows", "models/tokenizer.json"),
    "vae": ("models/vae",), "duplex": ("models/duplex",),
}  # fmt: skip
NOTES = {"ingest": ("parts/ingest-hashes", "parts/ingest-source.json")}
FLOAT16_BYTES = 2
SAMPLE_BYTES = 2  # of a WAV track
MEMBER_BYTES = 896  # of a member of a tar besides its numbers: its header, that of the array, half a block
VIDEO_STEP = 16  # pixels per latent

Shapes = Mapping[str, tuple[int, ...]]  # audio, video -> the shape of one unit's latents


@dataclass(frozen=True, kw_only=True)
class Disk:
    """What files take on disk."""

    bulk_bytes: float  # tracks, latents, windows, weights
    table_bytes: float  # everything else
    files: float

    @property
    def gb(self) -> float:
        return (self.bulk_bytes + self.table_bytes) / 1e9


def disk_of(data: Path, stage: str) -> Disk:
    """What the outputs of a stage take."""
    bulk = [size for name in BULK.get(stage, ()) for size in _sizes(data / name)]
    tables = [f"tables/{table}" for table in (*TABLES_OF.get(stage, ()), f"rejections/{stage}")]
    notes = [f"parts/{stage}", f"state/{stage}", f"state/{stage}.json", *NOTES.get(stage, ())]
    others = [size for place in (*tables, *notes) for size in _sizes(data / place)]
    return Disk(bulk_bytes=sum(bulk), table_bytes=sum(others), files=len(bulk) + len(others))


def _sizes(place: Path) -> Iterator[int]:
    """Bytes of each file at or below a place."""
    if place.is_file():
        yield place.stat().st_size
    elif place.is_dir():
        for folder, _, names in os.walk(place):
            for name in names:
                yield (Path(folder) / name).stat().st_size


def predicted_files(stage: str, amounts: Amounts, num_splits: int, bulk_bytes: float) -> float:
    """How many files a stage makes: tables and states by bucket, tracks, shards, weights."""
    num_buckets = buckets_for(math.ceil(amounts.sessions))
    shards = num_buckets + bulk_bytes // SHARD_BYTES
    bulk = {
        "ingest": amounts.audio_tracks + amounts.video_tracks + num_buckets + 1,  # hashes of sources, and their place
        "encode": shards,
        "pack": 2 * (shards + (num_splits - 1) * num_buckets) + 4,  # with indices; two lists, the tokenizer, its note
        "vae": len([kind for kind in (amounts.audio_tracks, amounts.video_tracks) if kind]),
        "duplex": 1,
    }.get(stage, 0)
    if stage == "duplex":
        return bulk
    by_bucket = 1 if stage == "vae" else len(TABLES_OF[stage]) + 2  # rejections and states have one each
    return bulk + num_buckets * by_bucket + 1


def latent_shapes(vae: VaeParams, ingest: IngestParams, amounts: Amounts) -> dict[str, tuple[int, ...]]:
    """Of finished VAEs, or of those that will be trained. A corpus without video has video latents of size 1."""
    channels = {kind: _channels(vae, kind) for kind in ("audio", "video")}
    rows, columns = ingest.height // VIDEO_STEP, ingest.width // VIDEO_STEP
    return {
        "audio": (AUDIO_LATENTS_PER_UNIT, channels["audio"] if amounts.audio_tracks else 1),
        "video": (channels["video"], rows, columns) if amounts.video_tracks else (1, 1, 1),
    }


def _channels(vae: VaeParams, kind: str) -> int:
    channels: int = getattr(vae, kind).channels
    if vae.weights:
        from wanstreamer.vae import read_meta

        channels = read_meta(Path(vae.weights) / f"{kind}.safetensors").get("config", {}).get("channels", channels)
    return channels


def window_bytes(pack: PackParams, shapes: Shapes) -> int:
    """Bytes of one window in its shard."""
    sizes: dict[str, tuple[int, ...]] = {"K": (pack.window_units,), "S": (pack.text_slots,), "L": (len(WINDOW_LABELS),)}
    sizes |= {"NC": tuple(shapes["audio"]), "CHW": tuple(shapes["video"])}

    def shape(dims: str) -> Sequence[int]:
        return sizes["K"] + (sizes[dims[1:]] if dims[1:] else ())

    sample = {name: np.zeros(shape(dims), dtype) for name, (dtype, dims) in WINDOW_FIELDS.items()}
    return len(sample_bytes("session-000-a-000000", sample))


def track_bytes(amounts: Amounts, ingest: IngestParams, bytes_per_frame: tuple[float, float]) -> float:
    """Video, which depends on what it shows, and audio, which does not."""
    factor, power = bytes_per_frame
    frame = factor * (ingest.width * ingest.height) ** power
    return amounts.video_s * 25 * frame + amounts.audio_s * ingest.rate_hz * SAMPLE_BYTES


def latents_bytes(amounts: Amounts, shapes: Shapes) -> float:
    per_unit = {kind: math.prod(shape) * FLOAT16_BYTES for kind, shape in shapes.items()}
    units = {"audio": amounts.audio_s, "video": amounts.video_s}
    content = sum(per_unit[kind] * seconds * 1000 / UNIT_MS for kind, seconds in units.items())
    return content + MEMBER_BYTES * (amounts.audio_tracks + amounts.video_tracks)


def weights_bytes(stage: str, params: Mapping[str, Any], shapes: Shapes, amounts: Amounts) -> float:
    """Of the VAEs, or of the duplex model: four bytes for each number, counted without making any."""
    import torch

    from tools.plan.training import duplex_config
    from wanstreamer.model.duplex import DuplexModel
    from wanstreamer.vae import AudioVAE, AudioVAEConfig, VideoVAE, VideoVAEConfig

    ingest, pack = params["ingest"], params["pack"]
    channels, rows, columns = shapes["video"]
    models: list[torch.nn.Module] = []
    with torch.device("meta"):
        if stage == "duplex":
            config = duplex_config(
                params["duplex"], audio_channels=shapes["audio"][1], video_shape=(channels, rows, columns),
                vocab_size=pack.vocab_size, text_slots=pack.text_slots,
            )  # fmt: skip
            models.append(DuplexModel(config))
        elif amounts.audio_tracks:
            models.append(AudioVAE(AudioVAEConfig(rate_hz=ingest.rate_hz, channels=shapes["audio"][1])))
        if stage == "vae" and amounts.video_tracks:
            models.append(VideoVAE(VideoVAEConfig(width=ingest.width, height=ingest.height, channels=channels)))
    return float(sum(4 * value.numel() for model in models for value in model.state_dict().values()))
