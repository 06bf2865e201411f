"""Transfers between a model's device and the host: only these two functions move tensors.

The host decides token positions in a history, random draws and the sampled text; the device has weights, keys, values
and latents. On a GPU the host runs ahead: only `to_host` waits for the device's results.
"""

import torch
from torch import Tensor

HOST = torch.device("cpu")


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host, on the device, without waiting. A tensor that is already there stays."""
    if device.type == "cuda" and x.device == HOST:
        x = x.pin_memory()  # pageable memory would wait for all queued work of the stream
    return x.to(device, non_blocking=True)


def to_host(x: Tensor) -> Tensor:
    """A tensor of the device, on the host; waits until it is computed."""
    return x.cpu()
