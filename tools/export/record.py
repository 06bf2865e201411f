"""The record of all exports of a data folder, `data/exports.jsonl`: every exported file, in which folder, of whom.

One JSON object a line, appended; a later line about a file replaces an earlier one. An export below the data folder is
named by its path there.

    {"at": ..., "export": "/abs/out", "format": "moshi", "what": "export"}
    {"at": ..., "export": "/abs/out", "what": "file", "file": "a.wav", "sha256": ..., "num_bytes": ...,
     "session": HASH or null (all sessions), "speakers": [HASH, ...]}
    {"at": ..., "export": "/abs/out", "what": "removed", "file": "a.wav"}
    {"at": ..., "export": "/abs/out", "what": "session", "session": HASH, "speakers": [HASH, ...]}
    {"at": ..., "export": "/abs/out", "what": "handed", "to": "a lab"}
    {"at": ..., "export": "/abs/out", "what": "copy", "to": "a lab" or null, "speakers": [HASH]}

Sessions and people are hashes, as in `forgotten.json`. A line `session` is for formats whose files hold many sessions.
A line `copy` is written when a person is forgotten who is in a copy that was handed out, or in an export that is not
where it was; the lines of the person's files are removed. A file is named before it is written, so that a killed export
leaves no file that the record does not name.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.engine.buckets import session_hash
from pipelines.engine.files import replace_file
from pipelines.engine.forgotten import speaker_hash
from wanstreamer.errors import InputError

NAME = "exports.jsonl"
LOCK = ".lock-exports"  # held by an export and by tools.forget

Line = dict[str, Any]


def record_file(data: Path) -> Path:
    return data / NAME


def append(data: Path, lines: Iterable[Line]) -> None:
    """Add lines, with the time."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    content = "".join(_text({"at": at, **line}, data) for line in lines)
    path = record_file(data)
    if path.is_file() and not _ends_line(path):  # a killed export left half a line
        content = "\n" + content
    with path.open("a") as file:
        file.write(content)


def _text(line: Line, data: Path) -> str:
    """An export below the data folder is named by its path there, so that both can be moved together."""
    place, home = Path(line["export"]), data.resolve()
    name = place.relative_to(home).as_posix() if place.is_relative_to(home) else str(place)
    return json.dumps({**line, "export": name}, sort_keys=True) + "\n"


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(0, 2)
        if not file.tell():
            return True
        file.seek(-1, 2)
        return file.read() == b"\n"


def export_line(out: Path, form: str) -> Line:
    return {"export": str(out.resolve()), "format": form, "what": "export"}


def file_line(
    out: Path, name: str, sha256: str, num_bytes: int, session_id: str | None, speakers: Iterable[str]
) -> Line:
    """`speakers`: their hashes."""
    return {
        "export": str(out.resolve()),
        "what": "file",
        "file": name,
        "sha256": sha256,
        "num_bytes": num_bytes,
        "session": None if session_id is None else session_hash(session_id),
        "speakers": sorted(speakers),
    }


def removed_line(out: Path, name: str) -> Line:
    return {"export": str(out.resolve()), "what": "removed", "file": name}


def session_line(out: Path, session_id: str, speakers: Iterable[str]) -> Line:
    """`speakers`: their hashes."""
    return {
        "export": str(out.resolve()),
        "what": "session",
        "session": session_hash(session_id),
        "speakers": sorted(speakers),
    }


def handed_line(out: Path, name: str) -> Line:
    return {"export": str(out.resolve()), "what": "handed", "to": name}


def copy_line(out: str, name: str | None, speaker_id: str) -> Line:
    return {"export": out, "what": "copy", "to": name, "speakers": [speaker_hash(speaker_id)]}


def lines(data: Path) -> Iterator[Line]:
    """All lines, one at a time. Raises InputError for a line that is none, unless it is half the last one."""
    path = record_file(data)
    if not path.is_file():
        return
    with path.open() as file:
        for number, text in enumerate(file, start=1):
            try:
                line = json.loads(text)
                line["export"] = str(data.resolve() / line["export"])
                line["what"]
            except (ValueError, KeyError, TypeError) as error:
                if not text.strip() or not text.endswith("\n"):
                    continue
                raise InputError(
                    f"{path} line {number}: not a line of the record of exports; restore the file from a backup, or "
                    "delete the line"
                ) from error
            yield line


def exports_of(data: Path) -> dict[str, str]:
    """The folder of each export -> its format."""
    return {line["export"]: line["format"] for line in lines(data) if line["what"] == "export"}


def shared_files(data: Path, out: Path) -> set[str]:
    """The files over all sessions of an export, as the record has them."""
    place, names = str(out.resolve()), set[str]()
    for line in lines(data):
        if line["export"] == place and line["what"] == "removed":
            names.discard(line["file"])
        elif line["export"] == place and line["what"] == "file" and line["session"] is None:
            names.add(line["file"])
    return names


def rewrite(data: Path, keep: Callable[[Line], bool], more: Iterable[Line]) -> int:
    """Write the record again with the lines to keep, and `more` after them; returns the number of lines removed."""
    path = record_file(data)
    temporary = path.with_name(f".{NAME}.tmp")
    removed = 0
    with temporary.open("w") as file:
        for line in lines(data):
            if keep(line):
                file.write(_text(line, data))
            else:
                removed += 1
    replace_file(temporary, path)
    append(data, more)
    return removed
