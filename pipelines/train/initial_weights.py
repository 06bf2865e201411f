"""What training starts from: finished weights of ours, or a Qwen3 language model -> a config of its shape, and a start.

config, start = starting_from(init_from, config, tokenizer)
model = DuplexModel(config)
start(model)
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from pipelines.formats.tokenizer import load_tokenizer
from wanstreamer.errors import InputError
from wanstreamer.model.duplex import DuplexModel, ModelConfig, load_model
from wanstreamer.model.language_model import TRUNK, load_language_model, read_language_model
from wanstreamer.model.sequence import FIRST_WORD

# What may differ from the config that weights of ours were made with: dropout and the mask have no weights.
FREE = ("dropout", "token_dropout", "self_lag")
SHAPE = (*TRUNK.values(), "rope_theta")

Start = Callable[[DuplexModel], object]


def check_init_from(init_from: str) -> None:
    """Raises InputError when there is no such file, or the folder is no language model's: known before any stage."""
    path = Path(init_from)
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise InputError(f"{path}: no such file; run `python -m pipelines.train.pretrain`, or name other weights")
    elif init_from:
        read_language_model(path)


def init_files(init_from: str) -> list[Path]:
    """The files that weights are read from: the result depends on their content."""
    if not init_from:
        return []
    path = Path(init_from)
    return [path] if path.suffix == ".safetensors" else sorted(set(read_language_model(path).files.values()))


def starting_from(init_from: str, config: ModelConfig, tokenizer: Path) -> tuple[ModelConfig, Start]:
    """The config in the shape of what it starts from, and what puts those weights into a fresh model.

    Raises InputError, naming what differs, when the weights were not made for such windows.
    """
    check_init_from(init_from)
    if not init_from:
        return config, lambda model: None
    if Path(init_from).suffix == ".safetensors":
        return _from_ours(Path(init_from), config)
    return _from_language_model(Path(init_from), config, tokenizer)


def _from_ours(path: Path, config: ModelConfig) -> tuple[ModelConfig, Start]:
    ours = load_model(path)
    config = dataclasses.replace(config, **{name: getattr(ours.config, name) for name in SHAPE})
    for field in dataclasses.fields(ModelConfig):
        found, expected = getattr(ours.config, field.name), getattr(config, field.name)
        if found != expected and field.name not in FREE:
            raise InputError(
                f"{path}: {field.name} is {found!r}, but {expected!r} here; start from weights made with the same "
                "codecs, tokenizer and windows"
            )
    return config, lambda model: model.load_state_dict(ours.state_dict())


def _from_language_model(folder: Path, config: ModelConfig, tokenizer: Path) -> tuple[ModelConfig, Start]:
    language_model = read_language_model(folder)
    packed, own = load_tokenizer(tokenizer), load_tokenizer(folder)
    if packed.offset != FIRST_WORD or packed.tokenizer.get_vocab() != own.tokenizer.get_vocab():
        raise InputError(
            f"{tokenizer}: {packed.vocab_size} ids that are not those of {folder}; set pack.tokenizer to it and run "
            "the pack stage again"
        )
    config = dataclasses.replace(config, **language_model.trunk)
    return config, lambda model: load_language_model(model, language_model)
