"""The vae stage: train tracks only, the same bytes for any number of workers and after a kill, mistakes in one line."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils import deterministic

from pipelines.engine.run import RunParams
from pipelines.engine.tables import read_rows, to_table, write_table
from pipelines.vae import children, stage
from pipelines.vae.stage import VaeParams, VaeTrainingParams
from pipelines.vae.task import VaeTask, record_path, shown_frames, shown_units
from tests.helpers.paths import track_path
from tests.helpers.small_tracks import HEIGHT, WIDTH, hash_again, write_tracks
from tools.summary import main_figures
from wanstreamer import vae
from wanstreamer.errors import InputError

TINY = VaeParams(
    audio=VaeTrainingParams(channels=4, steps=3, batch=2, clip_units=2),
    video=VaeTrainingParams(channels=4, steps=3, batch=2, clip_units=2),
)
SESSIONS = {"one": ("train", "av", 12), "two": ("train", "av", 8), "far": ("test", "av", 8)}


def weights(data: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((data / "models" / "vae").iterdir())}


class Sent(list[tuple[str, Any]]):
    """The pipe of a child that is this process."""

    send = list.append


@contextmanager
def childless() -> Iterator[None]:
    """VAEs are made in this process by what a child would run: a child starts for longer than it trains here."""

    def run_here(tasks: Sequence[VaeTask], *, at_once: int) -> dict[str, dict[str, Any]]:
        outcomes = {}
        for task in tasks:
            sent = Sent()
            children._child(sent, task)  # type: ignore[arg-type]
            what, outcomes[task.kind] = sent[-1]
            if what == "input":
                raise InputError(str(outcomes[task.kind]))
            assert what == "done", sent[-1]
        return outcomes

    threads, filled = torch.get_num_threads(), deterministic.fill_uninitialized_memory
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "run_children", run_here)
        patch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_deterministic_debug_mode("default")
            torch.set_flush_denormal(False)
            deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


@pytest.fixture
def without_children() -> Iterator[None]:
    with childless():
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("vae") / "data"
    write_tracks(data, SESSIONS)
    return data


@pytest.fixture(scope="module")
def trained(corpus: Path) -> dict[str, Any]:
    """The metrics of the stage, run on the corpus with two workers."""
    return stage.run(corpus, TINY, RunParams(workers=2))


def test_stage_gives_equal_bytes_for_one_and_two_workers_and_does_not_train_twice(
    corpus: Path, trained: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = trained
    made = weights(corpus)
    assert sorted(made) == ["audio.safetensors", "video.safetensors"]
    assert metrics["tracks"] == {"train": 4, "held_out": 2, "without_audio": 0, "without_video": 0}
    assert metrics["rejected"] == {}
    assert metrics["audio"]["unseen"]["log_mel_l1"] > 0
    assert metrics["video"]["seen"]["psnr_db"] > 5
    assert set(metrics["video"]["unseen"]) == {"psnr_db", "ssim", "unit_flicker"}
    assert set(metrics["audio"]["seen"]) == {"log_mel_l1", "stoi"}
    for kind in ("audio", "video"):
        for people in ("seen", "unseen"):
            assert set(metrics[kind]["baseline"][people]) == set(metrics[kind][people])
    for name, column in (("vae_video", "loss"), ("vae_video_unseen", "psnr_db"), ("vae_audio_unseen", "log_mel_l1")):
        with (corpus.parent / "plots" / f"{name}.csv").open() as file:
            curve = list(csv.DictReader(file))
        assert [row["step"] for row in curve] == ["0", "3"]
        assert all(float(row[column]) > 0 for row in curve)
    assert {path.name for path in (corpus / "reports").iterdir()} >= {
        "vae_video.png", "vae_seen.mp4", "vae_unseen.mp4", "vae_audio_unseen0_truth.wav",
        "vae_audio_unseen0_decoded.wav", "vae_audio_unseen0_pca_griffin_lim.wav", "vae_measured.json",
    }  # fmt: skip
    assert sorted(path.name for path in (corpus / "parts" / "vae").iterdir()) == ["audio.json", "video.json"]

    other = tmp_path / "data"
    write_tracks(other, SESSIONS)
    assert stage.run(other, TINY, RunParams(workers=1)) == metrics
    assert weights(other) == made
    for name in ("reports/vae_video.png", "reports/vae_seen.mp4", "../plots/vae_audio.csv", "../plots/vae_video.csv"):
        assert (other / name).read_bytes() == (corpus / name).read_bytes()

    capsys.readouterr()
    times = (other / "timings" / "vae.json").read_text()
    assert set(json.loads(times)) == {"audio", "video", "cpu_s", "wall_s", "workers"} and times.count("train_s") == 2
    with childless():
        assert stage.run(other, TINY, RunParams(workers=2)) == metrics
    assert (other / "timings" / "vae.json").read_text() == times
    assert capsys.readouterr().err == "vae: weights are finished and measured\n"
    (other / "reports" / "vae_seen.mp4").unlink()
    with childless():
        assert stage.run(other, TINY, RunParams(workers=2)) == metrics
    assert "audio weights are finished, measuring only" in capsys.readouterr().err
    assert (other / "reports" / "vae_seen.mp4").is_file()
    assert weights(other) == made

    # Weights that are not what their training left would be made again.
    record, path = record_path(other, "audio"), stage.weights_path(other, "audio")
    training = json.loads(record.read_text())["training"]
    assert stage._was_made(other, "audio", training) and not stage._was_made(other, "audio", training[::-1])
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert not stage._was_made(other, "audio", training)


@pytest.mark.usefixtures("trained", "without_children")
def test_held_out_people_do_not_touch_the_weights(corpus: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_tracks(data, {**{k: SESSIONS[k] for k in ("one", "two")}, "near": ("valid", "av", 16)})
    metrics = stage.run(data, TINY, RunParams(workers=2))
    assert metrics["tracks"]["held_out"] == 2
    assert weights(data) == weights(corpus)


@pytest.mark.usefixtures("without_children")
def test_finished_weights_are_copied_and_measured_once(
    corpus: Path,
    trained: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = tmp_path / "data"
    write_tracks(data, SESSIONS)
    given = VaeParams(weights=str(corpus / "models" / "vae"))
    metrics = stage.run(data, given, RunParams(workers=2))
    assert weights(data) == weights(corpus)
    assert metrics["video"]["unseen"] == trained["video"]["unseen"]
    # Finished weights have not seen the people of the train split: neither figures nor films say so.
    assert metrics["video"]["seen"] == {} and metrics["video"]["train"] == trained["video"]["seen"]
    assert {path.name for path in (data / "reports").iterdir()} >= {"vae_train.mp4", "vae_unseen.mp4"}
    assert not list((data / "reports").glob("vae_audio_seen*")) and not (data / "reports" / "vae_seen.mp4").exists()
    said = capsys.readouterr().err
    assert "vae: warning: the video VAE of" in said and "is worse on these recordings than linear" in said
    assert f"PSNR {metrics['video']['unseen']['psnr_db']:.1f} dB instead of" in said
    measured: list[int] = []
    measure = stage.run_children
    monkeypatch.setattr(stage, "run_children", lambda *args, **how: measured.append(1) or measure(*args, **how))
    assert stage.run(data, given, RunParams(workers=2)) == metrics and not measured
    (data / track_path("far", "b", "wav")).write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"far\.b\.wav: its checksum differs; run ingest again"):
        stage.run(data, given, RunParams(workers=2))
    measured.clear()
    hash_again(data)
    for times in (1, 2):  # a track that cannot be read is tried again
        assert sum(stage.run(data, given, RunParams(workers=2))["rejected"].values()) == 1 and len(measured) == times
    with pytest.raises(InputError, match=r"vae\.weights: .*no such file"):
        stage.run(data, VaeParams(weights=str(tmp_path / "nowhere")), RunParams(workers=2))
    small_video_path = tmp_path / "wrong" / "video.safetensors"
    vae.save(vae.VideoVAE(vae.VideoVAEConfig(height=48, width=64)), small_video_path)
    vae.save(vae.load_audio_vae(stage.weights_path(corpus, "audio")), small_video_path.with_name("audio.safetensors"))
    with pytest.raises(InputError, match=f"the tracks have {WIDTH}|the tracks have {HEIGHT}"):
        stage.run(data, VaeParams(weights=str(small_video_path.parent)), RunParams(workers=2))


@pytest.mark.usefixtures("trained", "without_children")
def test_finished_weights_are_not_measured_on_demand(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    write_tracks(data, SESSIONS)
    monkeypatch.setattr(stage, "run_children", None)
    params = VaeParams(weights=str(corpus / "models" / "vae"), measure=False)
    metrics = stage.run(data, params, RunParams(workers=1))
    assert weights(data) == weights(corpus) and metrics["video"]["unseen"] == {}
    assert not (data / "reports").exists()
    assert capsys.readouterr().err == "vae: weights are finished, and not measured (vae.measure: false)\n"
    assert main_figures("vae", metrics) == "finished VAEs, not measured"


@pytest.mark.parametrize(
    ("kind", "metrics", "worse"),
    [
        ("video", {"unseen": {"psnr_db": 18.24}, "baseline": {"unseen": {"psnr_db": 24.6}}}, "18.2 dB instead of 24.6"),
        ("video", {"unseen": {"psnr_db": 25.0}, "baseline": {"unseen": {"psnr_db": 24.6}}}, ""),
        ("audio", {"unseen": {"stoi": 0.5}, "baseline": {"unseen": {"stoi": 0.7}}}, "STOI 0.50 instead of 0.70"),
        ("audio", {"unseen": {"stoi": 0.8, "log_mel_l1": 9}, "baseline": {"unseen": {"stoi": 0.7}}}, ""),
        ("video", {"unseen": {}, "train": {"psnr_db": 9.0}, "baseline": {"train": {"psnr_db": 20.0}}}, "9.0 dB"),
        ("audio", {"unseen": {"log_mel_l1": 1.0}, "baseline": {"unseen": {"log_mel_l1": 0.5}}}, ""),
    ],
)  # fmt: skip
def test_worse_than_linear(kind: str, metrics: dict[str, Any], worse: str) -> None:
    found = stage.worse_than_baseline(kind, metrics)
    assert worse in found and bool(found) == bool(worse)
    assert ("WORSE" in main_figures("vae", {kind: metrics})) == bool(worse)


@pytest.mark.usefixtures("trained", "without_children")
def test_finished_weights_need_no_train_split(corpus: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_tracks(data, {"only": ("test", "a", 12)})
    metrics = stage.run(data, VaeParams(weights=str(corpus / "models" / "vae")), RunParams(workers=1))
    assert weights(data)["audio.safetensors"] == weights(corpus)["audio.safetensors"]
    assert metrics["audio"]["seen"] == {} and metrics["audio"]["unseen"]


@pytest.mark.usefixtures("without_children")
def test_audio_alone_and_damaged_tracks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    write_tracks(data, {"one": ("train", "a", 12), "two": ("train", "a", 8)})
    (data / track_path("two", "b", "wav")).write_bytes(b"RIFF")
    hash_again(data)
    metrics = stage.run(data, TINY, RunParams(workers=2))
    assert "no video in the train split" in capsys.readouterr().err
    assert list(weights(data)) == ["audio.safetensors"]
    assert "video" not in metrics
    assert metrics["audio"]["unseen"] == {}
    assert metrics["audio"]["train_tracks"] == 3
    assert sum(metrics["rejected"].values()) == 1
    assert (tmp_path / "plots" / "vae_video.csv").read_text().strip() == "step,loss"


def show_only(data: Path, visible: dict[str, list[tuple[int, int]]]) -> None:
    """The people of these sessions are seen only in these spans, ms."""
    rows = [{name: row[name] for name in row if name != "schema_version"} for row in read_rows(data, "tracks")]
    for row in rows:
        if row["session_id"] in visible:
            row["visible"] = [{"start_ms": start, "end_ms": end} for start, end in visible[row["session_id"]]]
    write_table(data, "tracks", to_table("tracks", rows))


@pytest.mark.usefixtures("without_children")
def test_grey_frames_of_people_off_screen_are_not_learnt(tmp_path: Path) -> None:
    """`two` is seen from 300 to 1000 ms: in the units 2 to 5. `one` is never seen, and `far`, held out, in 4 units."""
    data = tmp_path / "data"
    write_tracks(data, {**SESSIONS, "also": ("train", "av", 8)})
    show_only(data, {"one": [(0, 100)], "two": [(300, 600), (600, 1000)], "far": [(0, 640)]})
    metrics = stage.run(data, TINY, RunParams(workers=1))
    assert (metrics["video"]["train_tracks"], metrics["video"]["train_units"]) == (4, 2 * 8 + 2 * 4)
    assert (metrics["audio"]["train_tracks"], metrics["audio"]["train_units"]) == (6, 2 * (12 + 8 + 8))
    first = weights(data)
    stage.run(data, TINY, RunParams(workers=1))
    assert weights(data) == first
    show_only(data, {"two": [(300, 640)]})
    assert stage.run(data, TINY, RunParams(workers=1))["video"]["train_units"] == 2 * 8 + 2 * 2
    assert weights(data)["video.safetensors"] != first["video.safetensors"]
    assert weights(data)["audio.safetensors"] == first["audio.safetensors"]
    show_only(data, {name: [] for name in ("one", "two", "also")})
    with pytest.raises(InputError, match="no video in the train split shows its person"):
        stage.run(data, TINY, RunParams(workers=1))


@pytest.mark.parametrize(
    ("visible", "units"),
    [(None, [(0, 10)]), ([], []), ([(0, 159)], []), ([(1, 320)], [(1, 2)]), ([(0, 160), (160, 2000)], [(0, 10)])],
)
def test_units_that_show_the_person(visible: list[tuple[int, int]] | None, units: list[tuple[int, int]]) -> None:
    spans = None if visible is None else [{"start_ms": start, "end_ms": end} for start, end in visible]
    row = {"num_units": 10, "visible": spans}
    assert shown_units(row) == units
    frames = torch.arange(40).reshape(40, 1, 1, 1)
    kept = [frame for first, last in units for frame in range(4 * first, 4 * last)]
    assert shown_frames(row, frames).flatten().tolist() == kept


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_tracks(data, {"far": ("test", "a", 8)})
    assert read_rows(data, "tracks")
    with pytest.raises(InputError, match="no track is in the train split"):
        stage.run(data, TINY, RunParams(workers=1))


@pytest.mark.long
def test_killed_stage_resumes_to_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_tracks(data, SESSIONS)
    (tmp_path / "params.yaml").write_text(
        "vae:\n  audio: {channels: 4, steps: 3, batch: 2, clip_units: 2}\n"
        "  video: {channels: 4, steps: 60, batch: 2, clip_units: 2}\n  checkpoint_s: 0.0\n"
    )
    command = [sys.executable, "-m", "pipelines.vae", "--data", str(data), "--params", str(tmp_path / "params.yaml")]
    process = subprocess.Popen([*command, "--workers", "2"], start_new_session=True, stderr=subprocess.DEVNULL)
    state = data / "parts" / "vae" / "video.safetensors"
    while not state.is_file() and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert state.is_file()
    assert "video.safetensors" not in {path.name for path in (data / "models" / "vae").glob("*")}
    whole = tmp_path / "whole" / "data"
    write_tracks(whole, SESSIONS)
    params = VaeParams(audio=TINY.audio, video=VaeTrainingParams(channels=4, steps=60, batch=2, clip_units=2))
    with childless():
        stage.run(data, params, RunParams(workers=1))
        stage.run(whole, params, RunParams(workers=2))
    assert weights(whole) == weights(data)
    assert (tmp_path / "plots" / "vae_video.csv").read_bytes() == (
        whole.parent / "plots" / "vae_video.csv"
    ).read_bytes()
