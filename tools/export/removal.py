"""Removes a person from the exports of a data folder: what tools.forget calls.

An export where it was written is changed so that it is what it would be without the person: files of the person's
sessions go, files over all sessions are written again. A copy that was handed out, or an export that is not where it
was, can only be named.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.engine.buckets import session_hash
from pipelines.engine.files import write_bytes_atomic
from pipelines.engine.forgotten import speaker_hash
from tools.export.folder import (
    ABOUT,
    clear_unfinished,
    drop_session,
    is_export,
    notes,
    read_note,
    write_shared_files,
)
from tools.export.form import Finished
from tools.export.formats import FORMATS
from tools.export.record import Line, copy_line, lines, record_file, rewrite
from tools.export.run import name_shared_files
from wanstreamer.errors import InputError


@dataclass(kw_only=True)
class Removal:
    """What was done about the exports."""

    files: int = 0  # removed
    lines: int = 0  # of the record
    copies: list[str] = field(default_factory=list)  # with the person, which are not in reach: where, and who has them
    unreached: list[str] = field(default_factory=list)  # folders that could not be read or written, and why


@dataclass(kw_only=True)
class _Known:
    """What the record says about one export."""

    form: str = ""
    has_person: bool = False
    files: set[str] = field(default_factory=set)  # of the person's sessions
    handed: list[str] = field(default_factory=list)  # to whom, after the person was in it
    copies: list[str | None] = field(default_factory=list)  # noted when the person was forgotten before


def remove_from_exports(data: Path, sessions: Collection[str], speaker_id: str) -> Removal:
    """Remove the sessions, and all others with this person, from every export that the record names.

    May be called again: an export that could not be reached before, and is there now, is changed then.
    """
    removal = Removal()
    _remove_from_left_out(data, sessions, removal)
    if not record_file(data).is_file():
        return removal
    speaker, session_hashes = speaker_hash(speaker_id), {session_hash(session) for session in sessions}
    known = _read(data, speaker, session_hashes)
    changed: dict[Path, list[str]] = {}  # the files that were written again
    copies: list[Line] = []
    unreached: set[str] = set()
    for place, about in sorted(known.items()):
        out = Path(place)
        try:
            if not is_export(out):
                if about.has_person or None in about.copies:
                    removal.copies.append(f"{place} ({about.form}): not there any more: moved, deleted or not mounted")
                    copies.append(copy_line(place, None, speaker_id))
            else:
                num_files, changed[out] = _remove(out, about.form, frozenset(sessions), speaker, about.files)
                removal.files += num_files
        except (OSError, InputError) as error:
            unreached.add(place)
            removal.unreached.append(f"{place}: {error}")
        for name in dict.fromkeys([*about.handed, *(name for name in about.copies if name is not None)]):
            removal.copies.append(f"{place} ({about.form}): a copy was handed to {name}")
            copies.append(copy_line(place, name, speaker_id))

    def stays(line: Line) -> bool:
        if line["what"] == "copy":
            return speaker not in line["speakers"]  # written again below
        return line["export"] in unreached or not _is_about(line, speaker, session_hashes)

    removal.lines = rewrite(data, stays, copies)
    for out, names in changed.items():
        if names:  # it had the person
            name_shared_files(data, out, names)
    return removal


def _is_about(line: Line, speaker: str, session_hashes: Collection[str]) -> bool:
    return speaker in line.get("speakers", ()) or line.get("session") in session_hashes


def _read(data: Path, speaker: str, session_hashes: Collection[str]) -> dict[str, _Known]:
    known: dict[str, _Known] = {}
    for line in lines(data):
        about = known.setdefault(line["export"], _Known())
        if line["what"] == "export":
            about.form = line["format"]
        elif line["what"] == "handed" and about.has_person:
            about.handed.append(line["to"])
        elif line["what"] == "copy" and speaker in line["speakers"]:
            about.copies.append(line["to"])
        elif line["what"] in ("file", "session") and _is_about(line, speaker, session_hashes):
            about.has_person = True
            about.files |= {line["file"]} if "file" in line else set()
    return known


def _remove(
    out: Path, form: str, sessions: frozenset[str], speaker: str, files: Collection[str]
) -> tuple[int, list[str]]:
    """The number of removed files, and the files that were written again."""
    if form not in FORMATS:
        raise InputError(f"an export of the unknown format {form}: written by another version; delete it yourself")
    clear_unfinished(out)
    own = [note.session_id for note in notes(out) if note.session_id in sessions or speaker in note.speakers]
    count, again = 0, []
    finished = Finished()
    remove = FORMATS[form].remove
    if own and remove is not None:
        finished = remove(out, frozenset(own))
    for session_id in own:
        if note := read_note(out, session_id):
            count += drop_session(out, note)
    for name in files:  # of an export that was killed between its files and its note
        if (out / name).is_file():
            (out / name).unlink()
            count += 1
    if own:
        names, _ = write_shared_files(out, finished.not_held)
        again = [ABOUT, *names, *finished.files]
    clear_unfinished(out)
    return count, again


def _remove_from_left_out(data: Path, sessions: Collection[str], removal: Removal) -> None:
    for path in sorted((data / "exports").glob("left_out-*.jsonl")):
        before = path.read_text().splitlines()
        after = [line for line in before if json.loads(line)["session_id"] not in sessions]
        if len(after) < len(before):
            removal.lines += len(before) - len(after)
            write_bytes_atomic(path, "".join(line + "\n" for line in after).encode())
