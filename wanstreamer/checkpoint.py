"""Named tensors + a JSON object <-> one safetensors file, written atomically; nothing is ever pickled.

One file contains tensors and their state (step, history), so that the two can never disagree.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from wanstreamer.errors import InputError


def save_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write `path` whole or not at all: temporary name, fsync, rename. Equal content gives equal bytes."""
    # One metadata key: safetensors does not preserve the order of several keys.
    content = save(
        {name: tensor.detach().contiguous() for name, tensor in tensors.items()},
        metadata={"json": json.dumps(meta, sort_keys=True)},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and the JSON object. Raises InputError if the file is missing, damaged or not ours."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {})["json"])
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; train it first or pass another path") from error
    except (safetensors.SafetensorError, KeyError, ValueError, OSError) as error:
        raise InputError(f"{path}: not a checkpoint of this project ({error}); write it again") from error


def weights_hash(module: nn.Module, config: Mapping[str, Any]) -> str:
    """sha256 of a module's config and weights: the same wherever and however often the module was loaded."""
    sha256 = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, tensor in sorted(module.state_dict().items()):
        sha256.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        sha256.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return sha256.hexdigest()


def save_training(
    path: Path, fingerprint: str, modules: Mapping[str, nn.Module], optimizer: Optimizer, progress: Mapping[str, Any]
) -> None:
    """Write the state from which a killed training continues: modules, optimiser, and `progress` as JSON."""
    tensors = {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items()}
    save_tensors(path, tensors, {"fingerprint": fingerprint, "progress": progress})


def resume_training(
    path: Path, fingerprint: str, modules: Mapping[str, nn.Module], optimizer: Optimizer
) -> dict[str, Any] | None:
    """Restore what `save_training` wrote and return its progress. Returns None and changes nothing if there is no
    state, or if it has another fingerprint and therefore belongs to another training."""
    if not path.is_file():
        return None
    tensors, meta = load_tensors(path)
    if meta["fingerprint"] != fingerprint:
        return None
    for name, module in modules.items():
        prefix = f"{name}."
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    progress: dict[str, Any] = meta["progress"]
    return progress
