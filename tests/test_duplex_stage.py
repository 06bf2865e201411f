"""The duplex stage on a small packed corpus: the same bytes after a kill, curves, and clear words for mistakes."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines import duplex, pack
from pipelines.duplex import DuplexParams
from pipelines.pack import PackParams
from tests.small_corpus import Person, keep_in_process, write_corpus
from wanstreamer.errors import InputError
from wanstreamer.model import load_model
from wanstreamer.train.duplex import Row

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
    pack.run(tmp_path / "data", PackParams(window_units=8, stride_units=4), workers=1)
    return tmp_path / "data"


def weights(data: Path) -> bytes:
    return (data / "models/duplex/model.safetensors").read_bytes()


class KilledError(Exception):
    pass


def test_a_killed_stage_ends_with_the_bytes_of_an_unbroken_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = duplex.run(folder, TINY, workers=1)
    whole, curves = weights(folder), (folder.parent / "plots/duplex.csv").read_bytes()
    assert [row["step"] for row in csv.DictReader(curves.decode().splitlines())] == ["3", "6", "7"]
    assert metrics["steps"] == 7 and metrics["train"].keys() == metrics["valid"].keys()  # type: ignore[attr-defined]
    assert load_model(folder / "models/duplex/model.safetensors").config.vocab_size > 256

    (folder / "models/duplex/model.safetensors").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(duplex, "_progress", progress_that_kills_at(5))
        with pytest.raises(KilledError):
            duplex.run(folder, TINY, workers=1)
    assert [path.name for path in (folder / "models/duplex").iterdir()] == ["state.safetensors"]
    seen: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(duplex, "_progress", progress_that_counts(seen))
        assert duplex.run(folder, TINY, workers=2) == metrics
    assert seen == [6, 7]
    assert weights(folder) == whole and (folder.parent / "plots/duplex.csv").read_bytes() == curves
    assert [path.name for path in (folder / "models/duplex").iterdir()] == ["model.safetensors"]


@contextmanager
def _progress(on_step: Callable[[int], None]) -> Iterator[Callable[[int, Row], None]]:
    yield lambda step, parts: on_step(step)


def progress_that_kills_at(stop: int):  # type: ignore[no-untyped-def]
    def on_step(step: int) -> None:
        if step == stop:
            raise KilledError

    return lambda total: _progress(on_step)


def progress_that_counts(seen: list[int]):  # type: ignore[no-untyped-def]
    return lambda total: _progress(seen.append)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 0}, "duplex.steps: 0"),
        ({"dropout": 1.5}, "duplex.dropout: 1.5"),
        ({"valid_windows": 0}, "duplex.valid_windows"),
        ({"d_model": -4}, "duplex.d_model"),
    ],
)
def test_impossible_params_are_one_clear_line(tmp_path: Path, change: dict[str, int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        duplex.run(tmp_path, DuplexParams(**change), workers=1)


def test_missing_windows_name_the_stage_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run the pack stage"):
        duplex.run(tmp_path / "data", TINY, workers=1)


def test_a_missing_tokenizer_is_named_and_nothing_is_written(folder: Path) -> None:
    (folder / "models/tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"tokenizer\.json: no such file"):
        duplex.run(folder, TINY, workers=1)
    assert not (folder / "models/duplex").exists()
