"""Everything that a process needs to make and measure one VAE, and where its outputs lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from pipelines.engine.inputs import require_media
from pipelines.engine.jobs import Rejected
from pipelines.media.tracks import read_frames, read_wav
from wanstreamer.clock import FRAMES_PER_UNIT, UNIT_MS, Span, merge_spans, samples_per_unit
from wanstreamer.train.vae_config import VaeTrainConfig
from wanstreamer.vae import AudioVAEConfig, VideoVAEConfig

EVALUATED_TRACKS = 8  # at most, of seen and of unseen people each: enough for a figure, seconds to compute

Item = TypeVar("Item")
Pair = tuple[dict[str, Any], Tensor]  # a row of the tracks table, and its media


@dataclass(frozen=True, kw_only=True)
class VaeTask:
    kind: str  # audio or video
    data: Path
    train: list[dict[str, Any]]  # rows of the tracks table, each with `units`: how many to read
    held_out: list[dict[str, Any]]
    config: AudioVAEConfig | VideoVAEConfig
    training: VaeTrainConfig
    fingerprint: str  # of the code, parameters and content that decide the weights
    finished: bool  # weights are already in place: measure only
    external_weights: bool  # the weights were made elsewhere

    @property
    def train_people(self) -> str:
        """What figures and reports call the people of the train split: weights made elsewhere have not seen them."""
        return "train" if self.external_weights else "seen"


def weights_path(data: Path, kind: str) -> Path:
    return data / "models" / "vae" / f"{kind}.safetensors"


def record_path(data: Path, kind: str) -> Path:
    """Which training made which weights. The record is not in the weights' file: the hash of that file names the
    VAE in every latent, and another training with the same result is the same VAE."""
    return data / "parts" / "vae" / f"{kind}.json"


def read_tracks(task: VaeTask, rows: Sequence[dict[str, Any]], rejections: list[tuple[str, str, str]]) -> list[Pair]:
    """Tracks as tensors; a track that cannot be read is rejected and counted."""
    pairs = []
    for row in rows:
        try:
            pairs.append((row, read_track(task.data, row, task.kind, row["units"])))
        except Rejected as rejected:
            rejections.append((f"{row['session_id']}/{row['participant']}", rejected.reason, rejected.detail))
    return pairs


def read_track(data: Path, row: Mapping[str, Any], kind: str, units: int) -> Tensor:
    """The first `units` of a track: float32 samples (T,) or uint8 frames (T, H, W, 3). Raises Rejected.

    Raises InputError if its file is not what ingest wrote.
    """
    require_media(data, row, kind)
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


def shown_frames(row: Mapping[str, Any], frames_THWC: Tensor) -> Tensor:
    """The frames of the units that show the person throughout; grey ones, of a person off screen, teach nothing."""
    shown_U = torch.zeros(len(frames_THWC) // FRAMES_PER_UNIT, dtype=torch.bool)
    for first, last in shown_units(row):
        shown_U[first:last] = True
    return frames_THWC[: len(shown_U) * FRAMES_PER_UNIT][shown_U.repeat_interleave(FRAMES_PER_UNIT)]


def shown_units(row: Mapping[str, Any]) -> list[tuple[int, int]]:
    """First unit and the one after the last, of each span of units that show the person throughout."""
    if row["visible"] is None:
        return [(0, row["num_units"])]
    spans = merge_spans(Span(span["start_ms"], span["end_ms"]) for span in row["visible"])
    units = [(-(-span.start_ms // UNIT_MS), min(span.end_ms // UNIT_MS, row["num_units"])) for span in spans]
    return [(first, last) for first, last in units if first < last]


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` of the items, spread over all of them."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]
