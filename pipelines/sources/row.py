"""The input of ingest: one `SourceRow` per participant stream, from any layout or manifest."""

import dataclasses
import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

CONSENTS = ("train", "share", "show")
SESSION_BYTES = 128  # of a session_id as UTF-8; a track's file is named SESSION.PARTICIPANT.mp4, in 255 bytes at most
PARTICIPANT_BYTES = 64  # of a participant
FOUND_PARTICIPANTS = ("a", "b")  # whom the stage `people` finds, by their first words
NO_PARTICIPANTS = "no_participants"  # of `SourceRow.unusable`: the stage `people` may find who is in the recording
_HASH_LETTERS = 8  # of the hash that keeps changed names apart


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
    unusable: tuple[str, str] | None = None  # reason and detail, if the folder does not say how to use these files


COLUMNS = tuple(field.name for field in dataclasses.fields(SourceRow) if field.name != "unusable")  # of a manifest


def row_from_json(record: Mapping[str, Any]) -> SourceRow:
    """A row that was written as JSON, which has lists in the place of tuples."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    return SourceRow(**values)


def default_speaker(session_id: str, participant: str) -> str:
    """The `speaker_id` of a participant for whom the source has none: a person of this session only."""
    return f"{session_id}.{participant}"


def is_nameless(rows: Sequence[SourceRow]) -> bool:
    """Whether the source does not say who is in the recording of a session."""
    return len(rows) == 1 and rows[0].unusable is not None and rows[0].unusable[0] == NO_PARTICIPANTS


def nameless_recording(rows: Sequence[SourceRow]) -> SourceRow | None:
    """The recording of a session whose participants are not named, as a row that can be read; None if they are named.

    The stage `people` looks for two participants in such a recording.
    """
    return replace(rows[0], audio_kind="shared", unusable=None) if is_nameless(rows) else None


def recording_names(row: SourceRow) -> tuple[str, ...]:
    """How an RTTM may call the recording of a row, the likeliest first."""
    return (row.audio_uri or row.uri, row.uri, row.session_id)


def is_identifier(name: str, most_bytes: int) -> bool:
    """Whether a name can be an id: letters and digits of any script, _ and -, in at most so many bytes of UTF-8.

    >>> is_identifier("हिन्दी-2", 128), is_identifier("call 1", 128), is_identifier("", 128)
    (True, False, False)
    """
    return 0 < len(name.encode(errors="replace")) <= most_bytes and all(map(_may_be_in_ids, name))


def identifier(name: str, most_bytes: int = SESSION_BYTES) -> str:
    """The name of a file or folder as an id. Two names have the same id only if they look the same (Unicode NFC).

    A name that is no id gets a hash of itself, so that `call 1` and `call_1` stay apart.

    >>> identifier("李雷"), identifier("call_1"), identifier("call 1")
    ('李雷', 'call_1', 'call_1-21c5c2a6')
    """
    text = unicodedata.normalize("NFC", name)
    if is_identifier(text, most_bytes):
        return text
    mark = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_HASH_LETTERS]
    plain = "".join(letter if _may_be_in_ids(letter) else "_" for letter in text)
    start = plain.encode()[: most_bytes - len(mark) - 1].decode(errors="ignore")  # without half a letter at its end
    return f"{start}-{mark}"


def _may_be_in_ids(letter: str) -> bool:
    return letter in "_-" or unicodedata.category(letter)[0] in "LMN"  # letters, their marks, digits
