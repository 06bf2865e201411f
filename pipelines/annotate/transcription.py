"""Audio of one track + where its participant speaks -> timed words: Whisper writes them, then they get their times.

Whisper gets the participant's speech and nothing else: parts without detected speech, with bleed or with another voice
are silenced first. It can then neither transcribe the other person nor invent words for a silence, if the detector was
right. The times come from whisperx, which aligns the words with wav2vec2, where `align_model` knows the language of the
track; else from Whisper itself (own_times.py). Remaining errors of both are repaired in whisperx_words.py.
"""

import logging
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.annotate.chunks import EDGE_MS, chunks_of, cut_long
from pipelines.annotate.own_times import BATCH, heard_languages, own_times
from pipelines.annotate.transcript_params import TranscriptParams
from pipelines.annotate.whisperx_words import TimedWord, mend_words
from pipelines.engine.models import ALIGNER, WHISPER
from pipelines.media.languages import same_language, short_tag
from pipelines.media.tracks import gate_audio
from pipelines.signals.speech_models import device, folder_sha256, import_speech_packages, loading, model_folder
from pipelines.signals.voice_activity import RATE_HZ, energy_db
from wanstreamer.clock import Span
from wanstreamer.errors import InputError


class Whisperx:
    """Holds Whisper and, if there is one, the aligner."""

    def __init__(self, params: TranscriptParams) -> None:
        whisper, *aligner = check_transcriber(params)
        import_speech_packages()
        import torch
        import transformers
        import whisperx
        import whisperx.alignment

        transformers.utils.logging.disable_progress_bar()
        torch.set_num_threads(1)
        logging.getLogger("whisperx").setLevel(logging.ERROR)  # its warnings quote the transcript
        logging.getLogger("faster_whisper").setLevel(logging.ERROR)
        # Sentences do not change the times of words, and the splitter would have to be downloaded.
        whisperx.alignment.nltk_load = lambda name: _OneSentence()
        self.aligned_language = params.language if aligner else None
        self.align = whisperx.align
        with redirect_stdout(sys.stderr):  # it prints while it loads
            with loading("annotate.whisperx_model", whisper, WHISPER):
                self.whisper = whisperx.load_model(
                    str(whisper), device(), language=_whisper_code(params.language), vad_model=object(), threads=1,
                    local_files_only=True,
                )  # fmt: skip
            if aligner:
                with loading("annotate.align_model", aligner[0], ALIGNER):
                    self.aligner, self.letters = whisperx.load_align_model(
                        _whisper_code(params.language), device(), model_name=str(aligner[0]), model_cache_only=True
                    )
        self.knows_english_only = not self.whisper.model.model.is_multilingual
        if self.knows_english_only and not same_language(params.language, "en"):
            raise InputError(
                f"annotate.whisperx_model {whisper}: knows English only, but annotate.language is {params.language}; "
                f"{WHISPER.model} of `python -m tools.models` knows 100 languages"
            )

    def knows(self, language: str) -> bool:
        """Whether Whisper can write a language; `language` is a tag such as `en` or `pt-BR`."""
        return same_language(language, "en") or _whisper_code(language) in self.whisper.model.supported_languages

    def hear_language(self, audio_T: np.ndarray, speech: Sequence[Span]) -> dict[str, float]:
        """The probability of each language that Whisper knows, if it knows several. Some speech is needed."""
        return heard_languages(self.whisper.model, chunks_of(audio_T, speech))

    def __call__(
        self, audio_T: np.ndarray, speech: Sequence[Span], language: str = "en"
    ) -> tuple[list[TimedWord], list[str]]:
        """Words of a track, and a reason for each dropped word.

        Args:
            audio_T: float32 (num_samples,) at 16 kHz.
            speech: Of the participant, ms, disjoint and in order.
            language: A tag of a language that the model knows.
        """
        if not speech:
            return [], []
        if self.aligned_language is None or not same_language(language, self.aligned_language):
            code = _whisper_code(language)
            segments, num_unlikely = own_times(self.whisper.model, chunks_of(audio_T, speech), code)
            words, reasons = mend_words(segments, speech, code, source="whisper")
            return words, ["word_unlikely"] * num_unlikely + reasons
        return self._aligned(audio_T, speech, _whisper_code(language))

    def _aligned(self, audio_T: np.ndarray, speech: Sequence[Span], language: str) -> tuple[list[TimedWord], list[str]]:
        near = [Span(max(0, span.start_ms - EDGE_MS), span.end_ms + EDGE_MS) for span in speech]
        heard_T = gate_audio(audio_T, near, RATE_HZ)
        self.whisper.vad_model = _fixed_segments(cut_long(speech, energy_db(audio_T)))
        transcribed = self.whisper.transcribe(heard_T, batch_size=BATCH, language=language)["segments"]
        segments = []
        for segment in transcribed:  # one at a time: for several, whisperx does not report which it could not align
            aligned = self.align([segment], self.aligner, self.letters, heard_T, device())["word_segments"]
            segments.append({**segment, "words": aligned})
        return mend_words(segments, speech, language)


def load_transcriber(params: TranscriptParams) -> Whisperx | None:
    """None if words come from sidecars only."""
    return Whisperx(params) if params.words == "whisperx" else None


def check_transcriber(params: TranscriptParams) -> tuple[Path, ...]:
    """The folders of Whisper and, if set, of the aligner. Raises InputError if one is missing; imports nothing."""
    folders = (model_folder("annotate.whisperx_model", Path(params.whisperx_model), WHISPER, "whisperx"),)
    if not params.align_model:
        return folders
    return (*folders, model_folder("annotate.align_model", Path(params.align_model), ALIGNER, "whisperx"))


def transcript_hashes(params: TranscriptParams) -> tuple[str, ...]:
    """Hashes of the weights that transcribe; empty for sidecars. Raises InputError like `check_transcriber`."""
    return tuple(map(folder_sha256, check_transcriber(params))) if params.words == "whisperx" else ()


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
    """The name that Whisper has for a language: `pt-BR` and `por` are `pt`."""
    return {"jv": "jw"}.get(short_tag(tag), short_tag(tag))
