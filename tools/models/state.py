"""Whether a model is there and whole: its files are compared with the sizes and hashes that are known.

Known are those of the table (pipelines/engine/models.py) and those that the publisher named when the model was fetched,
which are kept in the model's folder. What is known of no file is not taken as whole.
"""

import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.engine.files import file_sha256, write_json_atomic
from pipelines.engine.models import USES, File, Installed, Model, Published

RECORD = ".fetched.json"  # hidden, so that it does not count as part of the weights

Name = Literal["whole", "there", "incomplete", "damaged", "missing"]


@dataclass(frozen=True, kw_only=True)
class State:
    """What is known of a model: `there` means that no file is missing, but not every hash was compared."""

    name: Name
    detail: str = ""


def state_of(model: Model, home: Path, *, hashes: bool) -> State:
    """The state of `home/NAME`, or of the package that holds the model. With `hashes`, every file is read."""
    if isinstance(model.source, Installed):
        try:
            return State(name="there", detail=importlib.metadata.version(model.source.package))
        except importlib.metadata.PackageNotFoundError:
            return State(name="missing", detail=f"package {model.source.package} is not installed")
    return state_of_files(home / model.name, known_files(model, home / model.name), hashes=hashes)


def state_of_files(folder: Path, files: tuple[File, ...], *, hashes: bool) -> State:
    """The state of a folder that should hold these files."""
    if not folder.is_dir() or not any(path.is_file() for path in folder.rglob("*")):
        return State(name="missing")
    lacking = [file.name for file in files if not (folder / file.name).is_file()]
    if lacking:
        return State(name="incomplete", detail=f"no {', '.join(lacking)}")
    if wrong := wrong_files(folder, files, hashes=hashes):
        return State(name="damaged", detail=next(iter(wrong.values())))
    unknown = [file.name for file in files if file.sha256 is None]
    if not hashes:
        return State(name="there")
    if unknown or not files:
        return State(name="there", detail=f"no sha256 is known of {', '.join(unknown) or 'its files'}")
    return State(name="whole")


def wrong_files(folder: Path, files: tuple[File, ...], *, hashes: bool) -> dict[str, str]:
    """Names of the files that are there but are not what they should be, and what is wrong with each."""
    wrong: dict[str, str] = {}
    for file in files:
        path = folder / file.name
        if not path.is_file():
            continue
        num_bytes = path.stat().st_size
        if file.num_bytes not in (None, num_bytes):
            wrong[file.name] = f"{file.name} has {num_bytes} bytes, expected {file.num_bytes}"
        elif hashes and file.sha256 is not None and (found := file_sha256(path)) != file.sha256:
            wrong[file.name] = f"{file.name} has sha256 {found}, expected {file.sha256}"
    return wrong


def state_of_setting(folder: Path, use: Published) -> State:
    """The state of what a parameter names: a folder, or for some a file, of which only names are known."""
    if folder.is_file():
        return State(name="there")
    return state_of_files(folder, tuple(File(name) for name in use.files), hashes=False)


def known_files(model: Model, folder: Path) -> tuple[File, ...]:
    """The files that belong to a model, with all that is known of each."""
    files = {file.name: file for file in model.files}
    use = next((USES[setting] for setting in model.settings if setting in USES), None)
    if not files and use is not None and not use.part:
        files = {name: File(name) for name in use.files}
    for name, (num_bytes, sha256) in read_record(folder).items():
        files[name] = File(name, num_bytes, (files[name].sha256 if name in files else None) or sha256)
    return tuple(files.values())


def read_record(folder: Path) -> dict[str, tuple[int, str]]:
    """Name -> (bytes, sha256) of the files of a model as it was fetched; empty if it was copied without its record."""
    try:
        listed = json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"]
        return {name: (entry["bytes"], entry["sha256"]) for name, entry in listed.items()}
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_record(model: Model, folder: Path, files: dict[str, tuple[int, str]]) -> None:
    listed = {name: {"bytes": num_bytes, "sha256": sha256} for name, (num_bytes, sha256) in files.items()}
    write_json_atomic(folder / RECORD, {"model": model.name, "licence": model.licence, "files": listed})
