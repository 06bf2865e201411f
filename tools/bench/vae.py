"""Compare the speed of our VAEs with the codecs Mimi and EnCodec: `python -m tools.bench vae`.

Streams the same speech (noise if there are no tracks) unit by unit, 160 ms per call, on one thread, through our audio
VAE and through transformers' `MimiModel` and `EncodecModel` with random weights of their default configuration (the
time does not depend on the weights). A track's video goes through our video VAE. All take turns, `--rounds` times. The
figure is the real-time factor: processor time to encode and decode, divided by the duration of the media. Other work on
the machine changes processor time less than wall-clock time. The peers get 24 kHz.

The column `streams` tells how exact a model's streaming is. Ours gives bit for bit the result of live use. Mimi's
encoder carries its whole state; its decoder carries only the state of the Transformer, so its convolutions start again
with each unit. EnCodec in transformers carries no state. A peer with exact streaming would take more time, not less.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from pipelines.engine.jobs import Rejected
from pipelines.media.tracks import read_frames, read_wav
from pipelines.signals.speech_models import import_torchaudio
from tools.bench.resources import threads
from tools.bench.stream import named_folder
from wanstreamer.clock import FRAMES_PER_UNIT, UNIT_MS, samples_per_unit
from wanstreamer.errors import InputError
from wanstreamer.vae import AudioVAE, AudioVAEConfig, VideoVAE, VideoVAEConfig, load_audio_vae, load_video_vae

BOUNDS = {
    "audio": 0.05,
    "video": 0.08,
}  # real-time factors that leave enough time for the model in live use on two cores
WARM_UNITS = 5  # not timed: the first calls load and plan kernels
PEER_RATE_HZ = 24000

# Encodes or decodes one unit: (unit's media or latent, state) -> (result, state).
Step = Callable[[Any, Any], tuple[Any, Any]]


def ours(model: AudioVAE | VideoVAE) -> tuple[Step, Step]:
    return model.encode, model.decode


def mimi() -> tuple[Step, Step]:
    _prepare_transformers()
    from transformers import MimiConfig, MimiModel

    torch.manual_seed(0)
    model = MimiModel(MimiConfig()).eval()

    def encode(audio_BCT: Tensor, state: Any) -> tuple[Tensor, Any]:
        past, padding = state or (None, None)
        output = model.encode(
            audio_BCT, encoder_past_key_values=past, padding_cache=padding, use_streaming=True, return_dict=True
        )
        return output.audio_codes, (output.encoder_past_key_values, output.padding_cache)

    def decode(codes: Tensor, state: Any) -> tuple[Tensor, Any]:
        output = model.decode(codes, decoder_past_key_values=state, use_cache=True, return_dict=True)
        return output.audio_values, output.decoder_past_key_values

    return encode, decode


def encodec() -> tuple[Step, Step]:
    _prepare_transformers()
    from transformers import EncodecConfig, EncodecModel

    torch.manual_seed(0)
    model = EncodecModel(EncodecConfig()).eval()

    def encode(audio_BCT: Tensor, state: None) -> tuple[Any, None]:
        output = model.encode(audio_BCT, return_dict=True)
        return (output.audio_codes, output.audio_scales), None

    def decode(codes: Any, state: None) -> tuple[Tensor, None]:
        return model.decode(*codes, return_dict=True).audio_values, None

    return encode, decode


def _prepare_transformers() -> None:
    """Transformers imports torchaudio if it is installed."""
    if find_spec("torchaudio"):
        import_torchaudio()


def play(units: Sequence[Tensor], encode: Step, decode: Step) -> dict[str, list[float]]:
    """Real-time factors of encoder, decoder and both together, per unit."""
    spent: dict[str, list[float]] = {"encode": [], "decode": [], "both": []}
    encoder = decoder = None
    with torch.inference_mode():
        for unit in units:
            began_s = time.process_time()
            latent, encoder = encode(unit, encoder)
            between_s = time.process_time()
            _, decoder = decode(latent, decoder)
            ended_s = time.process_time()
            for name, taken_s in zip(spent, (between_s - began_s, ended_s - between_s, ended_s - began_s), strict=True):
                spent[name].append(1000 * taken_s / UNIT_MS)
    return {name: factors[WARM_UNITS:] for name, factors in spent.items()}


def compare(data: Path, *, seconds: int, rounds: int) -> dict[str, Any]:
    """What `--json` prints: p50 and p95 per VAE and codec over all units, and our time divided by each peer's."""
    num_units = seconds * 1000 // UNIT_MS + WARM_UNITS
    audio, video, trained = _vaes(data)
    samples_T, frames_THWC, recorded = _media(data, audio, video, num_units)
    pictures = (frames_THWC.permute(0, 3, 1, 2).float() / 127.5 - 1)[None].split(FRAMES_PER_UNIT, dim=1)
    peer_T = functional.interpolate(
        samples_T[None, None], num_units * samples_per_unit(PEER_RATE_HZ), mode="linear", align_corners=False
    )
    for_peers = peer_T.split(samples_per_unit(PEER_RATE_HZ), dim=-1)
    entrants: dict[str, tuple[Sequence[Tensor], tuple[Step, Step], str]] = {
        "audio": (samples_T[None].split(samples_per_unit(audio.config.rate_hz), dim=-1), ours(audio), "exactly"),
        "video": (pictures, ours(video), "exactly"),
        "Mimi": (for_peers, mimi(), "encoder only"),
        "EnCodec": (for_peers, encodec(), "no"),
    }
    factors_by_codec: dict[str, dict[str, list[float]]] = {name: {} for name in entrants}
    for _ in range(rounds):
        for name, (units, steps, _) in entrants.items():
            for part, factors in play(units, *steps).items():
                factors_by_codec[name].setdefault(part, []).extend(factors)
    codecs: dict[str, dict[str, Any]] = {
        name: {"streams": entrants[name][2], "bound": BOUNDS.get(name)}
        | {part: _figures(factors) for part, factors in parts.items()}
        for name, parts in factors_by_codec.items()
    }
    return {
        "trained": trained,
        "recorded_media": recorded,
        "threads": torch.get_num_threads(),
        "units": rounds * (num_units - WARM_UNITS),
        "picture": f"{video.config.width}x{video.config.height}",
        "rate_hz": audio.config.rate_hz,
        "codecs": codecs,
        "audio_over_peer": {
            name: round(codecs["audio"]["both"]["p50"] / codecs[name]["both"]["p50"], 4) for name in ("Mimi", "EnCodec")
        },
    }


def _vaes(data: Path) -> tuple[AudioVAE, VideoVAE, bool]:
    paths = [data / "models" / "vae" / f"{kind}.safetensors" for kind in ("audio", "video")]
    if all(path.is_file() for path in paths):
        return load_audio_vae(paths[0]), load_video_vae(paths[1]), True
    torch.manual_seed(0)
    return AudioVAE(AudioVAEConfig()).eval(), VideoVAE(VideoVAEConfig()).eval(), False


def _media(data: Path, audio: AudioVAE, video: VideoVAE, num_units: int) -> tuple[Tensor, Tensor, bool]:
    """Samples (T,) and frames (T, H, W, 3) of the first track that fits our VAEs, repeated as needed; else noise."""
    num_samples, num_frames = num_units * samples_per_unit(audio.config.rate_hz), num_units * FRAMES_PER_UNIT
    shape = video.config.height, video.config.width, 3
    for path in sorted((data / "tracks").glob("*/*.mp4")):
        try:
            frames_THWC = read_frames(path)
            samples_T, rate_hz = read_wav(path.with_suffix(".wav"))
        except Rejected:
            continue
        if frames_THWC.shape[1:] == shape and rate_hz == audio.config.rate_hz and len(samples_T):
            repeated_THWC = np.resize(frames_THWC, (num_frames, *shape))
            return torch.from_numpy(np.resize(samples_T, num_samples)), torch.from_numpy(repeated_THWC), True
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (num_frames, *shape), generator=generator, dtype=torch.uint8)
    return 0.1 * torch.randn(num_samples, generator=generator), frames, False


def _figures(factors: Sequence[float]) -> dict[str, float]:
    p50, p95 = np.percentile(factors, [50, 95])
    return {"p50": round(float(p50), 4), "p95": round(float(p95), 4)}


def show(results: dict[str, Any]) -> None:
    console = Console()
    weights = "trained weights" if results["trained"] else "random weights: nothing is trained yet"
    media = "recorded media" if results["recorded_media"] else "noise"
    table = Table(
        box=SIMPLE_HEAD,
        title=f"real-time factor unit by unit, median of {results['units']} units, {results['threads']} thread; "
        f"{weights}, {media}",
        title_justify="left",
    )
    for name in ("codec", "encode", "decode", "both", "p95", "bound", "streams"):
        table.add_column(name, justify="left" if name in ("codec", "streams") else "right", no_wrap=True)
    names = {
        "audio": f"ours, {results['rate_hz'] / 1000:g} kHz",
        "video": f"ours, {results['picture']}",
        "Mimi": "Mimi, 24 kHz",
        "EnCodec": "EnCodec, 24 kHz",
    }
    for name, row in results["codecs"].items():
        cells = [f"{row[part]['p50']:.3f}" for part in ("encode", "decode", "both")]
        bound = "" if row["bound"] is None else f"{row['bound']:g}"
        table.add_row(names[name], *cells, f"{row['both']['p95']:.3f}", bound, row["streams"])
    console.print(table)
    ratios = ", ".join(f"{ratio:.3f} of {name}'s" for name, ratio in results["audio_over_peer"].items())
    console.print(f"our audio VAE takes {ratios} time", highlight=False)


def add(commands: Any) -> None:
    command = commands.add_parser(
        "vae", aliases=["codec"], help="speed of our VAEs compared with Mimi and EnCodec", description=__doc__
    )
    command.add_argument("--data", type=Path, help="data folder (default: data, if it exists)")
    command.add_argument("--seconds", type=int, default=8, help="seconds of media in each round (default: 8)")
    command.add_argument("--rounds", type=int, default=5, help="rounds; all take turns in each (default: 5)")
    command.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, Any]:
    if args.seconds < 1 or args.rounds < 1:
        raise InputError(f"--seconds {args.seconds} --rounds {args.rounds}: expected 1 or more of each")
    data = named_folder(args.data)
    with threads(1):
        return compare(data, seconds=args.seconds, rounds=args.rounds)
