"""Recordings and weights of other people, for tests/real: a test that lacks one is skipped, with what it lacks.

`make test-real MEDIA=DIR MODELS=DIR` names the folders; several are separated by colons.
"""

import os
from pathlib import Path

import pytest

from pipelines.engine.models import BY_NAME
from tools.models.state import state_of

MEDIA, MODELS = "WANSTREAMER_MEDIA", "WANSTREAMER_MODELS"


def real_media(path: str) -> Path:
    """A file or folder of MEDIA, such as `call/sample.wav`."""
    return _first(MEDIA, path, "make test-real MEDIA=DIR")


def real_model(name: str) -> Path:
    """The folder of a model of `python -m tools.models`, with all its files."""
    folder = _first(MODELS, name, f"python -m tools.models fetch {name}, then make test-real MODELS=DIR")
    state = state_of(BY_NAME[name], folder.parent, hashes=False)
    if state.name != "there":
        pytest.skip(f"{folder}: {state.name}, {state.detail}: python -m tools.models fetch {name}")
    return folder


def _first(variable: str, path: str, remedy: str) -> Path:
    folders = [Path(folder) for folder in os.environ.get(variable, "").split(":") if folder]
    for folder in folders:
        if (folder / path).exists():
            return (folder / path).resolve()
    where = ", ".join(map(str, folders)) or f"{variable.rpartition('_')[2]}, which is not set"
    pytest.skip(f"no {path} in {where}: {remedy}")
