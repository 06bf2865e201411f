"""Shared by all tests: one torch thread, so that timings and bytes do not depend on the machine's load."""

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator
from functools import cache
from typing import Any

import hypothesis
import numpy as np
import pytest

from pipelines.engine.ray import shared_ray
from tests.helpers.counts import MOST, count
from tests.helpers.paths import ROOT
from tests.helpers.spoken_session import Placed, speak_session

# By measured time: two processes take groups in order, and a long one begun late would keep one of them waiting.
LONGEST = (
    "tests/pipelines/vae/test_stage.py",
    "tests/pipelines/conversation/test_script.py",
    "tests/wanstreamer/test_devices.py",
    "tests/pipelines/behaviour/test_stage.py",
    "tests/wanstreamer/streaming/test_workers.py",
    "tests/wanstreamer/streaming/test_fixed.py",
    "tests/pipelines/conversation/test_partner.py",
    "tests/wanstreamer/train/test_vae.py",
    "tests/pipelines/engine/test_code.py",
    "tests/test_docs.py",
    "tests/pipelines/train/test_stage.py",
    "tests/pipelines/quality/test_duplicates.py",
    "tests/wanstreamer/train/test_duplex.py",
)
# Files with these words share what takes seconds to make, and so one process: a Ray, and spoken dialogues.
SHARED = ("ray_once", "written_dialogue")

hypothesis.settings.register_profile("suite", max_examples=count(100, MOST), deadline=None)
hypothesis.settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that need Ray first, then the longest ones."""
    place = {path: index for index, path in enumerate(LONGEST)}

    def key(item: pytest.Item) -> tuple[bool, int]:
        path = item.path.relative_to(ROOT).as_posix()
        return _shares(path) != "ray_once", place.get(path, len(LONGEST))

    items.sort(key=key)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where tests run in several processes: files that share something in one of them, others by file."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return _shares(path) or path

    return Groups(config, log)


@cache
def _shares(path: str) -> str:
    source = (ROOT / path).read_text(encoding="utf-8")
    return next((word for word in SHARED if word in source), "")


@pytest.fixture(scope="session")
def ray_once() -> Iterator[None]:
    """Ray takes seconds to start: once for all tests that ask for it and the processes they start."""
    with shared_ray(2) as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(autouse=True)
def _shared_ray_stays() -> Iterator[None]:
    """The test that stops the Ray of `ray_once` fails, instead of all that come after it."""
    before = _has_ray()
    yield
    assert _has_ray() or not before, "this test has stopped the Ray that it shares with other tests"


def _has_ray() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


@pytest.fixture(scope="session")
def spoken() -> tuple[dict[str, np.ndarray], Placed]:
    return speak_session()
