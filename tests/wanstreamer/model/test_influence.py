"""Who influences whom in whole windows: nothing from the future, nothing noisy from elsewhere, and all that is allowed.

What is forbidden changes not one bit; what is allowed changes the output beyond rounding. The prior of a unit, which
passes the agent's last latents by the Transformer, is switched off where attention itself is asked.
"""

import dataclasses

import pytest
import torch
from torch import Tensor

from tests.helpers.duplex_fixtures import CONFIG, random_batch, random_model
from wanstreamer.model.attention import Attention
from wanstreamer.model.duplex import DuplexModel, ModelConfig, Noisy, Output
from wanstreamer.model.flow import add_noise
from wanstreamer.windows.loader import Batch

PACKED = dataclasses.replace(
    CONFIG,
    num_kv_heads=1,
    text_slots=3,
    user_audio_tokens=2,
    agent_audio_tokens=4,
    user_video_tokens=(1, 2),
    agent_video_tokens=(2, 4),
)
FLEX = Attention(windows="flex")  # forward only on the CPU, and so are these tests
Case = tuple[ModelConfig, Attention]
CASES: dict[str, Case] = {
    "lag0": (CONFIG, Attention()),
    "lag1": (dataclasses.replace(CONFIG, self_lag=1), Attention()),
    "packed": (PACKED, Attention()),
    "flex-packed-lag1": (dataclasses.replace(PACKED, self_lag=1), FLEX),
}
UNITS, CHANGED, LAST = 6, 3, 5
STREAMS = [
    "user_audio_BKNC",
    "user_video_BKCHW",
    "user_text_BKS",
    "agent_text_BKS",
    "agent_audio_BKNC",
    "agent_video_BKCHW",
]

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def model_and_batch(case: Case, *, prior: bool = True) -> tuple[DuplexModel, Batch]:
    config, attention = case
    model = random_model(config, attention=attention)
    if not prior:
        for kind in ("audio", "video"):
            model.get_buffer(f"{kind}_last_gain").zero_()
            model.get_buffer(f"{kind}_mean_gain").zero_()
            model.get_buffer(f"{kind}_std").fill_(1)
    return model, random_batch(config, units=UNITS)


def noisy_of(batch: Batch) -> Noisy:
    tau_BK = torch.full(batch.agent_text_BKS.shape[:2], 0.8)
    return add_noise(batch, tau_BK, torch.Generator().manual_seed(1))


@torch.no_grad()
def run(model: DuplexModel, batch: Batch, noisy: Noisy) -> Output:
    output: Output = model(batch, noisy)
    return output


def changed(batch: Batch, name: str, unit: int, slot: int | slice = slice(None)) -> Batch:
    """One stream of one unit perturbed; of text all slots, or one."""
    value = getattr(batch, name).clone()
    if value.dtype == torch.int64:
        value[:, unit, slot] = 3 + (value[:, unit, slot] - 2) % (CONFIG.vocab_size - 3)
    else:
        value[:, unit] += 1
    return dataclasses.replace(batch, **{name: value})


def differs(tensor: Tensor, other: Tensor) -> bool:
    """Beyond rounding; what is neither this nor equal to the bit fails every test here."""
    finite = tensor.isfinite()
    assert torch.equal(finite, other.isfinite())
    largest = float((tensor - other)[finite].abs().max())
    assert largest == 0 or largest > 1e-4
    return largest > 0


@every_case
@pytest.mark.parametrize("stream", STREAMS)
def test_the_future_changes_nothing_before_it(case: Case, stream: str) -> None:
    """u_k+1, the text after and y_k+1, clean and noisy, are all absent from unit k; in its own unit each shows."""
    model, batch = model_and_batch(case)
    other = changed(batch, stream, CHANGED)
    before, after = run(model, batch, noisy_of(batch)), run(model, other, noisy_of(other))
    for first, second in zip(before, after, strict=True):
        assert torch.equal(first[:, :CHANGED], second[:, :CHANGED])
        assert not torch.equal(first[:, CHANGED:], second[:, CHANGED:])


@every_case
@pytest.mark.parametrize("stream", STREAMS[3:])
def test_a_unit_is_estimated_without_its_own_clean_latents(case: Case, stream: str) -> None:
    """Text of unit k may reach the latents of k; clean latents of k may not reach their own estimate."""
    model, batch = model_and_batch(case)
    noisy = noisy_of(batch)
    before, after = run(model, batch, noisy), run(model, changed(batch, stream, CHANGED), noisy)
    for first, second in zip(before[1:], after[1:], strict=True):
        assert differs(first[:, CHANGED], second[:, CHANGED]) == (stream == "agent_text_BKS")


@every_case
@pytest.mark.parametrize("stream", ["audio_BKNC", "video_BKCHW"])
def test_noisy_latents_reach_their_own_unit_alone(case: Case, stream: str) -> None:
    """And there both streams' estimates: they are denoised together."""
    model, batch = model_and_batch(case)
    noisy = noisy_of(batch)
    value = getattr(noisy, stream).clone()
    value[:, CHANGED] += 1
    before, after = run(model, batch, noisy), run(model, batch, noisy._replace(**{stream: value}))
    assert torch.equal(before.text_logits_BKSV, after.text_logits_BKSV)
    for first, second in zip(before[1:], after[1:], strict=True):
        assert [differs(first[:, unit], second[:, unit]) for unit in range(UNITS)] == [
            k == CHANGED for k in range(UNITS)
        ]


@every_case
def test_flow_time_of_a_unit_reaches_its_own_estimate_alone(case: Case) -> None:
    model, batch = model_and_batch(case)
    noisy = noisy_of(batch)
    tau_BK = noisy.tau_BK.clone()
    tau_BK[:, CHANGED] = 0.3
    before, after = run(model, batch, noisy), run(model, batch, noisy._replace(tau_BK=tau_BK))
    assert torch.equal(before.text_logits_BKSV, after.text_logits_BKSV)
    for first, second in zip(before[1:], after[1:], strict=True):
        assert [differs(first[:, unit], second[:, unit]) for unit in range(UNITS)] == [
            k == CHANGED for k in range(UNITS)
        ]


@every_case
def test_a_text_token_is_seen_by_the_slots_after_it_alone(case: Case) -> None:
    model, batch = model_and_batch(case)
    noisy = noisy_of(batch)
    for slot in range(case[0].text_slots):
        other = changed(batch, "agent_text_BKS", CHANGED, slot)
        first, second = run(model, batch, noisy).text_logits_BKSV, run(model, other, noisy).text_logits_BKSV
        seen = [differs(first[:, CHANGED, s], second[:, CHANGED, s]) for s in range(case[0].text_slots)]
        assert seen == [s > slot for s in range(case[0].text_slots)]
        assert differs(first[:, CHANGED + 1], second[:, CHANGED + 1])


@every_case
@pytest.mark.parametrize(
    ("stream", "unit"),
    [
        ("user_audio_BKNC", LAST),
        ("user_video_BKCHW", LAST),
        ("user_text_BKS", LAST),
        ("agent_text_BKS", LAST),
        ("agent_audio_BKNC", LAST - 1),
        ("agent_video_BKCHW", LAST - 1),
        ("user_audio_BKNC", 0),
        ("user_video_BKCHW", 0),
        ("user_text_BKS", 0),
        ("agent_text_BKS", 0),
        ("agent_audio_BKNC", 0),
        ("agent_video_BKCHW", 0),
    ],
)
def test_the_last_unit_is_estimated_from_all_it_may_see(case: Case, stream: str, unit: int) -> None:
    model, batch = model_and_batch(case, prior=False)
    noisy = noisy_of(batch)
    before, after = run(model, batch, noisy), run(model, changed(batch, stream, unit), noisy)
    for first, second in zip(before[1:], after[1:], strict=True):
        assert differs(first[:, LAST], second[:, LAST])


@every_case
def test_the_last_text_token_reaches_the_estimate_through_state(case: Case) -> None:
    """Nothing else of the unit holds it: it is the input of STATE alone."""
    model, batch = model_and_batch(case)
    noisy = noisy_of(batch)
    before, after = run(model, batch, noisy), run(model, changed(batch, "agent_text_BKS", LAST, -1), noisy)
    assert torch.equal(before.text_logits_BKSV, after.text_logits_BKSV)
    for first, second in zip(before[1:], after[1:], strict=True):
        assert differs(first[:, LAST], second[:, LAST])


@every_case
@pytest.mark.parametrize("stream", STREAMS)
def test_words_of_the_last_unit_follow_from_all_they_may_see(case: Case, stream: str) -> None:
    """The agent's own latents reach them one unit later, with self_lag two."""
    model, batch = model_and_batch(case)
    noisy = noisy_of(batch)
    latest = LAST if stream.startswith("user") else LAST - 1
    if stream.startswith("agent") and "text" not in stream:
        latest -= case[0].self_lag
    before = run(model, batch, noisy).text_logits_BKSV
    for unit in (0, LAST - 2, LAST - 1, LAST):
        after = run(model, changed(batch, stream, unit), noisy).text_logits_BKSV
        if stream != "agent_text_BKS" or unit < LAST:  # in the last unit: tested slot by slot
            assert differs(before[:, LAST], after[:, LAST]) == (unit <= latest)


@pytest.mark.parametrize("stream", STREAMS)
def test_what_is_unknown_is_not_read(stream: str) -> None:
    model, batch = model_and_batch(CASES["lag0"])
    noisy = noisy_of(batch)
    known = torch.ones(2, UNITS, dtype=torch.bool)
    known[:, CHANGED] = False
    batch = dataclasses.replace(batch, **{f"{stream.rsplit('_', 1)[0]}_known_BK": known})
    before, after = run(model, batch, noisy), run(model, changed(batch, stream, CHANGED), noisy)
    for first, second in zip(before, after, strict=True):
        assert torch.equal(first, second)
