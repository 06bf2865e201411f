"""Shared by all tests: one torch thread, so that timings and bytes do not depend on the machine's load."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator

import numpy as np
import pytest

from pipelines.engine.ray import shared_ray
from tests.helpers.spoken_session import Placed, speak_session

LONGEST = ("test_end_to_end.py", "vae/test_stage.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: two processes take whole files in order, and one begun late would keep one waiting."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def ray_once() -> Iterator[None]:
    """Ray takes seconds to start: once for all tests that ask for it and the processes they start."""
    with shared_ray(2) as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def spoken() -> tuple[dict[str, np.ndarray], Placed]:
    return speak_session()
