"""The agent and media that `tools.bench stream` plays: a data folder's trained models and tracks, else random ones.

Models of a scale (`--scale`) always have random weights, with VAEs of the same size.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from pipelines.engine.jobs import Rejected
from pipelines.media.tracks import read_frames, read_wav
from tools.bench.overlap import Media
from tools.bench.train import SIZES
from wanstreamer.clock import FRAMES_PER_UNIT
from wanstreamer.errors import InputError
from wanstreamer.model.config import SCALES, scaled
from wanstreamer.model.duplex import DuplexModel, save_model
from wanstreamer.streaming.agent import Agent, AgentConfig, load_agent
from wanstreamer.streaming.machine import Machine
from wanstreamer.streaming.pipeline import Pipeline, open_pipeline
from wanstreamer.streaming.streams import open_streams
from wanstreamer.streaming.workers import PerformerProcess, open_workers
from wanstreamer.vae import AudioVAE, AudioVAEConfig, VideoVAE, VideoVAEConfig
from wanstreamer.vae.video import SPATIAL_FACTOR

RANDOM_UNITS = 50


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How the conversation is served."""

    workers: int = 1
    threads: int = 1
    steps: int | None = None  # solver steps; None: the agent's default
    lag: int | None = None  # self_lag; None: 1 with two workers, else the model's own
    live: bool = False  # a unit every 160 ms, instead of full speed
    scale: str | None = None  # random weights of this scale; None: the data folder's models
    units_per_point: int = 50  # units timed at each length of history; 50 units are 8 s
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        numbers = {"--threads": self.threads, "--steps": self.steps, "--units-per-point": self.units_per_point}
        for name, number in numbers.items():
            if number is not None and number < 1:
                raise InputError(f"{name} {number}: expected 1 or more")
        if self.workers == 2 and self.threads != 1:
            raise InputError(
                f"--workers 2 --threads {self.threads}: each worker has one thread; remove --threads or --workers 2"
            )

    @property
    def self_lag(self) -> int | None:
        return 1 if self.lag is None and self.workers == 2 else self.lag

    @property
    def solver_steps(self) -> int:
        return self.steps or AgentConfig.steps


@dataclass(frozen=True, kw_only=True)
class Conversation:
    agent: Agent
    media: list[Media]  # is repeated
    trained_at_self_lag: int | None  # None: random weights
    recorded: bool  # whether the media are recorded, not random


def prepare(data: Path, setting: Setting, config: AgentConfig) -> Conversation:
    """Models at the setting's self_lag. If they were trained at another, the times are right but the output is not."""
    agent, trained = load(data, config, setting)
    trained_at = agent.model.config.self_lag if trained else None
    if setting.self_lag is not None:
        agent.model.config = replace(agent.model.config, self_lag=setting.self_lag)
    recorded = [] if setting.scale else recorded_media(data, agent)
    media = recorded or random_media(agent)
    return Conversation(agent=agent, media=media, trained_at_self_lag=trained_at, recorded=bool(recorded))


def load(data: Path, config: AgentConfig, setting: Setting) -> tuple[Agent, bool]:
    """An agent, and whether its weights are trained."""
    if setting.scale is None and (data / "models" / "duplex" / "model.safetensors").is_file():
        return load_agent(data, config, setting.machine), True
    return random_agent(setting.scale or "tiny", config, setting.machine), False


def random_agent(scale: str, config: AgentConfig, machine: Machine) -> Agent:
    """Random weights; 336x192 and 24 kHz, except for `tiny`."""
    torch.manual_seed(0)
    audio_channels, video_channels, vocab_size = SIZES[scale]
    height, width = (SPATIAL_FACTOR * SCALES[scale][f"video_{side}"] for side in ("height", "width"))
    rate_hz = 16000 if scale == "tiny" else 24000
    audio_vae = AudioVAE(AudioVAEConfig(rate_hz=rate_hz, channels=audio_channels))
    video_vae = VideoVAE(VideoVAEConfig(height=height, width=width, channels=video_channels))
    sizes = {"audio_channels": audio_channels, "video_channels": video_channels, "vocab_size": vocab_size}
    with torch.device(machine.device):  # a billion random numbers take long on a CPU
        model = DuplexModel(scaled(scale, **sizes))
    return Agent(model, audio_vae, video_vae, config=config, machine=machine)


def recorded_media(data: Path, agent: Agent) -> list[Media]:
    """Units of the first recorded participant that fits the VAEs."""
    for video in sorted((data / "tracks").glob("*/*.mp4")):
        try:
            frames_THWC = read_frames(video)
            samples_T, rate_hz = read_wav(video.with_suffix(".wav"))
        except Rejected:
            continue
        fits = frames_THWC.shape[1:] == agent.frame_shape[1:] and rate_hz == agent.audio_vae.config.rate_hz
        units = min(len(frames_THWC) // FRAMES_PER_UNIT, len(samples_T) // agent.num_samples)
        if fits and units:
            frames = frames_THWC[: units * FRAMES_PER_UNIT].reshape(units, *agent.frame_shape)
            samples = samples_T[: units * agent.num_samples].reshape(units, agent.num_samples)
            return list(zip(frames, samples, strict=True))
    return []


def random_media(agent: Agent) -> list[Media]:
    generator = np.random.default_rng(0)
    return [
        (
            generator.integers(0, 256, agent.frame_shape, dtype=np.uint8),
            generator.normal(0, 0.1, agent.num_samples).astype(np.float32),
        )
        for _ in range(RANDOM_UNITS)
    ]


@contextmanager
def opened(agent: Agent, workers: int) -> Iterator[Pipeline]:
    """A new pipeline. Two workers: the performer has its own process, or on a GPU its own stream."""
    with ExitStack() as stack:
        if workers == 1:
            yield stack.enter_context(open_pipeline(agent, seed=0))
            return
        if agent.model.device.type == "cuda":
            yield stack.enter_context(open_streams(agent, seed=0))
            return
        weights = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model.safetensors"
        save_model(agent.model, weights)
        yield stack.enter_context(open_workers(agent, weights, seed=0))


def handed_bytes(pipeline: Pipeline) -> int | None:
    """Bytes that a unit's hand-over moves between two processes."""
    link = pipeline.link
    return link.ring.slice_bytes + link.ring.latent_bytes if isinstance(link, PerformerProcess) else None
