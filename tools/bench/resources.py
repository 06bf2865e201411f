"""What a bench uses of the machine: peak memory of a process, and torch's threads."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def peak_gb() -> float:
    """Peak memory of this process since its program began, in 10^9 bytes.

    `getrusage` alone would not do: on Linux, its peak includes that of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e9
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / 1e9


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Set torch's number of threads in this process while the block runs."""
    import torch  # loader_start measures what is imported after torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
