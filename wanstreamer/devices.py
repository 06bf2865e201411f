"""What crosses between a model's device and the host, in the two functions that may do it.

Which tokens are where in a history, chance and the sampled text are the host's business; weights, keys, values and
latents are the device's. On a GPU the host runs ahead: only `to_host` waits for what was asked of it.
"""

import torch
from torch import Tensor

HOST = torch.device("cpu")


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """What the host made, on the device; nobody waits for it. What is there already stays."""
    if device.type == "cuda" and x.device == HOST:
        x = x.pin_memory()  # pageable memory would wait for what the stream has still to do
    return x.to(device, non_blocking=True)


def to_host(x: Tensor) -> Tensor:
    """What the device made; waits for it."""
    return x.cpu()
