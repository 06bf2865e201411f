"""A face in consecutive pictures, and the sound -> whether this face speaks, with the network LR-ASD.

Liao et al., "LR-ASD: Lightweight and Robust Network for Active Speaker Detection", IJCV 2025; 0.84 million weights
(MIT), from github.com/Junhua-Liao/LR-ASD; `tools.models` fetches them. The network is written here again, from the
names and shapes of the weights; normalisation is folded into the convolutions.

Shapes: T pictures at 25 Hz, F = 4 T frames of sound at 100 Hz, C channels, H, W height and width.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.engine.models import ACTIVE_SPEAKER, lacking
from pipelines.signals.pickled_weights import read_pickled_weights
from wanstreamer.clock import FRAME_RATE_HZ
from wanstreamer.errors import InputError

if TYPE_CHECKING:
    import torch

RATE_HZ = 16000
FILES = ("finetuning_TalkSet.model", "pretrain_AVA.model")  # the first is better on recordings from anywhere
NUM_COEFFICIENTS = 13
FRAMES_PER_PICTURE = 4  # of sound
HOP, WINDOW, SPECTRUM = 160, 400, 512  # samples
NUM_BANDS = 26
LIFTER = 22
LIGHT_MEAN, LIGHT_DEVIATION = 0.4161, 0.1688  # of the faces that it was trained with
_EPSILON = 1e-3  # of its normalisation
_EXPECTED = "the weights of LR-ASD"


def weights_file(folder: Path, setting: str) -> Path:
    """The file of weights in the folder; imports nothing. Raises InputError that names the setting if there is none."""
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    raise lacking(setting, folder, ACTIVE_SPEAKER, (" or ".join(FILES),))


class ActiveSpeaker:
    """The network, on the CPU, with one thread."""

    def __init__(self, weights: "Mapping[str, torch.Tensor]") -> None:
        """`weights`: the state of the published network. Raises KeyError if some are missing."""
        import torch

        torch.set_num_threads(1)
        self.visual = [_folded_block(weights, f"model.visualEncoder.block{number}", "st") for number in (1, 2, 3)]
        self.sound = [_folded_block(weights, f"model.audioEncoder.block{number}", "mt") for number in (1, 2, 3)]
        self.fusion = _folded(weights, "model.fusion", "attention", "bn")
        self.gates = _folded(weights, "model.detector.attention", "attention", "bn")
        self.recurrent = [_recurrent(weights, f"model.detector.gru_{way}") for way in ("forward", "backward")]
        self.last = weights["lossAV.FC.weight"][1].float(), weights["lossAV.FC.bias"][1].float()

    def scores(self, faces_THW: np.ndarray, sound_FC: np.ndarray) -> np.ndarray:
        """float32 (T,): above 0, the face speaks.

        Args:
            faces_THW: uint8 (T, 112, 112): grey, the middle of the face.
            sound_FC: float32 (4 T, 13): `coefficients` of the sound of the same time.
        """
        import torch

        if not len(faces_THW):
            return np.zeros(0, np.float32)
        with torch.inference_mode():
            seen_TC = self._see(torch.from_numpy(faces_THW))
            heard_TC = self._hear(torch.from_numpy(np.ascontiguousarray(sound_FC, np.float32)))
            both_TC = _gated(torch.cat((heard_TC, seen_TC), dim=1), self.fusion)
            forward, backward = self.recurrent
            there_TC = forward(both_TC)[0]
            back_TC = backward(both_TC.flip(0))[0].flip(0)
            weight, bias = self.last
            return (_gated(torch.cat((there_TC, back_TC), dim=1), self.gates) @ weight + bias).numpy()

    def _see(self, faces_THW: "torch.Tensor") -> "torch.Tensor":
        """(T, 112, 112) -> (T, 128)."""
        from torch.nn import functional

        x_TCHW = ((faces_THW.float() / 255 - LIGHT_MEAN) / LIGHT_DEVIATION)[:, None]
        for number, (space_1, space_2, time_1, time_2) in enumerate(self.visual):
            x_TCHW = _convolved(x_TCHW, space_1, stride=2 if number == 0 else 1)
            x_TCHW = _convolved(x_TCHW, space_2)
            frames, channels, height, width = x_TCHW.shape
            x_1CTP = x_TCHW.permute(1, 0, 2, 3).reshape(1, channels, frames, height * width)
            x_1CTP = _convolved(_convolved(x_1CTP, time_1), time_2)
            x_TCHW = x_1CTP.reshape(channels, frames, height, width).permute(1, 0, 2, 3)
            if number < 2:
                x_TCHW = functional.max_pool2d(x_TCHW, 3, stride=2, padding=1)
        return x_TCHW.amax(dim=(2, 3))

    def _hear(self, sound_FC: "torch.Tensor") -> "torch.Tensor":
        """(4 T, 13) -> (T, 128)."""
        from torch.nn import functional

        x_1CMF = sound_FC.T[None, None]
        for number, layers in enumerate(self.sound):
            for layer in layers:
                x_1CMF = _convolved(x_1CMF, layer)
            if number < 2:
                x_1CMF = functional.max_pool2d(x_1CMF, (1, 3), stride=(1, 2), padding=(0, 1))
        return x_1CMF.mean(dim=2)[0].T


def load_active_speaker(folder: Path, setting: str) -> ActiveSpeaker:
    """The network with the weights in a folder. Raises InputError as `weights_file`, or if they are of another one."""
    path = weights_file(folder, setting)
    weights = read_pickled_weights(path, _EXPECTED)
    try:
        return ActiveSpeaker(weights)
    except (KeyError, RuntimeError, AttributeError) as error:
        raise InputError(f"{setting}: {path}: {error}; expected {_EXPECTED}") from error


def sound_of_frames(audio_T: np.ndarray, first: int, count: int) -> np.ndarray:
    """`coefficients` for `count` pictures from the picture `first` on; the sound (16 kHz) may end before them."""
    per_picture = RATE_HZ // FRAME_RATE_HZ
    begin, num_samples = first * per_picture - 1, count * per_picture + 1 + WINDOW - HOP
    piece_T = np.zeros(num_samples, np.float32)
    there_T = np.asarray(audio_T[max(0, begin) : max(0, begin + num_samples)], np.float32)
    place = max(0, -begin)
    piece_T[place : place + len(there_T)] = there_T
    return coefficients(piece_T)[: FRAMES_PER_PICTURE * count]


def coefficients(sound_T: np.ndarray) -> np.ndarray:
    """float32 at 16 kHz, -1 to 1, with one sample before the first frame -> its MFCC at 100 Hz, float32 (F, 13).

    Those of the package python_speech_features, with which the network was trained: emphasis 0.97, windows of 25 ms, 26
    bands of HTK's mel scale, a lifter of 22, and the log energy in the place of the first coefficient.
    """
    scaled_T = np.asarray(sound_T, np.float64) * 32768
    sharpened_T = scaled_T[1:] - 0.97 * scaled_T[:-1]
    frames_FN = np.lib.stride_tricks.sliding_window_view(sharpened_T, WINDOW)[::HOP]
    power_FK = np.abs(np.fft.rfft(frames_FN, SPECTRUM)) ** 2 / SPECTRUM
    tiny = np.finfo(np.float64).eps
    bands_FB = np.log(np.maximum(power_FK @ _bands().T, tiny))
    sound_FC = bands_FB @ _cosines().T
    sound_FC[:, 0] = np.log(np.maximum(power_FK.sum(1), tiny))
    return sound_FC.astype(np.float32)


@cache
def _bands() -> np.ndarray:
    """Triangles of height 1 between whole bins of the spectrum, (26, 257)."""

    def hz(mel: np.ndarray) -> np.ndarray:
        return 700 * (10 ** (mel / 2595) - 1)

    top_mel = 2595 * np.log10(1 + RATE_HZ / 2 / 700)
    edges = np.floor((SPECTRUM + 1) * hz(np.linspace(0, top_mel, NUM_BANDS + 2)) / RATE_HZ)
    bins = np.arange(SPECTRUM // 2 + 1)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.where(bins < edges[1:-1, None], np.maximum(0, rising), np.maximum(0, falling))


@cache
def _cosines() -> np.ndarray:
    """The orthonormal DCT-II with its lifter, (13, 26)."""
    order, band = np.arange(NUM_COEFFICIENTS)[:, None], np.arange(NUM_BANDS)
    scale = np.sqrt(np.where(order == 0, 1, 2) / NUM_BANDS)
    lifter = 1 + LIFTER / 2 * np.sin(np.pi * order / LIFTER)
    return lifter * scale * np.cos(np.pi * order * (2 * band + 1) / (2 * NUM_BANDS))


_Layer = tuple["torch.Tensor", "torch.Tensor"]  # weight, bias


def _folded(weights: "Mapping[str, torch.Tensor]", name: str, layer: str, norm: str) -> _Layer:
    """A convolution without bias and the normalisation after it, as one convolution."""
    weight = weights[f"{name}.{layer}.weight"].float()
    scale = weights[f"{name}.{norm}.weight"] / (weights[f"{name}.{norm}.running_var"] + _EPSILON).sqrt()
    bias = weights[f"{name}.{norm}.bias"] - weights[f"{name}.{norm}.running_mean"] * scale
    return weight * scale.reshape(-1, *[1] * (weight.dim() - 1)), bias


def _folded_block(weights: "Mapping[str, torch.Tensor]", name: str, kinds: str) -> list[_Layer]:
    """Four convolutions in two dimensions: two over space or bands, two over time."""
    layers = []
    for kind in kinds:
        for number in (1, 2):
            weight, bias = _folded(weights, name, f"{kind}_{number}", f"{kind}_norm_{number}")
            if weight.dim() == 5:  # over (time, height, width), one of them without extent
                weight = weight[:, :, 0] if kind == "s" else weight[:, :, :, :, 0]
            layers.append((weight.contiguous(), bias))
    return layers


def _convolved(x: "torch.Tensor", layer: _Layer, stride: int = 1) -> "torch.Tensor":
    from torch.nn import functional

    weight, bias = layer
    height, width = weight.shape[2:]
    return functional.conv2d(x, weight, bias, stride=stride, padding=(height // 2, width // 2)).relu_()


def _gated(x_TC: "torch.Tensor", layer: _Layer) -> "torch.Tensor":
    weight, bias = layer
    return x_TC * (x_TC @ weight[:, :, 0].T + bias).sigmoid()


def _recurrent(weights: "Mapping[str, torch.Tensor]", name: str) -> "torch.nn.GRU":
    import torch

    state = {part: weights[f"{name}.{part}"] for part in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")}
    recurrent = torch.nn.GRU(state["weight_ih_l0"].shape[1], state["weight_hh_l0"].shape[1], batch_first=True)
    recurrent.load_state_dict(state)
    return recurrent.eval()
