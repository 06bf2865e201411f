"""From transformers' own folder to the trunk: equal logits, one file or shards, clear words for what does not fit."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.helpers.duplex_fixtures import CONFIG, random_batch
from tests.helpers.qwen_folders import SHAPE, qwen3, save_qwen3
from wanstreamer.errors import InputError
from wanstreamer.model.duplex import DuplexModel, ModelConfig
from wanstreamer.model.language_model import load_language_model, read_language_model, read_text
from wanstreamer.model.sequence import BEGIN, FIRST_WORD, MISSING

WORDS = 85  # ids of the tokenizer, fewer than the rows of the embedding


def loaded(folder: Path, **changes) -> DuplexModel:  # type: ignore[no-untyped-def]
    language_model = read_language_model(folder)
    config = dataclasses.replace(CONFIG, vocab_size=WORDS + FIRST_WORD, **language_model.trunk)
    torch.manual_seed(0)
    model = DuplexModel(dataclasses.replace(config, **changes)).eval()
    load_language_model(model, language_model)
    return model


@torch.no_grad()
@pytest.mark.parametrize("max_shard_size", ["1GB", "40KB"])
def test_text_alone_has_the_language_models_logits(tmp_path: Path, max_shard_size: str) -> None:
    theirs = save_qwen3(tmp_path, max_shard_size=max_shard_size)
    assert (tmp_path / "model.safetensors.index.json").is_file() == (max_shard_size == "40KB")
    ours = loaded(tmp_path)
    ids_BN = torch.randint(0, WORDS, (3, 200), generator=torch.Generator().manual_seed(1))
    expected = theirs(ids_BN).logits[..., :WORDS]
    logits = read_text(ours, ids_BN + FIRST_WORD)
    assert expected.std() > 1
    torch.testing.assert_close(logits[..., FIRST_WORD:], expected, atol=1e-4, rtol=0)
    assert logits[..., [MISSING, BEGIN]].isneginf().all()


@torch.no_grad()
def test_weights_in_bfloat16_are_taken_as_they_are(tmp_path: Path) -> None:
    theirs = qwen3().bfloat16()
    theirs.save_pretrained(tmp_path)
    ours = loaded(tmp_path)
    assert ours.blocks[0].qkv.weight.dtype == torch.float32
    assert torch.equal(ours.text_embedding.weight[FIRST_WORD:], theirs.model.embed_tokens.weight[:WORDS].float())
    ids_BN = torch.arange(WORDS)[None]
    expected = type(theirs).from_pretrained(tmp_path, dtype=torch.float32)(ids_BN).logits[..., :WORDS]
    torch.testing.assert_close(read_text(ours, ids_BN + FIRST_WORD)[..., FIRST_WORD:], expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_everything_enters_the_trunk_at_the_size_of_words(tmp_path: Path) -> None:
    save_qwen3(tmp_path, initializer_range=0.02)
    model = loaded(tmp_path)
    size = model.text_embedding.weight[FIRST_WORD:].square().mean().sqrt()
    special = model.text_embedding.weight[:FIRST_WORD].square().mean().sqrt()
    assert special / size == pytest.approx(1, abs=0.3) and len(model.text_embedding.weight[:FIRST_WORD].unique()) > 3
    before = DuplexModel(model.config).embed_clean(random_batch(model.config)).square().mean().sqrt()
    entered = model.embed_clean(random_batch(model.config)).square().mean().sqrt()
    assert entered / before < 3 * size


def test_training_reaches_every_weight_that_was_taken(tmp_path: Path) -> None:
    save_qwen3(tmp_path)
    model = loaded(tmp_path)
    batch = random_batch(model.config)
    model(batch).text_logits_BKSV.logsumexp(-1).sum().backward()
    for name, weight in model.blocks.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all() and weight.grad.abs().max() > 0, name


def set_config(**changes: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        config = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({name: value for name, value in config.items() if value != "absent"}))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json: no such file; name the folder of a Qwen3"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: not JSON"),
        (set_config(model_type="llama"), "config.json: model_type 'llama', expected 'qwen3'"),
        (set_config(attention_bias=True), "config.json: attention_bias True, expected False"),
        (set_config(tie_word_embeddings="absent"), "config.json: tie_word_embeddings False, expected True"),
        (set_config(head_dim="absent"), "config.json: no head_dim"),
        (set_config(rope_parameters={"rope_type": "yarn", "rope_theta": 1e6}), "config.json: RoPE 'yarn'"),
        (set_config(rope_parameters=None), "config.json: RoPE 'default' with theta None"),
        (set_config(intermediate_size=81), r"gate_proj.weight is \[80, 48\], expected \[81, 48\] from config.json"),
        (set_config(num_hidden_layers=4), "no weight model.layers.3.self_attn.q_proj.weight"),
        (set_config(vocab_size=20), r"embed_tokens.weight is \[90, 48\]|vocab_size 20, expected 85 or more"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: no such file"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x"), "model.safetensors: not a safetensors file"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    save_qwen3(tmp_path)
    spoil(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        loaded(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda f: (f / "model.safetensors.index.json").write_text("{}"),
        lambda f: sorted(f.glob("model-*"))[3].unlink(),
        lambda f: sorted(f.glob("model-*"))[3].write_bytes(b"cut off"),
    ],
)
def test_a_damaged_shard_is_named(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    save_qwen3(tmp_path, max_shard_size="40KB")
    spoil(tmp_path)
    with pytest.raises(InputError, match="fetch the language model again") as caught:
        loaded(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_model_of_another_shape_is_named_with_both_values(tmp_path: Path) -> None:
    save_qwen3(tmp_path)
    with pytest.raises(InputError, match=r"config.json: hidden_size 48, expected 32 \(d_model of the model\)"):
        loaded(tmp_path, d_model=32)
    with pytest.raises(InputError, match=r"rope_theta 1000000.0, expected 10000.0"):
        loaded(tmp_path, rope_theta=10000.0)


def test_config_files_of_before_transformers_5_are_read(tmp_path: Path) -> None:
    save_qwen3(tmp_path)
    set_config(rope_parameters="absent", rope_theta=5e5, rope_scaling=None)(tmp_path)
    assert read_language_model(tmp_path).trunk["rope_theta"] == 5e5
    set_config(rope_scaling={"type": "linear", "factor": 2.0})(tmp_path)
    with pytest.raises(InputError, match="RoPE 'linear'"):
        read_language_model(tmp_path)


def test_every_field_of_the_shape_is_read(tmp_path: Path) -> None:
    save_qwen3(tmp_path)
    trunk = read_language_model(tmp_path).trunk
    assert sorted(trunk.values()) == sorted(
        value for name, value in SHAPE.items() if name not in ("vocab_size", "tie_word_embeddings", "initializer_range")
    )
    assert set(trunk) < {field.name for field in dataclasses.fields(ModelConfig)}
