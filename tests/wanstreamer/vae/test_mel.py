"""The mel filters, where a library has replaced functions of torch."""

from collections.abc import Iterator

import pytest
import torch
from torch.utils import _device

from wanstreamer.vae.mel import mel_filters


@pytest.fixture
def listed_while_replaced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As `transformers` does while it loads a model: torch lists the functions that follow a device only once."""
    _device._device_constructors.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "linspace", lambda *args, **kwargs: None)
        _device._device_constructors()
    yield
    _device._device_constructors.cache_clear()


@pytest.mark.usefixtures("listed_while_replaced")
def test_the_filters_do_not_depend_on_what_follows_a_device() -> None:
    expected = mel_filters(257, 16_000, 80)
    with torch.device("meta"):
        assert torch.equal(mel_filters(257, 16_000, 80), expected)
