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
    # Folder with a wav2vec2 model of `language`; empty: Whisper's own times, which are less exact.
    align_model: str = ""
    # Of the align_model, of word files whose manifest names none, and of what is transcribed without detection.
    language: str = "en"
    detect_language: bool = True  # detect the language of a track whose manifest names none, before it is transcribed

    def __post_init__(self) -> None:
        check_bounds(self)
        if not is_language(self.language):
            raise BadValue("language", self.language, "a known language tag, such as en or pt-BR")
