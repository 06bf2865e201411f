"""The solver's flow times, and everything that depends only on them."""

import torch
from torch import Tensor

from wanstreamer.model.duplex import DuplexModel
from wanstreamer.model.flow import solver_taus


class Schedule:
    """Solver steps and the blocks' modulation at each, computed once per model."""

    @torch.inference_mode()
    def __init__(self, model: DuplexModel, steps: int) -> None:
        self.taus = solver_taus(steps)
        self.tau_BK = [torch.full((1, 1), tau, device=model.device) for tau in self.taus]
        self.modulation = [
            [m[:, :, :1].to(model.trunk_dtype).expand_as(m) for m in model.flow_time(tau_BK)]
            for tau_BK in self.tau_BK[:-1]
        ]


def beside_clean(modulation_BKA6D: Tensor) -> Tensor:
    """Modulation of a unit's clean, then noisy tokens: (B, 2, A, 6, D). Zeros for clean tokens: no modulation."""
    once = modulation_BKA6D[:, :, :1]
    return torch.cat([torch.zeros_like(once), once], dim=1).expand(-1, -1, modulation_BKA6D.shape[2], -1, -1)
