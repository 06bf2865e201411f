"""The loader's bench on little input: all read the same windows, and a peer that is missing is told."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tools.bench import load
from tools.bench.loaders import PEERS
from wanstreamer.errors import InputError
from wanstreamer.windows.batch import TORCH_DTYPES
from wanstreamer.windows.loader import FIELDS, Windows, load_batch, open_windows


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("load")
    load.make_windows(made, 80)
    return made


@pytest.fixture(scope="module")
def windows(data: Path) -> Windows:
    return open_windows(data / "windows", "train")


def sums(batch: dict[str, torch.Tensor]) -> list[float]:
    """A number of each sample in which all its fields take part."""
    return sum(found.double().flatten(1).sum(1) * place for place, found in enumerate(batch.values(), 1)).tolist()  # type: ignore[union-attr]


@pytest.mark.parametrize("name", PEERS)
def test_peers_give_the_same_windows_as_the_same_tensors(windows: Windows, tmp_path: Path, name: str) -> None:
    peer = PEERS[name]
    if not peer.installed:
        pytest.skip(f"{name} is not installed")
    ours = load_batch(windows, range(len(windows)))
    wanted = {name: getattr(ours, f"{name}_B{dimensions}") for name, (_, dimensions) in FIELDS.items()}
    peer.convert(windows, tmp_path / "converted")
    found: list[float] = []
    for batch in peer.open(windows, tmp_path / "converted", 16, 0):
        assert {name: tensor.dtype for name, tensor in batch.items()} == {
            name: TORCH_DTYPES[dtype] for name, (dtype, _) in FIELDS.items()
        }
        found += sums({name: batch[name] for name in FIELDS})
    assert found != sums(wanted)  # shuffled
    assert sorted(found) == pytest.approx(sorted(sums(wanted)), rel=1e-9)


def test_load_beside_the_peers_at_hand(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MosaicML", "LitData"):
        monkeypatch.setitem(PEERS, name, replace(PEERS[name], module="no_such_module"))
    args = argparse.Namespace(data=data, windows=0, batch_size=8, workers=[0, 1], rounds=1)
    found = load.run(args)
    json.dumps(found)
    assert "LitData is not installed and is left out; to install it: uv pip install" in capsys.readouterr().err
    assert found["missing"] == ["MosaicML", "LitData"] and found["windows"] == 80
    places = [(row["cache"], row["workers"], row["loader"]) for row in found["rows"]]
    assert places == [
        (cache, workers, name) for cache in ("warm", "cold") for workers in (0, 1) for name in ("ours", "webdataset")
    ]
    assert all(len(row["samples_per_s"]) == 1 and row["median"] > 0 for row in found["rows"])
    warm = [row["ours_to_it"] for row in found["rows"] if (row["cache"], row["loader"]) == ("warm", "webdataset")]
    assert found["ratio_to_best_peer"] == min(warm) > 1
    load.show(found)
    assert "ratio to the best peer" in capsys.readouterr().out
    args.batch_size = 16
    with pytest.raises(InputError, match="80 windows; expected 144 or more at this batch size"):
        load.run(args)
