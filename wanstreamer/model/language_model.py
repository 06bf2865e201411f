"""A Qwen3 language model's folder, as saved by transformers -> the trunk's shape and weights; logits of text alone.

    language_model = read_language_model(Path("Qwen3-0.6B"))
    config = dataclasses.replace(config, **language_model.trunk)
    model = DuplexModel(config)
    load_language_model(model, language_model)

Blocks, last norm and word embeddings come from the language model; its ids are shifted behind BLANK, MISSING and BEGIN.
Parts without weights in it (perception, latents, flow) are initialised as usual, scaled to the size of its word
embeddings. Text alone then has its logits. Only config.json and the safetensors files are read: transformers is not
needed.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from wanstreamer.errors import InputError
from wanstreamer.model.blocks import Block
from wanstreamer.model.duplex import EMBEDDING_STD, DuplexModel
from wanstreamer.model.sequence import FIRST_WORD, text_tokens, visible

# config.json -> ModelConfig; rope_theta is read separately.
TRUNK = {
    "hidden_size": "d_model",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "num_key_value_heads": "num_kv_heads",
    "head_dim": "head_dim",
    "intermediate_size": "d_ff",
    "rms_norm_eps": "norm_eps",
}
# Settings that the blocks require: the value, and what an absent entry means.
FAMILY: dict[str, tuple[Any, Any]] = {
    "model_type": ("qwen3", None),
    "tie_word_embeddings": (True, False),
    "hidden_act": ("silu", "silu"),
    "attention_bias": (False, False),
    "use_sliding_window": (False, False),
}


@dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """The files and shapes of a language model's weights; no weight is in memory."""

    folder: Path
    trunk: dict[str, Any]  # fields of ModelConfig
    vocab_size: int  # rows of its embeddings, often more than its tokenizer has ids
    files: dict[str, Path]  # weight's name -> safetensors file

    def weight(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Raises InputError if it is missing, cannot be read or has another shape."""
        if name not in self.files:
            raise InputError(f"{self.folder}: no weight {name}; expected a whole Qwen3ForCausalLM")
        path = self.files[name]
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                tensor: Tensor = file.get_tensor(name)
        except (FileNotFoundError, OSError, safetensors.SafetensorError) as error:
            raise InputError(f"{path}: cannot read {name} ({error}); fetch the language model again") from error
        if tuple(tensor.shape) != shape:
            raise InputError(f"{path}: {name} is {list(tensor.shape)}, expected {list(shape)} from config.json")
        return tensor


def read_language_model(folder: Path) -> LanguageModel:
    """Raises InputError for a missing folder, another family, or a variant that the trunk does not support."""
    path = folder / "config.json"
    settings = _read_json(path)
    for name, (expected, absent) in FAMILY.items():
        if settings.get(name, absent) != expected:
            raise InputError(
                f"{path}: {name} {settings.get(name, absent)!r}, expected {expected!r}; name a Qwen3 folder"
            )
    missing = [name for name in (*TRUNK, "vocab_size") if name not in settings]
    if missing:
        raise InputError(f"{path}: no {', '.join(missing)}; expected the config of a Qwen3ForCausalLM")
    rope = settings.get("rope_parameters") or {
        "rope_theta": settings.get("rope_theta"),
        **(settings.get("rope_scaling") or {}),
    }
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default" or rope.get("rope_theta") is None:
        raise InputError(f"{path}: RoPE {kind!r} with theta {rope.get('rope_theta')}, expected 'default' with a theta")
    trunk = {ours: settings[theirs] for theirs, ours in TRUNK.items()} | {"rope_theta": float(rope["rope_theta"])}
    return LanguageModel(folder=folder, trunk=trunk, vocab_size=settings["vocab_size"], files=_weight_files(folder))


@torch.no_grad()
def load_language_model(model: DuplexModel, language_model: LanguageModel) -> None:
    """Copy the language model into a newly initialised model, from any type in which its weights are stored.

    Raises InputError if their shapes differ, or if the model's vocabulary is larger.
    """
    config, path = model.config, language_model.folder / "config.json"
    for theirs, ours in [*TRUNK.items(), ("rope_theta", "rope_theta")]:
        value, expected = language_model.trunk[ours], getattr(config, ours)
        if value != expected:
            raise InputError(f"{path}: {theirs} {value}, expected {expected} ({ours} of the model)")
    num_words = config.vocab_size - FIRST_WORD
    if language_model.vocab_size < num_words:
        raise InputError(f"{path}: vocab_size {language_model.vocab_size}, expected {num_words} or more ids")
    embedding_VD = language_model.weight("model.embed_tokens.weight", (language_model.vocab_size, config.d_model))
    embedding_VD = embedding_VD[:num_words].to(model.text_embedding.weight)
    _match_entries(model, embedding_VD)
    model.text_embedding.weight[FIRST_WORD:] = embedding_VD
    model.text_norm.weight.copy_(language_model.weight("model.norm.weight", (config.d_model,)))
    for index, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        _load_block(block, language_model, f"model.layers.{index}")


def read_text(model: DuplexModel, ids_BN: Tensor) -> Tensor:
    """Logits (B, N, V) of the token after each token, for text alone: no type embeddings, consecutive positions."""
    tokens = text_tokens(ids_BN.shape[1], device=ids_BN.device)
    x_BND, _ = model.trunk(model.text_embedding(ids_BN), tokens, visible(tokens, tokens, self_lag=0))
    logits_BNV: Tensor = model.text_head(x_BND)
    return logits_BNV


def _load_block(block: Block, language_model: LanguageModel, prefix: str) -> None:
    config = block.config
    d, head_dim = config.d_model, config.head_dim
    q_dim, kv_dim = config.num_heads * head_dim, config.num_kv_heads * head_dim

    def weight(name: str, *shape: int) -> Tensor:
        return language_model.weight(f"{prefix}.{name}.weight", shape)

    qkv = [weight(f"self_attn.{name}_proj", rows, d) for name, rows in (("q", q_dim), ("k", kv_dim), ("v", kv_dim))]
    block.qkv.weight.copy_(torch.cat(qkv))
    block.q_norm.weight.copy_(weight("self_attn.q_norm", head_dim))
    block.k_norm.weight.copy_(weight("self_attn.k_norm", head_dim))
    block.attention_out.weight.copy_(weight("self_attn.o_proj", d, q_dim))
    block.attention_norm.weight.copy_(weight("input_layernorm", d))
    block.feed_norm.weight.copy_(weight("post_attention_layernorm", d))
    block.feed_in.weight.copy_(
        torch.cat([weight("mlp.gate_proj", config.d_ff, d), weight("mlp.up_proj", config.d_ff, d)])
    )
    block.feed_out.weight.copy_(weight("mlp.down_proj", d, config.d_ff))


def _match_entries(model: DuplexModel, embedding_VD: Tensor) -> None:
    """Scale all other inputs of the trunk to the size of words; BLANK, MISSING and BEGIN are distributed like words."""
    special = model.text_embedding.weight[:FIRST_WORD]
    special.mul_(embedding_VD.std(0) / EMBEDDING_STD).add_(embedding_VD.mean(0))
    size = embedding_VD.square().mean().sqrt()
    linears = (model.perceive_audio.out, model.perceive_video.out, model.audio_in, model.video_in)
    for linear in (*linears, model.noisy_audio_in, model.noisy_video_in):
        linear.weight.mul_(size)
    for vectors in (model.kind_embedding.weight, model.missing_audio, model.missing_video):
        vectors.mul_(size)


def _weight_files(folder: Path) -> dict[str, Path]:
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if index.is_file():
        shards = _read_json(index).get("weight_map")
        if not isinstance(shards, dict):
            raise InputError(f"{index}: no weight_map; fetch the language model again")
        return {name: folder / shard for name, shard in shards.items()}
    try:
        with safetensors.safe_open(single, framework="pt") as file:
            return dict.fromkeys(file.keys(), single)
    except FileNotFoundError as error:
        raise InputError(f"{single}: no such file; save the language model as safetensors") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{single}: not a safetensors file ({error}); fetch the language model again") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path}: no such file; name the folder of a Qwen3 model as saved by transformers") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); fetch the language model again") from error
    if not isinstance(read, dict):
        raise InputError(f"{path}: is a JSON {type(read).__name__}, expected an object; fetch the language model again")
    return read
