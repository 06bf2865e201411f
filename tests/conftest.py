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

# By measured time: two processes take whole files in order, and a long one begun late would keep one of them waiting.
LONGEST = (
    "tests/pipelines/vae/test_stage.py",
    "tests/pipelines/engine/test_code.py",
    "tests/test_docs.py",
    "tests/pipelines/train/test_stage.py",
    "tests/wanstreamer/test_devices.py",
    "tests/pipelines/quality/test_duplicates.py",
    "tests/wanstreamer/streaming/test_workers.py",
    "tests/wanstreamer/streaming/test_fixed.py",
    "tests/tools/bench/test_stream.py",
    "tests/pipelines/ingest/test_odd_media.py",
)

hypothesis.settings.register_profile("suite", max_examples=count(100, MOST), deadline=None)
hypothesis.settings.load_profile("suite")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """All that need Ray first and in one process, so that one Ray is started; then whole files, the longest first."""
    place = {path: index for index, path in enumerate(LONGEST)}

    def key(item: pytest.Item) -> tuple[bool, int]:
        return not _needs_ray(item), place.get(_path(item), len(LONGEST))

    items.sort(key=key)
    if config.getoption("dist", "no") == "loadgroup":
        for item in items:
            item.add_marker(pytest.mark.xdist_group("ray" if _needs_ray(item) else _path(item)))


def _needs_ray(item: pytest.Item) -> bool:
    return "ray_once" in getattr(item, "fixturenames", ())


def _path(item: pytest.Item) -> str:
    return item.path.relative_to(ROOT).as_posix()


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
