"""Parameters of `pretrain` and `duplex`, with their bounds. No torch here, so that checking a file is fast."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipelines.engine.models import LANGUAGE_MODEL
from wanstreamer.bounds import BadValue, bounded, check_bounds, from_one, from_zero, share
from wanstreamer.errors import InputError
from wanstreamer.train.config import TrainConfig
from wanstreamer.windows.manifest import read_manifest

LOGS = ("tensorboard", "dvclive")


OWN = Path("data/windows")  # the pack stage may not have made it yet when parameters are checked


@dataclass(frozen=True, kw_only=True)
class WindowFolder:
    """One of several sets of windows to train on."""

    path: str = ""  # folder of windows, as the pack stage writes it; in a store too: s3://bucket/windows
    weight: float = bounded(1.0, above=0)  # share of the samples, relative to the other weights
    where: str = ""  # SQL condition over the columns of the table `windows`; empty: all

    def __post_init__(self) -> None:
        check_bounds(self)
        if not self.path:
            raise BadValue("path", self.path, "a folder of windows, such as data/windows")


@dataclass(frozen=True, kw_only=True)
class TrainingParams(TrainConfig):
    """The training and the size of the model. On a CPU these, windows and seed determine the weights exactly."""

    # Folders of windows, each with path, weight and where: `[{path: data/windows, weight: 3}, {path: calls/windows}]`.
    # Empty: all train windows of the data folder.
    data: tuple[WindowFolder, ...] = ()
    dropout: float = share(0.1)  # dropout of the output of each block
    token_dropout: float = share(0.05)  # share of clean tokens that lose their content
    # Initial weights; empty: random. A model.safetensors of ours (for example from `pretrain`), or the folder of a
    # Qwen3 language model; then pack.tokenizer must name the same folder, and its shape replaces d_model to d_ff.
    init_from: str = ""
    d_model: int = from_one(128)  # width of the Transformer
    num_layers: int = from_one(4)  # blocks
    num_heads: int = from_one(4)  # attention heads, of 32 dimensions each
    d_ff: int = from_one(352)  # width of the feed-forward layers
    # 1: the language path sees the agent's own latents one unit later, so that two workers can overlap.
    self_lag: int = bounded(0, one_of=(0, 1))
    valid_windows: int = from_one(32)  # windows of the validation curve, spread over the split
    logs: tuple[str, ...] = bounded((), one_of=LOGS)  # logs in data/logs (extra `logs`); the curves are in plots anyway

    def check(self) -> None:
        """Raises InputError if a folder of windows or the initial weights are missing. This runs before any stage."""
        self._check_data()
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
                f"{path / 'config.json'}: no such file; set init_from to a model.safetensors or the folder of "
                f"{LANGUAGE_MODEL.what}: `python -m tools.models fetch {LANGUAGE_MODEL.model}` makes "
                f"{LANGUAGE_MODEL.place.as_posix()}"
            )
        else:
            from wanstreamer.model.language_model import read_language_model  # brings torch

            read_language_model(path)

    def _check_data(self) -> None:
        for number, entry in enumerate(self.data):
            is_local = "://" not in entry.path
            if is_local and Path(entry.path).absolute() != OWN.absolute():
                read_manifest(Path(entry.path))
            if entry.where:
                from pipelines.train.filters import check_condition  # brings DuckDB

                check_condition(entry.where, f"data[{number}].where")


@dataclass(frozen=True, kw_only=True)
class DuplexParams(TrainingParams):
    """All settings are those of TrainingParams."""


@dataclass(frozen=True, kw_only=True)
class TaskShares:
    """The share of windows for each task, relative to the others; 0: none."""

    transcribe: float = from_zero(1.0)  # the user's speech -> text
    speak: float = from_zero(1.0)  # text -> the agent's audio
    animate: float = from_zero(1.0)  # the agent's audio -> its video
    proceed: float = from_zero(1.0)  # audio and video -> their continuation
    chat: float = from_zero(1.0)  # text -> the text of the answer

    def __post_init__(self) -> None:
        check_bounds(self)
        if not any(asdict(self).values()):
            raise InputError("all are 0; set at least one task to more than 0")


@dataclass(frozen=True, kw_only=True)
class PretrainParams(TrainingParams):
    """As `duplex`. A model that starts from this one must have the same size."""

    steps: int = from_one(300)  # a fifth of the steps of duplex
    tasks: TaskShares = field(default_factory=TaskShares)
    user_text_drop: float = share(0.0)  # the tasks decide which words are left out
    agent_text_drop: float = share(0.0)  # the same for the agent's words
