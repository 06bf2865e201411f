"""Shared by the training loops: a generator for each step, and the running average of the weights."""

import torch
from torch import nn

Scalars = dict[str, float]  # name -> figure: the parts of one step's loss, or one row of a training's curve


def step_generator(seed: int, step: int) -> torch.Generator:
    """The generator of one step: all random numbers depend only on the seed and the step's number."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


@torch.no_grad()
def average_weights(averaged: nn.Module, model: nn.Module, *, decay: float, step: int) -> None:
    """Move the average towards the weights after `step` (from 0); faster in the first steps, as it is far off."""
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - decay)
