"""The stages whose cost depends on steps more than on hours: vae and duplex."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.train.params import TrainingParams
from pipelines.vae.params import VaeParams
from tools.flops import step_flops
from tools.plan.amounts import track_mpx
from wanstreamer.clock import UNIT_MS
from wanstreamer.model.config import ModelConfig

UNIT_S = UNIT_MS / 1000
KINDS = ("audio", "video")


def vae_clip(params: VaeParams, kind: str, width: int, height: int) -> float:
    """How much a step of a VAE's training reads: seconds of audio, or million pixels."""
    training = getattr(params, kind)
    seconds = training.batch * training.clip_units * UNIT_S
    return float(seconds if kind == "audio" else track_mpx(seconds, width, height))


def vae_factors(
    params: VaeParams, tracks: Mapping[str, Sequence[tuple[str, int]]], width: int, height: int
) -> dict[str, dict[str, float]]:
    """By kind: the factors of the cost of the vae stage.

    `tracks`: by kind, the split and the units of each track that has it.
    """
    from pipelines.vae.quality import EVALUATED_UNITS  # brings torch
    from pipelines.vae.stage import within_minutes
    from pipelines.vae.task import EVALUATED_TRACKS, evenly

    factors: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        rows: list[dict[str, Any]] = [{"split": split, "num_units": units} for split, units in tracks.get(kind, ())]
        train = within_minutes([row for row in rows if row["split"] == "train"], params.max_train_minutes)
        if not (rows if params.weights else train):
            continue
        others = evenly([row["num_units"] for row in rows if row["split"] != "train"], EVALUATED_TRACKS)
        read = others + [row["units"] for row in train]
        judged = [min(EVALUATED_UNITS, units) for units in others + evenly(read[len(others) :], EVALUATED_TRACKS)]
        steps = 0 if params.weights else getattr(params, kind).steps
        amount = {"audio": UNIT_S, "video": track_mpx(UNIT_S, width, height)}[kind]
        factors[kind] = {
            f"{kind}_training": float(steps > 0),
            f"{kind}_steps": float(steps),
            f"{kind}_step_amount": steps * vae_clip(params, kind, width, height),
            f"{kind}_judged": sum(judged) * amount,
            f"{kind}_read": sum(read) * amount,
        }
    return factors


def duplex_config(
    params: TrainingParams,
    *,
    audio_channels: int,
    video_shape: tuple[int, int, int],
    vocab_size: int,
    text_slots: int,
) -> ModelConfig:
    """The model that `duplex` would train on windows of these sizes."""
    channels, height, width = video_shape
    config = ModelConfig(
        audio_channels=audio_channels, video_channels=channels, video_height=height, video_width=width,
        vocab_size=vocab_size, text_slots=text_slots, d_model=params.d_model, num_layers=params.num_layers,
        num_heads=params.num_heads, num_kv_heads=params.num_heads, d_ff=params.d_ff, self_lag=params.self_lag,
    )  # fmt: skip
    if not params.init_from:
        return config
    if Path(params.init_from).suffix == ".safetensors":
        from wanstreamer.model.duplex import load_model

        return load_model(Path(params.init_from)).config
    from wanstreamer.model.language_model import read_language_model

    return dataclasses.replace(config, **read_language_model(Path(params.init_from)).trunk)


def duplex_flops(params: TrainingParams, config: ModelConfig, window_units: int) -> float:
    """Floating-point operations of the whole training."""
    return params.steps * step_flops(config, params.batch_size, window_units)
