"""What training drops in a model's passes; drawn beforehand and passed to `DuplexModel.forward`.

Drawn for all windows of a step and then divided, so that processes that share the windows, or passes over a few of them
at a time, drop the same.

Shape letters: B windows, K units, P clean tokens of a unit, L layers, D model width; 2 is a block's attention and its
feed-forward part.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from wanstreamer.model.config import ModelConfig


class Dropped(NamedTuple):
    """Factors of dropout. All tokens of a window share one mask per block: equally good here, and cheaper."""

    kept_BKP: Tensor  # bool: clean tokens that keep their content
    clean_BL2D: Tensor  # of what a block adds to clean tokens: 0 or 1 / (1 - dropout)
    noisy_BL2D: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> "Dropped":
        return Dropped(*(change(factor) for factor in self))


def draw_dropped(config: ModelConfig, num_windows: int, num_units: int, generator: torch.Generator) -> Dropped:
    """Factors for `num_windows` windows, on the generator's device (a CPU's, for equal draws everywhere)."""
    drawn_BKP = torch.rand(num_windows, num_units, config.layout.num_clean, generator=generator)
    return Dropped(
        drawn_BKP >= config.token_dropout,
        _factors(config, num_windows, generator),
        _factors(config, num_windows, generator),
    )


def _factors(config: ModelConfig, num_windows: int, generator: torch.Generator) -> Tensor:
    factor_BL2D = torch.ones(num_windows, config.num_layers, 2, config.d_model)
    if config.dropout == 1:
        return factor_BL2D.zero_()
    if config.dropout > 0:
        for layer in range(config.num_layers):
            for part in range(2):
                kept_BD = torch.empty(num_windows, config.d_model).bernoulli_(1 - config.dropout, generator=generator)
                factor_BL2D[:, layer, part] = kept_BD / (1 - config.dropout)
    return factor_BL2D
