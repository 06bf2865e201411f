"""Vectors of voices: what the network gets, and who the user is helped by if its weights are missing."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.signals import voice_embedding
from pipelines.signals.pickled_weights import read_pickled_weights
from pipelines.signals.voice_activity import RATE_HZ
from pipelines.signals.voice_embedding import (
    NUM_MELS,
    WIDTH,
    Embedder,
    Resemblyzer,
    embedder_sha256,
    load_embedder,
    mel_power,
    resemblyzer_weights,
)
from wanstreamer.clock import Span
from wanstreamer.errors import InputError

NO_EXTRA = importlib.util.find_spec("whisperx") is None


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder()


def buzz(seed: int, seconds: float = 3.0) -> np.ndarray:
    """float32 at 16 kHz: harmonics with formants that move, and a little noise."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    pitch_hz = 100 + 60 * seed + 15 * np.sin(2 * np.pi * 0.7 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    sound_T = sum(np.sin(k * phase) / k for k in range(1, 20)) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time_s))
    return (0.05 * sound_T + rng.normal(0, 1e-3, len(time_s))).astype(np.float32)


def test_a_tone_is_in_its_mel_band() -> None:
    time_s = np.arange(RATE_HZ) / RATE_HZ
    power_FM = mel_power(np.sin(2 * np.pi * 1000 * time_s).astype(np.float32))
    assert power_FM.shape == (101, NUM_MELS) and power_FM.dtype == np.float32
    # 1000 Hz is mel 15 of 45.25 at 8000 Hz; band k has its middle at mel (k + 1) * 45.25 / 41.
    assert power_FM[50].argmax() == round(15 / 45.245 * 41) - 1
    # A sine under a Hann window of 400 has a peak of (400 / 4) ** 2, and an area of 1.5 times this over the bins.
    assert power_FM[50].sum() == pytest.approx(1.5 * 100**2 * 2 / 133, rel=0.2)
    assert mel_power(np.zeros(0, np.float32)).shape == (1, NUM_MELS)


def test_long_sound_has_the_same_bands_as_short(monkeypatch: pytest.MonkeyPatch) -> None:
    audio_T = buzz(0)
    whole = mel_power(audio_T)
    monkeypatch.setattr(voice_embedding, "SPECTRA_PER_STEP", 7)
    assert mel_power(audio_T) == pytest.approx(whole, rel=1e-5)


def test_vectors_are_those_of_the_network_for_each_piece_alone(embedder: Embedder) -> None:
    """As Resemblyzer computes them: state after the last frame, linear, relu, length 1."""
    audio_T, span = buzz(1), Span(500, 2_100)
    assert isinstance(embedder, Resemblyzer)
    power_FM = mel_power(audio_T)[50:210]
    level = np.mean(audio_T[8_000:33_600].astype(np.float64) ** 2)
    state = read_pickled_weights(resemblyzer_weights(), "weights")["model_state"]
    hidden = torch.from_numpy((power_FM * 10**-3 / level).astype(np.float32))
    for layer in range(3):  # an LSTM written out
        w, r, b, c = (state[f"lstm.{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        h, memory, outputs = torch.zeros(WIDTH), torch.zeros(WIDTH), []
        for frame in hidden:
            i, f, g, o = (w @ frame + b + r @ h + c).chunk(4)
            memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
            h = o.sigmoid() * memory.tanh()
            outputs.append(h)
        hidden = torch.stack(outputs)
    expected = torch.relu(state["linear.weight"] @ hidden[-1] + state["linear.bias"]).numpy()
    (vector_E,) = embedder(audio_T, [span])
    assert vector_E == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)


def test_vectors_depend_on_the_piece_only(embedder: Embedder) -> None:
    audio_T = np.concatenate([buzz(0), buzz(2)])
    spans = [Span(0, 1_600), Span(1_000, 1_800), Span(3_200, 4_800), Span(5_000, 5_300)]
    vectors_NE = embedder(audio_T, spans)
    assert vectors_NE.shape == (4, WIDTH) and vectors_NE.dtype == np.float32
    assert np.linalg.norm(vectors_NE, axis=1) == pytest.approx(1, abs=1e-5)
    assert embedder(audio_T, spans[::-1])[::-1] == pytest.approx(vectors_NE, abs=1e-5)
    assert np.array_equal(embedder(audio_T, spans), vectors_NE)
    # Later, and at another level.
    later_T = np.concatenate([np.zeros(RATE_HZ, np.float32), 0.1 * audio_T])
    later = embedder(later_T, [Span(a + 1_000, b + 1_000) for a, b in spans[1:]])
    assert later == pytest.approx(vectors_NE[1:], abs=2e-3)


def test_nothing_gives_nothing_and_pieces_may_reach_over_the_end(embedder: Embedder) -> None:
    assert embedder(buzz(0), []).shape == (0, WIDTH)
    for audio_T in (np.zeros(0, np.float32), np.zeros(100, np.float32), buzz(0, 0.5)):
        vectors_NE = embedder(audio_T, [Span(0, 1_600), Span(200, 210)])
        assert vectors_NE.shape == (2, WIDTH) and np.isfinite(vectors_NE).all()


def test_missing_weights_are_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="resemblyzer .*not installed; run `make setup`, or `pip install --no-deps"):
        load_embedder()
    with pytest.raises(InputError, match="resemblyzer"):
        embedder_sha256()


def test_damaged_and_foreign_weights_are_one_line(tmp_path: Path) -> None:
    weights = resemblyzer_weights().read_bytes()
    (tmp_path / "short.pt").write_bytes(weights[: len(weights) // 2])
    (tmp_path / "pointer.pt").write_text("version https://git-lfs.github.com/spec/v1\n")
    for name in ("short.pt", "pointer.pt"):
        with pytest.raises(InputError, match=rf"{name}: .*; expected the voice encoder of Resemblyzer") as caught:
            Resemblyzer(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_the_hash_is_that_of_the_weights() -> None:
    assert len(embedder_sha256()) == 64


@pytest.mark.skipif(NO_EXTRA, reason="needs the asr extra")
def test_a_pyannote_folder_may_be_the_pipeline_or_its_embedding(tmp_path: Path) -> None:
    from pipelines.signals.speech_models import import_speech_packages

    import_speech_packages()
    from tests.helpers import tiny_speech_models

    folder = tiny_speech_models.diarization(tmp_path / "pipeline")
    audio_T, spans = buzz(0), [Span(0, 1_600), Span(500, 1_300)]
    embedder = load_embedder(str(folder))
    vectors_NE = embedder(audio_T, spans)
    assert vectors_NE.shape == (2, 256) and np.linalg.norm(vectors_NE, axis=1) == pytest.approx(1, abs=1e-5)
    assert load_embedder(str(folder / "embedding"))(audio_T, spans) == pytest.approx(vectors_NE, abs=1e-5)
    assert embedder(audio_T, []).shape == (0, 256)
    assert embedder_sha256(str(folder)) == embedder_sha256(str(folder / "embedding")) != embedder_sha256()


@pytest.mark.skipif(NO_EXTRA, reason="needs the asr extra")
def test_a_folder_without_a_model_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"people.voice_model .*no pytorch_model.bin there; expected .*pyannote"):
        load_embedder(str(tmp_path))
