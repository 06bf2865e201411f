"""The named scales: sizes as designed, the language models' trunks, and whole passes without memory on any device."""

import dataclasses

import pytest
import torch
from torch import nn

from tests.helpers.duplex_fixtures import CONFIG, random_batch
from tests.helpers.qwen_folders import qwen3
from wanstreamer.errors import InputError
from wanstreamer.model.config import SCALES, scaled
from wanstreamer.model.dropout import draw_dropped
from wanstreamer.model.duplex import DuplexModel, ModelConfig, Noisy

# Latent channels stand for any VAE's.
SIZES = {"audio_channels": 32, "video_channels": 64}
QWEN3_VOCAB = 151936


def on_meta(config: ModelConfig) -> DuplexModel:
    """Shapes without numbers."""
    with torch.device("meta"):
        return DuplexModel(config)


def count(*modules: nn.Module) -> int:
    return sum(weight.numel() for module in modules for weight in module.parameters())


@pytest.mark.parametrize(
    ("scale", "vocab_size", "millions"),
    [
        ("tiny", 512, (1, 2)),
        ("small", 32000, (95, 115)),
        ("base", QWEN3_VOCAB, (596, 630)),
        ("large", QWEN3_VOCAB, (1721, 1800)),
    ],
)
def test_a_scale_has_the_weights_it_is_named_for(scale: str, vocab_size: int, millions: tuple[int, int]) -> None:
    weights = count(on_meta(scaled(scale, vocab_size=vocab_size, **SIZES)))
    assert millions[0] < weights / 1e6 < millions[1]


@pytest.mark.parametrize(
    ("scale", "hidden_size", "intermediate_size", "weights"),
    [("base", 1024, 3072, 596_049_920), ("large", 2048, 6144, 1_720_574_976)],
)
def test_trunk_and_words_are_those_of_the_language_model(
    scale: str, hidden_size: int, intermediate_size: int, weights: int
) -> None:
    """Qwen3-0.6B and Qwen3-1.7B, weight by weight."""
    with torch.device("meta"):
        shape = {"hidden_size": hidden_size, "intermediate_size": intermediate_size, "num_hidden_layers": 28}
        heads = {"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128}
        theirs = qwen3(vocab_size=QWEN3_VOCAB, **shape, **heads)
    ours = on_meta(scaled(scale, vocab_size=QWEN3_VOCAB, **SIZES))
    assert count(theirs) == weights
    assert count(ours.blocks, ours.text_norm, ours.text_embedding) == weights


@pytest.mark.parametrize(
    ("scale", "user", "agent"), [("tiny", 4, 2), ("small", 48, 256), ("base", 48, 256), ("large", 48, 256)]
)
def test_tokens_of_a_unit(scale: str, user: int, agent: int) -> None:
    """192p: 42 pooled video tokens of the user and 252 of the agent, 4 audio tokens each, 2 words."""
    layout = scaled(scale, vocab_size=512, **SIZES).layout
    assert (layout.num_user, layout.num_agent) == (user, agent)


def test_an_unknown_scale_is_refused() -> None:
    with pytest.raises(InputError, match="scale 'huge': expected one of tiny, small, base, large"):
        scaled("huge", vocab_size=512, **SIZES)


@pytest.mark.parametrize("change", [{"prediction": "noise"}, {"num_heads": 3, "num_kv_heads": 2}])
def test_an_impossible_config_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="expected"):
        dataclasses.replace(CONFIG, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", SCALES)
def test_a_pass_keeps_its_shapes_and_stays_on_its_device(scale: str) -> None:
    """Without numbers: tensors of `meta` refuse to meet the CPU's, so one left behind is found without a GPU."""
    config = scaled(scale, vocab_size=512, **SIZES)
    model = on_meta(config)
    random = random_batch(config, windows=1, units=3)
    values = {field.name: getattr(random, field.name) for field in dataclasses.fields(random)}
    moved = {name: value.to("meta") for name, value in values.items() if isinstance(value, torch.Tensor)}
    batch = dataclasses.replace(random, **moved)
    noisy = Noisy(batch.agent_audio_BKNC, batch.agent_video_BKCHW, torch.empty(1, 3, device="meta"))
    dropped = draw_dropped(config, 1, 3, torch.Generator()).map(lambda factor: factor.to("meta"))
    output = model(batch, noisy, dropped)
    assert output.text_logits_BKSV.shape == (1, 3, 2, 512)
    assert output.audio_x0_BKNC.shape == noisy.audio_BKNC.shape
    assert output.video_x0_BKCHW.shape == noisy.video_BKCHW.shape
    assert {value.device.type for value in output} == {"meta"}
    cache = model.new_cache(1, 2)
    assert cache.key_LBHND.shape[3] == 2 * model.layout.num_clean and cache.key_LBHND.device.type == "meta"
    assert cache.tokens.unit_N.device.type == "cpu"  # the host's business: nothing waits for a GPU to know it
