"""What can be set of annotate: the annotators and every threshold, each with bounds where it is declared."""

from dataclasses import dataclass
from typing import Literal

from pipelines.media.languages import is_language
from pipelines.signals.params import DetectorParams, VoiceParams
from wanstreamer.bounds import BadValue, check_bounds
from wanstreamer.turns import TurnParams


@dataclass(frozen=True, kw_only=True)
class TranscriptParams:
    """Where words come from."""

    words: Literal["sidecar", "whisperx"] = "sidecar"  # whisperx: tracks without a sidecar are transcribed
    replace_sidecars: bool = False  # with `words: whisperx`, tracks that have a sidecar too
    whisperx_model: str = ""  # folder with a Whisper model in CTranslate2's format
    align_model: str = ""  # folder with a wav2vec2 model of the same language
    language: str = "en"  # of the align_model, and of recordings whose manifest names none

    def __post_init__(self) -> None:
        check_bounds(self)
        if not is_language(self.language):
            raise BadValue("language", self.language, "a known language tag, such as en or pt-BR")


@dataclass(frozen=True, kw_only=True)
class AnnotateParams(DetectorParams, TranscriptParams, VoiceParams, TurnParams):
    """The annotators and every threshold of the stage: those of voice activity and those of the turn rules."""

    def __post_init__(self) -> None:
        for part in (DetectorParams, TranscriptParams, VoiceParams, TurnParams):
            part.__post_init__(self)

    def check(self) -> None:
        """Raises InputError if a requested model is missing. This runs before any stage."""
        if self.speech == "pyannote":
            from pipelines.signals.speech_models import check_detector

            check_detector(self)
        if self.words == "whisperx":
            from pipelines.annotate.transcription import check_transcriber

            check_transcriber(self)
