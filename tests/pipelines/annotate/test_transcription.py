"""whisperx and pyannote themselves, on tiny random weights in local folders, with the network cut off.

One test takes them through the stage, one through the diarizer's command line to what ingest reads.
"""

import importlib.util
import json
import re
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from pipelines.annotate.stage import AnnotateParams, run
from pipelines.annotate.transcription import TranscriptParams, Whisperx
from pipelines.engine.files import file_sha256, hash_of
from pipelines.engine.run import RunParams
from pipelines.engine.tables import read_rows, to_table, write_table
from pipelines.formats.rttm import read_rttm
from pipelines.media.tracks import write_wav
from pipelines.signals.diarization import load_diarizer
from pipelines.signals.speech_models import PYANNOTE_MS, DetectorParams, Pyannote, import_speech_packages
from pipelines.signals.voice_activity import RATE_HZ
from pipelines.sources.layouts import rows_of_folder
from tests.helpers.blank_rows import blank_row
from tests.helpers.paths import track_path
from tests.helpers.small_corpus import keep_in_process
from tools import diarize
from wanstreamer.clock import UNIT_MS, Span
from wanstreamer.errors import InputError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("whisperx") is None, reason="needs the asr extra"),
]
TEXT = "yes 7 red blue island" + 6 * " thank you" + " no"
NUM_UNITS = 50  # 8 s
Folders = dict[str, Path]


@pytest.fixture(scope="module", autouse=True)
def no_network() -> Iterator[None]:
    """Sockets lead nowhere. HF_HUB_OFFLINE would only keep the hub's own client from asking."""

    def cut(*args: Any, **kwargs: Any) -> NoReturn:
        raise AssertionError(f"the network was asked for: {args[1:]}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, cut)
        patch.setattr(socket, "getaddrinfo", cut)
        yield


@pytest.fixture(scope="module")
def folders(no_network: None, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    import_speech_packages()
    from tests.helpers import tiny_speech_models as tiny

    home = tmp_path_factory.mktemp("models")
    return {
        "whisper": tiny.whisper(home / "whisper", TEXT),
        "german": tiny.whisper(home / "german", TEXT, {"en": 0.0, "de": 1.0}),
        "unsure": tiny.whisper(home / "unsure", TEXT, {"en": 1.0, "de": 1.0}),
        "aligner": tiny.wav2vec2(home / "aligner"),
        "diarization": tiny.diarization(home / "diarization"),
        "quiet": tiny.segmentation(home / "quiet", 0.1),
    }


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.05, round(seconds * RATE_HZ)).astype(np.float32)


def test_the_network_is_cut() -> None:
    with pytest.raises(AssertionError, match="the network"):
        socket.create_connection(("huggingface.co", 443), timeout=1)


def test_pyannote_speech_is_whatever_is_not_silence(folders: Folders) -> None:
    import torch

    detect = Pyannote(DetectorParams(speech="pyannote", speech_model=str(folders["diarization"] / "segmentation")))
    audio_T = noise(4)  # within one of the model's windows of 5 s
    heard = detect(audio_T)
    assert (heard.source, len(heard.probabilities)) == ("pyannote", 4000 // PYANNOTE_MS)
    with torch.inference_mode():
        scores = detect.infer.model(torch.nn.functional.pad(torch.from_numpy(audio_T), (0, RATE_HZ))[None, None])
    expected = 1 - scores[0, :, 0].exp().numpy()  # the class of no one
    model = detect.infer.model.receptive_field
    middles_ms = 1000 * (model.start + model.duration / 2 + model.step * np.arange(len(expected)))
    for index in (20, 100, 200):
        at = np.interp((index + 0.5) * PYANNOTE_MS, middles_ms, expected)
        assert abs(heard.probabilities[index] - at) < 1e-4
    assert 0.8 < heard.probabilities[20] < 0.95
    assert len(detect(noise(0)).probabilities) == 0


def write_session(data: Path) -> None:
    """One session of noise: `a` without words, `b` with a sidecar, `c` German, `d` partly in a mix."""
    words = [{"session_id": "s1", "participant": "b", "index": 0, "word": "told", "start_ms": 400, "end_ms": 700}]
    own = {
        "a": {"language": None},
        "b": {"words_sha256": hash_of(words)},
        "c": {"language": "de"},
        "d": {"mixed": [{"start_ms": 0, "end_ms": 5000}]},
    }
    rows = []
    for index, (who, more) in enumerate(own.items()):
        path = track_path("s1", who, "wav")
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        write_wav(data / path, np.roll(noise(NUM_UNITS * UNIT_MS / 1000), 4000 * index), RATE_HZ)
        known = {
            "session_id": "s1", "participant": who, "num_units": NUM_UNITS, "audio_path": path,
            "language": "en", "attributed": True, "mixed": [], "rate_hz": RATE_HZ,
            "audio_sha256": file_sha256(data / path),
        }  # fmt: skip
        rows.append(blank_row("tracks", **known | more))
    write_table(data, "tracks", to_table("tracks", rows))
    write_table(data, "sidecar_words", to_table("sidecar_words", words))
    write_table(data, "sessions", to_table("sessions", [blank_row("sessions", session_id="s1", num_units=NUM_UNITS)]))


def params_of(folders: Folders, **more: Any) -> AnnotateParams:
    known = {
        "speech": "pyannote", "speech_model": str(folders["diarization"] / "segmentation"), "words": "whisperx",
        "whisperx_model": str(folders["whisper"]), "align_model": str(folders["aligner"]),
    }  # fmt: skip
    return AnnotateParams(**known | more)


def test_the_stage_hears_speech_and_words(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    keep_in_process(monkeypatch)
    data = tmp_path / "data"
    write_session(data)
    counts = run(data, params_of(folders), RunParams(workers=1))
    speech = read_rows(data, "speech")
    assert {row["participant"] for row in speech} == set("abcd")
    assert {row["source"] for row in speech} == {"pyannote"} and all(0.8 < row["confidence"] < 0.95 for row in speech)
    words = {who: [row for row in read_rows(data, "words") if row["participant"] == who] for who in "abcd"}
    assert [(row["word"], row["source"]) for row in words["b"]] == [("told", "sidecar")]
    assert words["c"] == []
    # Whisper's loop is gone, but for its first copy.
    assert [row["word"] for row in words["a"]] == list(dict.fromkeys(TEXT.split()))
    assert {row["source"] for row in words["a"]} == {"whisperx"} and all(
        0 < row["confidence"] < 0.2 for row in words["a"]
    )
    assert words["d"] and min(row["start_ms"] for row in words["d"]) >= 4800
    rejected = {(row["key"], row["reason"]): row["count"] for row in read_rows(data, "rejections/annotate")}
    assert rejected["s1/a", "word_repeated"] == 10
    assert rejected["s1/c", "other_language"] == 1 and rejected["s1/d", "speech_not_transcribed"] == 1
    assert len(words["a"]) + sum(count for (key, _), count in rejected.items() if key == "s1/a") == len(TEXT.split())
    printed = capfd.readouterr()
    assert not re.search("island|thank", printed.out + printed.err + json.dumps(counts))

    again = run(data, params_of(folders, replace_sidecars=True), RunParams(workers=1))
    sources = Counter(row["source"] for row in read_rows(data, "words") if row["participant"] == "b")
    assert sources["whisperx"] == 8 and set(sources) == {"whisperx"}
    assert again["done"] == 1


def test_without_an_aligner_words_have_whispers_own_times(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest names the languages of all but `a`, which is heard: German, as is `c`. `d` is partly in a mix."""
    keep_in_process(monkeypatch)
    write_session(tmp_path)
    params = params_of(folders, whisperx_model=str(folders["german"]), align_model="")
    run(tmp_path, params, RunParams(workers=1))
    words = {who: [row for row in read_rows(tmp_path, "words") if row["participant"] == who] for who in "abcd"}
    assert [(row["language"], row["source"]) for row in words["b"]] == [("en", "sidecar")]
    assert {row["language"] for row in words["a"]} == {"de"} == {row["language"] for row in words["c"]}
    assert {row["language"] for row in words["d"]} == {"en"}
    rejections = read_rows(tmp_path, "rejections/annotate")
    for who in "acd":  # the attention of random weights gives times to some of the words
        dropped = sum(row["count"] for row in rejections if row["key"] == f"s1/{who}" and "word_" in row["reason"])
        assert len(words[who]) > 2 and len(words[who]) + dropped == len(TEXT.split())
        assert {row["word"] for row in words[who]} <= set(TEXT.split())
        assert {row["source"] for row in words[who]} == {"whisper"}
        assert all(0 < row["confidence"] <= 0.5 for row in words[who])
        assert all(0 <= row["start_ms"] < row["end_ms"] <= NUM_UNITS * UNIT_MS for row in words[who])
    assert min(row["start_ms"] for row in words["d"]) >= 4800
    rejected = {(row["key"], row["reason"]) for row in rejections}
    assert ("s1/d", "speech_not_transcribed") in rejected
    assert not {reason for _, reason in rejected} & {"other_language", "language_unclear"}


def test_an_aligner_times_the_tracks_of_its_language_and_whisper_the_others(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_in_process(monkeypatch)
    write_session(tmp_path)
    run(tmp_path, params_of(folders, whisperx_model=str(folders["german"])), RunParams(workers=1))
    sources = {(row["participant"], row["source"]) for row in read_rows(tmp_path, "words")}
    assert sources == {("a", "whisper"), ("b", "sidecar"), ("c", "whisper"), ("d", "whisperx")}


def test_a_language_that_no_one_can_tell_is_that_of_the_others_or_a_rejection(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_in_process(monkeypatch)
    write_session(tmp_path)
    params = params_of(folders, whisperx_model=str(folders["unsure"]), align_model="")
    run(tmp_path, params, RunParams(workers=1))
    (row,) = [row for row in read_rows(tmp_path, "rejections/annotate") if row["reason"] == "language_unclear"]
    assert row["key"] == "s1/a" and "taken: en, as most of the session's speech" in row["detail"]
    tracks = [row | {"language": None} for row in read_rows(tmp_path, "tracks")]
    write_table(tmp_path, "tracks", to_table("tracks", tracks))
    run(tmp_path, params, RunParams(workers=1))
    unclear = [row for row in read_rows(tmp_path, "rejections/annotate") if row["reason"] == "language_unclear"]
    assert sorted(row["key"] for row in unclear) == ["s1/a", "s1/c", "s1/d"]
    assert all("not transcribed" in row["detail"] for row in unclear)
    assert [row["word"] for row in read_rows(tmp_path, "words")] == ["told"]


def test_a_quiet_model_hears_no_one_and_nothing_is_transcribed(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_in_process(monkeypatch)
    write_session(tmp_path)
    run(tmp_path, params_of(folders, speech_model=str(folders["quiet"])), RunParams(workers=1))
    assert read_rows(tmp_path, "speech") == []
    assert [row["word"] for row in read_rows(tmp_path, "words")] == ["told"]


def test_whisper_hears_nothing_but_the_speech_it_is_given(folders: Folders) -> None:
    transcribe = Whisperx(params_of(folders))
    heard: list[np.ndarray] = []
    whole = transcribe.whisper.transcribe
    transcribe.whisper.transcribe = lambda audio_T, **how: heard.append(audio_T) or whole(audio_T, **how)
    words, _ = transcribe(noise(8), [Span(1000, 2000), Span(5000, 7000)])
    level = np.abs(heard[0]).reshape(-1, RATE_HZ // 10).max(axis=1)  # of each 100 ms
    assert (level > 0).nonzero()[0].tolist() == [*range(8, 22), *range(48, 72)]
    assert words and all(800 <= word.start_ms < word.end_ms <= 7200 for word in words)
    assert transcribe(noise(1), []) == ([], [])


def test_broken_models_are_one_line(folders: Folders, tmp_path: Path) -> None:
    for name in ("model.bin", "config.json", "tokenizer.json", "vocab.json", "pytorch_model.bin", "config.yaml"):
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\n")
    broken = str(tmp_path)
    for setting, load in (
        ("annotate.speech_model", lambda: Pyannote(DetectorParams(speech="pyannote", speech_model=broken))),
        ("annotate.whisperx_model", lambda: Whisperx(params_of(folders, whisperx_model=broken))),
        ("annotate.align_model", lambda: Whisperx(params_of(folders, align_model=broken))),
        ("--model", lambda: load_diarizer(tmp_path, "--model")),
    ):
        with pytest.raises(InputError, match=f"{setting} {re.escape(broken)}: .*; expected a ") as caught:
            load()
        assert "\n" not in str(caught.value)
    german = TranscriptParams(
        words="whisperx", whisperx_model=str(folders["whisper"]), align_model=str(folders["aligner"]), language="de"
    )
    with pytest.raises(InputError, match="knows English only, but annotate.language is de"):
        Whisperx(german)


def test_a_mixed_recording_gets_an_rttm_that_ingest_reads(
    folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_wav(tmp_path / "call.wav", noise(3), RATE_HZ)  # shorter than the model's window, which reaches beyond
    diarize.main([str(tmp_path / "call.wav"), "--model", str(folders["diarization"])])
    voices = read_rttm(tmp_path / "call.rttm")
    assert voices and all(0 <= span.start_ms < span.end_ms <= 3000 for spans in voices.values() for span in spans)
    assert sum(span.duration_ms for span in voices["SPEAKER_00"]) > 2500
    assert f"{len(voices)} voices" in capsys.readouterr().out
    rows = rows_of_folder(tmp_path)
    assert [(row.participant, row.rttm_speaker, row.audio_kind) for row in rows] == [("a", "SPEAKER_00", "shared")]
