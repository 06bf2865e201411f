"""Tracks + frozen VAEs -> latents: float16 npy members of tars that hold many sessions, and a row per track.

Each track is streamed through its VAE in fixed pieces with the state carried over, as in live serving, so that long
recordings take no more memory. The next piece is read while the current one is encoded. On a GPU, the tracks of a
session go through a VAE in one batch. A session is recomputed only if its media or the VAEs' weights change.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import torch

from pipelines.encode.params import EncodeParams
from pipelines.engine.command import stage_main
from pipelines.engine.files import file_sha256
from pipelines.engine.inputs import check_files, media_of
from pipelines.engine.jobs import Job, Rejected, Result, Segment
from pipelines.engine.plan import plan_by_tables
from pipelines.engine.run import RunParams, run_keys
from pipelines.engine.state import summary_file
from pipelines.engine.tables import bucket_table, bucket_tables, damaged, rows_by_session
from pipelines.formats import npy_tar
from pipelines.media.tracks import frame_pieces, wav_pieces
from schemas.latents import LATENTS
from wanstreamer.clock import AUDIO_LATENTS_PER_UNIT, FRAMES_PER_UNIT, samples_per_unit
from wanstreamer.errors import InputError
from wanstreamer.vae import (
    AudioVAE,
    State,
    VideoVAE,
    load_audio_vae,
    load_video_vae,
    weights_hash,
)

KINDS = ("audio", "video")
NEEDED = (
    "participant", "num_units", "audio_path", "audio_sha256", "rate_hz", "video_path", "video_sha256", "width", "height"
)  # fmt: skip
Item = TypeVar("Item")


def run(data: Path, params: EncodeParams, how: RunParams) -> dict[str, Any]:
    """Make the shards in `latents/` and the latents table; returns counts.

    Raises:
        InputError: A VAE that the tracks need is missing, or the tracks are not in its format.
    """
    data = data.resolve()
    kinds = [kind for kind in KINDS if _has_any(data, f"{kind}_path")]
    vae_paths = {kind: _vae_path(data, kind) for kind in kinds}
    weights_hashes = {kind: weights_hash(path) for kind, path in vae_paths.items()}

    def jobs(bucket: int, num_buckets: int) -> Iterator[Job]:
        tracks = rows_by_session(bucket_table(data, "tracks", bucket, num_buckets).to_pylist())
        for key in bucket_table(data, "sessions", bucket, num_buckets)["session_id"].to_pylist():
            yield make_job(key, tracks.get(key, []), weights_hashes)

    counts = run_keys(
        data,
        "encode",
        plan_by_tables(data, jobs, ("sessions", "tracks"), weights_hashes),
        Encoder,
        params=params,
        tables=(LATENTS,),
        how=how,
        uses_gpu=True,
        reads=("tracks",),
        setup={
            "paths": {kind: str(path) for kind, path in vae_paths.items()},
            "weights_hashes": weights_hashes,
            "piece_units": params.piece_units,
        },
    )
    return counts | {"latent_std": _spread(data)}


def _has_any(data: Path, column: str) -> bool:
    """Whether any track has a value in this column."""
    return any(table[column].null_count < table.num_rows for table in bucket_tables(data, "tracks", [column]))


def _spread(data: Path) -> dict[str, list[float]]:
    """Least, median and largest standard deviation of a track's latents, by kind. Far from 1, the VAE does not know
    such recordings."""
    columns = [f"{kind}_std" for kind in KINDS]
    rows = pa.concat_tables(bucket_tables(data, "latents", columns))
    by_kind = {kind: rows[f"{kind}_std"].drop_null().to_numpy() for kind in KINDS}
    return {
        kind: [round(float(std), 3) for std in (stds.min(), np.median(stds), stds.max())]
        for kind, stds in by_kind.items()
        if len(stds)
    }


def _vae_path(data: Path, kind: str) -> Path:
    path = (data / "models" / "vae" / f"{kind}.safetensors").resolve()
    if not path.is_file():
        raise InputError(f"{path}: no such file, but there are {kind} tracks; run the vae stage first")
    summary = summary_file(data, "vae")
    recorded = json.loads(summary.read_text())["content"].get(kind) if summary.is_file() else None
    if recorded not in (None, file_sha256(path)):
        raise damaged(data, "vae", f"{path}: damaged or changed, its checksum differs")
    return path


def make_job(session_id: str, tracks: list[dict[str, Any]], weights_hashes: Mapping[str, str]) -> Job:
    """The work on one session. Its inputs are the content of media and VAEs."""
    tracks = sorted(tracks, key=lambda row: row["participant"])
    media = [row[f"{kind}_sha256"] for row in tracks for kind in weights_hashes if row[f"{kind}_path"]]
    return Job(
        key=session_id,
        spec={"tracks": [{name: row[name] for name in NEEDED} for row in tracks]},
        inputs=(*media, *(f"{kind}:{weights_hashes[kind]}" for kind in sorted(weights_hashes))),
    )


class Encoder:
    """Holds the VAEs; one per worker process."""

    def __init__(self, *, paths: Mapping[str, str], weights_hashes: Mapping[str, str], piece_units: int):
        torch.set_num_threads(1)
        self.weights_hashes = weights_hashes
        self.piece_units = piece_units
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.vaes: dict[str, AudioVAE | VideoVAE] = {}
        if "audio" in paths:
            self.vaes["audio"] = load_audio_vae(Path(paths["audio"])).to(self.device)
        if "video" in paths:
            self.vaes["video"] = load_video_vae(Path(paths["video"])).to(self.device)

    def __call__(self, job: Job, data: Path, scratch: Path) -> Result:
        """Encode every track of a session. Raises Rejected if a track cannot be read: a dyad needs both."""
        tracks = job.spec["tracks"]
        if not tracks:
            raise Rejected("no_tracks", "the session has no track")
        for track in tracks:
            check_files(data, "ingest", media_of(track))
        finished = scratch / "latents.tar"
        members = {
            _member(job.key, track, kind): (track["num_units"], *_latent_shape(self.vaes[kind]))
            for track in tracks
            for kind in KINDS
            if track[f"{kind}_path"]
        }
        spread: dict[str, Spread] = {name: Spread() for name in members}
        with npy_tar.npy_tar(finished, members, "float16", segment=True) as tar:
            for kind in KINDS:
                own = [track for track in tracks if track[f"{kind}_path"]]
                for together in _together(own, self.device):
                    names = [_member(job.key, track, kind) for track in together]
                    for place, start, latents in self.encode(data, together, kind):
                        tar.write(names[place], start, latents)
                        spread[names[place]].add(latents)
        return Result(
            tables={"latents": [self._row(job.key, track, tar.places, spread) for track in tracks]},
            segments=[Segment(path=finished, folder="latents")],
        )

    def encode(
        self, data: Path, tracks: Sequence[Mapping[str, Any]], kind: str
    ) -> Iterator[tuple[int, int, np.ndarray]]:
        """(place in `tracks`, first unit, float32 latents) of tracks of equal length, piece by piece."""
        vae = self.vaes[kind]
        state: State | None = None
        start = 0
        with torch.inference_mode():
            for piece in ahead(zip(*(pieces(data, track, vae, self.piece_units) for track in tracks), strict=True)):
                latents, state = vae.encode(_side_by_side(piece).to(self.device), state)
                latents_BK = latents.cpu()
                if kind == "audio":
                    latents_BK = latents_BK.unflatten(1, (-1, AUDIO_LATENTS_PER_UNIT))
                for place, latents_K in enumerate(latents_BK.numpy()):
                    yield place, start, latents_K
                start += latents_BK.shape[1]

    def _row(
        self, key: str, track: Mapping[str, Any], places: Mapping[str, npy_tar.Place], spread: Mapping[str, "Spread"]
    ) -> dict[str, Any]:
        row = {"session_id": key, "participant": track["participant"], "num_units": track["num_units"], "shard": "0"}
        for kind in KINDS:
            name = _member(key, track, kind) if track[f"{kind}_path"] else None
            row[f"{kind}_member"] = name
            row[f"{kind}_offset"] = places[name].npy_offset if name else None
            row[f"{kind}_sha256"] = places[name].sha256() if name else None
            row[f"{kind}_codec"] = self.weights_hashes[kind] if name else None
            row[f"{kind}_mean"] = spread[name].mean if name else None
            row[f"{kind}_std"] = spread[name].std if name else None
        return row


@dataclass
class Spread:
    """Mean and standard deviation of numbers that arrive in pieces."""

    count: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0])  # of the numbers and of their squares

    def add(self, numbers: np.ndarray) -> None:
        flat = numbers.reshape(-1).astype(np.float64)
        self.count += flat.size
        self.sums[0] += float(flat.sum())
        self.sums[1] += float(flat @ flat)

    @property
    def mean(self) -> float:
        return self.sums[0] / self.count

    @property
    def std(self) -> float:
        return max(0.0, self.sums[1] / self.count - self.mean**2) ** 0.5


def _side_by_side(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """A batch. A single tensor is not copied and keeps its memory layout: the video VAE is faster with it."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack(tuple(tensors))


def _member(key: str, track: Mapping[str, Any], kind: str) -> str:
    return f"{key}.{track['participant']}.{kind}.npy"


def _latent_shape(vae: AudioVAE | VideoVAE) -> tuple[int, ...]:
    """Shape of one unit's latents."""
    if isinstance(vae, VideoVAE):
        return vae.config.latent_shape
    return AUDIO_LATENTS_PER_UNIT, vae.config.channels


def _together(tracks: Sequence[Mapping[str, Any]], device: str) -> list[list[Mapping[str, Any]]]:
    """Which tracks share a call of the VAE: on a GPU those of equal length; on a CPU batches gain nothing."""
    if device == "cpu":
        return [[track] for track in tracks]
    lengths = sorted({track["num_units"] for track in tracks})
    return [[track for track in tracks if track["num_units"] == length] for length in lengths]


def pieces(data: Path, track: Mapping[str, Any], vae: AudioVAE | VideoVAE, piece_units: int) -> Iterator[torch.Tensor]:
    """A track in the form that its VAE takes, in whole units: samples (T,), or frames (T, 3, H, W) in [-1, 1]."""
    if isinstance(vae, AudioVAE):
        yield from map(torch.from_numpy, audio_pieces(data, track, vae, piece_units))
    else:
        for frames_THWC in video_pieces(data, track, vae, piece_units):
            yield torch.from_numpy(frames_THWC).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def audio_pieces(data: Path, track: Mapping[str, Any], vae: AudioVAE, piece_units: int) -> Iterator[np.ndarray]:
    """Samples (T,) float32 of a WAV track."""
    path, rate_hz = data / track["audio_path"], vae.config.rate_hz
    if track["rate_hz"] != rate_hz:
        raise InputError(
            f"{path}: {track['rate_hz']} Hz, the audio VAE takes {rate_hz} Hz; train a VAE on these tracks (vae "
            "stage) or run ingest at that rate"
        )
    length = samples_per_unit(rate_hz)
    wanted = track["num_units"] * length
    num_samples = 0
    for samples_T in wav_pieces(path, piece_units * length, rate_hz):
        num_samples += len(samples_T)
        if len(samples_T) < piece_units * length or num_samples > wanted:
            _check_length(path, num_samples, wanted)  # before the VAE sees half a unit
        yield samples_T
    _check_length(path, num_samples, wanted)


def video_pieces(data: Path, track: Mapping[str, Any], vae: VideoVAE, piece_units: int) -> Iterator[np.ndarray]:
    """Frames (T, H, W, 3) uint8 of a video track."""
    path, config = data / track["video_path"], vae.config
    if (track["width"], track["height"]) != (config.width, config.height):
        raise InputError(
            f"{path}: {track['width']}x{track['height']}, the video VAE takes {config.width}x{config.height}; "
            "train a VAE on these tracks (vae stage) or run ingest at that size"
        )
    num_read, num_frames = 0, track["num_units"] * FRAMES_PER_UNIT
    for frames_THWC in frame_pieces(path, num_frames, piece_units * FRAMES_PER_UNIT):
        num_read += len(frames_THWC)
        if frames_THWC.shape[1:] != (config.height, config.width, 3):
            raise Rejected("damaged_track", f"{path.name}: frames of shape {frames_THWC.shape[1:]}")
        if len(frames_THWC) < piece_units * FRAMES_PER_UNIT:
            _check_length(path, num_read, num_frames)  # before the VAE sees half a unit
        yield frames_THWC
    _check_length(path, num_read, num_frames)


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items; a thread makes the next one while the caller works on the current one."""
    source, ended = iter(items), object()
    with ThreadPoolExecutor(1) as thread:
        coming: Any = thread.submit(next, source, ended)
        while (item := coming.result()) is not ended:
            coming = thread.submit(next, source, ended)
            yield item


def _check_length(path: Path, length: int, expected: int) -> None:
    if length != expected:
        raise Rejected("damaged_track", f"{path.name}: ends after {length} of {expected} expected")


def main() -> None:
    stage_main("encode", EncodeParams, run)
