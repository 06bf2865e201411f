"""The input of ingest: one `SourceRow` per participant stream, from any layout or manifest."""

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
    speaker_id: str | None = None  # pseudonymous person; without it a person is not recognised across sessions
    audio_uri: str | None = None  # the file with the audio, if it is not `uri`
    video_stream: int | None = (
        None  # index from 0 among the video streams of the file; if not given, probing.py chooses
    )
    audio_stream: int | None = None  # the same for audio streams, in the file with the audio; `language` also decides
    channel: int | None = None  # audio channel of this participant, from 0; if not given, all are mixed
    crop: tuple[int, int, int, int] | None = None  # x, y, width, height in displayed pixels
    start_offset_ms: int = 0  # session time at the start of the file
    audio_offset_ms: int | None = None  # the same for the sound, if it is not that of the picture; may be negative
    audio_kind: str = "own"  # own: this participant only; shared: all participants
    words_uri: str | None = None  # words with times on the clock of the sound's file; for formats see word_files.py
    rttm_uri: str | None = None  # who speaks when in shared audio, on the clock of its file
    rttm_speaker: str | None = None  # this participant's name in the RTTM
    language: str | None = None  # BCP 47
    licence: str | None = None
    consent: tuple[str, ...] | None = None  # of train, share, show
    partners: tuple[str, ...] | None = None  # participants this one talks with, if a session has more than two


COLUMNS = tuple(field.name for field in dataclasses.fields(SourceRow))


def identifier(name: str) -> str:
    """A name as an id, which may have only letters, digits, _ and -."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)


def recording_names(row: SourceRow) -> tuple[str, ...]:
    """How an RTTM may call the recording of a row, the likeliest first."""
    return (row.audio_uri or row.uri, row.uri, row.session_id)
