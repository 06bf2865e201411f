"""Rows of a training's history -> TensorBoard and DVCLive, in addition to the curves in plots/; needs the extra `logs`.

    tensorboard --logdir data/logs

A continued run writes them again from the history in its state, so that no step appears twice.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from wanstreamer.errors import InputError
from wanstreamer.train.steps import Scalars


@contextmanager
def open_logs(names: Sequence[str], folder: Path) -> Iterator[Callable[[Scalars], None]]:
    """A function that writes a row to every log; each log has its own folder in `folder`.

    Raises InputError if a package is not installed.
    """
    opened = {"tensorboard": _tensorboard, "dvclive": _dvclive}
    with ExitStack() as stack:
        logs: list[Callable[[Scalars], None]] = []
        for name in names:
            shutil.rmtree(folder / name, ignore_errors=True)
            try:
                logs.append(stack.enter_context(opened[name](folder / name)))
            except ImportError as error:
                remedy = "uv pip install -e '.[logs]' -c constraints.txt"
                raise InputError(f"logs: {name} is not installed; {remedy}") from error

        def write(row: Scalars) -> None:
            for log in logs:
                log(row)

        yield write


@contextmanager
def _tensorboard(folder: Path) -> Iterator[Callable[[Scalars], None]]:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:

        def log(row: Scalars) -> None:
            for name, value in _named(row).items():
                writer.add_scalar(name, value, int(row["step"]))
            writer.flush()

        yield log


@contextmanager
def _dvclive(folder: Path) -> Iterator[Callable[[Scalars], None]]:
    from dvclive import Live

    # No experiment and no second dvc.yaml: `make repro` and its dvc.yaml stay unchanged.
    with Live(str(folder), save_dvc_exp=False, dvcyaml=None, report=None) as live:

        def log(row: Scalars) -> None:
            live.step = int(row["step"])
            for name, value in _named(row).items():
                live.log_metric(name, value)
            live.sync()

        yield log


def _named(row: Scalars) -> Scalars:
    """Separate names for losses, held-out losses and gradient norms: train/text, valid/text, grad/text."""
    named = {}
    for name, value in row.items():
        kind, _, part = name.partition("_")
        if name != "step":
            named[f"{kind}/{part}" if part else f"train/{name}"] = value
    return named
