"""What the tests of training share: a small model from its start, and windows without end."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from tests.helpers.duplex_fixtures import CONFIG, random_batch
from wanstreamer.model.duplex import DuplexModel
from wanstreamer.windows.loader import Batch


class RandomSource:
    """Six steps of random windows over and over, this rank's share of each."""

    def __init__(self, batch_size: int, rank: int = 0, num_ranks: int = 1) -> None:
        self.batch_size, self.rank, self.num_ranks = batch_size, rank, num_ranks
        self.step = 0

    def __iter__(self) -> Iterator[Batch]:
        share = self.batch_size // self.num_ranks
        while True:
            whole = random_batch(windows=self.batch_size, units=5, seed=self.step % 6)
            self.step += 1
            yield whole.take(range(self.rank * share, (self.rank + 1) * share))

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.step = state["step"]


def prior() -> list[Batch]:
    return [random_batch(units=5, seed=seed) for seed in range(2)]


def fresh(dropout: float = 0.1) -> DuplexModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return DuplexModel(dataclasses.replace(CONFIG, dropout=dropout))
