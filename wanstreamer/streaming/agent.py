"""A live agent: one 160 ms unit of the user's frames and samples in, one unit of the agent's out.

    agent = load_agent(Path("data"))
    state = agent.start(seed=0)
    unit, state = agent.step(state, frames, samples)   # uint8 (4, H, W, 3), float32 (2560,)

One process: encode, think, perform, commit and decode follow each other. `pipeline` and `workers` serve the same agent
with a separate performer.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wanstreamer.checkpoint import weights_hash
from wanstreamer.clock import FRAMES_PER_UNIT, UNIT_MS, samples_per_unit
from wanstreamer.devices import HOST, to_device, to_host
from wanstreamer.errors import InputError
from wanstreamer.model.duplex import DuplexModel, Prefix, load_model
from wanstreamer.model.flow import Latents
from wanstreamer.model.sequence import BEGIN, BLANK
from wanstreamer.streaming.config import AgentConfig
from wanstreamer.streaming.machine import Machine
from wanstreamer.streaming.performer import Schedule, perform
from wanstreamer.streaming.state import ConversationState, new_state
from wanstreamer.streaming.thinker import commit, think
from wanstreamer.vae import AudioVAE, VideoVAE, load_audio_vae, load_video_vae

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PARTS = ("encode", "think", "perform", "decode")


@dataclass(frozen=True, kw_only=True)
class AgentUnit:
    """160 ms of the agent."""

    frames: NDArray[np.uint8]  # (4, H, W, 3) RGB
    samples: NDArray[np.float32]  # (samples per unit,), in [-1, 1]
    text_tokens: list[int]  # one per slot; most are BLANK
    text: str
    part_ms: dict[str, float]  # wall-clock ms spent in each of PARTS


class Agent:
    """Weights and settings of the agent. Everything that changes during a conversation is in the ConversationState.

    The agent moves the models to the machine's device and owns them from then on. Media are on the host.
    """

    def __init__(
        self,
        model: DuplexModel,
        audio_vae: AudioVAE,
        video_vae: VideoVAE,
        tokenizer: "Tokenizer | None" = None,
        config: AgentConfig | None = None,
        machine: Machine | None = None,
    ) -> None:
        self.machine = machine or Machine()
        self.model = self.machine.place(model.eval())
        self.audio_vae = audio_vae.eval().to(self.machine.device)
        self.video_vae = video_vae.eval().to(self.machine.device)
        self.tokenizer = tokenizer
        self.config = config or AgentConfig()
        self.schedule = Schedule(model, self.config.steps)
        self.num_samples = samples_per_unit(audio_vae.config.rate_hz)
        self.frame_shape = (FRAMES_PER_UNIT, video_vae.config.height, video_vae.config.width, 3)

    @cached_property
    def identity(self) -> dict[str, str]:
        """sha256 of weights and config of each network that decides how a conversation continues."""
        return {
            "model": weights_hash(self.model, asdict(self.model.config)),
            "audio VAE": weights_hash(self.audio_vae, asdict(self.audio_vae.config)),
            "video VAE": weights_hash(self.video_vae, asdict(self.video_vae.config)),
        }

    def start(self, *, seed: int, prefix: Prefix | None = None) -> ConversationState:
        """The start of a conversation, with an optional prefix of instructions, image and voice; see `prefix`."""
        config = self.config
        with self.machine.computing():
            return new_state(
                self.model, max_units=config.max_units, seeds=[seed], history_limit=config.history_limit, prefix=prefix
            )

    @torch.inference_mode()
    def step(
        self,
        state: ConversationState,
        frames: NDArray[np.uint8] | None,
        samples: NDArray[np.float32] | None,
        text_tokens: Sequence[int] | None = None,
    ) -> tuple[AgentUnit, ConversationState]:
        """One unit. A stream that is None is missing in this unit; when it comes back, it starts again.

        Returns:
            The agent's unit and the state after it. Do not use `state` again: its cache has been overwritten.

        Raises:
            InputError: Wrong shape or type of the media, or a history beyond `max_units`.
        """
        self.check_history(state)
        self.check(frames, samples, text_tokens)
        part_ms: dict[str, float] = {}
        with self.machine.computing():
            with timed(part_ms, "encode"):
                audio_NC, video_CHW = self.encode(state, frames, samples)
            with timed(part_ms, "think"):
                tokens = self.think(state, audio_NC, video_CHW, text_tokens)
            with timed(part_ms, "perform"):
                audio_BNC, video_BCHW = perform(
                    self.model, state, self.schedule, video_temperature=self.config.video_temperature
                )
                commit(self.model, state, audio_BNC, video_BCHW)
            return self.decode(state, audio_BNC[0], video_BCHW[0], tokens, part_ms), state

    @torch.inference_mode()
    def encode(
        self, state: ConversationState, frames: NDArray[np.uint8] | None, samples: NDArray[np.float32] | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """The user's audio (N, C) and video (C, H, W) latents of a unit; None if the stream is missing."""
        vae_states = state.vae_states
        video_CHW = audio_NC = None
        if frames is None:
            vae_states["video_encoder"] = None
        else:
            video, vae_states["video_encoder"] = self.video_vae.encode(
                to_video(frames, self.model.device), vae_states["video_encoder"]
            )
            video_CHW = video[0, 0]
        if samples is None:
            vae_states["audio_encoder"] = None
        else:
            audio, vae_states["audio_encoder"] = self.audio_vae.encode(
                to_device(torch.from_numpy(samples), self.model.device)[None], vae_states["audio_encoder"]
            )
            audio_NC = audio[0]
        return audio_NC, video_CHW

    @torch.inference_mode()
    def think(
        self,
        state: ConversationState,
        audio_NC: Tensor | None,
        video_CHW: Tensor | None,
        text_tokens: Sequence[int] | None,
        returned: Latents | None = None,
    ) -> list[int]:
        """The agent's text ids of a unit, one per slot, from the user's latents and text of that unit.

        `returned`: the agent's latents that come next in the cache, if they were not committed separately.
        """
        tokens, _ = think(
            self.model,
            state,
            *alone(audio_NC, video_CHW),
            None if text_tokens is None else [text_tokens],
            temperature=self.config.text_temperature,
            epsilon=self.config.text_epsilon,
            returned=None if returned is None else (returned[0][None], returned[1][None]),
        )
        return tokens[0]

    @torch.inference_mode()
    def decode(
        self,
        state: ConversationState,
        audio_NC: Tensor,
        video_CHW: Tensor,
        tokens: list[int],
        part_ms: dict[str, float],
    ) -> AgentUnit:
        """The agent's unit from its latents and text; adds its own time to `part_ms`, a field of the unit."""
        vae_states = state.vae_states
        with timed(part_ms, "decode"):
            video, vae_states["video_decoder"] = self.video_vae.decode(
                video_CHW[None, None], vae_states["video_decoder"]
            )
            audio, vae_states["audio_decoder"] = self.audio_vae.decode(audio_NC[None], vae_states["audio_decoder"])
            return AgentUnit(
                frames=to_frames(video),
                samples=to_host(audio[0].clamp(-1, 1)).numpy(),
                text_tokens=tokens,
                text=self.words(tokens),
                part_ms=part_ms,
            )

    def check_history(self, state: ConversationState) -> None:
        """Raises InputError if there is no room for one more unit."""
        max_units = state.cache.max_units
        if max_units is not None and state.unit >= max_units:
            raise InputError(
                f"agent: the history of {max_units} units ({max_units * UNIT_MS / 1000:.0f} s) is full; start a new "
                "conversation, or give the agent a larger max_units, or history_units"
            )

    def check(
        self,
        frames: NDArray[np.uint8] | None,
        samples: NDArray[np.float32] | None,
        text_tokens: Sequence[int] | None,
    ) -> None:
        """Raises InputError for media or text of a wrong shape or type."""
        for name, array, shape, dtype in (
            ("frames", frames, self.frame_shape, np.uint8),
            ("samples", samples, (self.num_samples,), np.float32),
        ):
            if array is not None and (array.shape != shape or array.dtype != dtype):
                raise InputError(
                    f"agent: {name} are {array.dtype} {list(array.shape)}, expected {np.dtype(dtype)} {list(shape)} "
                    "per unit; resize or resample first"
                )
        slots = self.model.config.text_slots
        if text_tokens is not None and len(text_tokens) != slots:
            raise InputError(
                f"agent: {len(text_tokens)} text tokens, expected {slots} per unit; fill the rest with BLANK (0)"
            )

    def words(self, tokens: Sequence[int]) -> str:
        """Text of a unit's tokens, to be joined without spaces: pieces of one word may lie in neighbouring units."""
        if self.tokenizer is None:
            return ""
        return self.tokenizer.decode([token - first_word(self.tokenizer) for token in tokens if token > BEGIN])


def first_word(tokenizer: "Tokenizer") -> int:
    """The model's id of a tokenizer's id 0: a language model's tokenizer lacks our special ids, and is shifted."""
    return 0 if tokenizer.token_to_id("<blank>") == BLANK else BEGIN + 1


def load_agent(data: Path, config: AgentConfig | None = None, machine: Machine | None = None) -> Agent:
    """An agent from the models of a data folder, on the CPU or where the machine says.

    Raises InputError if one is missing, if the duplex model was trained on latents of other VAEs, or if the package
    tokenizers (extra `text`) is not installed.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise InputError(
            "tokenizers is not installed, and the agent's words are read with it; run pip install 'wanstreamer[text]'"
        ) from error

    path = data / "models" / "duplex" / "model.safetensors"
    model = load_model(path)
    others = {
        "audio_codec": data / "models" / "vae" / "audio.safetensors",
        "video_codec": data / "models" / "vae" / "video.safetensors",
        "tokenizer": data / "models" / "tokenizer.json",
    }
    for name, other in others.items():
        expected = getattr(model.config, name)
        if not other.is_file():
            raise InputError(f"{other}: no such file, but {path} was trained with it; run the stages before duplex")
        if expected and hashlib.sha256(other.read_bytes()).hexdigest() != expected:
            raise InputError(f"{other}: not the {name} that {path} was trained with; run the duplex stage again")
    return Agent(
        model,
        load_audio_vae(others["audio_codec"]),
        load_video_vae(others["video_codec"]),
        Tokenizer.from_file(str(others["tokenizer"])),
        config,
        machine,
    )


def alone(audio_NC: Tensor | None, video_CHW: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Latents of one conversation as a batch of one; a missing stream stays missing."""
    return (None if audio_NC is None else audio_NC[None]), (None if video_CHW is None else video_CHW[None])


def to_video(frames: NDArray[np.uint8], device: torch.device = HOST) -> Tensor:
    """uint8 (T, H, W, 3) -> float32 (1, T, 3, H, W) in [-1, 1]."""
    return to_device(torch.from_numpy(frames), device).permute(0, 3, 1, 2)[None].float() / 127.5 - 1


def to_frames(video_BTCHW: Tensor) -> NDArray[np.uint8]:
    """The inverse of `to_video`, for one stream; values beyond the range are cut off."""
    pixels = ((video_BTCHW[0] + 1) * 127.5).round().clamp(0, 255)
    return to_host(pixels.permute(0, 2, 3, 1).to(torch.uint8).contiguous()).numpy()


@contextmanager
def timed(part_ms: dict[str, float], part: str) -> Iterator[None]:
    """Store the wall-clock ms of the block under `part`."""
    began_s = time.perf_counter()
    yield
    part_ms[part] = (time.perf_counter() - began_s) * 1000
