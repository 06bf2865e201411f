"""A project folder in which the commands of the docs run: a small data folder with everything up to a model, and the
recordings and files that the pages name.
"""

import importlib
import json
import shutil
import sys
from pathlib import Path

import ffmpeg
import numpy as np
import pytest
import torch
import yaml

from pipelines.engine.tables import session_rows
from pipelines.media.process import ffmpeg_path
from pipelines.media.tracks import read_wav, write_wav
from tests.helpers.clips import make_clip
from tests.helpers.paths import ROOT, track_path
from tests.helpers.small_corpus import keep_in_process
from wanstreamer.model.config import scaled
from wanstreamer.model.duplex import DuplexModel, save_model
from wanstreamer.vae import AudioVAE, AudioVAEConfig, VideoVAE, VideoVAEConfig
from wanstreamer.vae import save as save_vae
from wanstreamer.windows.manifest import read_manifest

SMALL = {
    "sample": {"sessions": 4, "seconds": 10, "scenes": 0, "width": 64, "height": 48},
    "pack": {"window_units": 16, "stride_units": 16},
}


def make_playground(folder: Path) -> Path:
    """`folder` as the docs assume it, after `make demo`, `make repro` and `make windows OUT=mine`, only smaller; the
    weights of VAEs and model are random.
    """
    folder.mkdir()
    for name in ("pipelines", "schemas", "tools", "wanstreamer", "dvc.yaml"):
        (folder / name).symlink_to(ROOT / name)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, values in SMALL.items():
        params[section] = {**(params.get(section) or {}), **values}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    data = folder / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        keep_in_process(patch)
        for stage in ("sample", "ingest", "quality", "annotate"):
            _run_stage(patch, stage)
        _write_vaes(data / "models" / "vae")
        for stage in ("encode", "pack"):
            _run_stage(patch, stage)
        _write_model(data)
        (folder / "demo").mkdir()
        (folder / "demo" / "data").symlink_to(data)
        write_files(folder)
        for stage in ("ingest", "annotate"):
            _run_stage(patch, stage, "--data", "mine/data", "--set", "ingest.source=recordings")
    return folder


def _write_vaes(folder: Path) -> None:
    torch.manual_seed(0)
    save_vae(AudioVAE(AudioVAEConfig()), folder / "audio.safetensors")
    save_vae(VideoVAE(VideoVAEConfig()), folder / "video.safetensors")


def _write_model(data: Path) -> None:
    manifest = read_manifest(data / "windows")
    video_channels, height, width = manifest.field_shapes["user_video"][-3:]
    config = scaled(
        "tiny",
        audio_channels=manifest.field_shapes["user_audio"][-1],
        video_channels=video_channels,
        video_height=height,
        video_width=width,
        vocab_size=manifest.vocab_size,
    )
    save_model(DuplexModel(config), data / "models" / "duplex" / "model.safetensors")


def _run_stage(patch: pytest.MonkeyPatch, stage: str, *arguments: str) -> None:
    patch.setattr(sys, "argv", [f"pipelines.{stage}", *arguments])
    module = importlib.import_module(f"pipelines.{stage}")
    (module if hasattr(module, "main") else importlib.import_module(f"pipelines.{stage}.__main__")).main()


def write_files(folder: Path) -> None:
    """The recordings, transcripts and Zoom folders that the pages name."""
    data = folder / "data"
    tracks = [data / track_path("talk-0000", who, "wav") for who in ("a", "b")]
    recordings = folder / "recordings"
    for name, track in zip(("a", "b"), tracks, strict=True):
        (recordings / "monday").mkdir(parents=True, exist_ok=True)
        shutil.copy(track, recordings / "monday" / f"{name}.wav")
        words = [
            {column: row[column] for column in ("word", "start_ms", "end_ms")}
            for row in session_rows(data, "sidecar_words", "talk-0000")
            if row["participant"] == name
        ]
        (recordings / "monday" / f"{name}.words.json").write_text(json.dumps({"words": words}))
    (samples_a, rate_hz), (samples_b, _) = map(read_wav, tracks)
    mixed = np.clip(samples_a + samples_b, -1, 1)
    rttm = "SPEAKER call 1 0.5 1.0 <NA> <NA> anna <NA> <NA>\nSPEAKER call 1 2.0 1.5 <NA> <NA> ben <NA> <NA>\n"
    ctm = "call anna 0.5 0.4 so\ncall anna 1.0 0.4 yes\ncall ben 2.0 0.5 well\ncall ben 2.6 0.8 no\n"
    for home in (folder, recordings):
        write_wav(home / "call.wav", mixed, rate_hz)
        (home / "call.rttm").write_text(rttm)
    (folder / "call.ctm").write_text(ctm)
    make_clip(folder / "me.mp4", seconds=1.0)
    meeting = folder / "zoom" / "2026-01-12 10.00.00 Interview"
    (meeting / "Audio Record").mkdir(parents=True)
    make_clip(meeting / "video1234.mp4", size="1280x720", seconds=4.0)
    for person, track in zip(("Anna", "Ben"), tracks, strict=True):
        _to_m4a(track, meeting / "Audio Record" / f"audio{person}1234.m4a")


def _to_m4a(wav: Path, path: Path) -> None:
    command = ffmpeg.output(ffmpeg.input(str(wav)), str(path), acodec="aac", threads=1)
    command.global_args("-v", "error", "-y").run(cmd=ffmpeg_path())
