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
from pipelines.engine.tables import read_rows
from pipelines.vae import children, stage
from pipelines.vae.stage import CodecParams, VaeParams
from pipelines.vae.task import CodecTask, record_path
from tests.helpers.small_tracks import HEIGHT, WIDTH, write_tracks
from wanstreamer import vae
from wanstreamer.errors import InputError
from wanstreamer.train import codec
from wanstreamer.train.codec import CodecTrainConfig
from wanstreamer.vae.tracks import encode_track

TINY = VaeParams(
    audio=CodecParams(channels=4, steps=3, batch=2, clip_units=2),
    video=CodecParams(channels=4, steps=3, batch=2, clip_units=2),
)
SESSIONS = {"one": ("train", "av", 12), "two": ("train", "av", 8), "far": ("test", "av", 8)}


def weights(data: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((data / "models" / "vae").iterdir())}


def small_video() -> vae.VideoVAE:
    torch.manual_seed(0)
    return vae.VideoVAE(vae.VideoVAEConfig(height=32, width=32, channels=4, widths=(16, 24, 32), blocks=(1, 1, 1)))


def clips(count: int, seed: int = 0) -> list[torch.Tensor]:
    """uint8 tracks (T, H, W, 3): one coloured blob each, going to and fro."""
    generator = torch.Generator().manual_seed(seed)
    colour_NC = torch.rand((count, 3), generator=generator)
    centre_T = 16 + 8 * torch.sin(torch.arange(32) / 4)
    x, y = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="xy")
    blob_THW = torch.exp(-((x - centre_T[:, None, None]) ** 2 + (y - 16) ** 2) / 20)
    return list((255 * blob_THW[None, ..., None] * colour_NC[:, None, None, None]).to(torch.uint8))


class Sent(list[tuple[str, Any]]):
    """The pipe of a child that is this process."""

    send = list.append


@contextmanager
def childless() -> Iterator[None]:
    """Codecs are made in this process by what a child would run: a child starts for longer than it trains here."""

    def run_here(tasks: Sequence[CodecTask], *, at_once: int) -> dict[str, dict[str, Any]]:
        outcomes = {}
        for task in tasks:
            sent = Sent()
            children._child(sent, task)  # type: ignore[arg-type]
            what, outcomes[task.kind] = sent[-1]
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
            torch.use_deterministic_algorithms(False)
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


@pytest.mark.parametrize("held_out", [0, 2])
def test_a_killed_training_ends_with_the_same_weights_and_curve(tmp_path: Path, held_out: int) -> None:
    config = CodecTrainConfig(steps=9, batch=2, clip_units=2, log_every=2, valid_every=4, checkpoint_s=0.0, fit_clips=8)
    state = tmp_path / "state.safetensors"

    def train(fingerprint: str, killed_at: int | None = None) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
        def on_step(step: int) -> None:
            if step == killed_at:
                raise KeyboardInterrupt

        model, curve = codec.train_codec(
            small_video(),
            clips(3),
            clips(held_out, 9),
            config,
            state_path=state,
            fingerprint=fingerprint,
            on_step=on_step,
        )
        return model.state_dict(), curve

    whole, curve = train("a")
    state.unlink()
    with pytest.raises(KeyboardInterrupt):
        train("a", killed_at=5)
    assert state.is_file()
    steps: list[int] = []
    again, curve_again = train("a")
    assert curve_again == curve
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    # A state of another training is not taken up.
    with pytest.raises(KeyboardInterrupt):
        train("other", killed_at=5)
    model, _ = codec.train_codec(
        small_video(), clips(3), [], config, state_path=state, fingerprint="a", on_step=steps.append
    )
    assert steps[0] == 0
    assert all(torch.equal(model.state_dict()[name], whole[name]) for name in whole)


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_training_improves_on_the_linear_codec_and_latents_are_normalised(tmp_path: Path, kind: str) -> None:
    model: vae.AudioVAE | vae.VideoVAE
    if kind == "audio":
        torch.manual_seed(0)
        config = vae.AudioVAEConfig(channels=8, encoder_width=16, latent_width=32, decoder_width=32)
        model = vae.AudioVAE(config)
        time_s = torch.arange(16000 * 4) / 16000
        tracks = [0.3 * torch.sin(2 * torch.pi * f * time_s) * torch.sin(3 * time_s) for f in (150.0, 220.0, 310.0)]
    else:
        model, tracks = small_video(), clips(4)
    training = CodecTrainConfig(steps=60, batch=4, clip_units=4, warmup_steps=5, log_every=10, fit_clips=32)
    trained, curve = codec.train_codec(
        model, tracks, [], training, state_path=tmp_path / "state.safetensors", fingerprint=""
    )
    assert curve[-1]["loss"] < 0.85 * curve[0]["loss"]
    latents = torch.cat([encode_track(trained, track) for track in tracks])
    rows = latents.movedim(-1 if kind == "audio" else 1, -1).flatten(0, -2)
    torch.testing.assert_close(rows.mean(0), torch.zeros(rows.shape[1]), atol=0.02, rtol=0)
    torch.testing.assert_close(rows.std(0), torch.ones(rows.shape[1]), atol=0.05, rtol=0)


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_passes_can_be_compiled_and_run_in_bfloat16(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU does, as far as a CPU can: whole graphs, lower precision, and about the same curve."""
    training = CodecTrainConfig(steps=4, batch=2, clip_units=2, log_every=1, fit_clips=16)
    tracks = clips(3) if kind == "video" else [0.2 * torch.randn(16000, generator=torch.Generator().manual_seed(1))]

    def train() -> list[dict[str, float]]:
        torch.manual_seed(0)
        model: vae.AudioVAE | vae.VideoVAE = small_video()
        if kind == "audio":
            model = vae.AudioVAE(vae.AudioVAEConfig(channels=8, encoder_width=16, latent_width=32, decoder_width=32))
        trained, curve = codec.train_codec(
            model, tracks, [], training, state_path=tmp_path / "state.safetensors", fingerprint=""
        )
        assert all(parameter.dtype == torch.float32 for parameter in trained.parameters())
        return curve

    plain = train()
    compiled: list[object] = []

    def compile_eagerly(function: Any) -> Any:
        compiled.append(function)
        return compile_for_real(function, backend="eager", fullgraph=True)

    compile_for_real = torch.compile
    monkeypatch.setattr(torch, "compile", compile_eagerly)
    monkeypatch.setattr(codec, "_accelerated", lambda device: True)
    fast = train()
    assert len(compiled) == 2
    assert fast != plain
    for row, other in zip(fast, plain, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=0.03)


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
    assert set(json.loads(times)) == {"audio", "video"} and times.count("train_s") == 2
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
    corpus: Path, trained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    write_tracks(data, SESSIONS)
    given = VaeParams(weights=str(corpus / "models" / "vae"))
    metrics = stage.run(data, given, RunParams(workers=2))
    assert weights(data) == weights(corpus)
    assert metrics["video"]["unseen"] == trained["video"]["unseen"]
    measured: list[int] = []
    measure = stage.run_children
    monkeypatch.setattr(stage, "run_children", lambda *args, **how: measured.append(1) or measure(*args, **how))
    assert stage.run(data, given, RunParams(workers=2)) == metrics and not measured
    (data / "tracks" / "far" / "b.wav").write_bytes(b"RIFF")
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
    (data / "tracks" / "two" / "b.wav").write_bytes(b"RIFF")
    metrics = stage.run(data, TINY, RunParams(workers=2))
    assert "no video in the train split" in capsys.readouterr().err
    assert list(weights(data)) == ["audio.safetensors"]
    assert "video" not in metrics
    assert metrics["audio"]["unseen"] == {}
    assert metrics["audio"]["train_tracks"] == 3
    assert sum(metrics["rejected"].values()) == 1
    assert (tmp_path / "plots" / "vae_video.csv").read_text().strip() == "step,loss"


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_tracks(data, {"far": ("test", "a", 8)})
    assert read_rows(data, "tracks")
    with pytest.raises(InputError, match="no track is in the train split"):
        stage.run(data, TINY, RunParams(workers=1))


@pytest.mark.slow
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
    subprocess.run([*command, "--workers", "1"], check=True)
    whole = tmp_path / "whole" / "data"
    write_tracks(whole, SESSIONS)
    params = VaeParams(audio=TINY.audio, video=CodecParams(channels=4, steps=60, batch=2, clip_units=2))
    stage.run(whole, params, RunParams(workers=2))
    assert weights(whole) == weights(data)
    assert (tmp_path / "plots" / "vae_video.csv").read_bytes() == (
        whole.parent / "plots" / "vae_video.csv"
    ).read_bytes()
