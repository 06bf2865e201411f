"""What can be set of transcription, with bounds; apart from transcription.py, which imports numpy."""

from dataclasses import dataclass
from typing import Literal

from pipelines.media.languages import is_language
from wanstreamer.bounds import BadValue, check_bounds


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
