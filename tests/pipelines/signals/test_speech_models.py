"""Who hears speech and writes words: silero beside its wheel's own, and what a user is told who lacks a model."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pipelines.annotate.chunks import cut_long
from pipelines.annotate.stage import AnnotateParams, run
from pipelines.engine.models import WHISPER
from pipelines.engine.run import RunParams
from pipelines.engine.tables import to_table, write_table
from pipelines.signals import speech_models
from pipelines.signals.speech_models import DetectorParams, folder_sha256, load_detector
from pipelines.signals.voice_activity import RATE_HZ, VoiceParams, probable_spans
from tests.helpers.paths import ROOT
from wanstreamer.clock import Span
from wanstreamer.errors import InputError

NO_EXTRA = importlib.util.find_spec("whisperx") is None


def vowels(seconds: float) -> np.ndarray:
    """float32 (num_samples,) at 16 kHz: what silero takes for speech, in bursts of 600 ms every second, and noise."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    pitch = 120 + 20 * np.sin(2 * np.pi * 3 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE_HZ
    voice = sum(
        np.sin(k * phase) * np.exp(-((k * 120 - f) ** 2) / 3e4) for k in range(1, 25) for f in (500, 1500, 2500)
    )
    noise = np.random.default_rng(0).normal(0, 2e-3, len(time_s))
    return (0.1 * voice * (time_s % 1 < 0.6) + noise).astype(np.float32)


@pytest.mark.parametrize("num_samples", [0, 1, 512, 16_000, 20 * 16_000 + 77])
def test_silero_in_pieces_hears_what_its_wheel_hears(num_samples: int) -> None:
    import torch
    from silero_vad import load_silero_vad

    audio_T = vowels(21)[:num_samples]
    heard = load_detector(DetectorParams())(audio_T)
    model = load_silero_vad()
    padded_T = np.pad(audio_T, (0, -len(audio_T) % 512))
    with torch.inference_mode():
        expected = [
            float(model(torch.from_numpy(frame)[None], RATE_HZ))
            for frame in padded_T.reshape(len(padded_T) // 512, 512)
        ]
    assert (heard.frame_ms, heard.source, len(heard.probabilities)) == (32, "silero", -(-num_samples // 512))
    assert np.abs(heard.probabilities - np.array(expected)).max(initial=0) < 1e-5
    if num_samples > 300_000:
        assert max(expected) > 0.8 and min(expected) < 0.2  # else this says little
        assert len(probable_spans(heard, VoiceParams())) > 3


def test_silero_remembers_nothing_of_the_track_before() -> None:
    detect, audio_T = load_detector(DetectorParams()), vowels(3)
    first = detect(audio_T).probabilities
    detect(audio_T[::-1].copy())
    assert np.array_equal(detect(audio_T).probabilities, first)


def no_sessions(data: Path) -> None:
    for table in ("sessions", "tracks"):
        write_table(data, table, to_table(table, []))


@pytest.mark.skipif(NO_EXTRA, reason="needs the asr extra")
@pytest.mark.parametrize(
    ("params", "said"),
    [
        (
            {"speech": "pyannote"},
            "annotate.speech_model not set; .*`python -m tools.models fetch pyannote`.*models/pyannote/segmentation",
        ),
        (
            {"words": "whisperx"},
            "annotate.whisperx_model not set; .*`python -m tools.models fetch whisper-large-v3`, then set "
            "annotate.whisperx_model to models/whisper-large-v3",
        ),
        (
            {"whisperx_model": "{part}"},
            "annotate.whisperx_model .*/part: no tokenizer.json there; .*`python -m tools.models fetch whisper-",
        ),
        (
            {"whisperx_model": "{whole}", "align_model": "{part}"},
            "annotate.align_model .*/part: no vocab.json there; .*`python -m tools.models fetch align-en` for English",
        ),
    ],
)
def test_a_missing_model_is_one_line_before_any_work(tmp_path: Path, params: dict[str, str], said: str) -> None:
    no_sessions(tmp_path)
    for folder, names in (("part", ("model.bin", "config.json")), ("whole", WHISPER.files)):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    places = {"part": tmp_path / "part", "whole": tmp_path / "whole"}
    filled: dict[str, Any] = {key: value.format(**places) for key, value in params.items()}
    filled |= {} if "speech" in params else {"words": "whisperx"}
    with pytest.raises(InputError, match=said) as caught:
        run(tmp_path, AnnotateParams(**filled), RunParams(workers=1))
    assert "\n" not in str(caught.value)


def test_a_missing_extra_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_sessions(tmp_path)
    monkeypatch.setattr(speech_models, "_installed", lambda package: False)
    with pytest.raises(InputError, match=r"whisperx is not installed; run `uv pip install -e '.\[asr\]'"):
        run(tmp_path, AnnotateParams(words="whisperx"), RunParams(workers=1))


def test_torchaudio_is_left_alone_where_it_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torchaudio", "pyannote", "pyannote.audio"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.delitem(sys.modules, "torchaudio._extension", raising=False)
    monkeypatch.setenv("PYANNOTE_METRICS_ENABLED", "1")
    speech_models.import_speech_packages()
    assert "torchaudio._extension" not in sys.modules
    assert os.environ["PYANNOTE_METRICS_ENABLED"] == "0"


def test_an_unknown_annotator_names_those_there_are() -> None:
    command = [sys.executable, "-m", "pipelines.params", "--set", "annotate.speech=webrtc"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "annotate.speech" in done.stderr and "expected silero or pyannote" in done.stderr


def test_other_weights_are_another_annotator(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part/model.bin").write_bytes(b"one")
    first = folder_sha256(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/note").write_bytes(b"when it was fetched")
    assert folder_sha256(tmp_path) == first
    (tmp_path / "part/model.bin").write_bytes(b"two")
    assert folder_sha256(tmp_path) != first


def test_long_speech_is_cut_where_it_is_quiet() -> None:
    level_db = np.full(10_000, -20.0)
    level_db[2_345], level_db[4_800] = -60, -50  # at 23.45 s and 48 s
    pieces = cut_long([Span(0, 1_000), Span(2_000, 70_000)], level_db)
    assert pieces == [Span(0, 1_000), Span(2_000, 23_450), Span(23_450, 48_000), Span(48_000, 70_000)]
    assert cut_long([Span(0, 30_000)], level_db) == [Span(0, 30_000)]
    assert max(piece.duration_ms for piece in cut_long([Span(0, 100_000)], np.zeros(10_000))) <= 30_000
