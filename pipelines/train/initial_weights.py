"""What training starts from (our own finished weights, or a Qwen3 language model) -> a matching config, and a start.

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

# These fields may differ from the config of our own weights: dropout and the mask have no weights.
FREE = ("dropout", "token_dropout", "self_lag")
SHAPE = (*TRUNK.values(), "rope_theta")

Start = Callable[[DuplexModel], object]


def init_files(init_from: str) -> list[Path]:
    """The files with the initial weights: the result depends on their content."""
    if not init_from:
        return []
    path = Path(init_from)
    return [path] if path.suffix == ".safetensors" else sorted(set(read_language_model(path).files.values()))


def starting_from(init_from: str, config: ModelConfig, tokenizer: Path) -> tuple[ModelConfig, Start]:
    """The config with the shape of the initial weights, and a function that puts those weights into a new model.

    TrainingParams.check has made sure that `init_from` exists. Raises InputError naming the difference if the weights
    were made for other windows.
    """
    if not init_from:
        return config, lambda model: None
    if Path(init_from).suffix == ".safetensors":
        return _from_ours(Path(init_from), config)
    return _from_language_model(Path(init_from), config, tokenizer)


def _from_ours(path: Path, config: ModelConfig) -> tuple[ModelConfig, Start]:
    ours = load_model(path)
    config = dataclasses.replace(config, **{name: getattr(ours.config, name) for name in SHAPE})
    for field in dataclasses.fields(ModelConfig):
        initial, expected = getattr(ours.config, field.name), getattr(config, field.name)
        if initial != expected and field.name not in FREE:
            raise InputError(
                f"{path}: {field.name} is {initial!r}, expected {expected!r}; start from weights made with the same "
                "VAEs, tokenizer and windows"
            )
    return config, lambda model: model.load_state_dict(ours.state_dict())


def _from_language_model(folder: Path, config: ModelConfig, tokenizer: Path) -> tuple[ModelConfig, Start]:
    language_model = read_language_model(folder)
    packed, own = load_tokenizer(tokenizer), load_tokenizer(folder)
    if packed.offset != FIRST_WORD or packed.tokenizer.get_vocab() != own.tokenizer.get_vocab():
        raise InputError(
            f"{tokenizer}: its {packed.vocab_size} ids are not those of {folder}; set pack.tokenizer to that folder "
            "and run the pack stage again"
        )
    config = dataclasses.replace(config, **language_model.trunk)
    return config, lambda model: load_language_model(model, language_model)
