"""A manifest or a folder of recordings -> one `SourceRow` per participant stream, the input of ingest.

A folder is read by its layout (layouts.py), unless it has a `manifest.csv`, `.jsonl` or `.parquet`. Split screens,
start offsets, people and consent need a manifest.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.engine.remote import folder_at, reachable
from pipelines.sources.files import passed_over, unnamed_sidecars
from pipelines.sources.layouts import PLACES, check_layout, recognise, rows_of_folder
from pipelines.sources.manifest import PATHS, read_manifest
from pipelines.sources.row import SourceRow
from wanstreamer.errors import InputError

MANIFESTS = ("manifest.csv", "manifest.jsonl", "manifest.parquet")
NAMED_FILES = 3  # of those that are passed over


def source_of(name: str, data: Path) -> Path:
    """The folder or manifest that `ingest.source` names; if it is empty, the sample. Raises InputError without one."""
    if name:
        return folder_at(name)
    source = data / "sources"
    if not source.exists():
        raise InputError(
            f"{source}: no sample in it; run `python -m pipelines.sample --data {data}` or set ingest.source"
        )
    return source


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
            f"{source}: no recordings found; expected SESSION/PARTICIPANT.mp4, SESSION.wav + .rttm, "
            f"SESSION.mp4 with both people, or manifest.csv"
            f"{elsewhere}"
        )
    _check_paths(source, rows)
    rows = sorted(rows, key=lambda row: (row.session_id, row.participant))
    for row, next_row in zip(rows, rows[1:], strict=False):
        if (row.session_id, row.participant) == (next_row.session_id, next_row.participant):
            raise InputError(
                f"{source}: session {row.session_id} has participant {row.participant} twice ({row.uri} and "
                f"{next_row.uri}); give each row its own participant"
            )
    _check_partners(source, rows)
    if warn:
        _print_lookalikes(rows)
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


def _check_partners(source: Path, rows: Sequence[SourceRow]) -> None:
    present = {(row.session_id, row.participant) for row in rows}
    for row in rows:
        for partner in row.partners or ():
            if partner == row.participant or (row.session_id, partner) not in present:
                raise InputError(
                    f"{source}: {row.session_id}/{row.participant}: partners `{partner}`: expected other participants "
                    "of the session, separated by ;"
                )


def _print_lookalikes(rows: Sequence[SourceRow]) -> None:
    """Name people whose ids differ only in capitals: if they are one person, splits leak."""
    spellings: dict[str, set[str]] = {}
    for row in rows:
        if row.speaker_id:
            spellings.setdefault(row.speaker_id.casefold(), set()).add(row.speaker_id)
    alike = [sorted(names) for names in spellings.values() if len(names) > 1]
    if alike:
        more = f" (and {len(alike) - 1} more such ids)" if alike[1:] else ""
        print(
            f"ingest: warning: speaker_id {' and '.join(alike[0])}{more} differ only in capitals; they count as "
            "different people; if they are one person, write the id alike",
            file=sys.stderr,
        )
