"""Compares exported files with their checksums in the record: `python -m tools.verify --exports`."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipelines.engine.files import damage_of
from pipelines.engine.progress import progress
from tools.export.folder import is_export, note_file, notes
from tools.export.record import exports_of, lines


@dataclass(frozen=True, kw_only=True)
class Fault:
    """An exported file that is not what was written, or an export that is not there (`file` is empty)."""

    export: str
    form: str
    file: str
    what: str

    @property
    def remedy(self) -> str:
        if not self.file:
            return "if it was moved or deleted on purpose, all is well"
        return f"write it again with python -m tools.export {self.form} --out {self.export}"


def recorded_files(data: Path) -> dict[tuple[str, str], str]:
    """(export, path below it) -> sha256, as the record has it last."""
    files: dict[tuple[str, str], str] = {}
    for line in lines(data):
        if line["what"] == "file":
            files[line["export"], line["file"]] = line["sha256"]
        elif line["what"] == "removed":
            files.pop((line["export"], line["file"]), None)
    return files


def check_exports(data: Path) -> tuple[int, list[Fault]]:
    """The number of files that were compared, and the faults. Changes nothing."""
    forms = exports_of(data)
    absent = {place for place in forms if not is_export(Path(place))}
    faults = [Fault(export=place, form=forms[place], file="", what="is not there any more") for place in sorted(absent)]
    files = {key: sha256 for key, sha256 in recorded_files(data).items() if key[0] not in absent}
    with progress(len(files), "verify exports") as advance:
        for (place, name), sha256 in sorted(files.items()):
            what = damage_of(Path(place) / name, sha256)
            if what:
                faults.append(Fault(export=place, form=forms[place], file=name, what=what))
            advance()
    return len(files), faults


def mark_faults(faults: Iterable[Fault]) -> None:
    """The next export writes the sessions of these files again."""
    by_export: dict[str, set[str]] = {}
    for fault in faults:
        by_export.setdefault(fault.export, set()).add(fault.file)
    for place, names in by_export.items():
        damaged = [note.session_id for note in notes(Path(place)) if names & set(note.files)]
        for session_id in damaged:
            note_file(Path(place), session_id).unlink(missing_ok=True)
