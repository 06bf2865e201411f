"""Audio of one track -> probability of speech per frame, from silero-vad (weights in its wheel) or a pyannote model.

Also shared by all speech models: the device they run on, the check of a folder of weights that users download
themselves, and the import of whisperx and pyannote.audio. Nothing here uses the network.
"""

import hashlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pipelines.engine.files import file_sha256
from pipelines.engine.models import SEGMENTATION, Published, lacking
from pipelines.signals.params import DetectorParams
from pipelines.signals.voice_activity import RATE_HZ, Activity
from wanstreamer.errors import InputError

SILERO_SAMPLES = 512  # a frame of silero at 16 kHz: 32 ms
SILERO_CONTEXT = 64  # samples before the frame that silero gets too
SILERO_PIECE = 256  # frames per call: 8 s; more is not faster
PYANNOTE_MS = 16  # its frames of about 17 ms are resampled to this, so that edges are whole ms


Detector = Callable[[np.ndarray], Activity]


def device() -> str:
    """The device for models in folders: the GPU if there is one. Silero always runs on the CPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def load_detector(params: DetectorParams) -> Detector:
    """The detector named by `params.speech`. Sets this process to one torch thread: results depend on the number.

    Raises InputError if the pyannote model is missing.
    """
    import torch

    torch.set_num_threads(1)
    return Silero() if params.speech == "silero" else Pyannote(params)


class Silero:
    """silero-vad with the weights in its wheel.

    The wheel's own model takes one frame per call, and most of the time is overhead. Only its LSTM needs frames in
    order. Here the spectra and convolutions of a piece are computed at once, and then the LSTM runs over them, with the
    same weights. This is about 15 times faster; probabilities differ from the wheel's by rounding (under 1e-5).
    """

    def __init__(self) -> None:
        from silero_vad import load_silero_vad

        self.model = load_silero_vad()._model

    def __call__(self, audio_T: np.ndarray) -> Activity:
        """float32 (num_samples,) at 16 kHz; the last frame is padded with silence."""
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
    """A pyannote segmentation model, for any number of voices; everything that is not silence counts as speech."""

    def __init__(self, params: DetectorParams) -> None:
        folder = check_detector(params)
        import_speech_packages()
        import torch
        from pyannote.audio import Inference, Model

        with loading("annotate.speech_model", folder, SEGMENTATION):
            model: Any = Model.from_pretrained(folder)
        powerset = bool(model.specifications.powerset)

        def speech(scores_NFC: np.ndarray) -> np.ndarray:
            # Class 0 of a powerset means no voice, as log probability. Other models have a probability for every voice.
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
    """The folder of the pyannote model. Raises InputError if something is missing; imports nothing."""
    return model_folder("annotate.speech_model", Path(params.speech_model), SEGMENTATION, "pyannote.audio")


def detector_hashes(params: DetectorParams) -> tuple[str, ...]:
    """Hashes of weights that are not part of a package. Raises InputError as `check_detector`."""
    return (folder_sha256(check_detector(params)),) if params.speech == "pyannote" else ()


def model_folder(setting: str, folder: Path, model: Published, package: str) -> Path:
    """`folder`, if the package of the extra `asr` is installed and the folder holds the model's files.

    Args:
        setting: The parameter that the user sets, for example `annotate.speech_model`.
        folder: Its value; `Path("")` if it is not set.

    Raises:
        InputError: One line with what is missing and how to get it.
    """
    if not _installed(package):
        raise InputError(
            f"{setting}: {package} is not installed; run `uv pip install -e '.[asr]' -c constraints.txt` in the project"
        )
    missing = tuple(name for name in model.files if not (folder / name).is_file())
    if missing:
        raise lacking(setting, folder, model, missing)
    return folder


@contextmanager
def loading(setting: str, folder: Path, model: Published) -> Iterator[None]:
    """Turns any exception from loading a wrong folder (cut short, a git-lfs pointer, another model) into one line.

    All exceptions are caught, because torch, CTranslate2 and pyannote do not document which ones they raise.
    """
    try:
        yield
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise InputError(
            f"{setting} {folder}: {type(error).__name__}: {reason}; expected {model.what}, such as {model.model} of "
            "`python -m tools.models`"
        ) from error


def _installed(package: str) -> bool:
    """Whether a package is installed. It is not imported, because that takes seconds."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False


def folder_sha256(folder: Path) -> str:
    """Hash of the names and content of all files below, except hidden ones: other weights annotate differently."""
    folder_hash = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            folder_hash.update(f"{name.as_posix()} {file_sha256(path)}\n".encode())
    return folder_hash.hexdigest()


def import_speech_packages() -> None:
    """Call this in every process before whisperx or pyannote.audio are imported.

    pyannote prints a long warning if torchcodec finds no FFmpeg; this does not matter, as it gets arrays, never files.
    It would also report its use over the network.
    """
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    import_torchaudio()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\s*torchcodec is not installed correctly")
        import pyannote.audio  # noqa: F401


def import_torchaudio() -> None:
    """Call this in every process before anything else imports torchaudio.

    Its compiled extension links CUDA and cannot be loaded with the CPU build of torch. Nothing that is used here needs
    the extension, and torchaudio works without it if it is marked as unavailable.
    """
    try:
        import torchaudio  # noqa: F401
    except OSError:
        without: Any = ModuleType("torchaudio._extension")
        without._IS_TORCHAUDIO_EXT_AVAILABLE = False
        without.fail_if_no_align = lambda function: function
        sys.modules["torchaudio._extension"] = without
        import torchaudio  # noqa: F401
