"""Figures of VAEs, the linear baselines beside them, and the pictures: known truths of each."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.engine.files import file_sha256
from pipelines.engine.tables import read_rows
from pipelines.media.tracks import read_frames, write_wav
from pipelines.vae import reports
from pipelines.vae.baselines import LinearAudio, LinearVideo, griffin_lim
from pipelines.vae.curves import curve_paths, write_curves
from pipelines.vae.quality import measure, short_time_intelligibility
from tests.helpers.small_tracks import write_tracks
from wanstreamer.metrics import log_mel_l1
from wanstreamer.vae import AudioVAE, AudioVAEConfig, VideoVAE, VideoVAEConfig


def babble(seconds: int, seed: int) -> torch.Tensor:
    """Noise in syllables: what STOI takes for speech."""
    generator = torch.Generator().manual_seed(seed)
    time_s = torch.arange(16000 * seconds) / 16000
    return 0.2 * torch.randn(len(time_s), generator=generator) * torch.sin(2 * torch.pi * 2 * time_s) ** 2


def test_linear_video_gives_back_what_has_few_degrees_of_freedom() -> None:
    generator = torch.Generator().manual_seed(0)
    basis_CTHWD = torch.randint(0, 2, (3, 4, 16, 16, 3), generator=generator) * 60.0
    shares_NC = torch.rand((40, 3), generator=generator)
    units = torch.einsum("nc,cthwd->nthwd", shares_NC, basis_CTHWD).round().to(torch.uint8)
    wide = torch.cat([units, units.flip(0)], dim=3)  # two places a unit, each with its own shares
    track = wide.flatten(0, 1)
    frames_TCHW = track.permute(0, 3, 1, 2).float() / 127.5 - 1
    config = VideoVAEConfig(height=16, width=32, channels=3)
    made = LinearVideo([track[:80], track[80:]], config)(frames_TCHW)
    assert (made - frames_TCHW).abs().max() < 0.03
    fewer = LinearVideo([track], VideoVAEConfig(height=16, width=32, channels=1))(frames_TCHW)
    assert (fewer - frames_TCHW).square().mean() > 20 * (made - frames_TCHW).square().mean()


def test_griffin_lim_finds_a_sound_of_these_magnitudes() -> None:
    audio_T = babble(2, 0)
    window = torch.hann_window(640)
    magnitude_FS = torch.stft(audio_T, 640, 160, window=window, return_complex=True).abs()
    made_T = griffin_lim(magnitude_FS, 640, 160)
    again_FS = torch.stft(made_T, 640, 160, window=window, return_complex=True).abs()
    assert (again_FS - magnitude_FS).square().sum() < 0.05 * magnitude_FS.square().sum()


def test_linear_audio_is_better_with_more_numbers_and_as_long_as_the_truth() -> None:
    tracks = [babble(4, seed) for seed in range(3)]
    heard = tracks[0][:-100]
    errors = []
    for channels in (1, 16, 128):
        made = LinearAudio(tracks, AudioVAEConfig(channels=channels))(heard)
        assert made.shape == heard.shape
        errors.append(log_mel_l1(made[None], heard[None], 16000))
    assert errors[0] > errors[1] > errors[2]


def test_intelligibility_is_one_of_the_truth_less_of_noise_and_unknown_of_silence() -> None:
    true = babble(3, 0)
    assert short_time_intelligibility(true, true, 16000) == pytest.approx(1)
    noisy = short_time_intelligibility(true + 0.1 * torch.randn(len(true)), true, 16000)
    assert noisy is not None and noisy < 0.95
    assert short_time_intelligibility(true, torch.zeros_like(true), 16000) is None
    burst = torch.zeros_like(true)
    burst[:3000] = true[2000:5000]
    assert short_time_intelligibility(true, burst, 16000) is None


def test_measure_speaks_of_vae_and_baseline_alike_and_leaves_out_what_it_cannot_know() -> None:
    torch.manual_seed(0)
    audio = AudioVAE(AudioVAEConfig(encoder_width=16, latent_width=24, decoder_width=20)).requires_grad_(False)
    ours, theirs = measure(audio, [babble(2, 0), torch.zeros(32000)], lambda true: true)
    assert set(ours) == set(theirs) == {"log_mel_l1", "stoi"}
    assert theirs == {"log_mel_l1": 0, "stoi": 1}  # STOI of the track that speaks, alone
    video = VideoVAE(VideoVAEConfig(height=16, width=16, widths=(8, 8, 8))).requires_grad_(False)
    track = torch.zeros((8, 16, 16, 3), dtype=torch.uint8)
    assert set(measure(video, [track], None)[0]) == {"psnr_db", "ssim", "unit_flicker"}
    assert set(measure(video, [track[:4]], None)[0]) == {"psnr_db", "ssim"}
    assert measure(video, [], None) == ({}, {})


def test_curves_are_split_by_what_they_are_of(tmp_path: Path) -> None:
    curve = [
        {"step": 0.0, "loss": 2.0, "pull": 1.0, "valid_psnr_db": 20.0, "valid_ssim": 0.5},
        {"step": 5.0, "loss": 1.0},
    ]
    write_curves(tmp_path / "data", "video", curve)
    losses, unseen = (path.read_text().split() for path in curve_paths(tmp_path / "data", "video"))
    assert losses == ["step,loss,pull", "0,2,1", "5,1,"]
    assert unseen == ["step,psnr_db,ssim", "0,20,0.5"]
    write_curves(tmp_path / "data", "audio", [])
    assert [path.read_text().split() for path in curve_paths(tmp_path / "data", "audio")] == [
        ["step,loss"],
        ["step,log_mel_l1"],
    ]


def person(speaker_id: str, consent: list[str] | None, **columns: Any) -> dict[str, Any]:
    return {"speaker_id": speaker_id, "consent": consent, "audio_path": None, **columns}


def test_the_sheet_shows_quiet_and_loud_moments(tmp_path: Path) -> None:
    samples = np.full(16000 * 12, 0.01, np.float32)
    for second in (2, 5, 7, 10):
        samples[second * 16000 : second * 16000 + 3200] = 0.5
    for second in (1, 4, 8, 11):
        samples[second * 16000 : second * 16000 + 3200] = 0
    write_wav(tmp_path / "a.wav", samples, 16000)
    media = {"audio_path": "a.wav", "audio_sha256": file_sha256(tmp_path / "a.wav"), "video_path": None}
    row = person("p", ["show"], session_id="s", rate_hz=16000, video_sha256=None, **media)
    moments = reports._moments(tmp_path, row, 300)
    assert [caption for caption, _ in moments] == ["quiet"] * 4 + ["loud"] * 4
    assert [frame // 25 for _, frame in moments] == [1, 4, 8, 11, 2, 5, 7, 10]
    silent = reports._moments(tmp_path, person("p", ["show"]), 80)
    assert silent == [("", 10 * index) for index in range(8)]


def test_only_people_who_agreed_are_shown_each_once() -> None:
    pairs = [
        (person("c", ["train"]), torch.empty(0)),
        (person("b", ["train", "show"], at=0), torch.empty(0)),
        (person("b", ["train", "show"], at=1), torch.empty(0)),
        (person("a", None), torch.empty(0)),
        (person("d", ["show"], at=0), torch.empty(0)),
    ]
    assert [(row["speaker_id"], row["at"]) for row, _ in reports.shown_people(pairs)] == [("b", 0), ("d", 0)]


def test_films_show_both_sides_and_play_both_sounds(tmp_path: Path) -> None:
    write_tracks(tmp_path, {"one": ("train", "av", 6)})
    torch.manual_seed(0)
    audio = AudioVAE(AudioVAEConfig(encoder_width=16, latent_width=24, decoder_width=20)).requires_grad_(False)
    video = VideoVAE(VideoVAEConfig(height=32, width=32, widths=(8, 8, 8))).requires_grad_(False)
    rows = read_rows(tmp_path, "tracks")
    reports.draw_films(tmp_path, audio, video, {"seen": rows, "unseen": [row | {"consent": None} for row in rows]})
    assert not (tmp_path / "reports" / "vae_unseen.mp4").exists()
    frames_THWC = read_frames(tmp_path / "reports" / "vae_seen.mp4")
    truth = read_frames(tmp_path / rows[0]["video_path"])
    assert len(frames_THWC) == 2 * len(truth)
    left = frames_THWC[: len(truth), 16:208, :192][:, 3::6, 3::6]
    assert np.abs(left.astype(int) - truth).mean() < 12  # the film is compressed
