"""What each of two processes does in the tests of data parallel training; a module of its own, for they import it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from torch import distributed

from tests.helpers.training_fixtures import RandomSource, fresh, prior
from wanstreamer.errors import InputError
from wanstreamer.model.duplex import save_model
from wanstreamer.train.duplex import TrainConfig, train
from wanstreamer.train.parallel import ALONE, Ranks
from wanstreamer.train.steps import Scalars
from wanstreamer.train.tasks import TASKS, mix

CONFIG = TrainConfig(
    steps=9,
    batch_size=4,
    warmup_steps=3,
    prior_batches=2,
    log_every=4,
    checkpoint_s=0.0,
    threads=1,
    event_weight=2.0,
    audio_weight=3.0,
    interrupting_weight=1.0,
    silence_weight=1.0,
)
STOP = 5


class KilledError(Exception):
    pass


def trained(
    folder: Path, ranks: Ranks = ALONE, *, stop: int = 0, config: TrainConfig = CONFIG, tasks: bool = False
) -> tuple[list[Scalars], list[Scalars]]:
    """Loss parts of each step and the history; the first rank also writes the weights."""
    steps: list[Scalars] = []

    def on_step(step: int, parts: Scalars) -> None:
        steps.append(parts)
        if step == stop:
            raise KilledError

    model, history = train(
        fresh(),
        config,
        source=RandomSource(config.batch_size, ranks.rank, ranks.num_ranks),
        prior=prior,
        valid=prior(),
        state_path=folder / "state.safetensors",
        fingerprint="f",
        mix=mix(dict.fromkeys(TASKS, 1.0), seed=0) if tasks else None,
        ranks=ranks,
        on_step=on_step,
    )
    if ranks.first:
        save_model(model, folder / "model.safetensors")
    return steps, history


def work(rank: int, folder: Path) -> None:
    """Each case in a folder of its own; what was seen goes to `<rank>.json`."""
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2)
    ranks = Ranks(rank=rank, num_ranks=2)
    results: dict[str, Any] = {"whole": trained(folder / "whole", ranks)}
    results["passes"] = trained(folder / "passes", ranks, config=dataclasses.replace(CONFIG, micro_batch=1))
    results["tasks"] = trained(folder / "tasks", ranks, tasks=True)
    try:
        trained(folder / "killed", ranks, stop=STOP)
    except KilledError:
        distributed.barrier()
        (folder / "killed" / f"left-{rank}").write_bytes((folder / "killed" / "state.safetensors").read_bytes())
        distributed.barrier()
        results["killed"] = trained(folder / "killed", ranks)
    try:
        trained(folder / ("killed" if ranks.first else "elsewhere"), ranks)
    except InputError as error:
        results["refused"] = str(error)
    (folder / f"{rank}.json").write_text(json.dumps(results))
    distributed.destroy_process_group()
