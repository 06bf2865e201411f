"""Causal audio and video VAEs: media of one stream -> latents, 160 ms at a time or all at once, and back.

Both have `encode(x, state) -> (latent, state)` and `decode(latent, state) -> (x, state)`; `state=None` starts a stream,
and a state is a flat dictionary of tensors. Streamed equals offline for any division into whole latents. Weights are
safetensors files that also contain the configuration as JSON and the normalisation.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import safetensors

from wanstreamer.checkpoint import load_tensors, save_tensors
from wanstreamer.errors import InputError
from wanstreamer.vae.audio import AudioVAE, AudioVAEConfig
from wanstreamer.vae.causal import State
from wanstreamer.vae.video import VideoVAE, VideoVAEConfig

AnyVAE = TypeVar("AnyVAE", AudioVAE, VideoVAE)


def save(model: AudioVAE | VideoVAE, path: Path, meta: dict[str, Any] | None = None) -> None:
    """Write weights, configuration and JSON-able `meta` as safetensors, atomically; equal content gives equal bytes."""
    kind = "audio" if isinstance(model, AudioVAE) else "video"
    described = {"codec": kind, "config": dataclasses.asdict(model.config), **(meta or {})}
    save_tensors(path, model.state_dict(), described)


def load_audio_vae(path: Path) -> AudioVAE:
    """Raises InputError if the file is missing, damaged or not an audio VAE."""
    tensors, meta = load_tensors(path)
    model = AudioVAE(AudioVAEConfig(**_config(path, meta, "audio", AudioVAEConfig)))
    return _fill(model, tensors, path)


def load_video_vae(path: Path) -> VideoVAE:
    """Raises InputError if the file is missing, damaged or not a video VAE."""
    tensors, meta = load_tensors(path)
    model = VideoVAE(VideoVAEConfig(**_config(path, meta, "video", VideoVAEConfig)))
    return _fill(model, tensors, path)


def read_meta(path: Path) -> dict[str, Any]:
    """The configuration and `meta` that `save` wrote; empty if the file is missing or not ours."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {})["json"])
    except (FileNotFoundError, safetensors.SafetensorError, KeyError, ValueError):
        return {}


def weights_hash(path: Path) -> str:
    """sha256 of the weights file: latents store it as the name of their VAE."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _config(path: Path, meta: dict[str, Any], kind: str, cls: type) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(cls)}
    settings = meta.get("config", {})
    if meta.get("codec") != kind or set(settings) != names:
        raise InputError(
            f"{path}: its model is {meta.get('codec', 'foreign')}, expected the {kind} VAE of this version; "
            "train it again"
        )
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}


def _fill(model: AnyVAE, tensors: dict[str, Any], path: Path) -> AnyVAE:
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{path}: weights do not fit their own configuration; train the VAE again") from error
    return model.eval().requires_grad_(False)


__all__ = [
    "AudioVAE",
    "AudioVAEConfig",
    "State",
    "VideoVAE",
    "VideoVAEConfig",
    "weights_hash",
    "load_audio_vae",
    "load_video_vae",
    "read_meta",
    "save",
]
