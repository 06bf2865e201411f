"""Adds lines to a session's file of corrections: checked, one writer at a time, all lines or none."""

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.engine.files import write_bytes_atomic
from pipelines.engine.tables import session_rows
from pipelines.sources.annotation_corrections import STAGE, AnnotationCorrection, annotation_correction
from wanstreamer.clock import UNIT_MS
from wanstreamer.errors import InputError
from wanstreamer.text_files import read_text, shown

LOCK = ".lock-corrections"  # in the data folder: held while a file of corrections is written


def append_correction(data: Path, session_id: str, lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Add lines of the stage annotate to the file of a session; the lines before them stay as they are.

    The new file replaces the old one in one step and is synced to disk, so a reader sees all of the lines or none.

    Args:
        data: The data folder; its table `tracks` says who is in the session, and how long it is.
        lines: As in pipelines.sources.annotation_corrections.
        path: The session's file of corrections.

    Raises:
        InputError: for a line that could never apply. Nothing is written then.
    """
    content = "".join(json.dumps(dict(line), ensure_ascii=False) + "\n" for line in lines)
    with _locked(data):  # readers of a table share an open file, which is not for several threads
        tracks = {row["participant"]: row["num_units"] * UNIT_MS for row in session_rows(data, "tracks", session_id)}
        if not tracks:
            raise InputError(
                f"session `{shown(session_id)}`: not in the table tracks of {data}; expected one of its sessions"
            )
        for number, line in enumerate(lines, start=1):
            where = f"correction {number}"
            if line.get("stage") != STAGE:
                raise InputError(f"{where}: stage `{shown(line.get('stage'))}`; expected {STAGE}")
            _check_place(annotation_correction(line, where), tracks)
        text = read_text(path) if path.is_file() else ""
        between = "" if not text or text.endswith("\n") else "\n"
        write_bytes_atomic(path, f"{text}{between}{content}".encode())


def _check_place(line: AnnotationCorrection, tracks: Mapping[str, int]) -> None:
    """The people are in the session, and the times too."""
    before = line.before or {}
    people = {"participant": line.participant, "before.participant": before.get("participant")}
    for name, who in (people | {"value.other": line.value.get("other")}).items():
        if who is not None and who not in tracks:
            raise InputError(f"{line.where}: {name} `{shown(who)}`; expected one of {', '.join(sorted(tracks))}")
    duration_ms = tracks[line.participant]
    if line.span.end_ms > duration_ms:
        raise InputError(f"{line.where}: end_ms {line.span.end_ms} is after the end of the session ({duration_ms} ms)")


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    with (data / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
