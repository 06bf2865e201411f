"""What ingest is to read: one `SourceRow` per participant stream, whatever layout or manifest it comes from."""

import dataclasses
import re
from dataclasses import dataclass

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".ts", ".mpg")
AUDIO_SUFFIXES = (".wav", ".flac", ".m4a", ".mp3", ".opus", ".ogg", ".aac")
CONSENTS = ("train", "share", "show")


@dataclass(frozen=True, kw_only=True)
class SourceRow:
    """One participant stream. Paths are relative to the source folder and stay inside it."""

    session_id: str
    participant: str
    uri: str  # the media file
    speaker_id: str | None = None  # pseudonymous person; unknown people are never recognised across sessions
    audio_uri: str | None = None  # where the sound lies, when not in `uri`
    video_stream: int | None = None  # of several in the file, from 0; chosen as probing.py says when not given
    audio_stream: int | None = None  # likewise, in the file that holds the sound; `language` chooses, too
    channel: int | None = None  # audio channel of this participant, from 0; all are mixed when not given
    crop: tuple[int, int, int, int] | None = None  # x, y, width, height in displayed pixels
    start_offset_ms: int = 0  # session time of the file's first instant
    audio_kind: str = "own"  # own, or shared: the sound holds everybody
    words_uri: str | None = None  # words with their times on the file's clock; formats: word_files.py
    rttm_uri: str | None = None  # who speaks when in a shared sound, on the file's clock
    rttm_speaker: str | None = None  # this participant's name in the RTTM
    language: str | None = None  # BCP 47
    licence: str | None = None
    consent: tuple[str, ...] | None = None  # of train, share, show
    partners: tuple[str, ...] | None = None  # participants this one talks with, where a session has more than two


COLUMNS = tuple(field.name for field in dataclasses.fields(SourceRow))


def identifier(name: str) -> str:
    """A name as ids may be: letters, digits, _ and -."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)
