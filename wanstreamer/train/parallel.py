"""Data parallel training: which windows of a step this process gets, and what the processes exchange.

    torchrun --standalone --nproc-per-node 2 -m pipelines.train.duplex

Every process (*rank*) has the whole model and takes an equal share of each step's windows. DistributedDataParallel
averages the gradients during the backward pass, over NCCL between GPUs and gloo between CPUs. DDP limits the size: a
rank needs 20 bytes per weight (weights, gradients, two moments of AdamW, the average; all float32) plus the
activations, so some 5 billion weights fill 100 GB. A larger model would need FSDP, which shards these.

Random numbers are drawn for the windows of all ranks and then divided (`own`), so the number of ranks changes nothing
but rounding.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from wanstreamer.errors import InputError
from wanstreamer.model.duplex import DuplexModel


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those that train one model; alone by default."""

    rank: int = 0
    num_ranks: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this process writes, validates and reports for all ranks."""
        return self.rank == 0

    def own(self, x_G: Tensor) -> Tensor:
        """This rank's share of a tensor with one row per window of the step."""
        count = len(x_G) // self.num_ranks
        return x_G[self.rank * count : (self.rank + 1) * count].to(self.device)

    def gather(self, x_B: Tensor) -> Tensor:
        """The shares of all ranks, one after the other: the inverse of `own`."""
        if self.num_ranks == 1:
            return x_B
        shares = [torch.empty_like(x_B) for _ in range(self.num_ranks)]
        distributed.all_gather(shares, x_B.contiguous())
        return torch.cat(shares)

    def sum(self, x: Tensor) -> Tensor:
        """The sum over ranks, the same on each."""
        if self.num_ranks > 1:
            x = x.clone()
            distributed.all_reduce(x)
        return x

    def check_equal(self, what: str, number: int) -> None:
        """Raises InputError if ranks do not agree on a number; otherwise they would wait for each other forever."""
        numbers = self.gather(torch.tensor([number], device=self.device)).tolist()
        if len(set(numbers)) > 1:
            raise InputError(f"{what} differs between ranks: {numbers}; give all ranks the same data folder and params")

    def share(self, model: DuplexModel) -> "DuplexModel | DistributedDataParallel":
        """The model; with several ranks, its gradients are averaged over ranks in the backward pass."""
        if self.num_ranks == 1:
            return model
        devices = [torch.device(self.device)] if self.device.startswith("cuda") else None
        # The buffers (statistics of the train split) are equal on all ranks and do not change.
        return DistributedDataParallel(model, devices, broadcast_buffers=False, gradient_as_bucket_view=True)


ALONE = Ranks()


@contextmanager
def join_ranks() -> Iterator[Ranks]:
    """The process group of torchrun's environment; without torchrun, this process alone. Uses GPUs if there are any.

    A GPU per process: raises InputError if a machine has fewer GPUs than processes.
    """
    cuda = torch.cuda.is_available()
    if "WORLD_SIZE" not in os.environ:
        yield Ranks(device="cuda:0" if cuda else "cpu")
        return
    local_rank = int(os.environ["LOCAL_RANK"])
    if cuda and local_rank >= torch.cuda.device_count():
        raise InputError(
            f"torchrun: {local_rank + 1} or more processes, {torch.cuda.device_count()} GPUs; "
            f"give --nproc-per-node {torch.cuda.device_count()}"
        )
    device = f"cuda:{local_rank}" if cuda else "cpu"
    if cuda:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Ranks(rank=distributed.get_rank(), num_ranks=distributed.get_world_size(), device=device)
    finally:
        distributed.destroy_process_group()
