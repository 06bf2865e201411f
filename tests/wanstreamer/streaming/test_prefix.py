"""The prefix, unit -1: read as a language model reads it, seen by every unit, kept by every history limit."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor

from tests.helpers.duplex_fixtures import CONFIG, random_batch, random_model
from tests.helpers.generated import assert_equals_full_recomputation, generate
from tests.helpers.live_fixtures import media, small_agent
from wanstreamer.errors import InputError
from wanstreamer.model.attention import Attention
from wanstreamer.model.duplex import ModelConfig, Prefix, save_model
from wanstreamer.model.language_model import read_text
from wanstreamer.model.sequence import (
    HistoryLimit,
    PrefixLayout,
    UnitLayout,
    clean_tokens,
    join,
    prefix_tokens,
    visible,
)
from wanstreamer.streaming.agent import AgentUnit
from wanstreamer.streaming.pipeline import Pipeline, open_pipeline
from wanstreamer.streaming.prefix import read_prefix
from wanstreamer.streaming.workers import open_workers

UNITS = 8
CONFIGS = {
    "lag0": CONFIG,
    "lag1": dataclasses.replace(CONFIG, self_lag=1),
    "packed": dataclasses.replace(CONFIG, num_kv_heads=1, agent_audio_tokens=2, agent_video_tokens=(2, 2)),
}

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


def drawn(config: ModelConfig, seed: int = 0, batch: int = 1) -> Prefix:
    generator = torch.Generator().manual_seed(seed)
    return Prefix(
        torch.randn(batch, *config.video_shape, generator=generator),
        torch.randn(batch, 2, *config.audio_shape, generator=generator),
        torch.randint(3, config.vocab_size, (batch, 5), generator=generator),
    )


def test_positions_run_up_to_unit_0_and_order_is_causal() -> None:
    layout = UnitLayout(agent_audio=2, agent_video=(1, 2))
    prefix = PrefixLayout(image=True, voice_units=2, num_text=3)
    tokens = prefix_tokens(layout, prefix)
    image = [[-15, -15, -15], [-15, -15, -14]]
    assert tokens.position_N3.tolist() == [*image, *([t] * 3 for t in (-11, -9, -7, -5, -3, -2, -1))]
    assert prefix.num_tokens(layout) == 9 and set(tokens.unit_N.tolist()) == {-1}
    everything = join(tokens, clean_tokens(layout, 3))
    for lag, history_limit in ((0, None), (1, HistoryLimit(units=3))):
        seen = visible(everything, everything, lag, history_limit)
        assert torch.equal(seen[:9, :9], torch.ones(9, 9, dtype=torch.bool).tril())
        assert seen[9:, :9].all() and not seen[:9, 9:].any()


@torch.inference_mode()
def test_a_prefix_of_text_alone_is_read_as_a_language_model_reads_it() -> None:
    """Its positions end at -1 instead of beginning at 0: attention knows differences only."""
    model, prefix = random_model(), Prefix(text_BN=drawn(CONFIG).text_BN)
    assert prefix.text_BN is not None
    cache = model.new_cache(1, 1, num_prefix=prefix.layout.num_tokens(model.layout))
    logits = model.text_head(model.write_prefix(prefix, cache))
    torch.testing.assert_close(logits, read_text(model, prefix.text_BN), atol=1e-5, rtol=0)


@pytest.mark.parametrize("history_limit", [None, HistoryLimit(units=3)], ids=["full", "limited"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_cached_equals_full_recomputation_behind_a_prefix(
    config: ModelConfig, history_limit: HistoryLimit | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, prefix = random_model(config), drawn(config)
    recorded = generate(model, random_batch(config, windows=1, units=UNITS), monkeypatch, history_limit, prefix)
    assert_equals_full_recomputation(model, recorded, history_limit, prefix)
    cache, num_prefix = recorded.state.cache, prefix.layout.num_tokens(model.layout)
    there = cache.tokens.at(slice(cache.start, cache.stop))
    assert (there.unit_N[:num_prefix] == -1).all() and (there.unit_N[num_prefix:] >= 0).all()


@torch.no_grad()
@pytest.mark.parametrize("part", ["image_BCHW", "voice_BKNC", "text_BN"])
def test_each_part_changes_every_unit_even_far_beyond_the_history_limit(part: str) -> None:
    model, batch, prefix = random_model(), random_batch(units=UNITS), drawn(CONFIG, batch=2)
    value = getattr(prefix, part)
    other = value + 1 if value.is_floating_point() else 3 + (value - 2) % (CONFIG.vocab_size - 3)
    for history_limit in (None, HistoryLimit(units=2)):
        runs = [
            model(batch, prefix=prefix_given, history_limit=history_limit)
            for prefix_given in (prefix, prefix._replace(**{part: other}))
        ]
        changes = (runs[0].text_logits_BKSV - runs[1].text_logits_BKSV).nan_to_num().abs().amax((0, 2, 3))
        assert (changes > 1e-4).all()


@torch.no_grad()
def test_backends_agree_behind_a_prefix() -> None:
    outputs = []
    for backend in ("sdpa", "flex"):
        model = random_model(attention=Attention(windows=backend))
        outputs.append(
            model(random_batch(), prefix=drawn(CONFIG, batch=2), history_limit=HistoryLimit(units=3)).text_logits_BKSV
        )
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=0)


def converse(pipeline: Pipeline) -> list[AgentUnit]:
    answers = []
    for unit, (frames, samples) in enumerate(media(UNITS)):
        pipeline.hear(frames, samples)
        if unit >= pipeline.lag:
            answers.append(pipeline.answer())
    assert all(unit is not None for unit in answers)
    return answers  # type: ignore[return-value]


@pytest.mark.parametrize("lag", [0, 1])
def test_the_performer_is_handed_the_prefix(lag: int, tmp_path: Path) -> None:
    """Agent, pipeline and (at lag 1) two processes say the same; without a prefix something else is said."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    agent = small_agent({"self_lag": lag}, history_units=3)
    frames, samples = media(1)[0]
    prefix = read_prefix(agent, text=[4, 7, 5], image=frames[0], voice=np.tile(samples, 2))
    alone = converse(open_pipeline(agent, seed=3, prefix=prefix))
    state = agent.start(seed=3, prefix=prefix)
    for (frames, samples), unit in zip(media(UNITS), alone, strict=False):
        in_sequence, state = agent.step(state, frames, samples)
        np.testing.assert_allclose(in_sequence.samples, unit.samples, atol=1e-5, rtol=0)
    assert not np.array_equal(converse(open_pipeline(agent, seed=3))[-1].samples, alone[-1].samples)
    if lag:
        save_model(agent.model, tmp_path / "model.safetensors")
        with open_workers(agent, tmp_path / "model.safetensors", seed=3, prefix=prefix) as pipeline:
            apart = converse(pipeline)
        for first, second in zip(alone, apart, strict=True):
            assert np.array_equal(first.samples, second.samples) and first.text_tokens == second.text_tokens
    torch.set_num_threads(before)


def test_words_and_media_become_latents_and_ids() -> None:
    agent = small_agent()
    agent.tokenizer = Tokenizer(models.WordLevel({"you": 0, "teach": 1, "?": 2}, unk_token="?"))
    agent.tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    frames, samples = media(1)[0]
    prefix = read_prefix(agent, text="you teach", image=frames[0], voice=np.tile(samples, 3))
    assert prefix is not None and isinstance(prefix.text_BN, Tensor)
    assert prefix.text_BN.tolist() == [[3, 4]]  # behind BLANK, MISSING, BEGIN
    assert prefix.layout == PrefixLayout(image=True, voice_units=3, num_text=2)
    assert read_prefix(agent) is None


@pytest.mark.parametrize(
    ("prefix_parts", "message"),
    [
        ({"text": "hello"}, "no tokenizer"),
        ({"text": [3, 2]}, "text id 2, expected words: 3 to 19"),
        ({"image": np.zeros((3, 4, 3), np.uint8)}, r"image is uint8 \[3, 4, 3\], expected uint8 \[48, 64, 3\]"),
        ({"voice": np.zeros(2561, np.float32)}, "expected float32 a multiple of 2560 samples"),
        ({"voice": np.zeros(2560)}, "voice is float64"),
    ],
)
def test_a_wrong_prefix_is_one_clear_line(prefix_parts: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_prefix(small_agent(), **prefix_parts)  # type: ignore[arg-type]
