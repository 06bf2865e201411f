"""Parameters of the annotate stage: the annotators and all thresholds; each declares its own bounds."""

from dataclasses import dataclass

from pipelines.annotate.transcript_params import TranscriptParams
from pipelines.signals.params import DetectorParams, VoiceParams
from wanstreamer.turns import TurnParams


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
