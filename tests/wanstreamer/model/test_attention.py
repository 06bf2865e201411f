"""Every backend that runs here against softmax(QK^T)V in float64; those that do not run here are skipped by name."""

import dataclasses
import importlib.util
import sys
from functools import partial
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.helpers.duplex_fixtures import CONFIG, random_batch, random_model
from wanstreamer.errors import InputError
from wanstreamer.model.attention import Attention, attend, block_mask, window_mask
from wanstreamer.model.flow import add_noise
from wanstreamer.model.sequence import Tokens, UnitLayout, clean_tokens, join, noisy_tokens, visible

CPU = torch.device("cpu")
LAYOUT = UnitLayout(user_audio=2, user_video=(1, 2), text_slots=3, agent_audio=4, agent_video=(2, 3))
HEADS = [(4, 4), (4, 2), (6, 1)]  # of queries, of keys
NO_CUDA = "needs a CUDA device: not run"

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


def reference(q_BHND: Tensor, k_BHND: Tensor, v_BHND: Tensor, seen_QK: Tensor | None) -> Tensor:
    """Written out, in float64; head h of the queries reads head h * kv_heads // heads."""
    q, k, v = (x.double() for x in (q_BHND, k_BHND, v_BHND))
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / q.shape[-1] ** 0.5
    if seen_QK is not None:
        scores = scores.masked_fill(~seen_QK, float("-inf"))
    return torch.einsum("bhqk,bhkd->bhqd", scores.softmax(-1), v)


def drawn(heads: tuple[int, int], queries: int, keys: int, *, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, heads[0], queries, 32), (2, heads[1], keys, 32), (2, heads[1], keys, 32))
    q, k, v = (torch.randn(shape, generator=generator).to(device) for shape in shapes)
    return q, k, v


def of_windows(device: torch.device = CPU) -> list[tuple[Tokens, Tokens]]:
    """Queries and keys of both passes over a window of 5 units."""
    clean, noisy = clean_tokens(LAYOUT, 5, device=device), noisy_tokens(LAYOUT, 5, device=device)
    return [(clean, clean), (noisy, join(clean, noisy))]


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("self_lag", [0, 1])
@pytest.mark.parametrize("backend", ["sdpa", "flex"])
def test_windows_are_attended_as_the_reference_says(backend: str, self_lag: int, heads: tuple[int, int]) -> None:
    for noisy, (query, key) in zip((False, True), of_windows(), strict=True):
        mask = window_mask(LAYOUT, 5, self_lag, noisy=noisy, backend=backend, device=CPU)
        q, k, v = drawn(heads, len(query.unit_N), len(key.unit_N))
        expected = reference(q, k, v, visible(query, key, self_lag))
        torch.testing.assert_close(attend(q, k, v, mask, backend).double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 700), (9, 700)])
def test_cached_steps_are_attended_as_the_reference_says(heads: tuple[int, int], queries: int, keys: int) -> None:
    q, k, v = drawn(heads, queries, keys)
    torch.testing.assert_close(attend(q, k, v, None).double(), reference(q, k, v, None), atol=1e-5, rtol=0)


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("batch", [1, 2])
def test_keys_shared_by_a_view_are_attended_as_the_reference_says(heads: tuple[int, int], batch: int) -> None:
    """Keys and values are stretches of longer buffers, as a cache has them."""
    q, k, v = drawn(heads, 9, 700)
    q, k, v = q[:batch], k[:batch, :, 50:650], v[:batch, :, 50:650]
    seen = torch.rand(9, 600, generator=torch.Generator().manual_seed(1)) < 0.7
    bias = torch.zeros(9, 600).masked_fill(~seen, float("-inf"))
    for mask in (None, seen, bias):
        expected = reference(q, k, v, None if mask is None else seen)
        attended = attend(q, k, v, mask, "grouped")
        torch.testing.assert_close(attended.double(), expected, atol=1e-5, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason=f"compiled flex: {NO_CUDA}")
@pytest.mark.parametrize("heads", HEADS)
def test_compiled_flex_agrees_forward_and_backward(heads: tuple[int, int]) -> None:
    device = torch.device("cuda")
    for query, key in of_windows(device):
        q, k, v = (x.requires_grad_() for x in drawn(heads, len(query.unit_N), len(key.unit_N), device="cuda"))
        expected = reference(q, k, v, visible(query, key, 1))
        attended = attend(q, k, v, block_mask(query, key, 1), "flex")
        torch.testing.assert_close(attended.double(), expected, atol=1e-3, rtol=0)  # TF32 in the kernel
        ours = torch.autograd.grad(attended.square().sum(), (q, k, v))
        theirs = torch.autograd.grad(expected.square().sum(), (q, k, v))
        for gradient, expected_gradient in zip(ours, theirs, strict=True):
            torch.testing.assert_close(gradient.double(), expected_gradient.double(), atol=1e-2, rtol=1e-2)


@pytest.mark.gpu
@pytest.mark.skipif(
    importlib.util.find_spec("flash_attn") is None or not torch.cuda.is_available(),
    reason=f"flash: needs flash-attn and {NO_CUDA.removeprefix('needs ')}",
)
@pytest.mark.parametrize("heads", HEADS)
def test_flash_agrees(heads: tuple[int, int]) -> None:
    q, k, v = (x.bfloat16() for x in drawn(heads, 9, 700, device="cuda"))
    attended = attend(q, k, v, None, "flash")
    torch.testing.assert_close(attended.double(), reference(q, k, v, None), atol=1e-2, rtol=0)


def test_flash_is_called_in_its_own_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with the documented signature: (B, N, heads, D) in and out. The kernel itself is not run here."""

    def flash_attn_with_kvcache(q: Tensor, k_cache: Tensor, v_cache: Tensor) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q, k_cache, v_cache))
        return functional.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2)

    stand_in = ModuleType("flash_attn")
    stand_in.flash_attn_with_kvcache = flash_attn_with_kvcache  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flash_attn", stand_in)
    q, k, v = drawn((6, 2), 3, 50)
    torch.testing.assert_close(attend(q, k, v, None, "flash").double(), reference(q, k, v, None), atol=1e-5, rtol=0)


def test_flash_that_is_not_installed_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    with pytest.raises(InputError, match="flash-attn is not installed; install the extra `gpu`"):
        attend(*drawn((4, 4), 1, 3), None, "flash")


@pytest.mark.parametrize("setting", [{"windows": "flash"}, {"cached": "flex"}, {"windows": "eager"}])
def test_an_unknown_backend_is_refused(setting: dict[str, str]) -> None:
    with pytest.raises(InputError, match="expected one of sdpa"):
        Attention(**setting)


def test_a_mask_of_another_backend_is_refused() -> None:
    """Silently attending to everything would be a leak."""
    query, key = of_windows()[0]
    q, k, v = drawn((4, 4), len(query.unit_N), len(key.unit_N))
    seen, block = visible(query, key, 0), block_mask(query, key, 0)
    for mask, backend in ((block, "sdpa"), (seen, "flex"), (None, "flex"), (seen, "flash"), (block, "flash")):
        with pytest.raises(TypeError, match=backend):
            attend(q, k, v, mask, backend)


@torch.no_grad()
@pytest.mark.parametrize("self_lag", [0, 1])
def test_the_whole_model_agrees_between_backends(self_lag: int) -> None:
    config = dataclasses.replace(CONFIG, num_kv_heads=1, self_lag=self_lag, agent_video_tokens=(2, 2))
    batch = random_batch(config)
    noisy = add_noise(batch, torch.full((2, 7), 0.6), torch.Generator().manual_seed(0))
    outputs = [random_model(config, attention=Attention(windows=w))(batch, noisy) for w in ("sdpa", "flex")]
    for gradient, other in zip(*outputs, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-5, rtol=0)


def test_block_masks_asked_for_under_inference_serve_training_too() -> None:
    """They are kept: a tensor made under inference_mode could not be used in a backward pass."""
    ask = partial(window_mask, UnitLayout(agent_audio=2), 3, 0, noisy=False, backend="flex", device=CPU)
    with torch.inference_mode():
        mask = ask()
    assert mask is ask()
    assert not mask.kv_indices.is_inference()  # type: ignore[union-attr]
