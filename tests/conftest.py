"""Shared by all tests: one torch thread, so that timings and bytes do not depend on the machine's load."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator

import hypothesis
import numpy as np
import pytest

from pipelines.engine.ray import shared_ray
from tests.helpers.counts import MOST, count
from tests.helpers.paths import ROOT
from tests.helpers.spoken_session import Placed, speak_session

# Two processes take whole files in order, and a long one begun late would keep one of them waiting: by measured time.
LONGEST = ("tests/test_end_to_end.py", "tests/pipelines/vae/test_stage.py")

hypothesis.settings.register_profile("suite", max_examples=count(100, MOST), deadline=None)
hypothesis.settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {path: index for index, path in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.relative_to(ROOT).as_posix(), len(LONGEST)))


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
