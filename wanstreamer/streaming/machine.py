"""Where and how a live agent computes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from wanstreamer.errors import InputError
from wanstreamer.model.duplex import DuplexModel

TRUNKS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PASSES = ("plain", "fixed", "graphs")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Settings of the machine, not of the agent. No GPU has run any of this yet."""

    device: str = "cpu"  # of models, history and latents
    trunk: str = "float32"  # or bfloat16: weights, keys and values of the Transformer's blocks; the rest stays float32
    # Solver passes of a performer with its own cache. plain: as long as the history; fixed: of a few fixed lengths, see
    # `fixed`; graphs: fixed passes, replayed as CUDA graphs.
    passes: str = "plain"
    compile: bool = False  # compile the blocks of fixed passes
    # Torch threads on a CPU, while a unit is computed. The parts are small: more threads mostly wait for each other,
    # and on a busy machine for threads that the system does not run. The result depends on the number.
    threads: int = 1

    def __post_init__(self) -> None:
        for name, value, known in (("trunk", self.trunk, tuple(TRUNKS)), ("passes", self.passes, PASSES)):
            if value not in known:
                raise InputError(f"{name} {value!r}: expected one of {', '.join(known)}")
        if self.threads < 1:
            raise InputError(f"threads {self.threads}: expected 1 or more")
        if self.compile and self.passes == "plain":
            raise InputError("compile: plain passes have a new length at every unit; choose passes fixed or graphs")
        if self.passes == "graphs" and not self.device.startswith("cuda"):
            raise InputError(f"passes 'graphs' on {self.device}: CUDA graphs need a GPU; choose fixed")
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise InputError(f"device {self.device}: torch {torch.__version__} sees no GPU here; choose cpu")

    def place(self, model: DuplexModel) -> DuplexModel:
        """The same model, moved to the device, with its trunk in the type `trunk`."""
        model.to(self.device)
        model.blocks.to(TRUNKS[self.trunk])
        return model

    @contextmanager
    def computing(self) -> Iterator[None]:
        """The block runs with `threads` torch threads; afterwards the number is what it was before."""
        before = torch.get_num_threads()
        if before == self.threads:
            yield
            return
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
