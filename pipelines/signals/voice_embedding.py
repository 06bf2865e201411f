"""Pieces of a recording -> one unit vector each, close together where the same person speaks.

Two networks can be used, behind one interface (`Embedder`):
- The voice encoder of Resemblyzer (Apache-2.0; GE2E, Wan et al. 2018, arXiv 1710.10467): 3 layers of LSTM on 40 mel
  bands. Only the weights (17 MB) of the package `resemblyzer` are used, because the package requires librosa, and
  webrtcvad, which would be compiled. Therefore it is installed without its dependencies, by `make setup`.
- The embedding of a pyannote diarization pipeline, in a folder that the user names.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipelines.engine.files import file_sha256
from pipelines.engine.models import EMBEDDING
from pipelines.signals.mel import mel_filters
from pipelines.signals.pickled_weights import read_pickled_weights
from pipelines.signals.speech_models import device, folder_sha256, import_speech_packages, loading, model_folder
from pipelines.signals.voice_activity import RATE_HZ
from wanstreamer.clock import Span, merge_spans
from wanstreamer.errors import InputError

HOP_MS = 10
WINDOW_SAMPLES, HOP_SAMPLES, NUM_MELS = 400, 160, 40  # 25 ms every 10 ms
LEVEL_DB = -30.0  # RMS of each piece, relative to full scale: the mel bands are powers, not their logarithms
WIDTH = 256
BATCH = 256  # pieces per call
SPECTRA_PER_STEP = 8192  # bounds the memory of the spectra of a long recording
PACKAGE, PACKAGE_FILE = "resemblyzer", "pretrained.pt"
SETTING = "people.voice_model"


class Embedder(Protocol):
    """A network that recognises voices."""

    source: str  # its name
    # Cosine between the means of two groups of pieces of 1.6 s, up to which they are of two voices: where one group is
    # small, and where both are large (voice_clusters.py).
    limits: tuple[float, float]

    def __call__(self, audio_T: np.ndarray, spans: Sequence[Span]) -> np.ndarray:
        """Unit vectors, float32 (num_spans, width), of pieces of float32 (num_samples,) at 16 kHz."""
        ...


def load_embedder(folder: str = "") -> Embedder:
    """The network in a pyannote `folder`, or Resemblyzer's. Sets this process to one torch thread.

    Raises InputError if it is missing.
    """
    import torch

    torch.set_num_threads(1)
    return Pyannote(Path(folder)) if folder else Resemblyzer(resemblyzer_weights())


def embedder_sha256(folder: str = "") -> str:
    """Hash of the weights that `load_embedder` would load. Raises InputError if they are missing; imports nothing."""
    if not folder:
        return file_sha256(resemblyzer_weights())
    return folder_sha256(_pyannote_folder(Path(folder)))


def resemblyzer_weights() -> Path:
    """The file in the installed package. Raises InputError if it is missing."""
    home = importlib.util.find_spec(PACKAGE)  # not imported: its dependencies are not installed
    paths = [Path(place) / PACKAGE_FILE for place in (home.submodule_search_locations or [])] if home else []
    for path in paths:
        if path.is_file():
            return path
    raise InputError(
        f"{PACKAGE} (weights that recognise voices): not installed; run `make setup`, or "
        f"`pip install --no-deps {PACKAGE}==0.1.4`"
    )


class Resemblyzer:
    """The voice encoder of Resemblyzer."""

    source = "resemblyzer"
    limits = (0.835, 0.90)

    def __init__(self, path: Path) -> None:
        import torch

        expected = "the voice encoder of Resemblyzer 0.1.4, pretrained.pt"
        state = read_pickled_weights(path, expected).get("model_state", {})
        self.lstm = torch.nn.LSTM(NUM_MELS, WIDTH, 3, batch_first=True)
        self.linear = torch.nn.Linear(WIDTH, WIDTH)
        for name, layer in (("lstm", self.lstm), ("linear", self.linear)):
            own = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
            try:
                layer.load_state_dict(own)
            except RuntimeError as error:
                raise InputError(f"{path}: other layers than expected; expected {expected}") from error
            layer.requires_grad_(False)

    def __call__(self, audio_T: np.ndarray, spans: Sequence[Span]) -> np.ndarray:
        import torch

        num_frames = len(audio_T) // HOP_SAMPLES + 1
        power_FM = np.zeros((num_frames, NUM_MELS), np.float32)
        for span in merge_spans(spans):
            first, last = (min(ms // HOP_MS, num_frames) for ms in span)
            power_FM[first:last] = mel_power(audio_T, first, last)
        energy = np.concatenate([[0.0], np.cumsum(_energies(audio_T))])  # up to each frame, for the level of any piece
        vectors_NE = np.zeros((len(spans), WIDTH), np.float32)
        with torch.inference_mode():
            for rows, size in _of_equal_length(spans):
                starts = np.array([spans[row].start_ms // HOP_MS for row in rows], dtype=np.int64)
                frames_NF = np.minimum(starts[:, None] + np.arange(size), len(power_FM) - 1)
                first_N, last_N = (np.minimum(frames, num_frames) for frames in (starts, starts + size))
                power = (energy[last_N] - energy[first_N]) / (size * HOP_SAMPLES)
                gains = 10 ** (LEVEL_DB / 10) / np.maximum(power, 1e-12)
                pieces = (power_FM[frames_NF] * gains[:, None, None]).astype(np.float32)
                _, (hidden, _) = self.lstm(torch.from_numpy(pieces))
                vectors_NE[rows] = _unit(torch.relu(self.linear(hidden[-1])).numpy())
        return vectors_NE


def mel_power(audio_T: np.ndarray, first: int = 0, last: int | None = None) -> np.ndarray:
    """Power in mel bands every 10 ms, float32 (num_frames, 40); frame k is centred on 10 k ms.

    As librosa's `melspectrogram(n_fft=400, hop_length=160, n_mels=40)`, which the weights were trained on. `first` and
    `last` are frames: the default is all of them, num_samples // 160 + 1.
    """
    last = len(audio_T) // HOP_SAMPLES + 1 if last is None else last
    window = np.hanning(WINDOW_SAMPLES + 1)[:-1].astype(np.float32)
    filters = mel_filters(WINDOW_SAMPLES, NUM_MELS, RATE_HZ).T.astype(np.float32)
    power_FM = np.zeros((max(0, last - first), NUM_MELS), np.float32)
    for step in range(first, last, SPECTRA_PER_STEP):
        end = min(step + SPECTRA_PER_STEP, last)
        begin = step * HOP_SAMPLES - WINDOW_SAMPLES // 2
        samples_T = np.zeros((end - step - 1) * HOP_SAMPLES + WINDOW_SAMPLES, np.float32)
        known_T = audio_T[max(0, begin) : begin + len(samples_T)]
        samples_T[max(0, -begin) :][: len(known_T)] = known_T
        frames_FS = np.lib.stride_tricks.sliding_window_view(samples_T, WINDOW_SAMPLES)[::HOP_SAMPLES]
        spectra = np.fft.rfft(frames_FS * window, axis=1)
        power_FM[step - first : end - first] = (np.abs(spectra) ** 2).astype(np.float32) @ filters
    return power_FM


def _energies(audio_T: np.ndarray) -> np.ndarray:
    """Sum of squares of each 10 ms, float64 (num_samples // 160 + 1,); the last may be of less."""
    padded_T = np.pad(audio_T, (0, HOP_SAMPLES - len(audio_T) % HOP_SAMPLES))
    frames_FS = padded_T.reshape(-1, HOP_SAMPLES)
    return np.einsum("fs,fs->f", frames_FS, frames_FS, dtype=np.float64)


class Pyannote:
    """The embedding of a pyannote diarization pipeline, such as WeSpeaker's ResNet34."""

    source = "pyannote"
    limits = (0.5, 0.6)  # from its publishers' figures for the same and for other people

    def __init__(self, folder: Path) -> None:
        folder = _pyannote_folder(folder)
        import_speech_packages()
        import torch
        from pyannote.audio import Model

        with loading(SETTING, folder, EMBEDDING):
            model: Any = Model.from_pretrained(folder)
        self.device = torch.device(device())
        self.model = model.eval().to(self.device)

    def __call__(self, audio_T: np.ndarray, spans: Sequence[Span]) -> np.ndarray:
        import torch

        vectors: dict[int, np.ndarray] = {}
        with torch.inference_mode():
            for rows, size in _of_equal_length(spans):
                pieces_NT = np.zeros((len(rows), size * HOP_SAMPLES), np.float32)
                for piece_T, row in zip(pieces_NT, rows, strict=True):
                    first = spans[row].start_ms * RATE_HZ // 1000
                    samples = audio_T[first : first + len(piece_T)]
                    piece_T[: len(samples)] = samples
                batch = torch.from_numpy(pieces_NT)[:, None].to(self.device)
                vectors |= zip(rows, _unit(self.model(batch).float().cpu().numpy()), strict=True)
        width = int(self.model.dimension)
        return np.array([vectors[row] for row in range(len(spans))], np.float32).reshape(len(spans), width)


def _pyannote_folder(folder: Path) -> Path:
    """The folder of the embedding: of a pipeline, `embedding` in it. Raises InputError if something is missing."""
    inside = folder / "embedding"
    return model_folder(SETTING, inside if inside.is_dir() else folder, EMBEDDING, "pyannote.audio")


def _of_equal_length(spans: Sequence[Span]) -> Iterator[tuple[list[int], int]]:
    """Batches of indices of spans with the same number of frames, and that number."""
    by_size: dict[int, list[int]] = {}
    for row, span in enumerate(spans):
        by_size.setdefault(max(1, span.duration_ms // HOP_MS), []).append(row)
    for size, rows in sorted(by_size.items()):
        for first in range(0, len(rows), BATCH):
            yield rows[first : first + BATCH], size


def _unit(vectors_NE: np.ndarray) -> np.ndarray:
    return vectors_NE / np.maximum(np.linalg.norm(vectors_NE, axis=1, keepdims=True), 1e-9)
