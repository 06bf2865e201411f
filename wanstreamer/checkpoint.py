"""Named tensors + a JSON object <-> one safetensors file, written atomically; nothing is ever pickled.

One file holds tensors and their state (step, history), so there is no moment at which the two disagree.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import save
from torch import Tensor

from wanstreamer.errors import InputError


def save_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write `path` whole or not at all: temporary name, fsync, rename. Equal content gives equal bytes."""
    # One metadata key: safetensors keeps no order among several.
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
    """Tensors and the JSON object. Raises InputError when the file is missing, damaged or not ours."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {})["json"])
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; train it first or pass another path") from error
    except (safetensors.SafetensorError, KeyError, ValueError, OSError) as error:
        raise InputError(f"{path}: not a checkpoint of this project ({error}); write it again") from error
