"""Two processes train as one does: the same losses and weights, and exactly the same after a kill."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing

from tests.helpers.two_ranks import STOP, trained, work
from wanstreamer.checkpoint import load_tensors
from wanstreamer.train.parallel import Ranks

TOLERANCE = 1e-6  # of the loss


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The folder two ranks worked in, and what each of them saw."""
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(work, args=(folder,), nprocs=2)
    return folder, [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("case", ["whole", "passes", "tasks"])
def test_two_processes_train_as_one(case: str, pair: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    folder, seen = pair
    steps, history = trained(tmp_path, tasks=case == "tasks")
    assert seen[0][case][0] == seen[1][case][0]  # losses are everybody's, not a rank's own
    for ours, theirs in zip(seen[0][case][0], steps, strict=True):
        assert ours == pytest.approx(theirs, rel=TOLERANCE)
    for ours, theirs in zip(seen[0][case][1], history, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)  # gradient norms and validation too
    alone, _ = load_tensors(tmp_path / "model.safetensors")
    together, _ = load_tensors(folder / case / "model.safetensors")
    for name, weight in alone.items():
        torch.testing.assert_close(together[name], weight, atol=2e-5, rtol=0)


def test_two_killed_processes_go_on_bit_by_bit(pair: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, seen = pair
    for results in seen:
        assert results["killed"][0] == results["whole"][0][STOP:]
    assert seen[0]["killed"][1] == seen[0]["whole"][1]
    whole, killed = (folder / case / "model.safetensors" for case in ("whole", "killed"))
    assert killed.read_bytes() == whole.read_bytes()


def test_one_process_goes_on_where_two_were(pair: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    folder, seen = pair
    shutil.copy(folder / "killed" / "left-0", tmp_path / "state.safetensors")
    steps, _ = trained(tmp_path)
    for ours, theirs in zip(steps, seen[0]["whole"][0][STOP:], strict=True):
        assert ours == pytest.approx(theirs, rel=TOLERANCE)


def test_ranks_with_different_states_are_told(pair: tuple[Path, list[dict[str, Any]]]) -> None:
    for results in pair[1]:
        assert results["refused"].startswith("the step to go on from differs between ranks: [9, 0]")


def test_a_rank_owns_its_share_in_order() -> None:
    x_G = torch.arange(6)
    shares = [Ranks(rank=rank, num_ranks=3).own(x_G).tolist() for rank in range(3)]
    assert shares == [[0, 1], [2, 3], [4, 5]]
