"""The benches on little input: every figure is there, and it says what it measured."""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.run import RunParams
from pipelines.engine.tables import read_rows
from pipelines.pack import stage as pack_stage
from tests.helpers.small_corpus import Person, keep_in_process, write_corpus
from tests.helpers.small_tracks import write_tracks
from tests.helpers.small_vaes import small_vae
from tools.bench import annotate, encode, ingest, pack, stream
from tools.bench import vae as vae_bench
from tools.bench.comparison import LINES
from tools.bench.conversation import Setting
from tools.bench.steady import keys_per_s
from wanstreamer import vae
from wanstreamer.errors import InputError


def test_stream_prints_every_part_at_every_length(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found: Any = stream.stream(tmp_path, Setting(steps=2), seconds=2)
    assert found["trained"] is False and found["recorded_media"] is False
    at = found["histories"]["full"]["at"]
    assert list(at) == ["1", "2"]
    for row in at.values():
        assert set(row) == {"encode", "think", "perform", "decode", "unit", "pace", "unit_without_stalls"}
        for part in (row[name] for name in stream.COLUMNS):
            assert 0 < part["p50_ms"] <= part["p95_ms"] <= part["max_ms"]
        assert row["unit"]["p50_ms"] >= row["perform"]["p50_ms"]
    assert found["p95_ms_at_2s"] == at["2"]["unit"]["p95_ms"]
    json.dumps(found)
    stream.show(found)
    said = capsys.readouterr().out
    assert "random weights: nothing is trained yet" in said and "took longer than 160 ms" in said


@pytest.mark.usefixtures("ray_once")
def test_annotations_beside_the_truth_of_fresh_sessions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_in_process(monkeypatch)
    args = argparse.Namespace(seeds=[5], sessions=2, seconds=12, workers=2, worst=2, keep=tmp_path)
    found = annotate.run(args)
    json.dumps(found)
    lines = found["with words"]["lines"]
    assert list(lines) == list(LINES)
    for name in ("turns", "gaps over 250 ms", "pauses over 250 ms"):
        assert lines[name]["truth"] and lines[name]["f1"] >= 0.9
    assert found["without words"]["lines"]["gaps over 250 ms"] == lines["gaps over 250 ms"] | {"bound": None}
    assert found["without words"]["lines"]["backchannels"]["bound"] is None
    offsets = found["with words"]["floor_transfer_offsets"]
    assert offsets["truth"]["number"] and offsets["wasserstein_1_ms"] < 200
    speeds = found["times_real_time"]
    assert speeds["rules, one core"] > 0 and speeds["stage, per core"] is None  # two sessions give no rate
    data = tmp_path / "seed-5-2x12"
    assert {row["source"] for row in read_rows(data, "words")} == {"sidecar"}
    assert not read_rows(data / "without words", "words")
    annotate.show(found)
    said = capsys.readouterr().out
    assert "floor transfer offsets" in said and "precision behind each confidence" in said


@pytest.mark.usefixtures("ray_once")
def test_ingest_beside_ffmpeg(capsys: pytest.CaptureFixture[str]) -> None:
    args = argparse.Namespace(sessions=4, seconds=1, size="96x64", rounds=1, workers=2)
    found = ingest.run(args)
    assert len(found["ratios"]) == 1 and found["ratio_to_ffmpeg"] == found["ratios"][0] > 0
    assert found["video_hours_per_hour"] > 0 and found["video_hours"] == round(8 / 3600, 3)
    ingest.show(found)
    assert "median ratio" in capsys.readouterr().out
    with pytest.raises(InputError, match="two sessions per worker"):
        ingest.run(argparse.Namespace(sessions=3, seconds=1, size="96x64", rounds=1, workers=2))


@pytest.mark.usefixtures("ray_once")
def test_encode_beside_the_forward_pass_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_in_process(monkeypatch)
    data = tmp_path / "data"
    write_tracks(data, {"talk": ("train", "av", 5), "call": ("train", "a", 4)})
    for kind in ("audio", "video"):
        vae.save(small_vae(kind), data / "models" / "vae" / f"{kind}.safetensors")
    found = encode.run(argparse.Namespace(data=data, hours=0.003, rounds=1, workers=2))
    assert found["track_hours"] == 0.0 and len(found["costs_over_bare"]) == 1
    assert found["cost_over_bare"] == found["costs_over_bare"][0] > 0
    assert min(*found["track_hours_per_hour"]["ours"], *found["track_hours_per_hour"]["bare"]) > 0
    assert not (data / "latents").exists()  # what is there stays as it is
    encode.show(found)
    assert "median cost over the forward pass alone" in capsys.readouterr().out
    with pytest.raises(InputError, match="expected --rounds and --workers of 1 or more"):
        encode.run(argparse.Namespace(data=data, hours=0.003, rounds=0, workers=2))


@pytest.mark.usefixtures("ray_once")
def test_pack_beside_tarfile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_in_process(monkeypatch)
    data = tmp_path / "data"
    people = {"a": Person(words=[("red", 330, 470)], speech_units={2}), "b": Person(speech_units={6})}
    write_corpus(data, {f"s{number}": ("train", 40, people) for number in range(2)})
    pack_stage.run(data, pack_stage.PackParams(), RunParams(workers=2))
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    found = pack.run(argparse.Namespace(data=data, sessions=6, rounds=1, workers=2))
    assert found["sessions"] == 6 and found["ratio_to_tarfile"] == found["ratios"][0] > 0
    assert before == {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    pack.show(found)
    assert "median ratio to tarfile alone" in capsys.readouterr().out


def test_a_rate_is_the_slope_of_what_is_finished() -> None:
    assert keys_per_s([10.0, 10.5, 11.0, 11.5]) == pytest.approx(2)
    with pytest.raises(InputError, match="too few sessions"):
        keys_per_s([1.0, 2.0])


def test_vaes_beside_their_peers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = vae_bench.run(argparse.Namespace(data=tmp_path, seconds=1, rounds=1))
    assert found["trained"] is False and found["recorded_media"] is False and found["units"] == 6
    assert list(found["codecs"]) == ["audio", "video", "Mimi", "EnCodec"]
    for row in found["codecs"].values():
        assert 0 < row["encode"]["p50"] <= row["both"]["p50"] <= row["both"]["p95"]
    assert found["audio_over_peer"]["Mimi"] < 1 and found["audio_over_peer"]["EnCodec"] < 1
    json.dumps(found)
    vae_bench.show(found)
    assert "random weights: nothing is trained yet" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(InputError, match="--rounds 0"):
        vae_bench.run(argparse.Namespace(data=tmp_path, seconds=1, rounds=0))
    with pytest.raises(InputError, match="no such data folder"):
        vae_bench.run(argparse.Namespace(data=tmp_path / "no", seconds=1, rounds=1))


def test_a_vae_is_played_unit_by_unit_with_its_state() -> None:
    heard: list[tuple[int, int | None]] = []

    def encode(unit: int, state: int | None) -> tuple[int, int]:
        heard.append((unit, state))
        return -unit, unit

    def decode(latent: int, state: int | None) -> tuple[int, int]:
        heard.append((latent, state))
        return latent, latent

    units = list(range(1, 8))
    factors = vae_bench.play(units, encode, decode)  # type: ignore[arg-type]
    assert heard[:4] == [(1, None), (-1, None), (2, 1), (-2, -1)] and len(heard) == 14
    assert {name: len(values) for name, values in factors.items()} == {"encode": 2, "decode": 2, "both": 2}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cost", "--minutes", "nan"], "--minutes nan: expected more than 0"),
        (["scale", "--hours", "1000", "nan"], "expected --hours and --workers of 1 or more"),
        (["encode", "--hours", "inf"], "--hours above 0"),
        (["load", "--windows", "-1"], "--windows -1: expected 1 or more"),
        (["duplicates", "--tracks", "0"], "expected --tracks, --distinct and --workers of 1 or more"),
    ],
)
def test_numbers_that_no_bench_can_use_are_one_line(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module("tools.bench.__main__").main()
    error = capsys.readouterr().err
    assert ended.value.code == 2 and said in error and error.count("\n") == 1
