"""Shared by all tests: one torch thread, so that timings and bytes do not depend on the machine's load."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=False)
def ray_once() -> Iterator[None]:
    """Ray takes seconds to start: once for all tests that ask for it (run_keys uses a running one)."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()
