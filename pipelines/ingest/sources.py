"""A manifest or a folder of recordings -> one `SourceRow` per participant stream, the input of ingest.

A folder is read by its layout (layouts.py), unless it has a `manifest.csv`, `.jsonl` or `.parquet`. Split screens,
start offsets, people and consent need a manifest.
"""

import csv
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipelines.engine.remote import is_remote_uri, reachable
from pipelines.ingest.layouts import PLACES, check_layout, recognise, rows_of_folder
from pipelines.ingest.source_files import passed_over, unnamed_sidecars
from pipelines.ingest.source_row import (
    COLUMNS,
    CONSENTS,
    PARTICIPANT_BYTES,
    SESSION_BYTES,
    SourceRow,
    is_identifier,
)
from wanstreamer.errors import InputError

MANIFESTS = ("manifest.csv", "manifest.jsonl", "manifest.parquet")
PATHS = ("uri", "audio_uri", "words_uri", "rttm_uri")
IDS = {"session_id": SESSION_BYTES, "participant": PARTICIPANT_BYTES}  # bytes of UTF-8 at most
NAMED_FILES = 3  # of those that are passed over


def find_sources(
    source: Path, layout: str = "", *, warn: bool = True, may_be_empty: bool = False
) -> tuple[Path, list[SourceRow]]:
    """The folder that paths are relative to, and the rows, sorted by session and participant.

    `layout` names the layout of a folder without a manifest; if it is empty, the layout is recognised. `warn` prints
    word and RTTM files without a recording, and media files that are not where the layout has recordings.

    Raises InputError for mistakes that only the user can fix: no such path, no recordings in it, a wrong manifest.
    """
    check_layout(layout)
    with reachable(source):
        root, rows = _read(source, layout, warn)
    if not rows and not may_be_empty:
        others = passed_over(source, rows) if source.is_dir() else []
        elsewhere = f"; it has {_some(others)} elsewhere" if others else ""
        raise InputError(
            f"{source}: no recordings found; expected SESSION/PARTICIPANT.mp4, SESSION.wav + .rttm, or manifest.csv"
            f"{elsewhere}"
        )
    _check_paths(source, rows)
    rows = sorted(rows, key=lambda row: (row.session_id, row.participant))
    for row, next_row in zip(rows, rows[1:], strict=False):
        if (row.session_id, row.participant) == (next_row.session_id, next_row.participant):
            raise InputError(
                f"{source}: session {row.session_id} has participant {row.participant} twice; "
                "give each row its own participant"
            )
    _check_partners(source, rows)
    return root, rows


def _read(source: Path, layout: str, warn: bool) -> tuple[Path, list[SourceRow]]:
    if not source.exists():
        raise InputError(
            f"{source}: no such folder or manifest; set ingest.source to the folder or manifest of the recordings"
        )
    if source.is_file():
        return source.parent, read_manifest(source)
    if manifests := manifests_of(source):
        return source, read_manifest(manifests[0])
    layout = layout or recognise(source)
    rows = rows_of_folder(source, layout)
    if warn:
        _print_unused(source, layout, rows)
    return source, rows


def _print_unused(source: Path, layout: str, rows: Sequence[SourceRow]) -> None:
    """Name the files that no row uses."""
    if strays := unnamed_sidecars(source, rows):
        print(
            f"ingest: warning: word or RTTM file without a recording: {strays[0]}"
            + (f" and {len(strays) - 1} more" if strays[1:] else "")
            + "; expected next to the recording, with the same name",
            file=sys.stderr,
        )
    if rows and (others := passed_over(source, rows)):
        print(
            f"ingest: warning: media files passed over: {_some(others)}; layout {layout} has recordings at "
            f"{PLACES[layout]}; move them there, set ingest.source to their folder, or list them in a manifest.csv",
            file=sys.stderr,
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED_FILES} more" if len(names) > NAMED_FILES else ""
    return ", ".join(names[:NAMED_FILES]) + more


def manifests_of(source: Path) -> list[Path]:
    """The manifests of a source, the one that counts first: the file it names, and those in its folder."""
    named = [source] if source.is_file() else []
    folder = source.parent if named else source
    return named + [path for name in MANIFESTS if (path := folder / name) not in named and path.is_file()]


def _check_paths(source: Path, rows: Sequence[SourceRow]) -> None:
    """Raises InputError for a path that leads out of the source folder (symbolic links in it are allowed)."""
    for row in rows:
        for column in PATHS:
            uri = getattr(row, column)
            if uri and (uri.startswith("/") or ".." in uri.split("/") or "\0" in uri or "://" in uri):
                raise InputError(
                    f"{source}: {row.session_id}/{row.participant}: {column} `{uri}` leads out of the source folder; "
                    "put the manifest into a folder above the recordings and use paths relative to it"
                )


def read_manifest(path: Path) -> list[SourceRow]:
    """Rows of a CSV, JSONL or Parquet manifest. Raises InputError with the row and column that is wrong."""
    records: Iterable[Mapping[str, Any]]
    try:
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                records = list(reader)
                if len(reader.fieldnames or ()) == 1 and (
                    separator := re.search(r"[;\t|]", (reader.fieldnames or [""])[0])
                ):
                    raise InputError(f"{path}: fields are separated by {separator[0]!r}; expected commas")
        elif path.suffix == ".jsonl":
            records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        elif path.suffix == ".parquet":
            with path.open("rb") as file:
                records = pq.read_table(file).to_pylist()
        else:
            raise InputError(f"{path}: expected a manifest that is .csv, .jsonl or .parquet; rename or convert it")
    except (OSError, ValueError) as error:
        if isinstance(error, InputError) or (isinstance(error, OSError) and is_remote_uri(path)):
            raise
        remedy = "save it as UTF-8" if isinstance(error, UnicodeDecodeError) else "write it again"
        raise InputError(f"{path}: not a readable {path.suffix[1:]} file ({type(error).__name__}); {remedy}") from error
    rows: list[SourceRow] = []
    places: dict[str, int] = {}
    for number, record in enumerate(records, start=1):
        where = f"{path} row {number}"
        if None in record:
            raise InputError(f"{where}: more fields than the header has columns; quote fields that hold a comma")
        for column in record:
            if column not in COLUMNS:
                raise InputError(f"{where}: unknown column `{column}`; known: {', '.join(COLUMNS)}")
        filled = {key: value for key, value in record.items() if value not in (None, "")}
        missing = [column for column in ("session_id", "uri") if column not in filled]
        if missing:
            raise InputError(f"{where}: no {missing[0]}; every row must name its session and its media file")
        session = str(filled["session_id"])
        places[session] = places.get(session, -1) + 1
        filled.setdefault("participant", chr(ord("a") + places[session]))
        rows.append(_row(filled, where))
    return rows


def _row(filled: Mapping[str, Any], where: str) -> SourceRow:
    values: dict[str, Any] = {
        key: str(value) for key, value in filled.items() if key not in ("crop", "consent", "partners")
    }
    for key, most_bytes in IDS.items():
        if not is_identifier(values[key], most_bytes):
            raise InputError(
                f"{where}: {key} `{values[key]}`: expected letters, digits, _ and - only, {most_bytes} bytes at most"
            )
    for key in ("video_stream", "audio_stream", "channel", "start_offset_ms"):
        if key in values:
            if not values[key].isdecimal():
                raise InputError(f"{where}: {key} `{values[key]}`: expected a whole number, 0 or more")
            values[key] = int(values[key])
    if "audio_offset_ms" in values:
        if not re.fullmatch(r"-?\d+", values["audio_offset_ms"], re.ASCII):
            raise InputError(
                f"{where}: audio_offset_ms `{values['audio_offset_ms']}`: expected a whole number of milliseconds"
            )
        values["audio_offset_ms"] = int(values["audio_offset_ms"])
    if values.get("audio_kind", "own") not in ("own", "shared"):
        raise InputError(f"{where}: audio_kind `{values['audio_kind']}`: expected own or shared")
    if "crop" in filled:
        crop = filled["crop"]
        parts = crop.split(":") if isinstance(crop, str) else list(crop)
        if len(parts) != 4 or not all(str(part).isdecimal() for part in parts):
            raise InputError(f"{where}: crop `{crop}`: expected x:y:width:height in whole pixels")
        values["crop"] = tuple(int(part) for part in parts)
        if min(values["crop"][2:]) < 2:
            raise InputError(f"{where}: crop `{crop}`: width and height must be at least 2 pixels")
    for key in ("consent", "partners"):
        if key in filled:
            listed = filled[key]
            values[key] = tuple(part.strip() for part in (listed.split(";") if isinstance(listed, str) else listed))
    unknown = [part for part in values.get("consent", ()) if part not in CONSENTS]
    if unknown:
        raise InputError(f"{where}: consent `{unknown[0]}`: expected some of {', '.join(CONSENTS)}, separated by ;")
    return SourceRow(**values)


def _check_partners(source: Path, rows: Sequence[SourceRow]) -> None:
    present = {(row.session_id, row.participant) for row in rows}
    for row in rows:
        for partner in row.partners or ():
            if partner == row.participant or (row.session_id, partner) not in present:
                raise InputError(
                    f"{source}: {row.session_id}/{row.participant}: partners `{partner}`: expected other participants "
                    "of the session, separated by ;"
                )
