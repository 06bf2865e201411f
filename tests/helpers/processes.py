"""A call in a process of its own, which shares nothing with this one."""

import multiprocessing
from collections.abc import Callable
from typing import Any


def in_another_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a module's function; function, arguments and result are pickled."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)
