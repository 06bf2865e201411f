"""A manifest, CSV, JSON lines or Parquet -> source rows; every mistake in it is one line with row and column."""

import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.engine.remote import is_remote_uri
from pipelines.formats.records import name_text, plain_text, read_records, whole_number
from pipelines.sources.row import (
    COLUMNS,
    CONSENTS,
    NO_PARTICIPANTS,
    PARTICIPANT_BYTES,
    SESSION_BYTES,
    SourceRow,
    is_identifier,
)
from wanstreamer.errors import InputError
from wanstreamer.text_files import is_missing, shown

PATHS = ("uri", "audio_uri", "words_uri", "rttm_uri")
# Columns that a row cannot have if its session has no other row and the row names no participant.
OF_ONE_PERSON = ("speaker_id", "channel", "crop", "audio_kind", "words_uri", "rttm_uri", "rttm_speaker", "partners")


def read_manifest(path: Path) -> list[SourceRow]:
    """Rows of a CSV, JSONL or Parquet manifest. Raises InputError with the row and column that is wrong.

    If the column `participant` is empty in the only row of a session, its participants are to be found: the row is
    unusable (NO_PARTICIPANTS) until the stage `people` has found them. Without that column, the row is participant a.
    """
    try:
        records = read_records(path)
    except OSError as error:
        if is_remote_uri(path):
            raise
        raise InputError(f"{path}: not readable ({error.strerror or type(error).__name__})") from error
    rows: list[SourceRow] = []
    unnamed: dict[str, _Unnamed] = {}  # by session, its first row without a participant
    places: dict[str, int] = {}
    for record in records:
        where = f"{path} row {record.row}"
        for column in record.values:
            if column not in COLUMNS:
                raise InputError(f"{where}: unknown column `{shown(column)}`; known: {', '.join(COLUMNS)}")
        filled = {column: value for column, value in record.values.items() if value is not None}
        missing = [column for column in ("session_id", "uri") if column not in filled]
        if missing:
            raise InputError(f"{where}: no {missing[0]}; every row must name its session and its media file")
        session = _read("session_id", filled["session_id"], where)
        places[session] = places.get(session, -1) + 1
        if "participant" in record.values and "participant" not in filled:
            unnamed.setdefault(session, _Unnamed(place=len(rows), where=where, columns=frozenset(filled)))
        filled.setdefault("participant", chr(ord("a") + places[session]))
        rows.append(SourceRow(**{column: _read(column, value, where) for column, value in filled.items()}))
    for session, each in unnamed.items():
        if places[session] == 0:
            rows[each.place] = _to_be_found(rows[each.place], each)
    return rows


class _Unnamed(NamedTuple):
    """A row whose participant is empty."""

    place: int  # among the rows
    where: str
    columns: frozenset[str]  # that it fills


def _to_be_found(row: SourceRow, about: _Unnamed) -> SourceRow:
    """The only row of a session, without a participant: the recording may have everyone in it."""
    for column in OF_ONE_PERSON:
        if column in about.columns:
            raise InputError(
                f"{about.where}: {column} is about one person, but the row names no participant; name the participant "
                f"(for example a), or leave {column} empty, so that the people of {row.uri} are looked for"
            )
    detail = f"{about.where}: {row.uri} has no participant, so the people in it must be found"
    return replace(row, unusable=(NO_PARTICIPANTS, detail))


def _name(value: object) -> str:
    """The name of a session or person: equal letters are equal, however Unicode composes them. Raises ValueError."""
    return unicodedata.normalize("NFC", name_text(value))


def is_of(record: Mapping[str, Any], sessions: Collection[str], speaker_id: str) -> bool:
    """Whether a record of a manifest belongs to one of the sessions or to the person."""
    session, speaker = record.get("session_id"), record.get("speaker_id")
    return (session is not None and _same(session, sessions)) or (
        speaker is not None and _same(speaker, {speaker_id, unicodedata.normalize("NFC", speaker_id)})
    )


def _same(value: object, names: Collection[str]) -> bool:
    try:
        return _name(value) in names
    except ValueError:
        return str(value) in names


def _read(column: str, value: object, where: str) -> Any:
    try:
        return _READERS.get(column, plain_text)(value)
    except ValueError as error:
        raise InputError(f"{where}: {column} {error}") from error


def _identifier(most_bytes: int) -> Callable[[object], str]:
    def read(value: object) -> str:
        text = _name(value)
        if not is_identifier(text, most_bytes):
            raise ValueError(f"`{shown(text)}`: expected letters, digits, _ and - only, {most_bytes} bytes at most")
        return text

    return read


def _path(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"`{shown(value)}`: expected the name of a file")
    return value


def _count(value: object) -> int:
    try:
        number = whole_number(value)
    except ValueError:
        number = -1
    if number < 0:
        raise ValueError(f"`{shown(value)}`: expected a whole number, 0 or more")
    return number


def _milliseconds(value: object) -> int:
    try:
        return whole_number(value)
    except ValueError as error:
        raise ValueError(f"`{shown(value)}`: expected a whole number of milliseconds") from error


def _audio_kind(value: object) -> str:
    if value not in ("own", "shared"):
        raise ValueError(f"`{shown(value)}`: expected own or shared")
    return str(value)


def _crop(value: object) -> tuple[int, int, int, int]:
    parts = value.split(":") if isinstance(value, str) else value if isinstance(value, list) else []
    try:
        x, y, width, height = (_count(part) for part in parts)
    except ValueError as error:
        raise ValueError(f"`{shown(value)}`: expected x:y:width:height in whole pixels") from error
    if min(width, height) < 2:
        raise ValueError(f"`{shown(value)}`: width and height must be at least 2 pixels")
    return x, y, width, height


def _texts(value: object) -> tuple[str, ...]:
    """Texts separated by `;`, or a list of them."""
    listed = value.split(";") if isinstance(value, str) else value
    if not isinstance(listed, list) or any(isinstance(part, list | dict) for part in listed):
        raise ValueError(f"`{shown(value)}`: expected text, with ; between several")
    parts = tuple(_name(part).strip() for part in listed if not is_missing(part))
    if not parts and listed:
        raise ValueError(f"`{shown(value)}`: names nothing; leave the field empty if it is missing")
    return parts


def _consent(value: object) -> tuple[str, ...]:
    expected = f"expected some of {', '.join(CONSENTS)}, separated by ;"
    try:
        parts = _texts(value)
    except ValueError as error:
        raise ValueError(f"`{shown(value)}`: {expected}") from error
    for part in parts:
        if part not in CONSENTS:
            raise ValueError(f"`{shown(part)}`: {expected}")
    return parts


_READERS: dict[str, Callable[[object], Any]] = {
    "session_id": _identifier(SESSION_BYTES),
    "participant": _identifier(PARTICIPANT_BYTES),
    "speaker_id": _name,
    "rttm_speaker": name_text,
    "video_stream": _count,
    "audio_stream": _count,
    "channel": _count,
    "start_offset_ms": _count,
    "audio_offset_ms": _milliseconds,
    "audio_kind": _audio_kind,
    "crop": _crop,
    "consent": _consent,
    "partners": _texts,
    **dict.fromkeys(PATHS, _path),
}
