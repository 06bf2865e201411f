"""How many examples, seeds and rounds: at most 20 of anything in `make test`, the full count in `make test-long`."""

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

MOST = 20
LONG = os.environ.get("WANSTREAMER_LONG") == "1"  # set by `make test-long`


def count(full: int, few: int = MOST) -> int:
    """`full` in `make test-long`, at most `few` else; a test that uses it carries `@pytest.mark.counts`."""
    return full if LONG else min(full, few)


def examples(full: int) -> Callable[[Any], Any]:
    """Above `@given`: so many examples of a property in `make test-long`, at most 20 in `make test`.

    Hypothesis marks its tests itself, so that `make test-long` finds them.
    """
    return settings(max_examples=count(full), deadline=None)


def seeds(full: int, few: int = MOST) -> list[Any]:
    """Parameters 0, 1, ...: the first `few` in both, the others in `make test-long` only."""
    return [pytest.param(seed, marks=pytest.mark.counts if seed < few else pytest.mark.long) for seed in range(full)]
