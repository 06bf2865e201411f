"""What can be set of the trainings `pretrain` and `duplex`, with bounds; no torch, so that it is checked at once."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from wanstreamer.bounds import bounded, check_bounds, from_one, from_zero, share
from wanstreamer.errors import InputError
from wanstreamer.train.config import TrainConfig

LOGS = ("tensorboard", "dvclive")


@dataclass(frozen=True, kw_only=True)
class TrainingParams(TrainConfig):
    """The training, and the model's size; together with windows and seed they fix the weights' bytes on a CPU."""

    dropout: float = share(0.1)  # of what a block adds
    token_dropout: float = share(0.05)  # share of clean tokens that lose their content
    # What to start from; '' starts at random. A model.safetensors of ours (from `pretrain`, say), or the folder of a
    # Qwen3 language model, which pack.tokenizer must then name too. Its shape replaces d_model to d_ff.
    init_from: str = ""
    d_model: int = from_one(128)
    num_layers: int = from_one(4)
    num_heads: int = from_one(4)  # of 32 dimensions
    d_ff: int = from_one(352)
    # 1: the language path trails the agent's own latents by a unit, for two overlapping workers
    self_lag: int = bounded(0, one_of=(0, 1))
    valid_windows: int = from_one(32)  # of the validation curve, spread over the split
    logs: tuple[str, ...] = bounded((), one_of=LOGS)  # in data/logs (extra `logs`); the curves are in plots anyway

    def check(self) -> None:
        """Raises InputError if the initial weights are missing. This runs before any stage."""
        if not self.init_from:
            return
        path = Path(self.init_from)
        if path.suffix == ".safetensors":
            if not path.is_file():
                raise InputError(
                    f"{path}: no such file; run `python -m pipelines.train.pretrain`, or name other weights"
                )
        elif not (path / "config.json").is_file():
            raise InputError(
                f"{path / 'config.json'}: no such file; set init_from to a model.safetensors or the folder of a Qwen3 "
                "language model"
            )
        else:
            from wanstreamer.model.language_model import read_language_model  # brings torch

            read_language_model(path)


@dataclass(frozen=True, kw_only=True)
class DuplexParams(TrainingParams):
    """See TrainingParams for all settings."""


@dataclass(frozen=True, kw_only=True)
class TaskShares:
    """How many of the windows a task gets, relative to the others; 0: none."""

    transcribe: float = from_zero(1.0)  # the user's speech -> text
    speak: float = from_zero(1.0)  # text -> the agent's sound
    animate: float = from_zero(1.0)  # the agent's sound -> its picture
    proceed: float = from_zero(1.0)  # sound and picture -> what follows
    chat: float = from_zero(1.0)  # text -> the answer's text

    def __post_init__(self) -> None:
        check_bounds(self)
        if not any(asdict(self).values()):
            raise InputError("all are 0; give at least one task a share")


@dataclass(frozen=True, kw_only=True)
class PretrainParams(TrainingParams):
    """As `duplex`. A model that starts from this one must have the same size."""

    steps: int = from_one(300)  # a fifth of what duplex takes
    tasks: TaskShares = field(default_factory=TaskShares)
    user_text_drop: float = share(0.0)  # the tasks decide which words are withheld
    agent_text_drop: float = share(0.0)  # the same for the agent's
