"""A manifest or a folder of recordings -> one `SourceRow` per participant stream: what ingest is to read.

A folder is read by its layout, unless it holds a `manifest.csv`, `.jsonl` or `.parquet`:

    SESSION/PARTICIPANT.mp4 (any container)   a file per participant; a sound file of the same name is the audio,
    SESSION/PARTICIPANT.words.json            and words lie beside it
    SESSION.wav + SESSION.rttm                one mixed recording, its speakers in the RTTM

Split screens, stereo tracks, start offsets, people and consent need a manifest.
"""

import csv
import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from wanstreamer.clock import Span, merge_spans, seconds_to_ms
from wanstreamer.errors import InputError

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".ts", ".mpg")
AUDIO_SUFFIXES = (".wav", ".flac", ".m4a", ".mp3", ".opus", ".ogg", ".aac")
CONSENTS = ("train", "share", "show")
MANIFESTS = ("manifest.csv", "manifest.jsonl", "manifest.parquet")
_ID = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, kw_only=True)
class SourceRow:
    """One participant stream. Paths are relative to the source folder (or absolute)."""

    session_id: str
    participant: str
    uri: str  # the media file
    speaker_id: str | None = None  # pseudonymous person; unknown people are never recognised across sessions
    audio_uri: str | None = None  # where the sound lies, when not in `uri`
    channel: int | None = None  # audio channel of this participant, from 0; all are averaged when not given
    crop: tuple[int, int, int, int] | None = None  # x, y, width, height in displayed pixels
    start_offset_ms: int = 0  # session time of the file's first instant
    audio_kind: str = "own"  # own, or shared: the sound holds everybody
    words_uri: str | None = None  # {"words": [{"word", "start_ms", "end_ms"}]} on the file's clock
    rttm_uri: str | None = None  # who speaks when in a shared sound, on the file's clock
    rttm_speaker: str | None = None  # this participant's name in the RTTM
    language: str | None = None  # BCP 47
    licence: str | None = None
    consent: tuple[str, ...] | None = None  # of train, share, show


COLUMNS = tuple(field.name for field in dataclasses.fields(SourceRow))


def find_sources(source: Path) -> tuple[Path, list[SourceRow]]:
    """The folder that paths are relative to, and the rows, sorted by session and participant.

    Raises InputError for what only the user can mend: no such path, nothing in it, a manifest that is not well formed.
    """
    if not source.exists():
        raise InputError(f"{source}: no such folder or manifest; set ingest.source to where the recordings are")
    if source.is_file():
        root, rows = source.parent, read_manifest(source)
    else:
        named = next((source / name for name in MANIFESTS if (source / name).is_file()), None)
        root, rows = source, read_manifest(named) if named else rows_of_folder(source)
    if not rows:
        raise InputError(
            f"{source}: no recordings found; expected SESSION/PARTICIPANT.mp4, SESSION.wav + .rttm, or manifest.csv"
        )
    rows = sorted(rows, key=lambda row: (row.session_id, row.participant))
    for one, two in zip(rows, rows[1:], strict=False):
        if (one.session_id, one.participant) == (two.session_id, two.participant):
            raise InputError(
                f"{source}: session {one.session_id} has participant {one.participant} twice; give each its own"
            )
    return root, rows


def read_manifest(path: Path) -> list[SourceRow]:
    """Rows of a CSV, JSONL or Parquet manifest. Raises InputError naming the row and column that is wrong."""
    records: Iterable[Mapping[str, Any]]
    try:
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                records = list(reader)
        elif path.suffix == ".jsonl":
            records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        elif path.suffix == ".parquet":
            records = pq.read_table(path).to_pylist()
        else:
            raise InputError(f"{path}: a manifest is .csv, .jsonl or .parquet; rename or convert it")
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: not a readable {path.suffix[1:]} file ({type(error).__name__}); write it again"
        ) from error
    rows: list[SourceRow] = []
    places: dict[str, int] = {}
    for number, record in enumerate(records, start=1):
        where = f"{path} row {number}"
        for column in record:
            if column not in COLUMNS:
                raise InputError(f"{where}: unknown column `{column}`; known: {', '.join(COLUMNS)}")
        given = {key: value for key, value in record.items() if value not in (None, "")}
        missing = [column for column in ("session_id", "uri") if column not in given]
        if missing:
            raise InputError(f"{where}: no {missing[0]}; every row names its session and its media file")
        session = str(given["session_id"])
        places[session] = places.get(session, -1) + 1
        given.setdefault("participant", chr(ord("a") + places[session]))
        rows.append(_row(given, where))
    return rows


def _row(given: Mapping[str, Any], where: str) -> SourceRow:
    values: dict[str, Any] = {key: str(value) for key, value in given.items() if key not in ("crop", "consent")}
    for key in ("session_id", "participant"):
        if not _ID.fullmatch(values[key]):
            raise InputError(f"{where}: {key} `{values[key]}`: expected letters, digits, _ and - only")
    for key in ("channel", "start_offset_ms"):
        if key in values:
            if not values[key].isdecimal():
                raise InputError(f"{where}: {key} `{values[key]}`: expected a whole number, 0 or more")
            values[key] = int(values[key])
    if values.get("audio_kind", "own") not in ("own", "shared"):
        raise InputError(f"{where}: audio_kind `{values['audio_kind']}`: expected own or shared")
    if "crop" in given:
        crop = given["crop"]
        parts = crop.split(":") if isinstance(crop, str) else list(crop)
        if len(parts) != 4 or not all(str(part).isdecimal() for part in parts):
            raise InputError(f"{where}: crop `{crop}`: expected x:y:width:height in whole pixels")
        values["crop"] = tuple(int(part) for part in parts)
        if min(values["crop"][2:]) < 2:
            raise InputError(f"{where}: crop `{crop}`: width and height must be at least 2 pixels")
    if "consent" in given:
        consent = given["consent"]
        parts = [part.strip() for part in consent.split(";")] if isinstance(consent, str) else list(consent)
        unknown = [part for part in parts if part not in CONSENTS]
        if unknown:
            raise InputError(f"{where}: consent `{unknown[0]}`: expected some of {', '.join(CONSENTS)}, separated by ;")
        values["consent"] = tuple(parts)
    return SourceRow(**values)


def rows_of_folder(folder: Path) -> list[SourceRow]:
    """Sources by layout (see the module's first lines); files of other kinds are not looked at."""
    rows: list[SourceRow] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            rows += _session_folder(folder, path)
        elif path.suffix.lower() in VIDEO_SUFFIXES + AUDIO_SUFFIXES:
            rows += _mixed_recording(folder, path)
    return rows


def _session_folder(root: Path, folder: Path) -> list[SourceRow]:
    session = _identifier(folder.name)
    media: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in VIDEO_SUFFIXES + AUDIO_SUFFIXES:
            media.setdefault(path.stem, []).append(path)
    rows = []
    for stem, paths in media.items():
        # The picture first: a sound file of the same name beside it is its audio.
        paths.sort(key=lambda path: path.suffix.lower() in AUDIO_SUFFIXES)
        words = folder / f"{stem}.words.json"
        rows.append(
            SourceRow(
                session_id=session,
                participant=_identifier(stem),
                uri=str(paths[0].relative_to(root)),
                audio_uri=str(paths[1].relative_to(root)) if len(paths) > 1 else None,
                words_uri=str(words.relative_to(root)) if words.is_file() else None,
            )
        )
    return rows


def _mixed_recording(root: Path, path: Path) -> list[SourceRow]:
    rttm = path.with_suffix(".rttm")
    if not rttm.is_file():
        raise InputError(
            f"{path}: one recording and no {rttm.name} beside it, so its participants are unknown; "
            "add the RTTM, put a file per participant into a folder per session, or name them in a manifest.csv"
        )
    speakers = list(read_rttm(rttm))
    if len(speakers) > 26:
        raise InputError(f"{rttm}: {len(speakers)} speakers; more than 26 need a manifest that names participants")
    return [
        SourceRow(
            session_id=_identifier(path.stem),
            participant=chr(ord("a") + index),
            uri=path.name,
            audio_kind="shared",
            rttm_uri=rttm.name,
            rttm_speaker=speaker,
        )
        for index, speaker in enumerate(speakers)
    ]


def _identifier(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)


def read_rttm(path: Path) -> dict[str, list[Span]]:
    """Speech per speaker of one RTTM, speakers in order of first appearance, on the file's clock.

    Raises InputError naming the line that is not RTTM.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such RTTM; mend rttm_uri")
    spans: dict[str, list[Span]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        try:
            start_ms, duration_ms, speaker = seconds_to_ms(float(fields[3])), seconds_to_ms(float(fields[4])), fields[7]
        except (IndexError, ValueError) as error:
            raise InputError(
                f"{path} line {number}: not RTTM; expected SPEAKER file 1 start duration <NA> <NA> name"
            ) from error
        spans.setdefault(speaker, []).append(Span(start_ms, start_ms + duration_ms))
    ordered = sorted(spans, key=lambda speaker: (min(spans[speaker]), speaker))
    return {speaker: merge_spans(spans[speaker]) for speaker in ordered}
