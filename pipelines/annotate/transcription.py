"""Audio of one track + where its participant speaks -> timed words, by whisperx: Whisper, then alignment by wav2vec2.

Whisper gets the participant's speech and nothing else: parts without detected speech, with bleed or with another voice
are silenced first. It can then neither transcribe the other person nor invent words for a silence, if the detector was
right. Remaining errors of whisperx are repaired in whisperx_words.py.
"""

import logging
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.annotate.transcript_params import TranscriptParams
from pipelines.annotate.whisperx_words import EDGE_MS, TimedWord, mend_words
from pipelines.media.languages import same_language
from pipelines.media.tracks import gate_audio
from pipelines.signals.speech_models import (
    Published,
    device,
    folder_sha256,
    import_speech_packages,
    loading,
    model_folder,
)
from pipelines.signals.voice_activity import ENERGY_MS, RATE_HZ, energy_db
from wanstreamer.clock import Span
from wanstreamer.errors import InputError

CHUNK_MS = 30_000  # the longest input of Whisper
BATCH = 8  # chunks at a time

WHISPER = Published(
    what="a Whisper model in CTranslate2's format",
    hub="Systran/faster-whisper-large-v3",
    files=("model.bin", "config.json", "tokenizer.json"),
)
ALIGNER = Published(
    what="a wav2vec2 model with letters of the language",
    hub="facebook/wav2vec2-base-960h",
    files=("config.json", "vocab.json"),
    note=" for English; for others, see the list in whisperx/alignment.py",
)


class Whisperx:
    """Holds both models."""

    def __init__(self, params: TranscriptParams) -> None:
        whisper, aligner = check_transcriber(params)
        import_speech_packages()
        import torch
        import transformers
        import whisperx
        import whisperx.alignment

        transformers.utils.logging.disable_progress_bar()
        torch.set_num_threads(1)
        logging.getLogger("whisperx").setLevel(logging.ERROR)  # its warnings quote the transcript
        # Sentences do not change the times of words, and the splitter would have to be downloaded.
        whisperx.alignment.nltk_load = lambda name: _OneSentence()
        self.language = _whisper_code(params.language)
        self.align = whisperx.align
        with redirect_stdout(sys.stderr):  # it prints while it loads
            with loading("annotate.whisperx_model", whisper, WHISPER):
                self.whisper = whisperx.load_model(
                    str(whisper), device(), language=self.language, vad_model=object(), threads=1, local_files_only=True
                )
            with loading("annotate.align_model", aligner, ALIGNER):
                self.aligner, self.letters = whisperx.load_align_model(
                    self.language, device(), model_name=str(aligner), model_cache_only=True
                )
        if not self.whisper.model.model.is_multilingual and self.language != "en":
            raise InputError(
                f"annotate.whisperx_model {whisper}: knows English only, but annotate.language is {params.language}; "
                f"{WHISPER.hub} knows 100 languages"
            )

    def __call__(self, audio_T: np.ndarray, speech: Sequence[Span]) -> tuple[list[TimedWord], list[str]]:
        """Words of a track, and a reason for each dropped word.

        Args:
            audio_T: float32 (num_samples,) at 16 kHz.
            speech: Of the participant, ms, disjoint and in order.
        """
        if not speech:
            return [], []
        near = [Span(max(0, span.start_ms - EDGE_MS), span.end_ms + EDGE_MS) for span in speech]
        heard_T = gate_audio(audio_T, near, RATE_HZ)
        self.whisper.vad_model = _fixed_segments(cut_long(speech, energy_db(audio_T)))
        transcribed = self.whisper.transcribe(heard_T, batch_size=BATCH, language=self.language)["segments"]
        segments = []
        for segment in transcribed:  # one at a time: for several, whisperx does not report which it could not align
            aligned = self.align([segment], self.aligner, self.letters, heard_T, device())["word_segments"]
            segments.append({**segment, "words": aligned})
        return mend_words(segments, speech, self.language)


def load_transcriber(params: TranscriptParams) -> Whisperx | None:
    """None if words come from sidecars only."""
    return Whisperx(params) if params.words == "whisperx" else None


def check_transcriber(params: TranscriptParams) -> tuple[Path, Path]:
    """The two model folders. Raises InputError if one is missing; imports nothing."""
    return (
        model_folder("annotate.whisperx_model", Path(params.whisperx_model), WHISPER, "whisperx"),
        model_folder("annotate.align_model", Path(params.align_model), ALIGNER, "whisperx"),
    )


def transcript_hashes(params: TranscriptParams) -> tuple[str, ...]:
    """Hashes of the weights that transcribe; empty for sidecars. Raises InputError like `check_transcriber`."""
    return tuple(map(folder_sha256, check_transcriber(params))) if params.words == "whisperx" else ()


def cut_long(speech: Sequence[Span], level_db: np.ndarray) -> list[Span]:
    """Speech in pieces of at most 30 s, as Whisper loses the rest; each is cut where its second half is quietest.

    Args:
        speech: ms, disjoint and in order.
        level_db: Of each 10 ms.
    """
    pieces: list[Span] = []
    for span in speech:
        start_ms = span.start_ms
        while span.end_ms - start_ms > CHUNK_MS:
            first = (start_ms + CHUNK_MS // 2) // ENERGY_MS
            quietest = first + int(np.argmin(level_db[first : (start_ms + CHUNK_MS) // ENERGY_MS]))
            pieces.append(Span(start_ms, quietest * ENERGY_MS))
            start_ms = quietest * ENERGY_MS
        pieces.append(Span(start_ms, span.end_ms))
    return pieces


def _fixed_segments(pieces: Sequence[Span]) -> Any:
    """A voice activity detector for whisperx: returns `pieces`, which whisperx joins to chunks of up to 30 s."""
    from whisperx.diarize import Segment
    from whisperx.vads import Vad

    class FixedSegments(Vad):  # type: ignore[misc]  # its methods are chosen by its class
        def __call__(self, audio: Any) -> list[Any]:
            return [Segment(span.start_ms / 1000, span.end_ms / 1000) for span in pieces]

    return FixedSegments(0.5)


class _OneSentence:
    """Replaces the sentence splitter that whisperx takes from NLTK."""

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [(0, len(text))]


def _whisper_code(tag: str) -> str:
    return tag.replace("_", "-").split("-")[0].lower()


def speaks(track_language: str | None, params: TranscriptParams) -> bool:
    """Whether a track can be transcribed: `align_model` knows one language."""
    return track_language is None or same_language(track_language, params.language)
