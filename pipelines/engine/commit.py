"""Replaces several files at once: all of them, or none, whenever the process is killed.

The new files are written under temporary names. A journal then lists what will be renamed and removed; once it is on
disk, the change is decided, and every later run carries it out if this one cannot.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pipelines.engine.files import sync_file, sync_folder, write_json_atomic

JOURNAL = ".commit-"


def commit(data: Path, journal: Path, renames: Mapping[Path, Path], removes: Iterable[Path]) -> None:
    """Rename temporary files to their final names and remove files, or do neither."""
    for temporary in renames:
        sync_file(temporary)
    content = {
        "renames": [[str(old.relative_to(data)), str(new.relative_to(data))] for old, new in renames.items()],
        "removes": [str(path.relative_to(data)) for path in removes],
    }
    write_json_atomic(journal, content)
    _apply(data, journal)


def finish_commits(data: Path, folder: Path, is_own: Callable[[Path], bool] = lambda journal: True) -> None:
    """Carry out the changes that a killed run had decided; only the own ones of a run beside others."""
    for journal in sorted(folder.glob(f"{JOURNAL}*.json")):
        if is_own(journal):
            _apply(data, journal)


def _apply(data: Path, journal: Path) -> None:
    try:
        content = json.loads(journal.read_text())
    except ValueError:  # damaged; what it would have changed is found by its checksum
        journal.unlink()
        return
    folders = set()
    for old, new in content["renames"]:
        if (data / old).exists():
            (data / new).parent.mkdir(parents=True, exist_ok=True)
            (data / old).replace(data / new)
            folders.add((data / new).parent)
    for name in content["removes"]:
        (data / name).unlink(missing_ok=True)
    for folder in sorted(folders):
        sync_folder(folder)
    journal.unlink()
