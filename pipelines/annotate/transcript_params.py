"""Parameters of transcription, with their bounds. Separate from transcription.py, which imports numpy."""

from dataclasses import dataclass
from typing import Literal

from pipelines.media.languages import is_language
from wanstreamer.bounds import BadValue, check_bounds


@dataclass(frozen=True, kw_only=True)
class TranscriptParams:
    """The source of the words."""

    words: Literal["sidecar", "whisperx"] = "sidecar"  # whisperx: transcribe tracks without a sidecar
    replace_sidecars: bool = False  # with `words: whisperx`, transcribe tracks with a sidecar too
    whisperx_model: str = ""  # folder with a Whisper model in CTranslate2's format
    align_model: str = ""  # folder with a wav2vec2 model of the same language
    language: str = "en"  # of the align_model, and of recordings whose manifest names no language

    def __post_init__(self) -> None:
        check_bounds(self)
        if not is_language(self.language):
            raise BadValue("language", self.language, "a known language tag, such as en or pt-BR")
