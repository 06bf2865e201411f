"""The pretrain stage: it learns the tasks, resumes, and duplex starts from what it made."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.engine.params import build_params
from pipelines.engine.run import RunParams
from pipelines.pack import stage as pack
from pipelines.pack.stage import PackParams
from pipelines.train import duplex, pretrain
from pipelines.train.params import DuplexParams, PretrainParams, TaskShares
from tests.helpers.small_corpus import Person, keep_in_process, write_corpus
from wanstreamer.checkpoint import load_tensors, save_tensors
from wanstreamer.errors import InputError
from wanstreamer.model.duplex import load_model

SIZE = {"batch_size": 3, "d_model": 32, "num_layers": 1, "num_heads": 1, "d_ff": 32, "log_every": 3, "warmup_steps": 2}
TASKS = PretrainParams(steps=6, **SIZE)  # type: ignore[arg-type]
DUPLEX = DuplexParams(steps=2, **SIZE)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    people = {"a": Person(words=[("red", 330, 470)], speech_units={2}), "b": Person()}
    write_corpus(tmp_path / "data", {"s0": ("train", 20, people), "s1": ("valid", 15, people)})
    keep_in_process(monkeypatch)
    pack.run(tmp_path / "data", PackParams(window_units=8, stride_units=4), RunParams(workers=1))
    return tmp_path / "data"


def pretrained(data: Path) -> Path:
    return data / "models/pretrain/model.safetensors"


def test_shares_of_tasks_decide_what_is_learnt(folder: Path) -> None:
    metrics: Any = pretrain.run(folder, TASKS, RunParams(workers=1))
    assert metrics["steps"] == 6 and (folder.parent / "plots/pretrain.csv").is_file()
    mixed = pretrained(folder).read_bytes()
    pretrain.run(folder, TASKS, RunParams(workers=1))
    assert pretrained(folder).read_bytes() == mixed
    only = TaskShares(transcribe=0, speak=0, animate=1, proceed=0, chat=0)
    metrics = pretrain.run(folder, dataclasses.replace(TASKS, tasks=only), RunParams(workers=1))
    assert metrics["train"]["text"] == metrics["train"]["audio"] == 0 < metrics["train"]["video"]
    assert pretrained(folder).read_bytes() != mixed


def test_duplex_starts_from_what_was_learnt(folder: Path) -> None:
    pretrain.run(folder, TASKS, RunParams(workers=1))
    barely = dataclasses.replace(DUPLEX, init_from=str(pretrained(folder)), learning_rate=1e-9, weight_decay=0.0)
    duplex.run(folder, barely, RunParams(workers=1))
    ours, begun = (load_model(folder / f"models/{name}/model.safetensors") for name in ("pretrain", "duplex"))
    for name, weight in ours.state_dict().items():
        torch.testing.assert_close(begun.state_dict()[name], weight, atol=1e-6, rtol=0)
    # The shape is that of the weights; dropout and lag are the stage's own.
    other = dataclasses.replace(barely, d_model=64, num_heads=2, dropout=0.3, self_lag=1)
    duplex.run(folder, other, RunParams(workers=1))
    config = load_model(folder / "models/duplex/model.safetensors").config
    assert (config.d_model, config.num_heads, config.dropout, config.self_lag) == (32, 1, 0.3, 1)


def spoilt(path: Path, **changes: Any) -> None:
    tensors, meta = load_tensors(path)
    save_tensors(path, tensors, meta | {"config": meta["config"] | changes})


@pytest.mark.parametrize("change", [{"tokenizer": "another"}, {"audio_codec": "another"}, {"prediction": "velocity"}])
def test_weights_made_for_other_windows_are_refused(folder: Path, change: dict[str, Any]) -> None:
    pretrain.run(folder, TASKS, RunParams(workers=1))
    spoilt(pretrained(folder), **change)
    name, value = next(iter(change.items()))
    with pytest.raises(
        InputError, match=rf"model\.safetensors: {name} is '{value}', expected '.*'; start from"
    ) as caught:
        duplex.run(folder, dataclasses.replace(DUPLEX, init_from=str(pretrained(folder))), RunParams(workers=1))
    assert "\n" not in str(caught.value)


def test_other_weights_to_start_from_are_another_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretrain.run(folder, TASKS, RunParams(workers=1))
    params = dataclasses.replace(DUPLEX, init_from=str(pretrained(folder)))
    duplex.run(folder, params, RunParams(workers=1))
    first = (folder / "models/duplex/model.safetensors").read_bytes()
    pretrain.run(folder, dataclasses.replace(TASKS, seed=1), RunParams(workers=1))
    duplex.run(folder, params, RunParams(workers=1))
    assert (folder / "models/duplex/model.safetensors").read_bytes() != first


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tasks": {"chat": -1}}, "pretrain.tasks.chat: -1.0; expected 0 or more"),
        ({"tasks": dict.fromkeys(dataclasses.asdict(TaskShares()), 0)}, "pretrain.tasks: all are 0; set at least one"),
        ({"steps": 0}, "pretrain.steps: 0; expected 1 or more"),
    ],
)
def test_impossible_params_are_one_clear_line(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        build_params(PretrainParams, change, "pretrain")


def test_the_default_tasks_are_all_there_are() -> None:
    from wanstreamer.train.tasks import TASKS as KNOWN

    assert set(dataclasses.asdict(TaskShares())) == set(KNOWN)
    json.dumps(dataclasses.asdict(TASKS))
