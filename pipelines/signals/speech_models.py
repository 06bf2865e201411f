"""Audio of one track -> how probable speech is, frame by frame: silero-vad (in its wheel) or a pyannote model.

Also what every model of speech shares here: the device it runs on, how a folder of weights that people fetch
themselves is checked, and how whisperx and pyannote.audio are imported. Nothing here goes to the network.
"""

import hashlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from pipelines.engine.files import file_sha256
from pipelines.signals.voice_activity import RATE_HZ, Activity
from wanstreamer.errors import InputError

SILERO_SAMPLES = 512  # a frame of silero at 16 kHz: 32 ms
SILERO_CONTEXT = 64  # samples before the frame that it sees, too
SILERO_PIECE = 256  # frames worked on at a time: 8 s; more is no faster
PYANNOTE_MS = 16  # its own frames of about 17 ms are brought to this, so that edges are whole ms


@dataclass(frozen=True, kw_only=True)
class DetectorParams:
    """Which detector hears speech."""

    speech: Literal["silero", "pyannote"] = "silero"
    speech_model: str = ""  # folder with a pyannote segmentation model, for `speech: pyannote`


@dataclass(frozen=True, kw_only=True)
class Published:
    """A model that people fetch themselves."""

    what: str
    hub: str  # its name on huggingface.co
    files: tuple[str, ...]  # that the folder must hold
    note: str = ""


# The folder `segmentation` of the diarization pipeline is the model that hears speech.
DIARIZATION = Published(
    what="a pyannote diarization pipeline",
    hub="pyannote/speaker-diarization-community-1",
    files=("config.yaml",),
    note=" (accept its conditions on its page and run `hf auth login` first)",
)
SEGMENTATION = Published(
    what="a pyannote segmentation model",
    hub=DIARIZATION.hub,
    files=("pytorch_model.bin",),
    note=", folder `segmentation`" + DIARIZATION.note,
)

Detector = Callable[[np.ndarray], Activity]


def device() -> str:
    """Where weights that come as folders run: the GPU when there is one. Silero stays on the CPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def load_detector(params: DetectorParams) -> Detector:
    """The detector `params.speech` names. Sets this process to one torch thread, as bytes change with their number.

    Raises InputError for a pyannote model that is not there.
    """
    import torch

    torch.set_num_threads(1)
    return Silero() if params.speech == "silero" else Pyannote(params)


class Silero:
    """silero-vad from the weights in its wheel.

    The wheel's own model takes one frame at a time, nearly all of which is overhead. Only its LSTM needs frames in
    order: here the spectra and convolutions of a piece are worked out at once and the LSTM runs over them, with the
    same weights. Probabilities differ from the wheel's by rounding (under 1e-5), at some 15 times the speed.
    """

    def __init__(self) -> None:
        from silero_vad import load_silero_vad

        self.model = load_silero_vad()._model

    def __call__(self, audio_T: np.ndarray) -> Activity:
        """float32 (num_samples,) at 16 kHz; the last frame is filled up with silence."""
        import torch

        num_frames = -(-len(audio_T) // SILERO_SAMPLES)
        padded_T = np.zeros(SILERO_CONTEXT + max(num_frames, 1) * SILERO_SAMPLES, np.float32)
        padded_T[SILERO_CONTEXT:][: len(audio_T)] = audio_T
        frames_NS = torch.from_numpy(padded_T).unfold(0, SILERO_CONTEXT + SILERO_SAMPLES, SILERO_SAMPLES)
        decoder = self.model.decoder
        cell = decoder.rnn
        weights = [cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh]
        hidden = memory = torch.zeros(1, 1, cell.weight_hh.shape[1])
        pieces = [np.zeros(0, np.float32)]
        with torch.inference_mode():
            for start in range(0, num_frames, SILERO_PIECE):
                spectra = self.model.run_extractors(frames_NS[start : start + SILERO_PIECE].contiguous())
                seen_NC = self.model.encoder(spectra).squeeze(-1)
                heard_N1C, hidden, memory = torch.lstm(
                    seen_NC[:, None], (hidden, memory), weights, True, 1, 0.0, False, False, False
                )
                pieces.append(decoder.decoder(heard_N1C.transpose(1, 2)).reshape(-1).numpy())
        return Activity(
            probabilities=np.concatenate(pieces), frame_ms=1000 * SILERO_SAMPLES // RATE_HZ, source="silero"
        )


class Pyannote:
    """A pyannote segmentation model, of any number of voices; speech is whatever is not silence."""

    def __init__(self, params: DetectorParams) -> None:
        folder = check_detector(params)
        import_speech_packages()
        import torch
        from pyannote.audio import Inference, Model

        with loading("annotate.speech_model", folder, SEGMENTATION):
            model: Any = Model.from_pretrained(folder)
        powerset = bool(model.specifications.powerset)

        def speech(scores_NFC: np.ndarray) -> np.ndarray:
            # Class 0 of a powerset is nobody, as log probability; else there is a probability for every voice.
            return 1 - np.exp(scores_NFC[..., :1]) if powerset else scores_NFC.max(axis=-1, keepdims=True)

        self.infer = Inference(
            model, skip_conversion=True, pre_aggregation_hook=speech, batch_size=8, device=torch.device(device())
        )

    def __call__(self, audio_T: np.ndarray) -> Activity:
        """float32 (num_samples,) at 16 kHz."""
        import torch

        num_frames = -(-1000 * len(audio_T) // (PYANNOTE_MS * RATE_HZ))
        if not len(audio_T):
            return Activity(probabilities=np.zeros(0, np.float32), frame_ms=PYANNOTE_MS, source="pyannote")
        scores: Any = self.infer({"waveform": torch.from_numpy(audio_T.copy())[None], "sample_rate": RATE_HZ})
        window = scores.sliding_window
        middles_s = window.start + window.duration / 2 + window.step * np.arange(len(scores.data))
        wanted_s = PYANNOTE_MS / 1000 * (np.arange(num_frames) + 0.5)
        probabilities = np.interp(wanted_s, middles_s, scores.data[:, 0]).astype(np.float32)
        return Activity(probabilities=probabilities, frame_ms=PYANNOTE_MS, source="pyannote")


def check_detector(params: DetectorParams) -> Path:
    """The folder of the pyannote model; raises InputError for what is missing, without importing anything."""
    return model_folder("annotate.speech_model", Path(params.speech_model), SEGMENTATION, "pyannote.audio")


def detector_hashes(params: DetectorParams) -> tuple[str, ...]:
    """Of weights that are no package's. Raises InputError as `check_detector`."""
    return (folder_sha256(check_detector(params)),) if params.speech == "pyannote" else ()


def model_folder(setting: str, folder: Path, model: Published, package: str) -> Path:
    """`folder`, if the package of the extra `asr` is installed and the folder holds the model's files.

    Args:
        setting: What the user sets, for example `annotate.speech_model`.
        folder: Its value; `Path("")` where it was not set.

    Raises:
        InputError: One line that says what is missing and how to get it.
    """
    if not _installed(package):
        raise InputError(
            f"{setting}: {package} is not installed; run `uv pip install -e '.[asr]' -c constraints.txt` in the project"
        )
    lacking = [name for name in model.files if not (folder / name).is_file()]
    if lacking:
        state = f"{folder}: no {', '.join(lacking)} there" if folder != Path() else "not set"
        raise InputError(
            f"{setting} {state}; expected the local folder of {model.what}: `hf download {model.hub} --local-dir "
            f"DIR`{model.note}, then set {setting}"
        )
    return folder


@contextmanager
def loading(setting: str, folder: Path, model: Published) -> Iterator[None]:
    """Whatever a folder raises that is none of the kind (cut short, a pointer of git-lfs, another model), as one line.

    Which exceptions these are, neither torch nor CTranslate2 nor pyannote says.
    """
    try:
        yield
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise InputError(
            f"{setting} {folder}: {type(error).__name__}: {reason}; expected {model.what}, such as {model.hub}"
        ) from error


def _installed(package: str) -> bool:
    """Asked for without importing it, which takes seconds."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of the package it lies in
        return False


def folder_sha256(folder: Path) -> str:
    """Hash of all files below, names and content, but hidden ones: other weights are another annotator."""
    folder_hash = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            folder_hash.update(f"{name.as_posix()} {file_sha256(path)}\n".encode())
    return folder_hash.hexdigest()


def import_speech_packages() -> None:
    """To be called before whisperx or pyannote.audio are imported, in every process.

    pyannote warns at length where torchcodec finds no FFmpeg; it is given arrays, never files. It would also count its
    use over the network.
    """
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    import_torchaudio()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\s*torchcodec is not installed correctly")
        import pyannote.audio  # noqa: F401


def import_torchaudio() -> None:
    """To be called before anything else imports torchaudio, in every process.

    Its compiled extension links CUDA and cannot be loaded beside a torch of the CPU; nothing that is used of torchaudio
    needs it, and torchaudio itself goes on without it when told that there is none.
    """
    try:
        import torchaudio  # noqa: F401
    except OSError:
        without: Any = ModuleType("torchaudio._extension")
        without._IS_TORCHAUDIO_EXT_AVAILABLE = False
        without.fail_if_no_align = lambda function: function
        sys.modules["torchaudio._extension"] = without
        import torchaudio  # noqa: F401
