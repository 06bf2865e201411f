"""Tracks + frozen VAEs -> latents: one tar of float16 npy members per session, and a row per track.

Each track is streamed through its codec in fixed pieces with the state carried over, as it is when served live, so that
the length of a recording costs no memory. A session is recomputed when its media or the codecs' weights change, and
only then.
"""

import io
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.media import read_frames, read_wav
from pipelines.stage import Job, Rejected, Result, run_keys, stage_main
from pipelines.tables import read_rows, rows_by_session
from wanstreamer import vae
from wanstreamer.clock import AUDIO_LATENTS_PER_UNIT, FRAMES_PER_UNIT, samples_per_unit
from wanstreamer.errors import InputError
from wanstreamer.vae import State, audio, causal, fingerprint, load_audio_vae, load_video_vae, mel, video

READ_UNITS = 375  # frames are read a minute at a time


@dataclass(frozen=True, kw_only=True)
class EncodeParams:
    piece_units: int = 25  # units per call of a codec (4 s); other values change latents by rounding errors only


def run(data: Path, params: EncodeParams, *, workers: int) -> dict[str, Any]:
    """Make `latents/<session>.tar` and the latents table; returns counts.

    Raises:
        InputError: A codec that the tracks need is missing, or tracks are not in its format.
    """
    sessions = read_rows(data, "sessions")
    tracks = read_rows(data, "tracks")
    if params.piece_units < 1:
        raise InputError(f"encode.piece_units: {params.piece_units}; expected 1 or more")
    kinds = [kind for kind in ("audio", "video") if any(row[f"{kind}_path"] for row in tracks)]
    codecs = {kind: _codec_path(data, kind) for kind in kinds}
    prints = {kind: fingerprint(path) for kind, path in codecs.items()}
    grouped = rows_by_session(tracks)
    keys = [session["session_id"] for session in sessions]
    jobs = [make_job(data, key, grouped.get(key, []), prints) for key in keys]
    return run_keys(
        data,
        "encode",
        jobs,
        Encoder,
        params=params,
        tables=("latents",),
        modules=(sys.modules[__name__], vae, audio, causal, mel, video),
        workers=workers,
        setup={
            "paths": {kind: str(path) for kind, path in codecs.items()},
            "prints": prints,
            "piece_units": params.piece_units,
        },
    )


def _codec_path(data: Path, kind: str) -> Path:
    path = (data / "models" / "vae" / f"{kind}.safetensors").resolve()
    if not path.is_file():
        raise InputError(f"{path}: not there, but there are {kind} tracks; run the vae stage first")
    return path


def make_job(data: Path, session_id: str, tracks: list[dict[str, Any]], prints: Mapping[str, str]) -> Job:
    """The work on one session. Its inputs are the content of media and codecs, and the sizes the files have now: a file
    that was damaged after ingest and is whole again is another input."""
    tracks = sorted(tracks, key=lambda row: row["participant"])
    names = ("participant", "num_units", "audio_path", "video_path", "rate_hz", "width", "height")
    media = [
        (row[f"{kind}_sha256"], data / row[f"{kind}_path"]) for row in tracks for kind in prints if row[f"{kind}_path"]
    ]
    sizes = [str(path.stat().st_size if path.is_file() else None) for _, path in media]
    return Job(
        key=session_id,
        spec={"tracks": [{name: row[name] for name in names} for row in tracks]},
        inputs=(*(digest for digest, _ in media), *sizes, *(f"{kind}:{prints[kind]}" for kind in sorted(prints))),
    )


class Encoder:
    """Holds the codecs; one per worker process."""

    def __init__(self, *, paths: Mapping[str, str], prints: Mapping[str, str], piece_units: int):
        torch.set_num_threads(1)
        self.prints = prints
        self.piece_units = piece_units
        self.audio = load_audio_vae(Path(paths["audio"])) if "audio" in paths else None
        self.video = load_video_vae(Path(paths["video"])) if "video" in paths else None

    def __call__(self, job: Job, data: Path, scratch: Path) -> Result:
        """Encode every track of a session. Raises Rejected when one cannot be read: a dyad needs both."""
        shard = f"latents/{job.key}.tar"
        members: dict[str, bytes] = {}
        rows = []
        for track in job.spec["tracks"]:
            who = track["participant"]
            row: dict[str, Any] = {
                "session_id": job.key,
                "participant": who,
                "num_units": track["num_units"],
                "shard": shard,
            }
            for kind, encode in (("audio", self.encode_audio), ("video", self.encode_video)):
                latents = encode(data, track) if track[f"{kind}_path"] else None
                name = f"{who}.{kind}.npy" if latents is not None else None
                if name is not None and latents is not None:
                    members[name] = npy_bytes(latents.astype(np.float16))
                row[f"{kind}_member"] = name
                row[f"{kind}_codec"] = self.prints[kind] if name else None
                row[f"{kind}_std"] = float(np.std(latents, dtype=np.float64)) if latents is not None else None
            rows.append(row)
        if not rows:
            raise Rejected("no_tracks", "the session has no track")
        finished = scratch / "latents.tar"
        write_tar(finished, members)
        return Result(tables={"latents": rows}, files={shard: finished})

    def encode_audio(self, data: Path, track: Mapping[str, Any]) -> np.ndarray:
        """Latents (num_units, 4, C) float32 of a WAV track."""
        assert self.audio is not None
        path = data / track["audio_path"]
        samples_T, rate_hz = read_wav(path)
        if track["rate_hz"] != self.audio.config.rate_hz:
            raise InputError(
                f"{path}: {track['rate_hz']} Hz, the audio codec takes {self.audio.config.rate_hz} Hz; train a codec "
                "on these tracks (vae stage) or run ingest at that rate"
            )
        length = samples_per_unit(rate_hz)
        _check_length(path, len(samples_T), track["num_units"] * length)
        if rate_hz != track["rate_hz"]:
            raise Rejected("damaged_track", f"{path.name}: {rate_hz} Hz, ingest wrote {track['rate_hz']} Hz")
        samples = torch.from_numpy(np.array(samples_T))  # a copy: read_wav may give a read-only view
        pieces, state = [], None
        with torch.no_grad():
            for piece_T in samples.split(self.piece_units * length):
                latent_BNC, state = self.audio.encode(piece_T[None], state)
                pieces.append(latent_BNC[0])
        return torch.cat(pieces).unflatten(0, (-1, AUDIO_LATENTS_PER_UNIT)).numpy()

    def encode_video(self, data: Path, track: Mapping[str, Any]) -> np.ndarray:
        """Latents (num_units, C, h, w) float32 of a video track."""
        assert self.video is not None
        path, config = data / track["video_path"], self.video.config
        if (track["width"], track["height"]) != (config.width, config.height):
            raise InputError(
                f"{path}: {track['width']}x{track['height']}, the video codec takes {config.width}x{config.height}; "
                "train a codec on these tracks (vae stage) or run ingest at that size"
            )
        pieces: list[torch.Tensor] = []
        state: State | None = None
        # Whole pieces per read, so that pieces do not depend on how much is read at once.
        step = max(1, READ_UNITS // self.piece_units) * self.piece_units * FRAMES_PER_UNIT
        num_frames = track["num_units"] * FRAMES_PER_UNIT
        for start in range(0, num_frames, step):
            stop = min(start + step, num_frames)
            frames_THWC = read_frames(path, start, stop)
            _check_length(path, start + len(frames_THWC), stop)
            if frames_THWC.shape[1:] != (config.height, config.width, 3):
                raise Rejected("damaged_track", f"{path.name}: frames of shape {frames_THWC.shape[1:]}")
            for piece_THWC in torch.from_numpy(frames_THWC).split(self.piece_units * FRAMES_PER_UNIT):
                video_BTCHW = piece_THWC.permute(0, 3, 1, 2)[None].float() / 127.5 - 1
                with torch.no_grad():
                    latent_BKCHW, state = self.video.encode(video_BTCHW, state)
                pieces.append(latent_BKCHW[0])
        return torch.cat(pieces).numpy()


def _check_length(path: Path, found: int, expected: int) -> None:
    if found != expected:
        raise Rejected("damaged_track", f"{path.name}: ends after {found} of {expected}")


def npy_bytes(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue()


def write_tar(path: Path, members: Mapping[str, bytes]) -> None:
    """Members sorted by name; nothing in the tar depends on clock or user."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(members):
            info = tarfile.TarInfo(name)
            info.size = len(members[name])
            info.mode = 0o644
            tar.addfile(info, io.BytesIO(members[name]))


def main() -> None:
    stage_main("encode", EncodeParams, run)


if __name__ == "__main__":
    main()
