"""The folder of an export: what it is, a note per finished session, and the files over all sessions.

    OUT/export.json            format, layout and choices
    OUT/not_held.json          what the format could not hold, counted
    OUT/...                    what the format writes
    OUT/.export/notes/80/talk-0000.json   files of a session with their hashes, and its lines of the files over all
    OUT/.export/unfinished/    the session that is being written

Everything but notes of removed sessions is a function of the notes: an export of the same sessions has the same bytes,
in whatever order and however often it was stopped.
"""

import gzip
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.engine.buckets import track_folder
from pipelines.engine.files import replace_file, write_json_atomic
from wanstreamer.errors import InputError

ABOUT = "export.json"
NOT_HELD = "not_held.json"
HIDDEN = ".export"
LAYOUT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Note:
    """A finished session in an export."""

    session_id: str
    fingerprint: str
    speakers: list[str]  # hashes
    files: dict[str, str]  # path below the export -> sha256
    num_bytes: dict[str, int]
    lines: dict[str, list[str]] = field(default_factory=dict)
    not_held: dict[str, int] = field(default_factory=dict)


def notes_folder(out: Path) -> Path:
    return out / HIDDEN / "notes"


def unfinished_folder(out: Path) -> Path:
    return out / HIDDEN / "unfinished"


def check_out(out: Path, data: Path, about: dict[str, Any]) -> None:
    """Raises InputError if `out` holds something else than this export, or lies where it may not."""
    place, inside = out.resolve(), data.resolve()
    if place.is_relative_to(inside) and not place.parent.is_relative_to(inside / "exports"):
        raise InputError(f"--out {out}: is in the data folder; name one outside of it, or below {data / 'exports'}")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file; name a folder")
    if not out.is_dir() or not any(out.iterdir()):
        return
    known = about_export(out)
    if known is None:
        raise InputError(f"--out {out}: holds something else than an export; name an empty or new folder")
    if known.get("format") != about["format"]:
        raise InputError(f"--out {out}: holds an export of format {known.get('format')}; name another folder")
    if known.get("layout_version") != about["layout_version"]:
        raise InputError(f"--out {out}: written by another version of this tool; name another folder, or delete it")
    for key, value in about["choices"].items():
        if known["choices"].get(key) != value:
            raise InputError(
                f"--out {out}: was made with {key} {json.dumps(known['choices'].get(key))}, not {json.dumps(value)}; "
                "name another folder, or the same choices"
            )


def is_export(out: Path) -> bool:
    """Whether an export was written here, even if its export.json is damaged."""
    return (out / HIDDEN).is_dir()


def about_export(out: Path) -> dict[str, Any] | None:
    """The content of export.json; None if `out` is no export."""
    try:
        known: dict[str, Any] = json.loads((out / ABOUT).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return known if isinstance(known, dict) and "format" in known and "choices" in known else None


def check_space(out: Path, num_bytes: int, finished_bytes: int) -> None:
    """Raises InputError if the disk has less free space than what is still to be written, with a twentieth on top."""
    place = out.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    needed = max(0, num_bytes - finished_bytes) * 21 // 20
    if needed > free:
        raise InputError(
            f"--out {out}: the export needs about {needed / 1e9:.3g} GB, and {place} has {free / 1e9:.3g} GB free; "
            "free some space, name another disk, or choose fewer sessions (--split, --where)"
        )


def note_file(out: Path, session_id: str) -> Path:
    return notes_folder(out) / track_folder(session_id) / f"{session_id}.json"


def read_note(out: Path, session_id: str) -> Note | None:
    return _note(note_file(out, session_id))


def _note(path: Path) -> Note | None:
    """None if there is none, or if it is damaged: then the session is written again."""
    try:
        return Note(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write_note(out: Path, note: Note) -> None:
    write_json_atomic(note_file(out, note.session_id), vars(note))


def notes(out: Path) -> Iterator[Note]:
    """All notes, sorted by session, one in memory at a time."""
    paths = sorted(notes_folder(out).glob("*/*.json"), key=lambda path: path.name.removesuffix(".json"))
    for path in paths:
        if not path.name.startswith(".") and (note := _note(path)) is not None:
            yield note


def is_complete(out: Path, note: Note) -> bool:
    """Whether all files of a note are there with their length. `tools.verify --exports` compares their content."""
    try:
        return all((out / name).stat().st_size == size for name, size in note.num_bytes.items())
    except OSError:
        return False


def drop_session(out: Path, note: Note, but: frozenset[str] = frozenset()) -> int:
    """Remove a session's files, except those named in `but`, and its note; returns the number of files."""
    count = 0
    for name in note.files:
        if name not in but:
            with suppress(FileNotFoundError):
                (out / name).unlink()
                count += 1
            _remove_empty(out, (out / name).parent)
    note_file(out, note.session_id).unlink(missing_ok=True)
    return count


def _remove_empty(out: Path, folder: Path) -> None:
    while folder != out and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def move_in_place(out: Path, session_id: str, names: list[str]) -> None:
    for name in names:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        replace_file(unfinished_folder(out) / session_id / name, out / name)


def write_shared_files(out: Path, more: Counter[str]) -> tuple[list[str], Counter[str]]:
    """Put the files over all sessions together from the notes, and count what was not held (and `more`).

    Returns the paths of the files below the export, and the counts. A file that no session has lines for is removed.
    """
    counts: Counter[str] = Counter(more)
    before = _listed(out)
    with ExitStack() as stack:
        files: dict[str, BinaryIO] = {}
        for note in notes(out):
            counts.update(note.not_held)
            for name, lines in note.lines.items():
                if name not in files:
                    files[name] = _opened(stack, _temporary(out, name), name)
                files[name].writelines(line.encode() + b"\n" for line in lines)
    for name in files:
        replace_file(_temporary(out, name), out / name)
    for name in before - set(files):
        (out / name).unlink(missing_ok=True)
        _remove_empty(out, (out / name).parent)
    write_json_atomic(out / HIDDEN / "shared.json", sorted(files))
    write_json_atomic(out / NOT_HELD, dict(+counts))
    return [*sorted(files), NOT_HELD], +counts


def _listed(out: Path) -> set[str]:
    """The files over all sessions that were written before."""
    try:
        return set(json.loads((out / HIDDEN / "shared.json").read_text()))
    except (FileNotFoundError, ValueError):
        return set()


def _temporary(out: Path, name: str) -> Path:
    return out / HIDDEN / "unfinished" / "shared" / name


def _opened(stack: ExitStack, path: Path, name: str) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    file: BinaryIO = stack.enter_context(path.open("wb"))
    if not name.endswith(".gz"):
        return file
    # No name and no time in the header: equal lines give equal bytes.
    return stack.enter_context(gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0))  # type: ignore[return-value]


def clear_unfinished(out: Path) -> None:
    if unfinished_folder(out).exists():
        shutil.rmtree(unfinished_folder(out))


def files_below(folder: Path) -> list[str]:
    """Paths of all files, below the folder, sorted."""
    found = []
    for place, _, names in os.walk(folder):
        found += [(Path(place) / name).relative_to(folder).as_posix() for name in names]
    return sorted(found)
