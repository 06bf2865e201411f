"""Rows of a training's history -> TensorBoard and DVCLive, beside the curves in plots/; extra `logs`.

    tensorboard --logdir data/logs

They are written anew where a run is continued, from the history its state holds: no step is there twice.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from wanstreamer.errors import InputError
from wanstreamer.train.steps import Scalars

KNOWN = ("tensorboard", "dvclive")


def check_logs(names: Sequence[str], section: str) -> None:
    for name in names:
        if name not in KNOWN:
            raise InputError(f"{section}.logs: {name!r}; expected some of {', '.join(KNOWN)}")


@contextmanager
def open_logs(names: Sequence[str], folder: Path) -> Iterator[Callable[[Scalars], None]]:
    """What a row is given to; each log lies in a folder of its own below `folder`.

    Raises InputError when a package is not installed.
    """
    opened = {"tensorboard": _tensorboard, "dvclive": _dvclive}
    with ExitStack() as held:
        logs: list[Callable[[Scalars], None]] = []
        for name in names:
            shutil.rmtree(folder / name, ignore_errors=True)
            try:
                logs.append(held.enter_context(opened[name](folder / name)))
            except ImportError as error:
                remedy = "uv pip install -e '.[logs]' -c constraints.txt"
                raise InputError(f"logs: {name} is not installed; {remedy}") from error

        def give(row: Scalars) -> None:
            for log in logs:
                log(row)

        yield give


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

    # No experiment, no dvc.yaml of its own: `make repro` and its dvc.yaml stay what they are.
    with Live(str(folder), save_dvc_exp=False, dvcyaml=None, report=None) as live:

        def log(row: Scalars) -> None:
            live.step = int(row["step"])
            for name, value in _named(row).items():
                live.log_metric(name, value)
            live.sync()

        yield log


def _named(row: Scalars) -> Scalars:
    """Losses, held-out losses and gradient norms apart: train/text, valid/text, grad/text."""
    named = {}
    for name, value in row.items():
        kind, _, part = name.partition("_")
        if name != "step":
            named[f"{kind}/{part}" if part else f"train/{name}"] = value
    return named
