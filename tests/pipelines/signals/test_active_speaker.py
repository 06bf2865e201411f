"""The network equals the published one layer by layer, and reads what it was trained with."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.signals.active_speaker import (
    FILES,
    ActiveSpeaker,
    coefficients,
    load_active_speaker,
    sound_of_frames,
    weights_file,
)
from wanstreamer.errors import InputError

SETTING = "people.asd_model"


class Block(torch.nn.Module):
    """Four convolutions with normalisation, over space and time or bands and time."""

    def __init__(self, channels_in: int, channels: int, kinds: str, stride: int = 1) -> None:
        super().__init__()
        self.kinds = kinds
        conv, norm = (
            (torch.nn.Conv3d, torch.nn.BatchNorm3d) if kinds == "st" else (torch.nn.Conv2d, torch.nn.BatchNorm2d)
        )
        before = channels_in
        for kind in kinds:
            for number, size in ((1, 5), (2, 3)):
                after = channels // 2 if kind != "t" and number == 1 else channels
                extent = {"s": (1, size, size), "m": (size, 1), "t": (size, 1, 1) if kinds == "st" else (1, size)}[kind]
                steps = (1, stride, stride) if kind == "s" and number == 1 else 1
                padding = tuple(side // 2 for side in extent)
                setattr(self, f"{kind}_{number}", conv(before, after, extent, steps, padding, bias=False))
                setattr(self, f"{kind}_norm_{number}", norm(after, eps=1e-3))
                before = after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for kind in self.kinds:
            for number in (1, 2):
                x = getattr(self, f"{kind}_norm_{number}")(getattr(self, f"{kind}_{number}")(x)).relu()
        return x


class Gate(torch.nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = torch.nn.Conv1d(channels, channels, 1, bias=False)
        self.bn = torch.nn.BatchNorm1d(channels, eps=1e-3)

    def forward(self, x_BTC: torch.Tensor) -> torch.Tensor:
        x_BCT = x_BTC.transpose(1, 2)
        return (x_BCT * self.bn(self.attention(x_BCT)).sigmoid()).transpose(1, 2)


class Published(torch.nn.Module):
    """The network as its paper draws it, without any folding: the names of its weights are those of the file."""

    def __init__(self) -> None:
        super().__init__()
        self.model = torch.nn.Module()
        for name, kinds in (("visualEncoder", "st"), ("audioEncoder", "mt")):
            encoder = torch.nn.Module()
            for number, (before, after) in enumerate(((1, 32), (32, 64), (64, 128)), 1):
                stride = 2 if number == 1 and kinds == "st" else 1
                setattr(encoder, f"block{number}", Block(before, after, kinds, stride))
            setattr(self.model, name, encoder)
        self.model.fusion = Gate(256)
        self.model.detector = torch.nn.Module()
        self.model.detector.gru_forward = torch.nn.GRU(256, 64, batch_first=True)
        self.model.detector.gru_backward = torch.nn.GRU(256, 64, batch_first=True)
        self.model.detector.attention = Gate(128)
        self.lossAV = torch.nn.Module()
        self.lossAV.FC = torch.nn.Linear(128, 2)

    def forward(self, faces_THW: np.ndarray, sound_FC: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(faces_THW)[None, None].float()
        x = (x / 255 - 0.4161) / 0.1688
        for number in (1, 2, 3):
            x = getattr(self.model.visualEncoder, f"block{number}")(x)
            if number < 3:
                x = torch.nn.functional.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
        seen = x.amax(dim=(3, 4)).transpose(1, 2)
        x = torch.from_numpy(sound_FC)[None, None].transpose(2, 3)
        for number in (1, 2, 3):
            x = getattr(self.model.audioEncoder, f"block{number}")(x)
            if number < 3:
                x = torch.nn.functional.max_pool2d(x, (1, 3), (1, 2), (0, 1))
        heard = x.mean(2).transpose(1, 2)
        both = self.model.fusion(torch.cat((heard, seen), 2))
        there = self.model.detector.gru_forward(both)[0]
        back = self.model.detector.gru_backward(both.flip(1))[0].flip(1)
        out = self.model.detector.attention(torch.cat((there, back), 2))
        return self.lossAV.FC(out)[0, :, 1].numpy()


@pytest.fixture(scope="module")
def published() -> Published:
    torch.manual_seed(0)
    network = Published().eval()
    for module in network.modules():
        if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)):
            module.running_mean.normal_(0, 0.3)  # type: ignore[union-attr,operator]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr,operator]
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.3)
    return network


def inputs(length: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (length, 112, 112), np.uint8), rng.normal(0, 5, (4 * length, 13)).astype(np.float32)


@pytest.mark.parametrize("length", [1, 2, 7, 12])
def test_scores_equal_those_of_the_published_network(published: Published, length: int) -> None:
    faces, sound = inputs(length)
    with torch.inference_mode():
        expected = published(faces, sound)
    scores = ActiveSpeaker(published.state_dict()).scores(faces, sound)
    assert scores.shape == (length,) and scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-4)


def test_a_picture_is_seen_from_nine_away_and_no_farther(published: Published) -> None:
    network = ActiveSpeaker(published.state_dict())
    faces, _ = inputs(26)
    other = faces.copy()
    other[13] = 255 - other[13]
    with torch.inference_mode():
        change = (network._see(torch.from_numpy(other)) - network._see(torch.from_numpy(faces))).abs().amax(1)
    reached = np.flatnonzero(change.numpy() > 0)
    assert reached.min() == 4 and reached.max() == 22


def test_scores_depend_on_picture_and_sound_in_both_directions(published: Published) -> None:
    network = ActiveSpeaker(published.state_dict())
    faces, sound = inputs(26)
    before = network.scores(faces, sound)
    for place in (0, 25):
        other = faces.copy()
        other[place] = 255 - other[place]
        louder = sound.copy()
        louder[4 * place : 4 * place + 4] += 20
        for changed in (network.scores(other, sound), network.scores(faces, louder)):
            assert (changed != before).sum() > 10
    assert len(network.scores(faces[:0], sound[:0])) == 0


def test_coefficients_are_those_of_plain_formulas() -> None:
    rng = np.random.default_rng(0)
    sound_T = rng.normal(0, 0.1, 1 + 400 + 160 * 3).astype(np.float32)
    found = coefficients(sound_T)
    assert found.shape == (4, 13) and found.dtype == np.float32
    scaled = sound_T.astype(np.float64) * 32768
    frame = (scaled[1:] - 0.97 * scaled[:-1])[160:560]
    power = np.abs(np.fft.fft(frame, 512)[:257]) ** 2 / 512
    edges = [
        int(513 * 700 * (10 ** (step * 2595 * np.log10(1 + 8000 / 700) / 27 / 2595) - 1) / 16000) for step in range(28)
    ]
    bands = []
    for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False):
        weights = np.interp(np.arange(257), [low, middle, high], [0, 1, 0])
        bands.append(np.log(weights @ power))
    cosines = [
        sum(band * np.cos(np.pi * order * (place + 0.5) / 26) for place, band in enumerate(bands)) * np.sqrt(2 / 26)
        for order in range(13)
    ]
    expected = [cosine * (1 + 11 * np.sin(np.pi * order / 22)) for order, cosine in enumerate(cosines)]
    expected[0] = np.log(power.sum())
    np.testing.assert_allclose(found[1], expected, rtol=1e-4)


def test_sound_of_frames_is_the_same_in_any_pieces_and_silent_outside() -> None:
    audio_T = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    whole = sound_of_frames(audio_T, 0, 30)
    assert whole.shape == (120, 13)
    pieces = np.concatenate([sound_of_frames(audio_T, first, 10) for first in (0, 10, 20)])
    np.testing.assert_array_equal(whole, pieces)
    assert np.isfinite(whole).all() and np.ptp(whole[104:], axis=0).max() == 0


def test_a_folder_without_weights_or_with_others_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=f"{SETTING} .*no finetuning_TalkSet.model or pretrain_AVA.model there; .*tools.models fetch lr-asd",
    ):
        weights_file(tmp_path, SETTING)
    torch.save({"weight": torch.zeros(3)}, tmp_path / FILES[1])  # noqa: TID251
    assert weights_file(tmp_path, SETTING).name == FILES[1]
    with pytest.raises(InputError, match="model.visualEncoder.*expected the weights of LR-ASD"):
        load_active_speaker(tmp_path, SETTING)
    (tmp_path / FILES[0]).write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(InputError, match=f"{FILES[0]}.*expected the weights of LR-ASD"):
        load_active_speaker(tmp_path, SETTING)
