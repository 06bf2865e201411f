"""Progress of long work, on stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(total: int, label: str) -> Iterator[Callable[..., None]]:
    """Yield `advance(n=1)`: a bar on a terminal, a line about every ten seconds elsewhere."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(label, total=total)
        done, printed_s = 0, time.monotonic()

        def advance(n: int = 1) -> None:
            nonlocal done, printed_s
            done += n
            bars.advance(task, n)
            if not console.is_terminal and (time.monotonic() - printed_s > 10 or done >= total):
                printed_s = time.monotonic()
                print(f"{label}: {done}/{total}", file=sys.stderr, flush=True)

        yield advance
