"""Sound -> how good listeners would say it is, from 1 (bad) to 5 (excellent), with the networks of `speechmos`.

DNSMOS P.835 (Reddy et al. 2022) scores the voice, the background and the whole, and P.808 the whole once more. AECMOS
(Purin et al. 2022) scores how little echo of another person's voice there is. The weights (MIT, Microsoft) are in the
package `speechmos`, an extra; nothing else of that package is used, because it requires librosa. onnxruntime runs them.
"""

import importlib.metadata
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipelines.signals.mel import mel_filters

RATE_HZ = 16000
VOICE_SAMPLES = 144_160  # 9.01 s, what DNSMOS hears at a time
ECHO_SAMPLES = 20 * RATE_HZ  # what AECMOS hears at most
VOICE_WEIGHTS, WHOLE_WEIGHTS = "dnsmos_models/sig_bak_ovr.onnx", "dnsmos_models/model_v8.onnx"
ECHO_WEIGHTS = "aecmos_models/Run_1663829550_Stage_0.onnx"  # 16 kHz; does not need to know who speaks
# From the outputs of DNSMOS to its scores: polynomials, highest power first (dnsmos.py of the package).
VOICE_FIT = (-0.08397278, 1.22083953, 0.0052439)
BACKGROUND_FIT = (-0.13166888, 1.60915514, -0.39604546)
OVERALL_FIT = (-0.06766283, 1.11546468, 0.04602535)


class Scores(NamedTuple):
    """Of one clip, 1 to 5."""

    voice: float  # without regard to the background
    background: float
    overall: float
    p808: float  # overall, by a network that was trained on ratings of the whole alone


def installed() -> str | None:
    """The version of `speechmos`, or None if it or onnxruntime is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("speechmos", "onnxruntime")):
        return None
    return importlib.metadata.version("speechmos")


def voice_scores(clip_T: np.ndarray) -> Scores:
    """float32 (VOICE_SAMPLES,) at 16 kHz -> its scores."""
    raw = _network(VOICE_WEIGHTS).run(None, {"input_1": clip_T[None].astype(np.float32)})[0][0]
    mel_FM = log_mel(clip_T[:-160], size=321, hop=160, num_bands=120)
    p808 = _network(WHOLE_WEIGHTS).run(None, {"input_1": mel_FM[None].astype(np.float32)})[0][0][0]
    fits = (VOICE_FIT, BACKGROUND_FIT, OVERALL_FIT)
    voice, background, overall = (float(np.polyval(fit, value)) for fit, value in zip(fits, raw, strict=True))
    return Scores(voice, background, overall, float(p808))


def echo_score(other_T: np.ndarray, own_T: np.ndarray) -> float:
    """How little of another person's sound is in one's own, 1 to 5; both float32 at 16 kHz, up to ECHO_SAMPLES."""
    other_FM, own_FM = (log_mel(clip_T, size=513, hop=256, num_bands=160) for clip_T in (other_T, own_T))
    features = np.stack([other_FM, own_FM, own_FM])[None].astype(np.float32)
    state = np.zeros((4, 1, 64), np.float32)
    return float(_network(ECHO_WEIGHTS).run(None, {"input": features, "h0": state})[0][0])


def log_mel(sound_T: np.ndarray, *, size: int, hop: int, num_bands: int) -> np.ndarray:
    """Level of mel bands, (frames, bands): 1 at the loudest, 0 at 40 dB below it, at least -1; as librosa's."""
    padded = np.pad(np.asarray(sound_T, np.float64), size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    window = np.hanning(size + 1)[:-1]
    power_FM = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2 @ mel_filters(size, num_bands, RATE_HZ).T
    level_db = 10 * np.log10(np.maximum(power_FM, 1e-10))
    level_db -= level_db.max()
    return (np.maximum(level_db, -80) + 40) / 40


@cache
def _network(weights: str) -> Any:
    import onnxruntime

    home = importlib.util.find_spec("speechmos")
    if home is None or not home.submodule_search_locations:
        raise ModuleNotFoundError("speechmos: not installed; run `make extras EXTRAS=mos`")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # tracks are measured in parallel
    path = Path(home.submodule_search_locations[0]) / weights
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
