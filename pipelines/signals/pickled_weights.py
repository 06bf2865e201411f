"""Weights that others publish only as a pickle -> tensors. Nothing else in the project reads pickles.

Torch reads them with `weights_only`: tensors and plain containers are allowed, code of the file is never run.
"""

from pathlib import Path
from typing import Any

from wanstreamer.errors import InputError


def read_pickled_weights(path: Path, expected: str) -> dict[str, Any]:
    """The dictionary in a file that `torch.save` wrote, on the CPU.

    Args:
        expected: What the file should be, for the error message.

    Raises:
        InputError: It cannot be read, or holds more than tensors and plain containers.
    """
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch does not document what it raises for a damaged file
        reason = str(error).strip().partition("\n")[0][:200]
        raise InputError(f"{path}: {type(error).__name__}: {reason}; expected {expected}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: a {type(content).__name__}; expected {expected}")
    return content
