"""A tiny Qwen3 language model with random weights, as transformers saves it."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

# Groups of two heads; widths that differ from each other, so that no mix-up fits.
SHAPE = {
    "vocab_size": 90,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rope_theta": 1e6,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "initializer_range": 0.2,
}


def qwen3(**changes: Any) -> Any:
    """A random Qwen3ForCausalLM in eval mode; norms too are random, where transformers begins with ones."""
    config_class, model_class = _classes()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = model_class(config_class(**SHAPE | changes)).eval()
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "norm" in name:
                    weight.add_(0.3 * torch.randn_like(weight))
    return model


def save_qwen3(folder: Path, *, max_shard_size: str = "1GB", **changes: Any) -> Any:
    """The model and its folder: config.json and one safetensors file, or several with an index."""
    model = qwen3(**changes)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    return model


def _classes() -> tuple[Any, Any]:
    try:
        from transformers import Qwen3Config, Qwen3ForCausalLM
    except (
        OSError
    ):  # torchaudio's extension, which links CUDA, beside a torch of the CPU: transformers needs none of it
        without: Any = ModuleType("torchaudio._extension")
        without._IS_TORCHAUDIO_EXT_AVAILABLE = False
        without.fail_if_no_align = lambda function: function
        sys.modules["torchaudio._extension"] = without
        from transformers import Qwen3Config, Qwen3ForCausalLM
    return Qwen3Config, Qwen3ForCausalLM
