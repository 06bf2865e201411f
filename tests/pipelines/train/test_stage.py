"""The duplex stage on a small packed corpus: the same bytes after a kill, curves, and clear words for mistakes."""

import csv
import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from pipelines.engine.params import build_params
from pipelines.engine.run import RunParams
from pipelines.pack import stage as pack
from pipelines.pack.stage import PackParams
from pipelines.train import duplex
from pipelines.train import stage as training
from pipelines.train.params import DuplexParams
from tests.helpers.packed_windows import Sample, lay_out, rewrite
from tests.helpers.paths import ROOT
from tests.helpers.qwen_folders import save_qwen3
from tests.helpers.small_corpus import Person, keep_in_process, write_corpus
from wanstreamer.errors import InputError
from wanstreamer.model.duplex import load_model
from wanstreamer.model.sequence import FIRST_WORD
from wanstreamer.train.parallel import Ranks
from wanstreamer.train.steps import Scalars

TINY = DuplexParams(
    steps=7,
    batch_size=3,
    warmup_steps=2,
    d_model=32,
    num_layers=1,
    num_heads=1,
    d_ff=32,
    log_every=3,
    checkpoint_s=0,
    threads=1,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Windows of a train and a valid dyad."""
    people = {"a": Person(words=[("red", 330, 470)], speech_units={2}), "b": Person()}
    write_corpus(tmp_path / "data", {"s0": ("train", 20, people), "s1": ("valid", 15, people)})
    keep_in_process(monkeypatch)
    pack.run(tmp_path / "data", PackParams(window_units=8, stride_units=4), RunParams(workers=1))
    return tmp_path / "data"


def save_tokenizer(folder: Path, ids: list[str]) -> None:
    """Bytes alone, without merges: what a language model's folder holds beside its weights."""
    folder.mkdir(exist_ok=True)
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(ids)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))


BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())


def weights(data: Path) -> bytes:
    return (data / "models/duplex/model.safetensors").read_bytes()


class KilledError(Exception):
    pass


def test_a_killed_stage_ends_with_the_bytes_of_an_unbroken_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = duplex.run(folder, TINY, RunParams(workers=1))
    whole, curves = weights(folder), (folder.parent / "plots/duplex.csv").read_bytes()
    assert [row["step"] for row in csv.DictReader(curves.decode().splitlines())] == ["3", "6", "7"]
    assert metrics["steps"] == 7 and metrics["train"].keys() == metrics["valid"].keys()  # type: ignore[attr-defined]
    assert load_model(folder / "models/duplex/model.safetensors").config.vocab_size > 256

    (folder / "models/duplex/model.safetensors").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(training, "show_progress", progress_that_kills_at(5))
        with pytest.raises(KilledError):
            duplex.run(folder, TINY, RunParams(workers=1))
    assert [path.name for path in (folder / "models/duplex").iterdir()] == ["state.safetensors"]
    seen: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(training, "show_progress", progress_that_counts(seen))
        assert duplex.run(folder, TINY, RunParams(workers=2)) == metrics
    assert seen == [6, 7]
    assert weights(folder) == whole and (folder.parent / "plots/duplex.csv").read_bytes() == curves
    assert [path.name for path in (folder / "models/duplex").iterdir()] == ["model.safetensors"]


def test_a_killed_stage_goes_on_in_other_shards_but_not_with_other_windows(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = {"a": Person(words=[("red", 330, 470)], speech_units={2}), "b": Person()}
    sessions = {"s0": ("train", 20, people), "s1": ("train", 15, people), "s2": ("valid", 15, people)}
    write_corpus(folder, sessions)
    pack.run(folder, PackParams(window_units=8, stride_units=4), RunParams(workers=1))
    windows = lay_out(folder / "windows", [["s0", "s1"], ["s2"]])
    duplex.run(folder, TINY, RunParams(workers=1))
    whole = weights(folder)

    def kill_and_go_on(between: Callable[[], object]) -> list[int]:
        with monkeypatch.context() as patch:
            patch.setattr(training, "show_progress", progress_that_kills_at(5))
            with pytest.raises(KilledError):
                duplex.run(folder, TINY, RunParams(workers=1))
        between()
        seen: list[int] = []
        with monkeypatch.context() as patch:
            patch.setattr(training, "show_progress", progress_that_counts(seen))
            duplex.run(folder, TINY, RunParams(workers=1))
        return seen

    assert kill_and_go_on(lambda: lay_out(windows, [["s1", "s0"], ["s2"]])) == [6, 7] and weights(folder) == whole
    assert kill_and_go_on(lambda: lay_out(windows, [["s0"], ["s2"], ["s1"]])) == [6, 7] and weights(folder) == whole

    def other(sample: Sample) -> Sample:
        changed = sample.content[:700] + bytes([sample.content[700] ^ 1]) + sample.content[701:]
        return sample._replace(content=changed) if sample.row["window_id"] == "s2-a-000000" else sample

    assert kill_and_go_on(lambda: rewrite(windows, other)) == [1, 2, 3, 4, 5, 6, 7]


def test_a_batch_larger_than_the_split_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    duplex.run(folder, dataclasses.replace(TINY, steps=1, batch_size=40), RunParams(workers=1))
    assert "duplex: warning: batch_size 40 exceeds the 8 windows of the train split" in capsys.readouterr().err


def test_windows_in_which_no_one_speaks_are_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params = dataclasses.replace(TINY, steps=1)
    duplex.run(folder, params, RunParams(workers=1))
    assert "no one speaks" not in capsys.readouterr().err
    silent = folder.parent / "silent"
    write_corpus(silent, {"s0": ("train", 20, {"a": Person(words=[("red", 330, 470)]), "b": Person()})})
    pack.run(silent, PackParams(window_units=8, stride_units=4), RunParams(workers=1))
    duplex.run(silent, params, RunParams(workers=1))
    said = capsys.readouterr().err
    assert "duplex: warning: no one speaks in any of 8 windows, taken evenly from the train split" in said


@contextmanager
def _progress(on_step: Callable[[int], None]) -> Iterator[Callable[[int, Scalars], None]]:
    yield lambda step, parts: on_step(step)


def progress_that_kills_at(stop: int):  # type: ignore[no-untyped-def]
    def on_step(step: int) -> None:
        if step == stop:
            raise KilledError

    return lambda section, total, shown: _progress(on_step)


def progress_that_counts(seen: list[int]):  # type: ignore[no-untyped-def]
    return lambda section, total, shown: _progress(seen.append)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 0}, "duplex.steps: 0"),
        ({"dropout": 1.5}, "duplex.dropout: 1.5"),
        ({"valid_windows": 0}, "duplex.valid_windows"),
        ({"d_model": -4}, "duplex.d_model"),
        ({"self_lag": 2}, "duplex.self_lag: 2; expected 0 or 1"),
        ({"micro_batch": -1}, "duplex.micro_batch: -1; expected 0 or more"),
        ({"event_weight": -0.5}, "duplex.event_weight"),
        ({"logs": ["wandb"]}, r"duplex.logs: \['wandb'\]; expected some of tensorboard, dvclive"),
    ],
)
def test_impossible_params_are_one_clear_line(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        build_params(DuplexParams, change, "duplex")


def test_missing_windows_name_the_stage_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run the pack stage"):
        duplex.run(tmp_path / "data", TINY, RunParams(workers=1))


def test_a_missing_tokenizer_is_named_and_nothing_is_written(folder: Path) -> None:
    (folder / "models/tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"tokenizer\.json: no such file"):
        duplex.run(folder, TINY, RunParams(workers=1))
    assert not (folder / "models/duplex").exists()


def test_training_starts_from_a_language_model(folder: Path, tmp_path: Path) -> None:
    """Its words keep their ids' rows, shifted as pack shifted the ids; its shape replaces the stage's."""
    theirs = save_qwen3(tmp_path / "qwen", vocab_size=300)
    save_tokenizer(tmp_path / "qwen", BYTES)
    params = dataclasses.replace(TINY, init_from=str(tmp_path / "qwen"), steps=2)
    with pytest.raises(InputError, match=r"tokenizer\.json: its \d+ ids are not those of .*; set pack.tokenizer"):
        duplex.run(folder, params, RunParams(workers=1))

    packing = PackParams(window_units=8, stride_units=4, tokenizer=str(tmp_path / "qwen"))
    pack.run(folder, packing, RunParams(workers=1))
    barely = dataclasses.replace(params, learning_rate=1e-9, weight_decay=0)
    duplex.run(folder, barely, RunParams(workers=1))
    model = load_model(folder / "models/duplex/model.safetensors")
    assert (model.config.d_model, model.config.num_kv_heads, model.config.rope_theta) == (48, 2, 1e6)
    assert model.config.vocab_size == len(BYTES) + FIRST_WORD
    expected = theirs.model.embed_tokens.weight[: len(BYTES)]
    torch.testing.assert_close(model.text_embedding.weight[FIRST_WORD:], expected, atol=1e-6, rtol=0)

    duplex.run(folder, params, RunParams(workers=1))
    once = weights(folder)
    assert not torch.equal(
        load_model(folder / "models/duplex/model.safetensors").blocks[0].qkv.weight, model.blocks[0].qkv.weight
    )
    duplex.run(folder, params, RunParams(workers=1))
    assert weights(folder) == once


def test_a_start_that_is_not_there_is_said_before_any_stage() -> None:
    with pytest.raises(InputError, match=r"nowhere/config\.json: no such file"):
        DuplexParams(init_from="nowhere").check()
    with pytest.raises(
        InputError, match=r"nowhere\.safetensors: no such file; run `python -m pipelines.train.pretrain`"
    ):
        DuplexParams(init_from="nowhere.safetensors").check()


def test_another_order_of_the_same_words_is_another_tokenizer(folder: Path, tmp_path: Path) -> None:
    save_qwen3(tmp_path / "qwen", vocab_size=300)
    save_tokenizer(tmp_path / "other", BYTES)
    save_tokenizer(tmp_path / "qwen", BYTES[::-1])
    pack.run(
        folder, PackParams(window_units=8, stride_units=4, tokenizer=str(tmp_path / "other")), RunParams(workers=1)
    )
    with pytest.raises(InputError, match="its 259 ids are not those of"):
        duplex.run(folder, dataclasses.replace(TINY, init_from=str(tmp_path / "qwen")), RunParams(workers=1))


def test_a_state_from_another_language_model_is_not_continued(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_qwen3(tmp_path / "qwen", vocab_size=300)
    save_tokenizer(tmp_path / "qwen", BYTES)
    pack.run(folder, PackParams(window_units=8, stride_units=4, tokenizer=str(tmp_path / "qwen")), RunParams(workers=1))
    params = dataclasses.replace(TINY, init_from=str(tmp_path / "qwen"))
    with monkeypatch.context() as patch:
        patch.setattr(training, "show_progress", progress_that_kills_at(3))
        with pytest.raises(KilledError):
            duplex.run(folder, params, RunParams(workers=1))
    save_qwen3(tmp_path / "qwen", vocab_size=300, initializer_range=0.1)
    seen: list[int] = []
    monkeypatch.setattr(training, "show_progress", progress_that_counts(seen))
    duplex.run(folder, params, RunParams(workers=1))
    assert seen[0] == 1


def test_the_self_lag_is_trained(folder: Path) -> None:
    duplex.run(folder, dataclasses.replace(TINY, self_lag=1), RunParams(workers=1))
    lagging = load_model(folder / "models/duplex/model.safetensors")
    once = weights(folder)
    duplex.run(folder, TINY, RunParams(workers=1))
    assert lagging.config.self_lag == 1 and weights(folder) != once


def test_curves_go_to_logs_too_and_only_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed run's log is written anew where it goes on."""
    pytest.importorskip("tensorboard")
    dvclive = pytest.importorskip("dvclive")
    params = dataclasses.replace(TINY, logs=("tensorboard", "dvclive"))
    with monkeypatch.context() as patch:
        patch.setattr(training, "show_progress", progress_that_kills_at(5))
        with pytest.raises(KilledError):
            duplex.run(folder, params, RunParams(workers=1))
    duplex.run(folder, params, RunParams(workers=1))
    plots = folder / "logs/duplex/dvclive/plots/metrics"
    rows = list(csv.DictReader((folder.parent / "plots/duplex.csv").open()))
    for name in ("train/text", "valid/text", "grad/norm"):
        kind, part = name.split("/")
        column = part if kind == "train" else f"{kind}_{part}"
        logged = list(csv.DictReader((plots / f"{name}.tsv").open(), delimiter="\t"))
        assert [row["step"] for row in logged] == [row["step"] for row in rows] == ["3", "6", "7"]
        assert [float(row[part]) for row in logged] == pytest.approx([float(row[column]) for row in rows], rel=1e-5)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "logs/duplex/tensorboard")).Reload()
    assert [event.step for event in events.Scalars("valid/text")] == [3, 6, 7]
    assert not (folder.parent / "dvc.yaml").exists() and dvclive


def test_a_log_that_is_not_installed_names_the_remedy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dvclive", None)
    with pytest.raises(InputError, match=r"dvclive is not installed; uv pip install -e '\.\[logs\]'"):
        duplex.run(folder, dataclasses.replace(TINY, logs=("dvclive",)), RunParams(workers=1))


@pytest.mark.long
def test_two_processes_of_torchrun_write_what_one_does(folder: Path) -> None:
    settings = dataclasses.replace(TINY, steps=4, batch_size=4)
    duplex.run(folder, settings, RunParams(workers=1))
    alone = list(csv.DictReader((folder.parent / "plots/duplex.csv").open()))
    (folder / "models/duplex/model.safetensors").unlink()
    (folder.parent / "params.yaml").write_text(yaml.safe_dump({"duplex": dataclasses.asdict(settings) | {"logs": []}}))

    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "pipelines.train.duplex", "--data", str(folder), "--params", str(folder.parent / "params.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("duplex: done") == 1  # the first process speaks for both
    together = list(csv.DictReader((folder.parent / "plots/duplex.csv").open()))
    for ours, theirs in zip(together, alone, strict=True):
        assert {k: float(v) for k, v in ours.items() if v} == pytest.approx(
            {k: float(v) for k, v in theirs.items() if v}, rel=1e-4
        )
    assert load_model(folder / "models/duplex/model.safetensors").config.d_model == 32
    assert not (folder / "models/duplex/state.safetensors").exists()


def test_a_step_is_shared_evenly(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "join_ranks", lambda: nullcontext(Ranks(num_ranks=2)))
    with pytest.raises(InputError, match=r"duplex\.batch_size: 3; expected a multiple of the 2 processes"):
        duplex.run(folder, TINY, RunParams(workers=1))
