"""CPU time of the work on a key: of this process, of its ended children (ffmpeg), and of calls on other workers."""

import resource
from contextvars import ContextVar
from dataclasses import dataclass

_current: "ContextVar[Meter | None]" = ContextVar("meter", default=None)


@dataclass
class Meter:
    """What the work on one key spent in other processes than its own; `spread` adds to it."""

    elsewhere_s: float = 0.0


def cpu_s() -> float:
    """CPU seconds of this process, all its threads, and its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def start_meter() -> Meter:
    """A meter for the work that starts now; it takes the place of the last one."""
    meter = Meter()
    _current.set(meter)
    return meter


def count_elsewhere(seconds: float) -> None:
    """Add CPU seconds that another process spent for the current work."""
    meter = _current.get()
    if meter is not None:
        meter.elsewhere_s += seconds
